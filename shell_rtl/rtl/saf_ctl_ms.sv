// Microseconds to milliseconds: divides by 1000, a bit a cycle.
//
// Data flow: load_i (zero_i: none) -> the remainder so far, and the quotient shifted into the dividend while divide_i is up, which
// is for as many cycles as there are bits. Latency: that. Reset: none: is loaded first. Back-pressure: none; the result holds.

module saf_ctl_ms #(
  parameter int unsigned Bits = 48
) (
  input  logic            clk_i,
  input  logic            load_i,
  input  logic [Bits-1:0] value_i,
  input  logic            zero_i,
  input  logic            divide_i,
  output logic     [31:0] ms_o
);

  localparam logic [10:0] Divisor = 11'd1000;

  logic [Bits-1:0] value_q;
  logic [9:0] rem_q;
  logic [10:0] trial;
  logic divides;
  assign trial = {rem_q, value_q[Bits-1]};
  assign divides = trial >= Divisor;

  // nothing is loaded by the flops' own synchronous clear
  always_ff @(posedge clk_i) begin
    if (load_i && zero_i) value_q <= '0;
    else if (load_i) value_q <= value_i;
    else if (divide_i) value_q <= {value_q[Bits-2:0], divides};
    if (load_i) rem_q <= '0;
    else rem_q <= divides ? 10'(trial - Divisor) : trial[9:0];
  end

  assign ms_o = value_q[31:0];

endmodule
