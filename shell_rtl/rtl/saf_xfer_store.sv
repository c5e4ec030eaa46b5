// All that is kept of transfers: the contexts' states, what each one's transfer is, past transfers, ids, records.
//
// Data flow: the handler and what begins new transfers change it while they have the lock (granted_i), the verifier tells
// the outcome and reads in between. saf_xfer_states has the contexts, saf_xfer_find looks ids up, saf_xfer_records is the
// RAM of what is wide. Shapes are those of ctx_i with the lock, else of verify_ctx_i; past_o is the transfer found.
//
// Latency: one cycle to a shape, past transfer or record, at most 39 to an id. Reset: no transfer. Back-pressure: none.

module saf_xfer_store
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic session_end_i,
    input logic lock_i,
    input logic granted_i,
    input logic [1:0] ctx_i,
    input logic [1:0] verify_ctx_i,
    output logic [1:0] at_ctx_o,  // the one of these whose turn it is
    // contexts
    input xfer_set_t set_i,
    input xfer_outcome_t outcome_i,
    input logic is_image_i,  // which kind of context is wanted
    output xfer_contexts_t contexts_o,
    output logic [Contexts-1:0] receiving_o,
    output logic [Contexts-1:0] guarded_o,
    // ids: of the frame, or of whose leaf digests are asked for
    input logic h_valid_i,
    input logic [31:0] object_i,
    input logic leafq_valid_i,
    input logic leafq_done_i,
    input logic [31:0] leafq_id_i,
    input logic find_i,
    output xfer_found_t found_o,
    output logic [31:0] newest_o,
    // a new transfer; the context's old one becomes a past one
    input logic enter_i,
    input xfer_shape_t new_i,
    input logic remember_i,
    input logic [31:0] received_i,
    output logic [4:0] past_next_o,  // where it goes
    output xfer_shape_t shape_o,
    output xfer_past_t past_o,
    // records
    input xfer_access_t handle_rd_i,
    input xfer_access_t begin_rd_i,
    input xfer_access_t say_rd_i,
    input xfer_addr_t verify_rd_addr_i,
    output logic [63:0] rd_data_o,
    input xfer_access_t handle_wr_i,
    input xfer_access_t begin_wr_i,
    input logic copies_i,
    input logic pays_i,
    input logic [31:0] index_i,
    input logic [63:0] pay_data_i
);

  logic from_leafq_q, unused;
  xfer_past_t past_new;
  xfer_access_t find_rd;

  assign unused = ^set_i;
  assign at_ctx_o = granted_i ? ctx_i : verify_ctx_i;

  saf_xfer_states u_states (
      .clk_i,
      .rst_ni,
      .clear_i(set_i.clear),
      .session_end_i,
      .ctx_i,
      .set_i(set_i.set),
      .set_state_i(set_i.state),
      .set_guarded_i(set_i.guarded),
      .set_new_i(set_i.new_),
      .set_closing_i(set_i.closing),
      .told_i(set_i.told),
      .outcome_valid_i(outcome_i.valid),
      .outcome_ctx_i(outcome_i.ctx),
      .outcome_ok_i(outcome_i.ok),
      .image_i(is_image_i),
      .choice_valid_o(contexts_o.choice_valid),
      .choice_o(contexts_o.choice),
      .state_o(contexts_o.state),
      .used_o(contexts_o.used),
      .receiving_o,
      .guarded_o,
      .hashed_o(contexts_o.hashed),
      .due_o(contexts_o.due)
  );

  // the frame's transfer, or the one whose leaf digests are asked for
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) from_leafq_q <= 1'b0;
    else if (leafq_done_i) from_leafq_q <= 1'b0;
    else if (!lock_i) from_leafq_q <= leafq_valid_i && !h_valid_i;
  end

  saf_xfer_find u_find (
      .clk_i,
      .rst_ni,
      .clear_i(set_i.clear),
      .used_i(contexts_o.used),
      .id_i(h_valid_i && !from_leafq_q ? object_i : leafq_id_i),
      .find_i,
      .remember_i,
      .enter_i,
      .done_o(found_o.done),
      .hit_o(found_o.hit),
      .is_past_o(found_o.past),
      .which_o(found_o.which),
      .past_o(past_next_o),
      .st_rd_o(find_rd.en),
      .st_addr_o(find_rd.addr),
      .st_data_i(rd_data_o),
      .newest_o,
      .not_newer_o(found_o.not_newer)
  );

  saf_ram_few #(
      .Width($bits(xfer_shape_t)),
      .Words(Contexts)
  ) u_shapes (
      .clk_i,
      .wr_en_i(enter_i),
      .wr_addr_i(ctx_i),
      .wr_data_i(new_i),
      .rd_en_i(1'b1),
      .rd_addr_i(at_ctx_o),
      .rd_data_o(shape_o)
  );

  always_comb begin
    past_new.blocks = shape_o.blocks;
    past_new.leaves = shape_o.leaves;
    past_new.received = received_i;
    past_new.hashed = contexts_o.hashed[ctx_i];
    past_new.ctx = ctx_i;
  end

  saf_ram_few #(
      .Width($bits(xfer_past_t)),
      .Words(XferRemembered)
  ) u_past (
      .clk_i,
      .wr_en_i(remember_i),
      .wr_addr_i(past_next_o),
      .wr_data_i(past_new),
      .rd_en_i(1'b1),
      .rd_addr_i(found_o.which),
      .rd_data_o(past_o)
  );

  saf_xfer_records u_records (
      .clk_i,
      .rst_ni,
      .granted_i,
      .handle_rd_i,
      .begin_rd_i,
      .find_rd_i(find_rd),
      .say_rd_i,
      .verify_rd_addr_i,
      .rd_data_o,
      .handle_wr_i,
      .begin_wr_i,
      .copies_i,
      .pays_i,
      .object_i,
      .index_i,
      .pay_data_i
  );

endmodule
