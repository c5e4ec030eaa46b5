// Queue of DATA frames for saf_bulk: descriptors run ahead, payload is read from the oldest frame that is not done.
//
// Data flow: beat_* → saf_rx_ram and saf_rx_head; commit_i keeps the frame. df_* gives descriptors in order; df_rd_* reads
// the RAM of the oldest unfinished one; each descriptor taken is ended by one df_done_i, in order.
// pending_o, stamp_o: the oldest frame that is not done, and how many control frames (modulo) came before it.
// Latency: descriptor two cycles after commit. Reset: empty. Back-pressure: lost_o with a beat: the frame does not fit.

`include "saf_assert.svh"

module saf_rx_data
  import saf_shell_pkg::*;
#(
    parameter int unsigned Beats = 3072,
    parameter int unsigned Frames = 32,  // not done at a time, power of two
    parameter int unsigned StampWidth = 5
) (
    input logic clk_i,
    input logic rst_ni,
    input logic beat_valid_i,
    input logic [BeatBits-1:0] beat_index_i,
    input logic [63:0] beat_data_i,
    input logic commit_i,
    input etype_e etype_i,
    input logic bcast_i,
    input logic [StampWidth-1:0] stamp_i,
    output logic lost_o,
    output logic pending_o,
    output logic [StampWidth-1:0] stamp_o,
    output logic df_valid_o,
    input logic df_ready_i,
    output data_desc_t df_desc_o,
    input logic df_rd_en_i,
    input logic [BeatBits-1:0] df_rd_addr_i,
    output logic [63:0] df_rd_data_o,
    input logic df_done_i
);

  logic ram_lost, head_full, length_ready, bcast;
  logic [2:0] etype;
  logic [BeatBits-1:0] oldest_beats;
  logic [47:0] src;
  logic [63:0] beat2, beat3, beat4;

  assign lost_o = ram_lost || head_full || !length_ready;

  saf_rx_ram #(
      .Depth(Beats)
  ) u_ram (
      .clk_i,
      .rst_ni,
      .beat_valid_i,
      .beat_index_i,
      .beat_data_i,
      .commit_i,
      .lost_o(ram_lost),
      .release_i(df_done_i),
      .release_beats_i(oldest_beats),
      .rd_en_i(df_rd_en_i),
      .rd_addr_i(df_rd_addr_i),
      .rd_data_o(df_rd_data_o)
  );

  saf_rx_head #(
      .MetaWidth(4),
      .Slots(2 * Frames)
  ) u_head (
      .clk_i,
      .rst_ni,
      .beat_valid_i,
      .beat_index_i,
      .beat_data_i,
      .meta_i({etype_i, bcast_i}),
      .commit_i,
      .full_o(head_full),
      .valid_o(df_valid_o),
      .ready_i(df_ready_i),
      .src_o(src),
      .beat2_o(beat2),
      .beat3_o(beat3),
      .beat4_o(beat4),
      .meta_o({etype, bcast})
  );

  logic [$clog2(Frames+1)-1:0] unused_count;

  saf_fifo_sync #(
      .Width(BeatBits + StampWidth),
      .Depth(Frames)
  ) u_lengths (
      .clk_i,
      .rst_ni,
      .wr_valid_i(commit_i),
      .wr_ready_o(length_ready),
      .wr_data_i({beat_index_i + 1'b1, stamp_i}),
      .rd_valid_o(pending_o),
      .rd_ready_i(df_done_i),
      .rd_data_o({oldest_beats, stamp_o}),
      .count_o(unused_count)
  );

  always_comb begin
    df_desc_o.src = src;
    df_desc_o.etype = etype_e'(etype);
    df_desc_o.bcast = bcast;
    df_desc_o.session = beat2[63:32];
    df_desc_o.length = beat2[31:16];
    df_desc_o.guarded = beat2[saf_pkg::FlagGuardedBit];
    df_desc_o.object = beat3[63:32];
    df_desc_o.index = beat3[31:0];
    df_desc_o.sequence_ = beat4;
    // version and suite of what passes the checks, and the opcode, are always the same
    df_desc_o.head14 = {4'(saf_pkg::ProtocolVersion), saf_pkg::SuiteNone, saf_pkg::OpcodeData, beat2[63:16]};
    df_desc_o.head22 = beat2[15:0];
  end

  `SAF_ASSERT(AssertDone, !df_done_i || pending_o)

endmodule
