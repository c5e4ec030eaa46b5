// What is asked of one 64-bit word of a bitmap: is a bit set, which is the first one left, how many does a mask add.
//
// Purpose: the wide logic of the bitmap engine, in one place. Combinational; first_o is 0 when any_o is low.
// Data flow: word_i, bit_i → hit_o and rest_o (the word without that bit) → any_o, first_o. mask_i → added_o.

module saf_bulk_bits (
    input logic [63:0] word_i,
    input logic remove_i,  // look at the word without bit bit_i
    input logic [5:0] bit_i,
    input logic [63:0] mask_i,
    output logic hit_o,
    output logic [63:0] rest_o,
    output logic any_o,
    output logic [5:0] first_o,
    output logic [6:0] added_o  // bits of the mask that the word has not
);

  logic [63:0] one;
  logic [7:0] byte_any;
  logic [6:0] first_byte;
  logic [63:0] added;
  logic [15:0][2:0] nibbles;

  assign one = remove_i ? 64'd1 << bit_i : '0;
  assign hit_o = |(word_i & one);
  assign rest_o = word_i & ~one;

  function automatic logic [2:0] first_of_8(input logic [6:0] bits);
    return {
      bits[3:0] == '0,
      bits[1:0] == '0 && (bits[3:2] != '0 || bits[5:4] == '0),
      !bits[0] && (bits[1] || (!bits[2] && (bits[3] || (!bits[4] && (bits[5] || !bits[6])))))
    };
  endfunction

  for (genvar i = 0; i < 8; i++) begin : gen_byte
    assign byte_any[i] = |rest_o[8*i+:8];
  end

  // the eighth bit needs no look: it is the one when no other is
  assign any_o = |byte_any;
  assign first_o[5:3] = any_o ? first_of_8(byte_any[6:0]) : '0;
  assign first_byte = rest_o[{first_o[5:3], 3'b000}+:7];
  assign first_o[2:0] = any_o ? first_of_8(first_byte) : '0;

  assign added = mask_i & ~word_i;

  for (genvar i = 0; i < 16; i++) begin : gen_nibble
    assign nibbles[i] = 3'(added[4*i]) + 3'(added[4*i+1]) + 3'(added[4*i+2]) + 3'(added[4*i+3]);
  end

  always_comb begin
    logic [7:0][3:0] eights;
    logic [3:0][4:0] sixteens;
    logic [1:0][5:0] halves;
    for (int unsigned i = 0; i < 8; i++) eights[i] = 4'(nibbles[2*i]) + 4'(nibbles[2*i+1]);
    for (int unsigned i = 0; i < 4; i++) sixteens[i] = 5'(eights[2*i]) + 5'(eights[2*i+1]);
    for (int unsigned i = 0; i < 2; i++) halves[i] = 6'(sixteens[2*i]) + 6'(sixteens[2*i+1]);
    added_o = 7'(halves[0]) + 7'(halves[1]);
  end

endmodule
