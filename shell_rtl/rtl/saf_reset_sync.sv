// A clock domain's reset: asserted at once, without a clock; released two edges after rst_ni went high.
//
// Constraints: rst_ni is asynchronous to clk_i (cut the path to the clear inputs of these two flops).

module saf_reset_sync (
    input logic clk_i,
    input logic rst_ni,
    output logic rst_no
);

  (* altera_attribute = "-name SYNCHRONIZER_IDENTIFICATION FORCED" *)
  logic [1:0] released_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) released_q <= 2'b00;
    else released_q <= {released_q[0], 1'b1};
  end

  assign rst_no = released_q[1];

endmodule
