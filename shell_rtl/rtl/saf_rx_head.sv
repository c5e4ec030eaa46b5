// Queue of frame headers: a frame's beats 1 to 4 are written as they pass, into the slot behind the headers that are kept,
// which commit_i makes one of them. No register holds a header: a block RAM for each beat, read side by side.
//
// Data flow: beat_* → RAM columns; commit_i with (or after) the last beat → outputs, first in first out. meta_i is what is
// known of the frame with its second beat (index 1) and is kept beside the source address.
// Latency: two cycles from commit to valid_o. Reset: empty. Back-pressure: full_o, looked at with commit_i.

`include "saf_assert.svh"

module saf_rx_head
  import saf_shell_pkg::BeatBits;
#(
    parameter int unsigned MetaWidth = 4,
    parameter int unsigned Slots = 64  // power of two; one less is held. 64 and more are block RAM, fewer cost LUTs
) (
    input logic clk_i,
    input logic rst_ni,
    input logic beat_valid_i,
    input logic [BeatBits-1:0] beat_index_i,
    input logic [63:0] beat_data_i,
    input logic [MetaWidth-1:0] meta_i,
    input logic commit_i,
    output logic full_o,
    output logic valid_o,
    input logic ready_i,
    output logic [47:0] src_o,
    output logic [63:0] beat2_o,  // session, length, flags
    output logic [63:0] beat3_o,  // object, index
    output logic [63:0] beat4_o,  // sequence
    output logic [MetaWidth-1:0] meta_o
);

  localparam int unsigned SlotWidth = $clog2(Slots);

  if (Slots < 4 || Slots != 2 ** SlotWidth) begin : gen_bad_slots
    $error("saf_rx_head: Slots must be a power of two, at least 4");
  end

  logic [SlotWidth-1:0] wr_slot_q, wr_slot_d, rd_slot_q;
  logic [15:0] src_high_q;
  logic valid_q, fetch;
  logic [4:0] wr_beat;

  // the slot being written is never one that is kept
  assign wr_slot_d = wr_slot_q + 1'b1;
  assign full_o = wr_slot_d == rd_slot_q;
  assign fetch = wr_slot_q != rd_slot_q && (!valid_q || ready_i);
  assign valid_o = valid_q;

  always_comb begin
    wr_beat = '0;
    for (int unsigned i = 0; i < 5; i++) wr_beat[i] = beat_valid_i && beat_index_i == BeatBits'(i);
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      wr_slot_q <= '0;
      rd_slot_q <= '0;
      valid_q <= 1'b0;
      src_high_q <= '0;
    end else begin
      if (commit_i) wr_slot_q <= wr_slot_d;
      if (fetch) rd_slot_q <= rd_slot_q + 1'b1;
      if (fetch) valid_q <= 1'b1;
      else if (ready_i) valid_q <= 1'b0;
      if (wr_beat[0]) src_high_q <= beat_data_i[15:0];
    end
  end

  saf_ram_1r1w #(
      .Width(48 + MetaWidth),
      .Depth(Slots)
  ) u_beat1 (
      .clk_i,
      .wr_en_i(wr_beat[1]),
      .wr_addr_i(wr_slot_q),
      .wr_data_i({src_high_q, beat_data_i[63:32], meta_i}),
      .rd_en_i(fetch),
      .rd_addr_i(rd_slot_q),
      .rd_data_o({src_o, meta_o})
  );

  saf_ram_1r1w #(
      .Width(64),
      .Depth(Slots)
  ) u_beat2 (
      .clk_i,
      .wr_en_i(wr_beat[2]),
      .wr_addr_i(wr_slot_q),
      .wr_data_i(beat_data_i),
      .rd_en_i(fetch),
      .rd_addr_i(rd_slot_q),
      .rd_data_o(beat2_o)
  );

  saf_ram_1r1w #(
      .Width(64),
      .Depth(Slots)
  ) u_beat3 (
      .clk_i,
      .wr_en_i(wr_beat[3]),
      .wr_addr_i(wr_slot_q),
      .wr_data_i(beat_data_i),
      .rd_en_i(fetch),
      .rd_addr_i(rd_slot_q),
      .rd_data_o(beat3_o)
  );

  saf_ram_1r1w #(
      .Width(64),
      .Depth(Slots)
  ) u_beat4 (
      .clk_i,
      .wr_en_i(wr_beat[4]),
      .wr_addr_i(wr_slot_q),
      .wr_data_i(beat_data_i),
      .rd_en_i(fetch),
      .rd_addr_i(rd_slot_q),
      .rd_data_o(beat4_o)
  );

  `SAF_ASSERT(AssertNoOverflow, !commit_i || !full_o)
  `SAF_STABLE(AssertStable, valid_o, ready_i, ({src_o, beat2_o, beat3_o, beat4_o, meta_o}), clk_i, rst_ni)

endmodule
