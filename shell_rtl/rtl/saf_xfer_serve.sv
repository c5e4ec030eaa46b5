// Transfers that are there: what concerns them is carried out, answered and verified.
//
// Data flow: frames and questions -> saf_xfer_handle, with saf_xfer_store (what is kept) and saf_xfer_reply (answers);
// a new transfer is begun by saf_xfer_new, over begin_o. saf_xfer_verify hashes in the background, between two turns of
// the handler's (lock_o), and counts its leaves in saf_xfer_leaves.
// saf_bulk shows the counters of one context: the handler's first, else the verifier's, else the one of info_ctx_i, which
// comes before the verifier's while info_changed_i.
//
// Latency, back-pressure: those of saf_xfer_ctl. Reset: no transfer.

module saf_xfer_serve
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic [31:0] window_blocks_i,
    input session_view_t session_i,
    input logic session_end_i,
    input logic forget_i,
    output logic forget_busy_o,
    input logic scrub_busy_i,
    input ctl_req_t req_i,
    input logic [63:0] pay_i,  // first word
    input logic h_valid_i,
    output logic h_done_o,
    input logic [63:0] pay_data_i,
    output logic lock_o,
    output logic [1:0] ctx_o,
    output xfer_contexts_t contexts_o,
    output xfer_set_t set_o,
    output xfer_outcome_t outcome_o,
    // new transfers
    input logic [5:0] judged_i,
    input logic is_image_i,
    output logic begin_o,
    input logic begin_done_i,
    input logic begin_same_i,
    input logic enter_i,
    input xfer_shape_t new_i,
    input logic remember_i,
    output logic [4:0] past_next_o,
    input xfer_access_t begin_rd_i,
    input xfer_access_t begin_wr_i,
    input logic copies_i,
    input logic pays_i,
    output logic [31:0] newest_o,
    // saf_bulk
    output logic [Contexts-1:0] receiving_o,
    output logic [Contexts-1:0] guarded_o,
    output logic forget_valid_o,
    input logic forget_done_i,
    input logic info_changed_i,
    input logic [1:0] info_ctx_i,
    output logic info_ours_o,
    output logic [1:0] q_ctx_o,
    input xfer_count_t count_i,
    input logic q_settled_i,
    input logic rx_pending_i,
    output logic bm_rd_valid_o,
    output logic [10:0] bm_word_o,
    input logic bm_valid_i,
    input logic [63:0] bm_data_i,
    // leaf jobs, leaf digests
    output logic job_valid_o,
    input logic job_ready_i,
    output leaf_job_t job_o,
    input logic job_done_i,
    input logic [255:0] job_digest_i,
    input logic leafq_valid_i,
    input logic [31:0] leafq_id_i,
    output logic leafq_done_o,
    output logic [15:0] leafq_status_o,
    output logic [AddrBits-1:0] leafq_addr_o,
    output logic [20:0] leafq_bytes_o,
    // messages
    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o
);

  logic quiet, handle_asks, verify_asks, tear, torn, find, closing, say_done, issued_wr;
  logic [1:0] verify_q_ctx, verify_ctx, at_ctx, in_flight, found_word;
  logic [Contexts-1:0] kill;
  logic [LeafBits-1:0] leaves, leaves_done, issued, issued_next;
  logic [63:0] rd_data, found_data;
  xfer_access_t handle_rd, handle_wr, say_rd;
  xfer_addr_t verify_rd_addr;
  xfer_found_t found;
  xfer_step_t step;
  xfer_next_e next;
  xfer_shape_t shape;
  xfer_past_t past;

  always_comb begin
    q_ctx_o = info_ctx_i;
    if (handle_asks) q_ctx_o = ctx_o;
    else if (verify_asks && !info_changed_i) q_ctx_o = verify_q_ctx;
  end
  assign info_ours_o = !handle_asks && (!verify_asks || info_changed_i);

  saf_xfer_handle u_handle (
      .clk_i,
      .rst_ni,
      .forget_i,
      .forget_busy_o,
      .scrub_busy_i,
      .session_open_i(session_i.open),
      .req_i,
      .h_valid_i,
      .h_done_o,
      .leafq_valid_i,
      .leafq_done_o,
      .lock_o,
      .quiet_i(quiet),
      .ctx_o,
      .set_o,
      .kill_o(kill),
      .contexts_i(contexts_o),
      .find_o(find),
      .found_i(found),
      .judged_i,
      .begin_o,
      .begin_done_i,
      .begin_same_i,
      .tear_o(tear),
      .torn_o(torn),
      .past_ctx_i(past.ctx),
      .rd_o(handle_rd),
      .wr_o(handle_wr),
      .rx_pending_i,
      .q_use_o(handle_asks),
      .q_settled_i,
      .forget_valid_o,
      .forget_done_i,
      .step_o(step),
      .next_i(next),
      .closing_i(closing),
      .leaves_i(leaves),
      .say_done_i(say_done)
  );

  saf_xfer_store u_store (
      .clk_i,
      .rst_ni,
      .session_end_i,
      .lock_i(lock_o),
      .granted_i(lock_o && quiet),
      .ctx_i(ctx_o),
      .verify_ctx_i(verify_ctx),
      .at_ctx_o(at_ctx),
      .set_i(set_o),
      .outcome_i(outcome_o),
      .is_image_i,
      .contexts_o,
      .receiving_o,
      .guarded_o,
      .h_valid_i,
      .object_i(req_i.object),
      .leafq_valid_i,
      .leafq_done_i(leafq_done_o),
      .leafq_id_i,
      .find_i(find),
      .found_o(found),
      .newest_o,
      .enter_i,
      .new_i,
      .remember_i,
      .received_i(count_i.received),
      .past_next_o,
      .shape_o(shape),
      .past_o(past),
      .handle_rd_i(handle_rd),
      .begin_rd_i,
      .say_rd_i(say_rd),
      .verify_rd_addr_i(verify_rd_addr),
      .rd_data_o(rd_data),
      .handle_wr_i(handle_wr),
      .begin_wr_i,
      .copies_i,
      .pays_i,
      .index_i(req_i.index),
      .pay_data_i
  );

  saf_xfer_leaves u_leaves (
      .clk_i,
      .rst_ni,
      .at_i(at_ctx),
      .enter_i,
      .tear_i(tear),
      .torn_i(torn),
      .first_i(pay_i[49:32]),
      .units_i(shape.units),
      .in_flight_i(in_flight),
      .issued_wr_i(issued_wr),
      .issued_next_i(issued_next),
      .issued_o(issued),
      .done_o(leaves_done)
  );

  saf_xfer_verify u_verify (
      .clk_i,
      .rst_ni,
      .lock_i(lock_o),
      .quiet_o(quiet),
      .state_i(contexts_o.state),
      .kill_i(kill),
      .asked_ctx_i(ctx_o),
      .in_flight_o(in_flight),
      .outcome_valid_o(outcome_o.valid),
      .outcome_ctx_o(outcome_o.ctx),
      .outcome_ok_o(outcome_o.ok),
      .q_use_o(verify_asks),
      .q_free_i(!info_changed_i),
      .q_ctx_o(verify_q_ctx),
      .q_missing_i(count_i.missing),
      .q_lowest_i(count_i.lowest),
      .q_settled_i,
      .ctx_o(verify_ctx),
      .shape_i(shape),
      .issued_i(issued),
      .issued_wr_o(issued_wr),
      .issued_next_o(issued_next),
      .st_rd_addr_o(verify_rd_addr),
      .st_data_i(rd_data),
      .found_at_i({ctx_o, found_word}),
      .found_data_o(found_data),
      .job_valid_o,
      .job_ready_i,
      .job_o,
      .job_done_i,
      .job_digest_i
  );

  saf_xfer_reply u_reply (
      .clk_i,
      .rst_ni,
      .window_blocks_i,
      .session_i,
      .req_i,
      .pay_i,
      .step_i(step),
      .next_o(next),
      .closing_o(closing),
      .leaves_o(leaves),
      .say_done_o(say_done),
      .ctx_i(ctx_o),
      .contexts_i(contexts_o),
      .begun_state_i(set_o.state),
      .shape_i(shape),
      .past_i(past),
      .leaves_done_i(leaves_done),
      .count_i,
      .rd_o(say_rd),
      .rd_data_i(rd_data),
      .found_word_o(found_word),
      .found_data_i(found_data),
      .bm_rd_valid_o,
      .bm_word_o,
      .bm_valid_i,
      .bm_data_i,
      .leafq_status_o,
      .leafq_addr_o,
      .leafq_bytes_o,
      .msg_valid_o,
      .msg_ready_i,
      .msg_meta_o,
      .msg_data_o,
      .msg_last_o
  );

endmodule
