// One-cycle pulses across clock domains, as a toggle with a toggle for the answer.
//
// Latency: two to three edges of dst_clk_i. While one pulse is on its way (src_busy_o), a further one waits; more than
// one that wait become one. Reset: both sides together; a reset of one side alone may lose or add one pulse.
// Constraints: the two toggles go through saf_sync.

module saf_pulse_cdc (
    input logic src_clk_i,
    input logic src_rst_ni,
    input logic src_pulse_i,
    output logic src_busy_o,
    input logic dst_clk_i,
    input logic dst_rst_ni,
    output logic dst_pulse_o
);

  logic src_toggle_q, src_pending_q, src_ack;
  logic dst_toggle, dst_toggle_q;
  logic src_under_way, src_launch;

  assign src_under_way = src_toggle_q != src_ack;
  assign src_launch = !src_under_way && (src_pulse_i || src_pending_q);
  assign src_busy_o = src_under_way || src_pending_q;

  always_ff @(posedge src_clk_i or negedge src_rst_ni) begin
    if (!src_rst_ni) begin
      src_toggle_q <= 1'b0;
      src_pending_q <= 1'b0;
    end else begin
      if (src_launch) src_toggle_q <= !src_toggle_q;
      // a pulse in the cycle in which a waiting one leaves waits in its turn
      src_pending_q <= src_under_way ? src_pending_q || src_pulse_i : src_pending_q && src_pulse_i;
    end
  end

  saf_sync u_there (
      .clk_i(dst_clk_i),
      .rst_ni(dst_rst_ni),
      .d_i(src_toggle_q),
      .q_o(dst_toggle)
  );

  always_ff @(posedge dst_clk_i or negedge dst_rst_ni) begin
    if (!dst_rst_ni) dst_toggle_q <= 1'b0;
    else dst_toggle_q <= dst_toggle;
  end

  assign dst_pulse_o = dst_toggle != dst_toggle_q;

  saf_sync u_back (
      .clk_i(src_clk_i),
      .rst_ni(src_rst_ni),
      .d_i(dst_toggle_q),
      .q_o(src_ack)
  );

endmodule
