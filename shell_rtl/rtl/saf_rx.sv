// Receive path: MAC frames are judged as they pass and end up whole in one of two queues, or nowhere.
//
// Data flow: MAC → saf_rx_parse → both queues write every beat behind what they keep; with the last beat one of them
// commits: saf_rx_data (DATA frames, to saf_bulk) or saf_ctl_queue (all others, to saf_control). What is dropped is counted by
// reason; what does not fit its queue is lost (overflow_o).
// Line rate: a beat a cycle, frames back to back, for ever, as long as the consumers keep up; 3072 beats of DATA frames
// hold two of 9,018 bytes and 816 cycles of delay.
// Latency: last beat to events two cycles, to descriptors four. Reset: all frames are forgotten. Back-pressure: none.

module saf_rx
  import saf_shell_pkg::*;
#(
    parameter int unsigned DataBeats = 3072,
    parameter int unsigned CtlBeats = 2048
) (
    input logic clk_i,
    input logic rst_ni,
    input cfg_t cfg_i,
    input logic link_up_i,
    input logic mac_rx_valid_i,
    input logic mac_rx_sop_i,
    input logic mac_rx_eop_i,
    input logic mac_rx_error_i,
    input logic [2:0] mac_rx_empty_i,
    input logic [63:0] mac_rx_data_i,
    // DATA frames
    output logic df_valid_o,
    input logic df_ready_i,
    output data_desc_t df_desc_o,
    input logic df_rd_en_i,
    input logic [BeatBits-1:0] df_rd_addr_i,
    output logic [63:0] df_rd_data_o,
    input logic df_done_i,
    // control frames
    output logic cf_valid_o,
    output ctl_req_t cf_req_o,
    input logic [BeatBits-1:0] cf_rd_addr_i,
    output logic [63:0] cf_rd_data_o,
    input logic cf_pop_i,
    // events
    output logic rx_count_o,
    output logic drop_valid_o,
    output logic [4:0] drop_reason_o,
    output logic seen_o,
    output logic overflow_o
);

  localparam int unsigned CtlFrames = 16;
  localparam int unsigned StampWidth = $clog2(CtlFrames) + 1;

  logic beat_valid, frame_end, take_data, take_ctl, drop, is_data, bcast, suite;
  logic data_lost, ctl_lost, commit_data, commit_ctl, data_pending;
  logic [BeatBits-1:0] beat_index;
  logic [63:0] beat_data;
  logic [4:0] reason;
  etype_e etype;
  logic [7:0] opcode;
  logic [FrameBytesBits-1:0] size;
  logic [StampWidth-1:0] ctl_stamp, data_stamp;

  saf_rx_parse u_parse (
      .clk_i,
      .rst_ni,
      .cfg_i,
      .link_up_i,
      .mac_rx_valid_i,
      .mac_rx_sop_i,
      .mac_rx_eop_i,
      .mac_rx_error_i,
      .mac_rx_empty_i,
      .mac_rx_data_i,
      .beat_valid_o(beat_valid),
      .beat_index_o(beat_index),
      .beat_data_o(beat_data),
      .end_o(frame_end),
      .take_data_o(take_data),
      .take_ctl_o(take_ctl),
      .drop_o(drop),
      .drop_reason_o(reason),
      .is_data_o(is_data),
      .etype_o(etype),
      .bcast_o(bcast),
      .suite_o(suite),
      .opcode_o(opcode),
      .size_o(size)
  );

  assign commit_data = take_data && !data_lost;
  assign commit_ctl = take_ctl && !ctl_lost;

  saf_rx_data #(
      .Beats(DataBeats),
      .Frames(32),
      .StampWidth(StampWidth)
  ) u_data (
      .clk_i,
      .rst_ni,
      .beat_valid_i(beat_valid),
      .beat_index_i(beat_index),
      .beat_data_i(beat_data),
      .commit_i(commit_data),
      .etype_i(etype),
      .bcast_i(bcast),
      .stamp_i(ctl_stamp),
      .lost_o(data_lost),
      .pending_o(data_pending),
      .stamp_o(data_stamp),
      .df_valid_o,
      .df_ready_i,
      .df_desc_o,
      .df_rd_en_i,
      .df_rd_addr_i,
      .df_rd_data_o,
      .df_done_i
  );

  saf_ctl_queue #(
      .Beats(CtlBeats),
      .Frames(CtlFrames),
      .StampWidth(StampWidth)
  ) u_ctl (
      .clk_i,
      .rst_ni,
      .beat_valid_i(beat_valid),
      .beat_index_i(beat_index),
      .beat_data_i(beat_data),
      .commit_i(commit_ctl),
      .etype_i(etype),
      .bcast_i(bcast),
      .suite_i(suite),
      .opcode_i(opcode),
      .size_i(size),
      .lost_o(ctl_lost),
      .stamp_o(ctl_stamp),
      .data_pending_i(data_pending),
      .data_stamp_i(data_stamp),
      .cf_valid_o,
      .cf_req_o,
      .cf_rd_addr_i,
      .cf_rd_data_o,
      .cf_pop_i
  );

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      rx_count_o <= 1'b0;
      drop_valid_o <= 1'b0;
      drop_reason_o <= '0;
      seen_o <= 1'b0;
      overflow_o <= 1'b0;
    end else begin
      rx_count_o <= frame_end;
      drop_valid_o <= frame_end && drop;
      drop_reason_o <= reason;
      // a DATA frame dropped here does not wake a card, any other frame does (card.py: handle_batch, _control)
      seen_o <= frame_end && !commit_ctl && !(is_data && drop) && !(drop && reason == 5'(saf_pkg::DropReasonVlan));
      overflow_o <= (take_data && data_lost) || (take_ctl && ctl_lost);
    end
  end

endmodule
