// Number of blocks times block size in units of 64 bytes, of an XFER_OPEN: two DSP blocks.
//
// Latency: p_o is of the inputs one cycle before. Reset: zero. No back-pressure.

module saf_xfer_mul (
    input logic clk_i,
    input logic rst_ni,
    input logic [31:0] a_i,
    input logic [7:0] b_i,
    output logic [39:0] p_o
);

  // 27 bits are what one DSP block takes; left to itself a tool would add the parts in full width
  logic [34:0] low;
  logic [12:0] high;
  assign low = 35'(a_i[26:0]) * 35'(b_i);
  assign high = 13'(a_i[31:27]) * 13'(b_i);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) p_o <= '0;
    else p_o <= {high + 13'(low[34:27]), low[26:0]};
  end

endmodule
