// All crossings of the library side by side, for their tests.

module crossings_probe (
    input logic src_clk_i,
    input logic src_rst_ni,
    input logic dst_clk_i,
    input logic dst_rst_ni,
    input logic level_i,
    output logic level_o,
    input logic pulse_i,
    output logic busy_o,
    output logic pulse_o,
    output logic [5:0] count_o,
    output logic rst_no
);

  saf_sync u_level (
      .clk_i(dst_clk_i),
      .rst_ni(dst_rst_ni),
      .d_i(level_i),
      .q_o(level_o)
  );

  saf_pulse_cdc u_pulse (
      .src_clk_i,
      .src_rst_ni,
      .src_pulse_i(pulse_i),
      .src_busy_o(busy_o),
      .dst_clk_i,
      .dst_rst_ni,
      .dst_pulse_o(pulse_o)
  );

  saf_counter_cdc #(
      .Width(6)
  ) u_count (
      .src_clk_i,
      .src_rst_ni,
      .src_pulse_i(pulse_i),
      .dst_clk_i,
      .dst_rst_ni,
      .dst_count_o(count_o)
  );

  saf_reset_sync u_reset (
      .clk_i(dst_clk_i),
      .rst_ni(dst_rst_ni),
      .rst_no
  );

endmodule
