// Sizes of a launch: numbers of groups (divided by one adder, a bit a cycle) and the size of a group (multiplied in DSP blocks).
//
// Data flow: dividend (`load_i`) and divisor (`operand_load_i`) from data_i, `begin_i`, 32 times `step_i`: result_o is the
// quotient. The division does not restore: high_q is signed. Each divisor that is not zero is a factor of the product too,
// which begins with `one_i` and takes it with `begin_i`; `take_i` makes the product the result, `clear_i` zero.
// Latency: one cycle each. Back-pressure: none. Reset: none: nothing here has a meaning before it is loaded.

module saf_kernel_serial (
    input logic clk_i,
    input logic [31:0] data_i,
    input logic clear_i,
    input logic load_i,
    input logic operand_load_i,
    input logic one_i,
    input logic begin_i,
    input logic step_i,
    input logic take_i,
    output logic operand_zero_o,
    output logic [31:0] result_o
);

  logic [32:0] high_q, sum;
  logic [31:0] low_q, operand_q, product_q;
  logic carry, unused_sum;

  assign operand_zero_o = operand_q == '0;
  assign carry = !high_q[32];
  assign {sum, unused_sum} = {high_q[31:0], low_q[31], 1'b1} + {{1'b0, operand_q} ^ {33{carry}}, carry};
  assign result_o = low_q;

  // modulo 2^32, out of what DSP blocks multiply
  logic [31:0] lows;
  logic [4:0] upper, lower;
  assign lows = 32'(product_q[26:0]) * 32'(operand_q[26:0]);
  assign upper = product_q[31:27] * operand_q[4:0];
  assign lower = product_q[4:0] * operand_q[31:27];

  always_ff @(posedge clk_i) begin
    if (operand_load_i) operand_q <= data_i;
    if (clear_i) low_q <= '0;
    else if (load_i) low_q <= data_i;
    else if (take_i) low_q <= product_q;
    else if (step_i) low_q <= {low_q[30:0], !sum[32]};
    if (begin_i) high_q <= '0;
    else if (step_i) high_q <= sum;
    if (one_i) product_q <= 32'd1;
    else if (begin_i && !operand_zero_o) product_q <= {lows[31:27] + upper + lower, lows[26:0]};
  end

endmodule
