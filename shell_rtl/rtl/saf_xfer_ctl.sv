// Transfers of the card: administration of the four contexts, image slots, outcomes of past transfers, verification.
//
// Data flow: XFER_OPEN, POLL, CLOSE, INVALIDATE and ABORT come from saf_control (req_i, pay_i, h_*); saf_xfer_serve carries
// them out, answers and verifies, saf_xfer_new begins new transfers and has the image slots.
// What is wide (digests, places, counts) lies in one RAM of records, which handler and verifier use in turns (lock).
// saf_bulk keeps bitmaps and counters and is asked over q_*; it writes blocks only while ctx_rx_o is high.
//
// Latency: 30 to 80 cycles to an answer's first beat, plus what has to be waited for (DATA that came before, fence, bitmap
// clearing, scrub; see saf_xfer_handle). Reset: no transfer, no image, ids start anew. Back-pressure: msg_ready_i, job_ready_i.

`include "saf_assert.svh"

module saf_xfer_ctl
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input cfg_t cfg_i,
    input session_view_t session_i,
    input logic session_end_i,
    input logic forget_i,
    output logic forget_busy_o,
    input logic scrub_busy_i,
    // control frames
    input ctl_req_t req_i,
    input logic [511:0] pay_i,
    input logic h_valid_i,
    output logic h_done_o,
    output logic [BeatBits-1:0] fr_addr_o,
    input logic [63:0] fr_data_i,
    // messages
    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o,
    // saf_bulk
    output logic [saf_shell_pkg::Contexts-1:0] ctx_valid_o,
    output logic [saf_shell_pkg::Contexts-1:0] ctx_rx_o,
    output logic [saf_shell_pkg::Contexts-1:0] ctx_guarded_o,
    output logic open_valid_o,
    input logic open_done_i,
    output logic [1:0] open_ctx_o,
    output logic [31:0] open_id_o,
    output logic [31:0] open_group_o,
    output etype_e open_etype_o,
    output logic [AddrBits-1:0] open_base_o,
    output logic [15:0] open_block_bytes_o,
    output logic [BlockBits-1:0] open_blocks_o,
    output logic [15:0] open_last_bytes_o,
    output logic open_complete_o,
    output logic forget_valid_o,
    input logic forget_done_i,
    output logic [1:0] forget_ctx_o,
    output logic [BlockBits-1:0] forget_first_o,
    output logic [BlockBits-1:0] forget_count_o,
    output logic [1:0] q_ctx_o,
    input logic [BlockBits-1:0] q_missing_i,
    input logic [BlockBits-1:0] q_lowest_i,
    input logic [31:0] q_received_i,
    input logic [15:0] q_sections_i,
    input logic q_settled_i,
    input logic rx_pending_i,  // DATA that came before waits for its check
    output logic bm_rd_valid_o,
    output logic [1:0] bm_ctx_o,
    output logic [10:0] bm_word_o,
    input logic bm_valid_i,
    input logic [63:0] bm_data_i,
    // leaf jobs
    output logic job_valid_o,
    input logic job_ready_i,
    output leaf_job_t job_o,
    input logic job_done_i,
    input logic [255:0] job_digest_i,
    // COMMIT
    input logic commit_active_i,
    input logic [1:0] commit_slot_i,
    input logic used_valid_i,
    input logic [1:0] used_slot_i,
    input logic [31:0] used_epoch_i,
    input logic img_valid_i,
    output logic [1:0] img_word_o,  // of COMMIT's payload, on fr_data_i in the next cycle
    output logic img_done_o,
    output logic img_found_o,
    output logic img_verified_o,
    output logic [1:0] img_slot_o,
    output logic [AddrBits-1:0] img_length_o,
    // OPENED
    input logic [4:0] info_addr_i,
    output logic [63:0] info_data_o,
    output logic [31:0] last_transfer_o,
    // READ of leaf digests
    input logic leafq_valid_i,
    input logic [31:0] leafq_id_i,
    output logic leafq_done_o,
    output logic [15:0] leafq_status_o,
    output logic [AddrBits-1:0] leafq_addr_o,
    output logic [20:0] leafq_bytes_o
);

  saf_pkg::xfer_open_t ask;
  logic lock, unused;  // lock: the handler is at work
  logic [1:0] ctx;
  xfer_contexts_t contexts;
  xfer_set_t set;
  xfer_outcome_t outcome;
  xfer_count_t count;
  logic is_image, begin_, begin_done, enter, remember, copies, pays, info_changed, info_ours;
  logic [5:0] judged;
  logic [4:0] past_next;
  logic [2:0] pay_word;
  logic [1:0] info_ctx;
  xfer_shape_t shape;
  xfer_access_t begin_rd, begin_wr;

  assign ask = pay_i;
  assign unused = ^{pay_i, cfg_i, lock};

  saf_xfer_new u_new (
      .clk_i,
      .rst_ni,
      .cfg_i,
      .req_i,
      .ask_i(ask),
      .pay_word_o(pay_word),
      .pay_data_i(fr_data_i),
      .judged_o(judged),
      .is_image_o(is_image),
      .begin_i(begin_),
      .done_o(begin_done),
      .same_o(open_complete_o),
      .ctx_i(ctx),
      .contexts_i(contexts),
      .set_i(set),
      .outcome_i(outcome),
      .enter_o(enter),
      .shape_o(shape),
      .remember_o(remember),
      .past_next_i(past_next),
      .rd_o(begin_rd),
      .wr_o(begin_wr),
      .copies_o(copies),
      .pays_o(pays),
      .open_valid_o,
      .open_done_i,
      .open_last_bytes_o,
      .changed_o(info_changed),
      .info_ctx_o(info_ctx),
      .ours_i(info_ours),
      .received_i(q_received_i),
      .commit_active_i,
      .commit_slot_i,
      .used_valid_i,
      .used_slot_i,
      .used_epoch_i,
      .img_valid_i,
      .img_word_o,
      .img_done_o,
      .img_found_o,
      .img_verified_o,
      .img_slot_o,
      .img_length_o,
      .info_addr_i,
      .info_data_o
  );
  assign fr_addr_o = {8'd0, pay_word};

  // what saf_bulk needs to know of a new transfer, of INVALIDATE's range (first_block, count)
  assign open_ctx_o = ctx;
  assign open_id_o = req_i.object;
  assign open_group_o = ask.group;
  assign open_etype_o = is_image ? EtImage : EtInput;
  assign open_base_o = shape.base;
  assign open_block_bytes_o = ask.block_bytes;
  assign open_blocks_o = shape.blocks;
  assign forget_ctx_o = ctx;
  assign forget_first_o = ask[497:480];
  assign forget_count_o = ask[465:448];
  assign bm_ctx_o = ctx;
  assign ctx_valid_o = contexts.used;
  always_comb begin
    count.missing = q_missing_i;
    count.lowest = q_lowest_i;
    count.received = q_received_i;
    count.sections = q_sections_i;
  end

  saf_xfer_serve u_serve (
      .clk_i,
      .rst_ni,
      .window_blocks_i(cfg_i.window_blocks),
      .session_i,
      .session_end_i,
      .forget_i,
      .forget_busy_o,
      .scrub_busy_i,
      .req_i,
      .pay_i(pay_i[511:448]),
      .h_valid_i,
      .h_done_o,
      .pay_data_i(fr_data_i),
      .lock_o(lock),
      .ctx_o(ctx),
      .contexts_o(contexts),
      .set_o(set),
      .outcome_o(outcome),
      .judged_i(judged),
      .is_image_i(is_image),
      .begin_o(begin_),
      .begin_done_i(begin_done),
      .begin_same_i(open_complete_o),
      .enter_i(enter),
      .new_i(shape),
      .remember_i(remember),
      .past_next_o(past_next),
      .begin_rd_i(begin_rd),
      .begin_wr_i(begin_wr),
      .copies_i(copies),
      .pays_i(pays),
      .newest_o(last_transfer_o),
      .receiving_o(ctx_rx_o),
      .guarded_o(ctx_guarded_o),
      .forget_valid_o,
      .forget_done_i,
      .info_changed_i(info_changed),
      .info_ctx_i(info_ctx),
      .info_ours_o(info_ours),
      .q_ctx_o,
      .count_i(count),
      .q_settled_i,
      .rx_pending_i,
      .bm_rd_valid_o,
      .bm_word_o,
      .bm_valid_i,
      .bm_data_i,
      .job_valid_o,
      .job_ready_i,
      .job_o,
      .job_done_i,
      .job_digest_i,
      .leafq_valid_i,
      .leafq_id_i,
      .leafq_done_o,
      .leafq_status_o,
      .leafq_addr_o,
      .leafq_bytes_o,
      .msg_valid_o,
      .msg_ready_i,
      .msg_meta_o,
      .msg_data_o,
      .msg_last_o
  );

  `SAF_STABLE(AssertMessageHolds, msg_valid_o, msg_ready_i, ({msg_meta_o, msg_data_o, msg_last_o}), clk_i, rst_ni)
  `SAF_STABLE(AssertJobHolds, job_valid_o, job_ready_i, job_o, clk_i, rst_ni)
  `SAF_ASSERT(AssertNoWriteWhileTorn, !((open_valid_o || forget_valid_o) && ctx_rx_o[ctx]))

endmodule
