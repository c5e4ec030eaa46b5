// Transfers of the card: administration of the four contexts, image slots, outcomes of past transfers, verification.
//
// Data flow: XFER_OPEN, POLL, CLOSE, INVALIDATE and ABORT come from saf_control (req_i, pay_i, h_*); saf_xfer_handle carries
// them out, with saf_xfer_find (ids), saf_xfer_judge and saf_xfer_begin (new transfers), saf_xfer_states (contexts),
// saf_xfer_images (slots) and saf_xfer_say (answers). saf_xfer_verify hashes in the background through the leaf job port.
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
  logic unused;

  assign ask = pay_i;
  assign unused = ^{pay_i, session_i, cfg_i};

  // ---------------------------------------------------------------- who has the lock

  logic lock, quiet, granted;
  logic h_q_use, v_q_use, info_changed, info_ours;
  logic [1:0] ctx, v_q_ctx, info_ctx;
  logic [39:0] mul_p;
  logic st_rd, h_st_rd, b_st_rd, f_st_rd, s_st_rd, st_wr, h_st_wr, b_st_wr, b_copies, b_pays;
  xfer_addr_t st_rd_addr, h_st_rd_addr, b_st_rd_addr, f_st_rd_addr, s_st_rd_addr, v_st_rd_addr;
  xfer_addr_t st_wr_addr, h_st_wr_addr, b_st_wr_addr;
  logic [63:0] st_rd_data, st_wr_names_q, st_wr_copy_q, st_wr_pay_q;
  logic st_wr_copies, st_wr_pays, st_wr_q;
  xfer_addr_t st_wr_addr_q;

  assign granted = lock && quiet;

  always_comb begin
    q_ctx_o = info_ctx;
    if (h_q_use) q_ctx_o = ctx;
    else if (v_q_use && !info_changed) q_ctx_o = v_q_ctx;
  end
  assign info_ours = !h_q_use && (!v_q_use || info_changed);

  saf_xfer_mul u_mul (
      .clk_i,
      .rst_ni,
      .a_i(ask.blocks),
      .b_i(ask.block_bytes[13:6]),
      .p_o(mul_p)
  );

  always_comb begin
    st_rd = 1'b1;
    st_rd_addr = v_st_rd_addr;
    if (granted) begin
      st_rd = h_st_rd || b_st_rd || f_st_rd || s_st_rd;
      st_rd_addr = h_st_rd_addr;
      if (s_st_rd) st_rd_addr = s_st_rd_addr;
      else if (b_st_rd) st_rd_addr = b_st_rd_addr;
      else if (f_st_rd) st_rd_addr = f_st_rd_addr;
    end
    st_wr = h_st_wr || b_st_wr;
    st_wr_addr = b_st_wr ? b_st_wr_addr : h_st_wr_addr;
    st_wr_copies = b_st_wr && b_copies;
    st_wr_pays = b_st_wr && !b_copies && b_pays;
  end

  // A record is written a cycle later, from flops of each source that clear themselves when it is another's turn: an OR takes
  // less than a choice.
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) st_wr_q <= 1'b0;
    else st_wr_q <= st_wr;
  end
  always_ff @(posedge clk_i) begin
    st_wr_addr_q <= st_wr_addr;
    if (st_wr_copies || st_wr_pays) st_wr_names_q[63:32] <= '0;
    else st_wr_names_q[63:32] <= req_i.object;
    if (b_st_wr) st_wr_names_q[31:0] <= '0;  // a new transfer's repair id is 0
    else st_wr_names_q[31:0] <= req_i.index;
    if (!st_wr_copies) st_wr_copy_q <= '0;
    else st_wr_copy_q <= st_rd_data;
    if (!st_wr_pays) st_wr_pay_q <= '0;
    else st_wr_pay_q <= fr_data_i;
  end

  saf_ram_1r1w #(
      .Width(64),
      .Depth(XferRecordDepth)
  ) u_records (
      .clk_i,
      .wr_en_i(st_wr_q),
      .wr_addr_i(st_wr_addr_q),
      .wr_data_i(st_wr_names_q | st_wr_copy_q | st_wr_pay_q),
      .rd_en_i(st_rd),
      .rd_addr_i(st_rd_addr),
      .rd_data_o(st_rd_data)
  );

  // What a context's transfer is, how many of its leaves were given to the crypto unit; what past transfers were.

  logic enter, remember, leaves_wr, issued_wr;
  logic [1:0] v_ctx, at_ctx;
  logic [4:0] past, find_which;
  logic [LeafBits-1:0] issued, issued_next, leaves_next;
  xfer_shape_t shape, shape_new;
  xfer_past_t past_rec, past_new;

  assign at_ctx = granted ? ctx : v_ctx;

  saf_ram_few #(
      .Width($bits(xfer_shape_t)),
      .Words(Contexts)
  ) u_shapes (
      .clk_i,
      .wr_en_i(enter),
      .wr_addr_i(ctx),
      .wr_data_i(shape_new),
      .rd_en_i(1'b1),
      .rd_addr_i(at_ctx),
      .rd_data_o(shape)
  );

  saf_ram_few #(
      .Width(LeafBits),
      .Words(Contexts)
  ) u_issued (
      .clk_i,
      .wr_en_i(enter || leaves_wr || issued_wr),
      .wr_addr_i(at_ctx),
      .wr_data_i(enter ? '0 : leaves_wr ? leaves_next : issued_next),
      .rd_en_i(1'b1),
      .rd_addr_i(at_ctx),
      .rd_data_o(issued)
  );

  saf_ram_few #(
      .Width($bits(xfer_past_t)),
      .Words(XferRemembered)
  ) u_past (
      .clk_i,
      .wr_en_i(remember),
      .wr_addr_i(past),
      .wr_data_i(past_new),
      .rd_en_i(1'b1),
      .rd_addr_i(find_which),
      .rd_data_o(past_rec)
  );

  // ---------------------------------------------------------------- handler

  logic clear, set, set_guarded, set_new, set_slot, use_slot, set_closing, told, choice_valid;
  logic outcome_valid, outcome_ok;
  logic [1:0] choice, outcome_ctx, in_flight;
  xfer_state_t set_state;
  xfer_state_t [saf_shell_pkg::Contexts-1:0] state;
  logic [saf_shell_pkg::Contexts-1:0] used, hashed, due, kill;
  logic find, find_done, find_hit, find_past, not_newer, leafq_ok, leafq_unknown, from_leafq_q;
  logic [31:0] find_id, say_object, say_index;
  logic [5:0] judged;
  logic is_image, begin_, begin_leave, begin_open, begin_done, begin_same;
  logic [LeafBits-1:0] leaves, leaves_done;
  logic [16:0] last_leaf_bytes;
  logic say, say_unasked, say_done;
  xfer_say_t say_what;
  logic [15:0] say_length;
  logic [1:0] found_word;
  logic [63:0] found_data;

  saf_xfer_handle u_handle (
      .clk_i,
      .rst_ni,
      .forget_i,
      .forget_busy_o,
      .scrub_busy_i,
      .session_open_i(session_i.open),
      .req_i,
      .pay_i(pay_i[511:448]),
      .h_valid_i,
      .h_done_o,
      .leafq_valid_i,
      .leafq_done_o,
      .leafq_ok_o(leafq_ok),
      .leafq_unknown_o(leafq_unknown),
      .lock_o(lock),
      .quiet_i(quiet),
      .clear_o(clear),
      .ctx_o(ctx),
      .set_o(set),
      .set_state_o(set_state),
      .set_guarded_o(set_guarded),
      .set_new_o(set_new),
      .set_slot_o(set_slot),
      .use_slot_o(use_slot),
      .set_closing_o(set_closing),
      .told_o(told),
      .kill_o(kill),
      .choice_valid_i(choice_valid),
      .choice_i(choice),
      .state_i(state),
      .used_i(used),
      .hashed_i(hashed),
      .due_i(due),
      .find_o(find),
      .find_done_i(find_done),
      .find_hit_i(find_hit),
      .find_past_i(find_past),
      .find_which_i(find_which),
      .not_newer_i(not_newer),
      .judged_i(judged),
      .begin_o(begin_),
      .begin_leave_o(begin_leave),
      .begin_open_o(begin_open),
      .begin_done_i(begin_done),
      .begin_same_i(begin_same),
      .leaves_done_i(leaves_done),
      .leaves_wr_o(leaves_wr),
      .leaves_next_o(leaves_next),
      .shape_i(shape),
      .past_i(past_rec),
      .st_rd_o(h_st_rd),
      .st_rd_addr_o(h_st_rd_addr),
      .st_data_i(st_rd_data),
      .st_wr_o(h_st_wr),
      .st_wr_addr_o(h_st_wr_addr),
      .rx_pending_i,
      .q_use_o(h_q_use),
      .q_missing_i,
      .q_lowest_i,
      .q_received_i,
      .q_sections_i,
      .q_settled_i,
      .forget_valid_o,
      .forget_done_i,
      .say_o(say),
      .say_what_o(say_what),
      .say_unasked_o(say_unasked),
      .say_object_o(say_object),
      .say_index_o(say_index),
      .say_done_i(say_done)
  );

  assign forget_ctx_o = ctx;
  assign forget_first_o = ask[497:480];  // INVALIDATE: first_block, count
  assign forget_count_o = ask[465:448];

  saf_xfer_states u_states (
      .clk_i,
      .rst_ni,
      .clear_i(clear),
      .session_end_i,
      .ctx_i(ctx),
      .set_i(set),
      .set_state_i(set_state),
      .set_guarded_i(set_guarded),
      .set_new_i(set_new),
      .set_closing_i(set_closing),
      .told_i(told),
      .outcome_valid_i(outcome_valid),
      .outcome_ctx_i(outcome_ctx),
      .outcome_ok_i(outcome_ok),
      .image_i(is_image),
      .choice_valid_o(choice_valid),
      .choice_o(choice),
      .state_o(state),
      .used_o(used),
      .receiving_o(ctx_rx_o),
      .guarded_o(ctx_guarded_o),
      .hashed_o(hashed),
      .due_o(due)
  );
  assign ctx_valid_o = used;

  // the frame's transfer, or the one whose leaf digests are asked for
  assign find_id = h_valid_i && !from_leafq_q ? req_i.object : leafq_id_i;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) from_leafq_q <= 1'b0;
    else if (leafq_done_o) from_leafq_q <= 1'b0;
    else if (!lock) from_leafq_q <= leafq_valid_i && !h_valid_i;
  end

  saf_xfer_find u_find (
      .clk_i,
      .rst_ni,
      .clear_i(clear),
      .used_i(used),
      .id_i(find_id),
      .find_i(find),
      .remember_i(remember),
      .enter_i(enter),
      .done_o(find_done),
      .hit_o(find_hit),
      .is_past_o(find_past),
      .which_o(find_which),
      .past_o(past),
      .st_rd_o(f_st_rd),
      .st_addr_o(f_st_rd_addr),
      .st_data_i(st_rd_data),
      .newest_o(last_transfer_o),
      .not_newer_o(not_newer)
  );

  assign leaves_done = issued - LeafBits'(in_flight);

  // ---------------------------------------------------------------- new transfers

  logic same_start, same_busy, same_done, same, slot_wr;
  logic [2:0] same_word, slot_word;
  logic [2:0] pay_word;
  logic [1:0] slot_q;

  saf_xfer_judge u_judge (
      .cfg_i,
      .req_i,
      .ask_i(ask),
      .product_i(mul_p),
      .commit_active_i,
      .commit_slot_i,
      .status_o(judged),
      .is_image_o(is_image),
      .last_bytes_o(open_last_bytes_o),
      .leaves_o(leaves),
      .last_leaf_bytes_o(last_leaf_bytes)
  );

  saf_xfer_begin u_begin (
      .clk_i,
      .rst_ni,
      .start_i(begin_),
      .leave_i(begin_leave),
      .open_i(begin_open),
      .done_o(begin_done),
      .same_o(begin_same),
      .ctx_i(ctx),
      .past_i(past),
      .remember_o(remember),
      .ask_i(ask),
      .is_image_i(is_image),
      .enter_o(enter),
      .pay_word_o(pay_word),
      .same_start_o(same_start),
      .same_busy_i(same_busy),
      .same_word_i(same_word),
      .same_done_i(same_done),
      .same_i(same),
      .slot_wr_o(slot_wr),
      .slot_word_o(slot_word),
      .st_rd_o(b_st_rd),
      .st_rd_addr_o(b_st_rd_addr),
      .st_wr_o(b_st_wr),
      .st_wr_addr_o(b_st_wr_addr),
      .copies_o(b_copies),
      .pays_o(b_pays),
      .open_valid_o,
      .open_done_i,
      .open_base_o
  );
  assign fr_addr_o = {8'd0, pay_word};
  always_comb begin
    shape_new.blocks = ask.blocks[BlockBits-1:0];
    shape_new.units = ask.block_bytes[13:6];
    shape_new.leaves = leaves;
    shape_new.last_leaf_bytes = last_leaf_bytes;
    shape_new.base = open_base_o;
    past_new.blocks = shape.blocks;
    past_new.leaves = shape.leaves;
    past_new.received = q_received_i;
    past_new.hashed = hashed[ctx];
    past_new.ctx = ctx;
  end
  assign open_ctx_o = ctx;
  assign open_id_o = req_i.object;
  assign open_group_o = ask.group;
  assign open_etype_o = is_image ? EtImage : EtInput;
  assign open_block_bytes_o = ask.block_bytes;
  assign open_blocks_o = ask.blocks[BlockBits-1:0];
  assign open_complete_o = begin_same;

  // the slot of the image context's transfer
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) slot_q <= '0;
    else if (set_slot && use_slot) slot_q <= ask.slot[1:0];
  end

  logic [63:0] image_word;
  logic image_none, image_tail, image_was_used;
  xfer_state_t image_state;
  logic [1:0] image_slot;
  logic [31:0] image_used;

  saf_xfer_images u_images (
      .clk_i,
      .rst_ni,
      .clear_i(clear),
      .set_i(set_slot || (outcome_valid && outcome_ctx == '0)),
      .set_new_i(set_slot && set_new && !(use_slot && begin_same)),
      .set_slot_i(use_slot ? ask.slot[1:0] : slot_q),
      .set_state_i(set_slot ? set_state : outcome_ok ? XsVerified : XsBad),
      .wr_en_i(slot_wr),
      .wr_word_i(slot_word),
      .wr_data_i(fr_data_i),
      .same_start_i(same_start),
      .same_busy_o(same_busy),
      .pay_word_o(same_word),
      .pay_data_i(fr_data_i),
      .same_done_o(same_done),
      .same_o(same),
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
      .info_word_o(image_word),
      .info_none_o(image_none),
      .info_tail_o(image_tail),
      .info_state_o(image_state),
      .info_slot_o(image_slot),
      .info_used_o(image_used),
      .info_was_used_o(image_was_used)
  );

  saf_xfer_info u_info (
      .clk_i,
      .rst_ni,
      .wr_en_i(enter),
      .wr_ctx_i(ctx),
      .wr_id_i(req_i.object),
      .wr_blocks_i(ask.blocks[BlockBits-1:0]),
      .state_i(state),
      .image_word_i(image_word),
      .image_none_i(image_none),
      .image_tail_i(image_tail),
      .image_state_i(image_state),
      .image_slot_i(image_slot),
      .image_used_i(image_used),
      .image_was_used_i(image_was_used),
      .changed_o(info_changed),
      .info_ctx_o(info_ctx),
      .ours_i(info_ours),
      .q_received_i,
      .info_addr_i,
      .info_data_o
  );

  // ---------------------------------------------------------------- verification

  saf_xfer_verify u_verify (
      .clk_i,
      .rst_ni,
      .lock_i(lock),
      .quiet_o(quiet),
      .state_i(state),
      .kill_i(kill),
      .asked_ctx_i(ctx),
      .in_flight_o(in_flight),
      .outcome_valid_o(outcome_valid),
      .outcome_ctx_o(outcome_ctx),
      .outcome_ok_o(outcome_ok),
      .q_use_o(v_q_use),
      .q_free_i(!info_changed),
      .q_ctx_o(v_q_ctx),
      .q_missing_i,
      .q_lowest_i,
      .q_settled_i,
      .ctx_o(v_ctx),
      .shape_i(shape),
      .issued_i(issued),
      .issued_wr_o(issued_wr),
      .issued_next_o(issued_next),
      .st_rd_addr_o(v_st_rd_addr),
      .st_data_i(st_rd_data),
      .found_at_i({ctx, found_word}),
      .found_data_o(found_data),
      .job_valid_o,
      .job_ready_i,
      .job_o,
      .job_done_i,
      .job_digest_i
  );

  // ---------------------------------------------------------------- answers

  always_comb begin
    leafq_status_o = 16'(saf_pkg::StatusBadState);
    if (leafq_ok) leafq_status_o = 16'(saf_pkg::StatusOk);
    else if (leafq_unknown) leafq_status_o = 16'(saf_pkg::StatusUnknownTransfer);
    leafq_addr_o = LeafBase | {13'd0, ctx, 19'd0};
    leafq_bytes_o = {2'd0, say_what.leaves, 5'd0};
  end

  // a message that waits stays the message of the session in which it began
  logic [47:0] host_q;
  logic [31:0] session_q;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      host_q <= '0;
      session_q <= '0;
    end else if (say) begin
      host_q <= session_i.host;
      session_q <= session_i.id;
    end
  end

  always_comb begin
    msg_meta_o = '0;
    msg_meta_o.opcode = say_what.opcode;
    msg_meta_o.etype = (say_unasked ? ctx == '0 : req_i.etype == EtImage) ? EtImageAnswer : EtInputAnswer;
    msg_meta_o.dst = host_q;
    msg_meta_o.session = session_q;
    msg_meta_o.object = say_unasked ? say_object : req_i.object;
    msg_meta_o.index = say_unasked ? say_index : req_i.index;
    msg_meta_o.length = say_length;
    msg_meta_o.sealed = 1'b1;
  end

  saf_xfer_say u_say (
      .clk_i,
      .rst_ni,
      .start_i(say),
      .say_i(say_what),
      .window_blocks_i(cfg_i.window_blocks),
      .length_o(say_length),
      .done_o(say_done),
      .st_rd_o(s_st_rd),
      .st_addr_o(s_st_rd_addr),
      .st_data_i(st_rd_data),
      .found_word_o(found_word),
      .found_data_i(found_data),
      .bm_rd_valid_o,
      .bm_word_o,
      .bm_valid_i,
      .bm_data_i,
      .msg_valid_o,
      .msg_ready_i,
      .msg_data_o,
      .msg_last_o
  );
  assign bm_ctx_o = ctx;

  `SAF_STABLE(AssertMessageHolds, msg_valid_o, msg_ready_i, ({msg_meta_o, msg_data_o, msg_last_o}), clk_i, rst_ni)
  `SAF_STABLE(AssertJobHolds, job_valid_o, job_ready_i, job_o, clk_i, rst_ni)
  `SAF_ASSERT(AssertNoWriteWhileTorn, !((open_valid_o || forget_valid_o) && ctx_rx_o[ctx]))

endmodule
