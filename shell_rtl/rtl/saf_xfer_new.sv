// New transfers, the image slots that they fill, and what COMMIT and OPENED see of both.
//
// Data flow: XFER_OPEN (req_i, ask_i) -> saf_xfer_judge -> judged_o; from begin_i on saf_xfer_begin keeps the context's old
// transfer as a past one, enters the new one (records, shape, image slot) and has saf_bulk open it. saf_xfer_images says
// whether the slot holds that image already; saf_xfer_info gathers the words of OPENED.
// Latency: that of the parts. Reset: no image. Back-pressure: open_done_i; the handler waits for done_o.

module saf_xfer_new
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input cfg_t cfg_i,
    input ctl_req_t req_i,
    input saf_pkg::xfer_open_t ask_i,
    output logic [2:0] pay_word_o,
    input logic [63:0] pay_data_i,
    // the handler
    output logic [5:0] judged_o,
    output logic is_image_o,
    input logic begin_i,
    output logic done_o,
    output logic same_o,
    // contexts
    input logic [1:0] ctx_i,
    input xfer_contexts_t contexts_i,
    input xfer_set_t set_i,
    input xfer_outcome_t outcome_i,
    output logic enter_o,
    output xfer_shape_t shape_o,
    output logic remember_o,
    input logic [4:0] past_next_i,
    // records
    output xfer_access_t rd_o,
    output xfer_access_t wr_o,
    output logic copies_o,
    output logic pays_o,
    // saf_bulk
    output logic open_valid_o,
    input logic open_done_i,
    output logic [15:0] open_last_bytes_o,
    output logic changed_o,  // info_ctx_o's count is wanted at once
    output logic [1:0] info_ctx_o,
    input logic ours_i,
    input logic [31:0] received_i,
    // COMMIT
    input logic commit_active_i,
    input logic [1:0] commit_slot_i,
    input logic used_valid_i,
    input logic [1:0] used_slot_i,
    input logic [31:0] used_epoch_i,
    input logic img_valid_i,
    output logic [1:0] img_word_o,
    output logic img_done_o,
    output logic img_found_o,
    output logic img_verified_o,
    output logic [1:0] img_slot_o,
    output logic [AddrBits-1:0] img_length_o,
    // OPENED
    input logic [4:0] info_addr_i,
    output logic [63:0] info_data_o
);

  logic same_start, same_busy, same_done, same, slot_wr, unused;
  logic [2:0] same_word, slot_word;
  logic [39:0] product;
  logic [1:0] slot_q;
  logic [63:0] image_word;
  logic image_none, image_tail, image_was_used;
  xfer_state_t image_state;
  logic [1:0] image_slot;
  logic [31:0] image_used;

  assign unused = ^{cfg_i, req_i, ask_i, contexts_i, set_i};

  saf_xfer_mul u_mul (
      .clk_i,
      .rst_ni,
      .a_i(ask_i.blocks),
      .b_i(ask_i.block_bytes[13:6]),
      .p_o(product)
  );

  saf_xfer_judge u_judge (
      .cfg_i,
      .req_i,
      .ask_i,
      .product_i(product),
      .commit_active_i,
      .commit_slot_i,
      .status_o(judged_o),
      .is_image_o,
      .last_bytes_o(open_last_bytes_o),
      .leaves_o(shape_o.leaves),
      .last_leaf_bytes_o(shape_o.last_leaf_bytes)
  );
  assign shape_o.blocks = ask_i.blocks[BlockBits-1:0];
  assign shape_o.units = ask_i.block_bytes[13:6];

  saf_xfer_begin u_begin (
      .clk_i,
      .rst_ni,
      .start_i(begin_i),
      .leave_i(contexts_i.state[ctx_i] == XsVerified),
      .open_i(req_i.opcode == saf_pkg::OpcodeXferOpen),
      .done_o,
      .same_o,
      .ctx_i,
      .past_i(past_next_i),
      .remember_o,
      .ask_i,
      .is_image_i(is_image_o),
      .enter_o,
      .pay_word_o,
      .same_start_o(same_start),
      .same_busy_i(same_busy),
      .same_word_i(same_word),
      .same_done_i(same_done),
      .same_i(same),
      .slot_wr_o(slot_wr),
      .slot_word_o(slot_word),
      .st_rd_o(rd_o.en),
      .st_rd_addr_o(rd_o.addr),
      .st_wr_o(wr_o.en),
      .st_wr_addr_o(wr_o.addr),
      .copies_o,
      .pays_o,
      .open_valid_o,
      .open_done_i,
      .open_base_o(shape_o.base)
  );

  // the slot of the image context's transfer
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) slot_q <= '0;
    else if (set_i.slot && set_i.use_slot) slot_q <= ask_i.slot[1:0];
  end

  saf_xfer_images u_images (
      .clk_i,
      .rst_ni,
      .clear_i(set_i.clear),
      .set_i(set_i.slot || (outcome_i.valid && outcome_i.ctx == '0)),
      .set_new_i(set_i.slot && set_i.new_ && !(set_i.use_slot && same_o)),
      .set_slot_i(set_i.use_slot ? ask_i.slot[1:0] : slot_q),
      .set_state_i(set_i.slot ? set_i.state : outcome_i.ok ? XsVerified : XsBad),
      .wr_en_i(slot_wr),
      .wr_word_i(slot_word),
      .wr_data_i(pay_data_i),
      .same_start_i(same_start),
      .same_busy_o(same_busy),
      .pay_word_o(same_word),
      .pay_data_i,
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
      .wr_en_i(enter_o),
      .wr_ctx_i(ctx_i),
      .wr_id_i(req_i.object),
      .wr_blocks_i(ask_i.blocks[BlockBits-1:0]),
      .state_i(contexts_i.state),
      .image_word_i(image_word),
      .image_none_i(image_none),
      .image_tail_i(image_tail),
      .image_state_i(image_state),
      .image_slot_i(image_slot),
      .image_used_i(image_used),
      .image_was_used_i(image_was_used),
      .changed_o,
      .info_ctx_o,
      .ours_i,
      .q_received_i(received_i),
      .info_addr_i,
      .info_data_o
  );

endmodule
