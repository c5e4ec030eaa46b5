// Feeds an image to the PR controller and reports how that ended.
//
// Data flow: 64-bit beats (first byte most significant) cross to pr_clk_i in a FIFO and leave as 32-bit words, little
// endian (the image's first byte in bits 7:0), one a clock: 400 MB/s at 100 MHz. `in_half_i` marks a last beat that holds
// one word. While `go_i` is high one image is under way: the controller is asked for (saf_pr_mux), pr_start is given, and
// words go once the controller says "in progress" (what it says before belongs to the image before). Its verdict is
// latched and shown with `done_o`. What is left of an image that ended early, or was given up (`go_i` falls), is thrown
// away; a controller left in the middle of an image gets `pr_reset_o`. `busy_o` is low when the next image may begin.
// `fed_words_o` counts the words that the controller took, exact once done_o is high.
// Latency: about five clocks of pr_clk_i. Reset: both sides together. Back-pressure: in_ready_o low while the FIFO is full.
// Constraints: the verdict is stable eight clocks before done_o, so it crosses without synchronisers of its own; a
// set_max_delay of one clk_i period on it. pr_clk_i at most thirty times as fast as clk_i (the word counter).

module saf_pr_feed #(
    parameter int unsigned Depth = 64
) (
    input logic clk_i,
    input logic rst_ni,
    input logic go_i,
    output logic busy_o,
    output logic done_o,
    output logic [2:0] status_o,
    input logic clear_i,
    output logic [25:0] fed_words_o,
    input logic in_valid_i,
    output logic in_ready_o,
    input logic [63:0] in_data_i,
    input logic in_half_i,

    input logic pr_clk_i,
    input logic pr_rst_ni,
    output logic pr_req_o,
    input logic pr_grant_i,
    output logic pr_start_o,
    output logic pr_valid_o,
    output logic [31:0] pr_data_o,
    input logic pr_ready_i,
    input logic [2:0] pr_status_i,
    output logic pr_reset_o
);

  localparam int unsigned CountBits = 6;
  localparam logic [2:0] InProgress = saf_pkg::PrStatusInProgress[2:0];

  typedef enum logic [2:0] {
    StIdle,
    StGrant,
    StStart,
    StWait,
    StFeed,
    StSettle,
    StDone,
    StFlush
  } state_e;

  function automatic logic [31:0] swap(input logic [31:0] word);
    return {word[7:0], word[15:8], word[23:16], word[31:24]};
  endfunction

  // ---- clk_i

  logic [CountBits-1:0] count, count_q, count_more;
  logic [25:0] fed_words_q;
  logic busy_q, done_q, busy_sync;  // the first two, and the verdict, are of pr_clk_i
  logic [2:0] status_q;

  saf_sync u_busy (
      .clk_i,
      .rst_ni,
      .d_i(busy_q),
      .q_o(busy_sync)
  );
  saf_sync u_done (
      .clk_i,
      .rst_ni,
      .d_i(done_q),
      .q_o(done_o)
  );
  assign busy_o = busy_sync || go_i;
  assign status_o = status_q;

  saf_counter_cdc #(
      .Width(CountBits)
  ) u_count (
      .src_clk_i(pr_clk_i),
      .src_rst_ni(pr_rst_ni),
      .src_pulse_i(pr_valid_o && pr_ready_i),
      .dst_clk_i(clk_i),
      .dst_rst_ni(rst_ni),
      .dst_count_o(count)
  );

  assign count_more = count - count_q;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      count_q <= '0;
    end else begin
      count_q <= count;
    end
  end
  // without meaning before the first clear_i, which is the flops' own synchronous clear
  always_ff @(posedge clk_i) begin
    if (clear_i) fed_words_q <= '0;
    else if (go_i) fed_words_q <= fed_words_q + 26'(count_more);
  end
  assign fed_words_o = fed_words_q;

  // ---- to pr_clk_i

  logic word_valid, word_ready, word_half, second_q;
  logic [63:0] word_data;

  saf_fifo_async #(
      .Width(65),
      .Depth(Depth)
  ) u_fifo (
      .wr_clk_i(clk_i),
      .wr_rst_ni(rst_ni),
      .wr_valid_i(in_valid_i),
      .wr_ready_o(in_ready_o),
      .wr_data_i({in_half_i, in_data_i}),
      .rd_clk_i(pr_clk_i),
      .rd_rst_ni(pr_rst_ni),
      .rd_valid_o(word_valid),
      .rd_ready_i(word_ready),
      .rd_data_o({word_half, word_data})
  );

  // ---- pr_clk_i

  state_e state_q;
  logic go, open_q, drop, taken;
  logic [4:0] timer_q;

  saf_sync u_go (
      .clk_i(pr_clk_i),
      .rst_ni(pr_rst_ni),
      .d_i(go_i),
      .q_o(go)
  );

  assign pr_req_o = state_q != StIdle && state_q != StFlush;
  assign pr_start_o = state_q == StStart;
  assign pr_valid_o = state_q == StFeed && word_valid;
  assign pr_data_o = swap(second_q ? word_data[31:0] : word_data[63:32]);
  assign taken = pr_valid_o && pr_ready_i;
  assign drop = state_q == StSettle || state_q == StDone || state_q == StFlush || state_q == StIdle;
  assign word_ready = drop || (taken && (second_q || word_half));
  // the controller is in the middle of an image that will not come to its end
  assign pr_reset_o = state_q == StFlush && open_q;

  always_ff @(posedge pr_clk_i or negedge pr_rst_ni) begin
    if (!pr_rst_ni) begin
      state_q <= StIdle;
      busy_q <= 1'b0;
      done_q <= 1'b0;
      open_q <= 1'b0;
      status_q <= '0;
      second_q <= 1'b0;
      timer_q <= '0;
    end else begin
      busy_q <= state_q != StIdle;
      done_q <= state_q == StDone;
      timer_q <= timer_q - 5'd1;
      if (taken) second_q <= !second_q && !word_half;
      case (state_q)
        StIdle: begin
          second_q <= 1'b0;
          open_q <= 1'b0;
          if (go) state_q <= StGrant;
        end
        StGrant: if (pr_grant_i) state_q <= StStart;
        StStart: begin
          open_q <= 1'b1;
          state_q <= StWait;
        end
        StWait: if (pr_status_i == InProgress) state_q <= StFeed;
        StFeed:
        if (pr_status_i != InProgress) begin
          status_q <= pr_status_i;
          open_q <= 1'b0;
          timer_q <= 5'd8;
          state_q <= StSettle;
        end
        StSettle: if (timer_q == '0) state_q <= StDone;
        StDone: ;
        // words may still be on their way through the FIFO when go falls: empty for a while means empty
        default:
        if (word_valid) timer_q <= 5'd31;
        else if (timer_q == '0) state_q <= StIdle;
      endcase
      if (!go && state_q != StIdle && state_q != StFlush) begin
        timer_q <= 5'd31;
        state_q <= StFlush;
      end
    end
  end

endmodule
