// Answers about transfers: saf_xfer_answer gathers what is known, saf_xfer_say makes a message of it.
//
// Data flow: the handler's steps (step_i), and what is kept of the transfer, make next_o and closing_o (what has to happen
// before the answer) and then the message, or the answer to a question for leaf digests, which is no message.
// Latency: one cycle a step; from `say` on that of saf_xfer_say. Reset: nothing is known. Back-pressure: msg_ready_i; the
// handler waits for say_done_o.

module saf_xfer_reply
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic [31:0] window_blocks_i,
    input session_view_t session_i,
    input ctl_req_t req_i,
    input logic [63:0] pay_i,  // first word
    // the handler
    input xfer_step_t step_i,
    output xfer_next_e next_o,
    output logic closing_o,
    output logic [LeafBits-1:0] leaves_o,
    output logic say_done_o,
    // the transfer
    input logic [1:0] ctx_i,
    input xfer_contexts_t contexts_i,
    input xfer_state_t begun_state_i,
    input xfer_shape_t shape_i,
    input xfer_past_t past_i,
    input logic [LeafBits-1:0] leaves_done_i,
    input xfer_count_t count_i,
    output xfer_access_t rd_o,
    input logic [63:0] rd_data_i,
    output logic [1:0] found_word_o,
    input logic [63:0] found_data_i,
    output logic bm_rd_valid_o,
    output logic [10:0] bm_word_o,
    input logic bm_valid_i,
    input logic [63:0] bm_data_i,
    // answers
    output logic [15:0] leafq_status_o,
    output logic [AddrBits-1:0] leafq_addr_o,
    output logic [20:0] leafq_bytes_o,
    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o
);

  xfer_say_t say;
  logic [31:0] say_object, say_index;
  logic [15:0] say_length;
  logic [47:0] host_q;
  logic [31:0] session_q;
  logic unused;

  assign unused = ^{session_i, req_i, contexts_i};
  assign leaves_o = say.leaves;

  saf_xfer_answer u_answer (
      .clk_i,
      .rst_ni,
      .found_i(step_i.found),
      .refuse_i(step_i.refuse),
      .refuse_status_i(step_i.refuse_status),
      .shape_i(step_i.shape),
      .rest_i(step_i.rest),
      .act_i(step_i.act),
      .count_i(step_i.count),
      .begun_i(step_i.begun),
      .begun_state_i,
      .torn_i(step_i.torn),
      .past_i(step_i.past),
      .which_i(step_i.which),
      .ctx_i,
      .state_i(contexts_i.state[ctx_i]),
      .hashed_i(contexts_i.hashed[ctx_i]),
      .st_data_i(rd_data_i),
      .shape_data_i(shape_i),
      .past_data_i(past_i),
      .leaves_done_i,
      .q_missing_i(count_i.missing),
      .q_lowest_i(count_i.lowest),
      .q_received_i(count_i.received),
      .q_sections_i(count_i.sections),
      .tell_i(step_i.tell),
      .leaves_i(step_i.leaves),
      .session_open_i(session_i.open),
      .opcode_i(req_i.opcode),
      .index_i(req_i.index),
      .pay_i,
      .next_o,
      .closing_o,
      .say_o(say),
      .say_object_o(say_object),
      .say_index_o(say_index)
  );

  always_comb begin
    leafq_status_o = 16'(saf_pkg::StatusBadState);
    if (say.status == 6'(saf_pkg::StatusOk)) leafq_status_o = 16'(saf_pkg::StatusOk);
    else if (say.status == 6'(saf_pkg::StatusUnknownTransfer)) leafq_status_o = 16'(saf_pkg::StatusUnknownTransfer);
    leafq_addr_o = LeafBase | {13'd0, ctx_i, 19'd0};
    leafq_bytes_o = {2'd0, say.leaves, 5'd0};
  end

  // a message that waits stays the message of the session in which it began
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      host_q <= '0;
      session_q <= '0;
    end else if (step_i.say) begin
      host_q <= session_i.host;
      session_q <= session_i.id;
    end
  end

  always_comb begin
    msg_meta_o = '0;
    msg_meta_o.opcode = say.opcode;
    msg_meta_o.etype = (step_i.tell ? ctx_i == '0 : req_i.etype == EtImage) ? EtImageAnswer : EtInputAnswer;
    msg_meta_o.dst = host_q;
    msg_meta_o.session = session_q;
    msg_meta_o.object = step_i.tell ? say_object : req_i.object;
    msg_meta_o.index = step_i.tell ? say_index : req_i.index;
    msg_meta_o.length = say_length;
    msg_meta_o.sealed = 1'b1;
  end

  saf_xfer_say u_say (
      .clk_i,
      .rst_ni,
      .start_i(step_i.say),
      .say_i(say),
      .window_blocks_i,
      .length_o(say_length),
      .done_o(say_done_o),
      .st_rd_o(rd_o.en),
      .st_addr_o(rd_o.addr),
      .st_data_i(rd_data_i),
      .found_word_o,
      .found_data_i,
      .bm_rd_valid_o,
      .bm_word_o,
      .bm_valid_i,
      .bm_data_i,
      .msg_valid_o,
      .msg_ready_i,
      .msg_data_o,
      .msg_last_o
  );

endmodule
