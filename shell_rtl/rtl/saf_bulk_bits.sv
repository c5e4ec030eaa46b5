// What is done to one 64-bit word of a bitmap, and what is asked of it.
//
// Purpose: the wide logic of the bitmap engine, in one place. Combinational. Bits first_i to last_i of a quarter of the word
// are set or cleared (touch_i low: neither), or the whole word is filled with ones or zeros: word_o. Of the quarter's bits as
// they were: hit_o, one of those named was set; added_o, so many of them were not. Of the word as it will be: any_o, first_o
// (0 when any_o is low).

module saf_bulk_bits (
    input logic [63:0] word_i,
    input logic fill_i,
    input logic set_i,  // with fill_i: fill with ones
    input logic touch_i,
    input logic [1:0] quarter_i,
    input logic [3:0] first_i,
    input logic [3:0] last_i,
    output logic [63:0] word_o,
    output logic hit_o,
    output logic any_o,
    output logic [5:0] first_o,
    output logic [4:0] added_o
);

  localparam logic [15:0] Ones = '1;

  logic [15:0] mask, part, added;
  logic [3:0] chosen;
  logic [63:0] changes;
  logic [7:0] byte_any;
  logic [6:0] first_byte;

  assign mask = (Ones << first_i) & (Ones >> ~last_i);
  assign part = word_i[{quarter_i, 4'd0}+:16];
  assign hit_o = |(part & mask);
  assign added = mask & ~part;

  for (genvar i = 0; i < 4; i++) begin : gen_quarter
    assign chosen[i] = touch_i && quarter_i == 2'(i);
    assign changes[16*i+:16] = {16{fill_i}} | ({16{chosen[i]}} & mask);
  end
  assign word_o = (word_i & ~changes) | ({64{set_i}} & changes);

  function automatic logic [2:0] first_of_8(input logic [6:0] bits);
    return {
      bits[3:0] == '0,
      bits[1:0] == '0 && (bits[3:2] != '0 || bits[5:4] == '0),
      !bits[0] && (bits[1] || (!bits[2] && (bits[3] || (!bits[4] && (bits[5] || !bits[6])))))
    };
  endfunction

  for (genvar i = 0; i < 8; i++) begin : gen_byte
    assign byte_any[i] = |word_o[8*i+:8];
  end

  // the eighth bit needs no look: it is the one when no other is
  assign any_o = |byte_any;
  assign first_o[5:3] = any_o ? first_of_8(byte_any[6:0]) : '0;
  assign first_byte = word_o[{first_o[5:3], 3'b000}+:7];
  assign first_o[2:0] = any_o ? first_of_8(first_byte) : '0;

  // a sum of four bits is a function of four inputs
  function automatic logic [2:0] sum_of_4(input logic [3:0] bits);
    return {&bits, (^{bits[0] & bits[1], bits[2] & bits[3], (bits[0] ^ bits[1]) & (bits[2] ^ bits[3])}) & ~(&bits), ^bits};
  endfunction

  always_comb begin
    logic [1:0][3:0] halves;
    for (int unsigned i = 0; i < 2; i++) halves[i] = 4'(sum_of_4(added[8*i+:4])) + 4'(sum_of_4(added[8*i+4+:4]));
    added_o = 5'(halves[0]) + 5'(halves[1]);
  end

endmodule
