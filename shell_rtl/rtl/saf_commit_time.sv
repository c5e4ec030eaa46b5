// Deadlines of a commit's phases, and how long it has taken: until now, until it ended.
//
// Data flow: `span_i` begins a deadline of 100 ms, or what COMMIT asked for draining (with `start_i`) or feeding; `late_o` when
// it has come. Microseconds modulo 2^44: half of that is 101 days, twice the longest deadline. Elapsed time fills 32 bits at
// the most.
// Latency: one cycle. Reset, forget (`known_i` low): started at 0. Back-pressure: none.

module saf_commit_time
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    // verilator lint_off UNUSEDSIGNAL
    input logic [63:0] time_us_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic start_i,
    input logic known_i,
    input logic span_i,
    input logic span_feed_i,
    input logic [31:0] drain_ms_i,
    input logic [31:0] feed_ms_i,
    output logic late_o,
    input logic end_i,
    output logic [31:0] passed_us_o,  // until now
    output logic passed_full_o,  // more than 32 bits can say
    output logic [31:0] stored_us_o,  // until the end
    output logic stored_full_o
);

  localparam int unsigned StampBits = 44;
  localparam logic [31:0] DefaultFeedMs = 32'd60_000;
  localparam logic [31:0] IsolateMs = 32'd100;

  // verilator lint_off UNUSEDSIGNAL
  logic [StampBits-1:0] left;  // below zero while time is
  // verilator lint_on UNUSEDSIGNAL
  logic [StampBits-1:0] now, passed, start_q, end_q;
  logic [31:0] span_ms, feed_ms_q, stored_q;
  logic full, full_q, default_feed;

  assign now = time_us_i[StampBits-1:0];
  assign left = now - end_q;
  assign late_o = !left[StampBits-1];
  assign passed = now - start_q;
  assign full = |passed[StampBits-1:32];
  assign default_feed = feed_ms_q == '0;
  always_comb begin
    span_ms = IsolateMs;
    if (start_i) span_ms = drain_ms_i;
    else if (span_feed_i) span_ms = default_feed ? DefaultFeedMs : feed_ms_q;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      feed_ms_q <= '0;
      end_q <= '0;
    end else begin
      if (start_i) feed_ms_q <= feed_ms_i;
      if (span_i) end_q <= now + StampBits'(us_of(span_ms));
    end
  end

  // cleared by the flops' own synchronous clear, after a reset too; the others have no meaning before they are loaded
  always_ff @(posedge clk_i) begin
    if (start_i) start_q <= now;
    else if (!known_i) start_q <= '0;
    if (start_i) {full_q, stored_q} <= '0;
    else if (end_i) {full_q, stored_q} <= {full, passed[31:0]};
  end
  assign passed_us_o = passed[31:0];
  assign passed_full_o = full;
  assign stored_us_o = stored_q;
  assign stored_full_o = full_q;

endmodule
