// Two flops for levels that come from another clock domain. Bits of a vector may arrive in different cycles: use it for
// single bits and gray code only.
//
// Latency: two edges of clk_i. Reset: both flops take ResetValue.
// Constraints: d_i must come from a flop; bound the path's delay, do not time it against clk_i.

module saf_sync #(
    parameter int unsigned Width = 1,
    parameter logic [Width-1:0] ResetValue = '0
) (
    input logic clk_i,
    input logic rst_ni,
    input logic [Width-1:0] d_i,
    output logic [Width-1:0] q_o
);

  (* altera_attribute = "-name SYNCHRONIZER_IDENTIFICATION FORCED" *)
  logic [Width-1:0] meta_q, sync_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      meta_q <= ResetValue;
      sync_q <= ResetValue;
    end else begin
      meta_q <= d_i;
      sync_q <= meta_q;
    end
  end

  assign q_o = sync_q;

endmodule
