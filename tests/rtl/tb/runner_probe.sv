// What the test runner itself is tried on: an 8-bit counter that must never reach Limit.
module runner_probe #(
  parameter int unsigned Limit = 200
) (
  input  logic       clk_i,
  input  logic       rst_ni,
  input  logic       up_i,
  output logic [7:0] count_o
);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) count_o <= '0;
    else if (up_i) count_o <= count_o + 8'd1;
  end

  always_ff @(posedge clk_i) begin
    if (rst_ni) assert (int'(count_o) < Limit) else $error("count reached its limit");
  end

endmodule
