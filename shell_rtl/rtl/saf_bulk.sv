// Bulk receive engine: DATA frames into DDR.
//
// Purpose: four transfer contexts (0: images, 131,072 blocks; 1 to 3: DDR, 65,536 blocks each) with a bitmap of missing
// blocks each. A block is written only while its transfer receives, only where XFER_OPEN allowed, and only once.
// Data flow: saf_rx's descriptors → saf_bulk_check (all that needs no bitmap) → saf_bulk_take (bounds, guard, bitmap) →
// saf_bulk_write (payload to the DDR write stream). The three work on three frames in a row; frames leave the frame RAM in
// the order they came. saf_bulk_map holds bitmaps and counters and does what the transfer unit asks; saf_bulk_fence tells
// when a context's blocks are all in DDR; saf_bulk_show answers queries.
// Latency: first beat 12 to 20 cycles after the descriptor. Rate: a frame every 9 cycles or less, a beat a cycle, so
// that it keeps up with 10 Gb/s of frames of any size. Reset: nothing open, nothing on its way.
// Back-pressure: wr_ready_i stalls; saf_rx's frame RAM takes up what comes meanwhile.
// Constraints: open_* and forget_* hold until done, not both at once, with ctx_rx_i of that context low and the context
// settled before; one bitmap read at a time, its address holds until the answer; of a context that was never opened q_* mean
// nothing but that it is settled.

`include "saf_assert.svh"

module saf_bulk
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input cfg_t cfg_i,
    input session_view_t session_i,
    // frames from saf_rx
    input logic df_valid_i,
    output logic df_ready_o,
    input data_desc_t df_desc_i,
    output logic df_rd_en_o,
    output logic [BeatBits-1:0] df_rd_addr_o,
    input logic [63:0] df_rd_data_i,
    output logic df_done_o,
    // what others count or answer
    output logic stranger_valid_o,
    output logic [47:0] stranger_mac_o,
    output logic drop_valid_o,
    output logic [4:0] drop_reason_o,
    output logic block_count_o,
    // hash client
    output logic hash_valid_o,
    input logic hash_ready_i,
    output hash_req_t hash_req_o,
    output logic hash_dvalid_o,
    input logic hash_dready_i,
    output logic [63:0] hash_data_o,
    output logic hash_dlast_o,
    input logic hash_done_i,
    input logic [255:0] hash_digest_i,
    // DDR write stream
    output logic wr_valid_o,
    input logic wr_ready_i,
    output logic [AddrBits-1:0] wr_addr_o,
    output logic [15:0] wr_bytes_o,
    output logic [63:0] wr_data_o,
    output logic wr_last_o,
    input logic wr_done_i,
    // the transfer unit's
    input logic [Contexts-1:0] ctx_valid_i,
    input logic [Contexts-1:0] ctx_rx_i,
    input logic [Contexts-1:0] ctx_guarded_i,
    input logic open_valid_i,
    output logic open_done_o,
    input logic [1:0] open_ctx_i,
    input logic [31:0] open_id_i,
    input logic [31:0] open_group_i,
    input etype_e open_etype_i,
    input logic [AddrBits-1:0] open_base_i,
    input logic [15:0] open_block_bytes_i,
    input logic [BlockBits-1:0] open_blocks_i,
    input logic [15:0] open_last_bytes_i,
    input logic open_complete_i,
    input logic forget_valid_i,
    output logic forget_done_o,
    input logic [1:0] forget_ctx_i,
    input logic [BlockBits-1:0] forget_first_i,
    input logic [BlockBits-1:0] forget_count_i,
    input logic [1:0] q_ctx_i,
    output logic [BlockBits-1:0] q_missing_o,
    output logic [BlockBits-1:0] q_lowest_o,
    output logic [31:0] q_received_o,
    output logic [15:0] q_sections_o,
    output logic q_settled_o,
    input logic bm_rd_valid_i,
    input logic [1:0] bm_ctx_i,
    input logic [10:0] bm_word_i,
    output logic bm_valid_o,
    output logic [63:0] bm_data_o
);

  // -- checks

  logic open_ready, bound_set, in_valid, in_ready, in_drop, in_guarded, in_passed;
  logic [AddrBits-1:0] bound_base, bound_limit, in_addr;
  logic [1:0] in_ctx;
  logic [BlockBits-2:0] in_index;
  logic [FrameBytesBits-1:0] in_bytes;
  logic check_drop, take_drop;
  logic [4:0] check_reason, take_reason;

  saf_bulk_check u_check (
      .clk_i,
      .rst_ni,
      .session_i,
      .ctx_valid_i,
      .ctx_rx_i,
      .ctx_guarded_i,
      .open_valid_i,
      .open_done_i(open_done_o),
      .open_ready_o(open_ready),
      .open_ctx_i,
      .open_id_i,
      .open_group_i,
      .open_etype_i,
      .open_base_i,
      .open_block_bytes_i,
      .open_blocks_i,
      .open_last_bytes_i,
      .bound_set_o(bound_set),
      .bound_base_o(bound_base),
      .bound_limit_o(bound_limit),
      .df_valid_i,
      .df_ready_o,
      .df_desc_i,
      .out_valid_o(in_valid),
      .out_ready_i(in_ready),
      .out_drop_o(in_drop),
      .out_guarded_o(in_guarded),
      .out_ctx_o(in_ctx),
      .out_index_o(in_index),
      .out_bytes_o(in_bytes),
      .out_addr_o(in_addr),
      .passed_o(in_passed),
      .drop_valid_o(check_drop),
      .drop_reason_o(check_reason),
      .stranger_valid_o
  );

  assign stranger_mac_o = df_desc_i.src;

  // -- bounds, guard, bitmap

  logic bound_ok, room, guard_start, guard_done, guard_ok;
  logic take_valid, take_done, take_new, undecided;
  logic go_valid, go_ready, go_write, writer_idle;
  logic [1:0] ctx;
  logic [BlockBits-2:0] index;
  logic [FrameBytesBits-1:0] bytes;
  logic [AddrBits-1:0] addr;

  saf_bulk_bounds u_bounds (
      .clk_i,
      .rst_ni,
      .set_i(bound_set),
      .set_ctx_i(open_ctx_i),
      .set_base_i(bound_base),
      .set_limit_i(bound_limit),
      .rd_en_i(in_passed && in_ready),
      .rd_ctx_i(in_ctx),
      .addr_i(addr),
      .bytes_i(bytes),
      .ok_o(bound_ok)
  );

  saf_bulk_take u_take (
      .clk_i,
      .rst_ni,
      .in_valid_i(in_valid),
      .in_ready_o(in_ready),
      .in_drop_i(in_drop),
      .in_guarded_i(in_guarded),
      .in_ctx_i(in_ctx),
      .in_index_i(in_index),
      .in_bytes_i(in_bytes),
      .in_addr_i(in_addr),
      .bound_ok_i(bound_ok),
      .oldest_i(writer_idle),
      .guard_start_o(guard_start),
      .guard_done_i(guard_done),
      .guard_ok_i(guard_ok),
      .room_i(room),
      .take_valid_o(take_valid),
      .take_done_i(take_done),
      .take_new_i(take_new),
      .go_valid_o(go_valid),
      .go_ready_i(go_ready),
      .go_write_o(go_write),
      .ctx_o(ctx),
      .index_o(index),
      .bytes_o(bytes),
      .addr_o(addr),
      .undecided_o(undecided),
      .drop_valid_o(take_drop),
      .drop_reason_o(take_reason)
  );

  // a frame leaves the checks only when none is being decided upon: never two reasons in one cycle
  assign drop_valid_o = check_drop || take_drop;
  assign drop_reason_o = take_drop ? take_reason : check_reason;
  assign block_count_o = take_done && take_new;

  logic guard_rd_en, writer_rd_en;
  logic [BeatBits-1:0] guard_rd_addr, writer_rd_addr;

  saf_bulk_guard u_guard (
      .clk_i,
      .rst_ni,
      .start_i(guard_start),
      .bytes_i(bytes),
      .keyed_i(cfg_i.key_valid),
      .key_index_i(key_of(session_i.key_bank, 1'b0)),
      .done_o(guard_done),
      .ok_o(guard_ok),
      .rd_en_o(guard_rd_en),
      .rd_addr_o(guard_rd_addr),
      .rd_data_i(df_rd_data_i),
      .hash_valid_o,
      .hash_ready_i,
      .hash_req_o,
      .hash_dvalid_o,
      .hash_dready_i,
      .hash_data_o,
      .hash_dlast_o,
      .hash_done_i,
      .hash_digest_i
  );

  // -- payload

  saf_bulk_write u_write (
      .clk_i,
      .rst_ni,
      .go_valid_i(go_valid),
      .go_ready_o(go_ready),
      .go_write_i(go_write),
      .go_addr_i(addr),
      .go_bytes_i(bytes),
      .idle_o(writer_idle),
      .rd_en_o(writer_rd_en),
      .rd_addr_o(writer_rd_addr),
      .rd_data_i(df_rd_data_i),
      .df_done_o,
      .wr_valid_o,
      .wr_ready_i,
      .wr_addr_o,
      .wr_bytes_o,
      .wr_data_o,
      .wr_last_o
  );

  assign df_rd_en_o = guard_rd_en || writer_rd_en;
  assign df_rd_addr_o = guard_rd_en ? guard_rd_addr : writer_rd_addr;

  // -- bitmaps, fence, settled

  logic [Contexts-1:0] unsettled, pending, busy;
  logic st_wr, st_anew;
  logic [1:0] st_ctx;
  bulk_state_t st;
  logic [7:0] issued, landed;

  saf_bulk_map u_map (
      .clk_i,
      .rst_ni,
      .take_valid_i(take_valid),
      .take_ctx_i(ctx),
      .take_index_i(index),
      .take_done_o(take_done),
      .take_new_o(take_new),
      .open_valid_i(open_valid_i && open_ready),
      .open_done_o,
      .open_ctx_i,
      .open_blocks_i,
      .open_complete_i,
      .forget_valid_i,
      .forget_done_o,
      .forget_ctx_i,
      .forget_first_i,
      .forget_count_i,
      .bm_rd_valid_i,
      .bm_ctx_i,
      .bm_word_i,
      .bm_valid_o,
      .bm_data_o,
      .unsettled_o(unsettled),
      .st_wr_o(st_wr),
      .st_anew_o(st_anew),
      .st_ctx_o(st_ctx),
      .st_o(st)
  );

  saf_bulk_fence u_fence (
      .clk_i,
      .rst_ni,
      .issue_i(take_done && take_new),
      .issue_ctx_i(ctx),
      .done_i(wr_done_i),
      .room_o(room),
      .issued_o(issued),
      .done_o(landed),
      .pending_o(pending)
  );

  always_comb begin
    busy = unsettled | pending;
    if (undecided) busy[ctx] = 1'b1;
    if (in_passed) busy[in_ctx] = 1'b1;
    if (open_valid_i) busy[open_ctx_i] = 1'b1;
  end

  saf_bulk_show u_show (
      .clk_i,
      .rst_ni,
      .st_wr_i(st_wr),
      .st_anew_i(st_anew),
      .st_ctx_i(st_ctx),
      .st_i(st),
      .issued_i(issued),
      .done_i(landed),
      .busy_i(busy),
      .q_ctx_i,
      .q_missing_o,
      .q_lowest_o,
      .q_received_o,
      .q_sections_o,
      .q_settled_o
  );

  // of the configuration only whether there is a key
  logic unused_cfg;
  assign unused_cfg = ^{cfg_i, session_i.block_limit};

  `SAF_ASSERT(AssertOneReason, !(check_drop && take_drop))
  `SAF_ASSERT(AssertOneReader, !(guard_rd_en && writer_rd_en))

endmodule
