// Counts pulses of one clock domain and shows the count in another, in gray code on the way, so that it is a value the
// counter had.
//
// Latency: one edge of src_clk_i, then three of dst_clk_i. Wraps. Reset: both sides together.
// Constraints: skew between the gray bits below one period of src_clk_i.

module saf_counter_cdc #(
    parameter int unsigned Width = 8
) (
    input logic src_clk_i,
    input logic src_rst_ni,
    input logic src_pulse_i,
    input logic dst_clk_i,
    input logic dst_rst_ni,
    output logic [Width-1:0] dst_count_o
);

  logic [Width-1:0] src_count_q, src_count_d, src_gray_q;
  logic [Width-1:0] dst_gray, dst_count_d, dst_count_q;

  assign src_count_d = src_count_q + {{Width - 1{1'b0}}, src_pulse_i};

  always_ff @(posedge src_clk_i or negedge src_rst_ni) begin
    if (!src_rst_ni) begin
      src_count_q <= '0;
      src_gray_q <= '0;
    end else begin
      src_count_q <= src_count_d;
      src_gray_q <= src_count_d ^ (src_count_d >> 1);
    end
  end

  saf_sync #(
      .Width(Width)
  ) u_gray (
      .clk_i(dst_clk_i),
      .rst_ni(dst_rst_ni),
      .d_i(src_gray_q),
      .q_o(dst_gray)
  );

  always_comb begin
    for (int unsigned i = 0; i < Width; i++) dst_count_d[i] = ^(dst_gray >> i);
  end

  always_ff @(posedge dst_clk_i or negedge dst_rst_ni) begin
    if (!dst_rst_ni) dst_count_q <= '0;
    else dst_count_q <= dst_count_d;
  end

  assign dst_count_o = dst_count_q;

endmodule
