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

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) p_o <= '0;
    else p_o <= 40'(a_i) * 40'(b_i);
  end

endmodule
