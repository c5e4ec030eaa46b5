// Time since reset, in nanoseconds and in microseconds, from the core clock alone.
//
// PeriodPs is the clock's period; the fraction of a nanosecond is carried on, so that the clock neither gains nor loses.
// Latency: none, the values are registers. Reset: both zero.

module saf_timebase #(
    parameter int unsigned PeriodPs = 6400
) (
    input logic clk_i,
    input logic rst_ni,
    output logic [63:0] time_ns_o,
    output logic [63:0] time_us_o
);

  localparam logic [9:0] StepNs = 10'(PeriodPs / 1000);
  localparam logic [10:0] StepPs = 11'(PeriodPs % 1000);

  if (PeriodPs < 1 || PeriodPs >= 500_000) begin : gen_bad_period
    $error("saf_timebase: PeriodPs must be below 500,000");
  end

  logic [63:0] ns_q, us_q;
  logic [9:0] in_ns_q;  // picoseconds into this nanosecond
  logic [9:0] in_us_q;  // nanoseconds into this microsecond
  logic [10:0] ps_sum, ns_sum;
  logic carry_ns, carry_us;
  logic [9:0] step;

  assign ps_sum = {1'b0, in_ns_q} + StepPs;
  assign carry_ns = ps_sum >= 11'd1000;
  assign step = StepNs + 10'(carry_ns);
  assign ns_sum = {1'b0, in_us_q} + {1'b0, step};
  assign carry_us = ns_sum >= 11'd1000;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      ns_q <= '0;
      us_q <= '0;
      in_ns_q <= '0;
      in_us_q <= '0;
    end else begin
      in_ns_q <= carry_ns ? 10'(ps_sum - 11'd1000) : ps_sum[9:0];
      in_us_q <= carry_us ? 10'(ns_sum - 11'd1000) : ns_sum[9:0];
      ns_q <= ns_q + 64'(step);
      if (carry_us) us_q <= us_q + 64'd1;
    end
  end

  assign time_ns_o = ns_q;
  assign time_us_o = us_q;

endmodule
