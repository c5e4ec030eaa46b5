// Eight bytes out of fifteen: {high, low} moved right by 0 to 7 bytes. A multiplication by a power of two for each bit of a byte, so
// that it lies in DSP blocks (four of them, two 18 x 18 multipliers each) and takes next to no logic; the shell has no other
// use for them.
//
// Data flow: bit i of each byte makes a number of fifteen bits, times 2^(7 - shift), of which bits 14 to 7 are bit i of the result.
// Latency: none.

module saf_byte_shift (
    input logic [119:0] data_i,
    input logic [2:0] shift_i,  // bytes
    output logic [63:0] data_o
);

  logic [7:0] factor;

  assign factor = 8'd128 >> shift_i;

  for (genvar i = 0; i < 8; i++) begin : gen_bit
    logic [14:0] plane;
    logic [7:0] unused_high;
    logic [6:0] unused_low;
    logic [7:0] moved;

    for (genvar j = 0; j < 15; j++) begin : gen_in
      assign plane[j] = data_i[8*j+i];
    end
    assign {unused_high, moved, unused_low} = 23'(plane) * 23'(factor);
    for (genvar j = 0; j < 8; j++) begin : gen_out
      assign data_o[8*j+i] = moved[j];
    end
  end

endmodule
