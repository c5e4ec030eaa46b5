// READ: bytes of DDR or registers out as result frames, then READ_DONE with the root over the whole length; pushes of RUN.
//
// Data flow: handler → saf_read_queue → (one READ at a time, in order of arrival; a push comes before the READs that wait)
// saf_read_judge → registers are copied into scratch (saf_read_copy) → saf_read_tree and saf_read_frames side by side →
// saf_read_answer. Nothing is kept of a READ that is over.
// Session's end: READs that wait are forgotten, the one under way ends behind its frame, unanswered; a push is counted
// and hashed to its end, but sends no more. While a scrub runs nothing begins.
// Latency: READ of one block, 36 cycles from the handler's start to the first read of DDR.
// Reset: idle. Back-pressure: frames and message wait for the transmitter, the handler does not.

module saf_read
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input cfg_t cfg_i,
    input session_view_t session_i,
    input logic session_end_i,
    input logic scrub_busy_i,
    input logic [63:0] time_ns_i,
    input role_view_t role_i,

    // handler
    input ctl_req_t req_i,
    input logic [511:0] pay_i,
    input logic h_valid_i,
    output logic h_done_o,
    output logic [BeatBits-1:0] fr_addr_o,
    input logic [63:0] fr_data_i,

    // messages, result frames
    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o,
    output logic tf_valid_o,
    input logic tf_ready_i,
    output logic [63:0] tf_data_o,
    output logic tf_last_o,
    output logic [3:0] tf_bytes_o,

    // DDR
    output logic rd_valid_o,
    input logic rd_ready_i,
    output logic [AddrBits-1:0] rd_addr_o,
    output logic [31:0] rd_bytes_o,
    input logic rd_dvalid_i,
    output logic rd_dready_o,
    input logic [63:0] rd_data_i,
    input logic rd_dlast_i,
    output logic rd_abort_o,
    output logic wr_valid_o,
    input logic wr_ready_i,
    output logic [AddrBits-1:0] wr_addr_o,
    output logic [15:0] wr_bytes_o,
    output logic [63:0] wr_data_o,
    output logic wr_last_o,
    input logic wr_done_i,

    // leaf jobs
    output logic job_valid_o,
    input logic job_ready_i,
    output leaf_job_t job_o,
    input logic job_done_i,
    input logic [255:0] job_digest_i,

    // registers, leaf digests of transfers
    output logic [5:0] reg_addr_o,
    input logic [63:0] reg_data_i,
    output logic rolereg_valid_o,
    output logic [8:0] rolereg_addr_o,
    input logic rolereg_done_i,
    input logic [63:0] rolereg_data_i,
    output logic leafq_valid_o,
    output logic [31:0] leafq_id_o,
    input logic leafq_done_i,
    input logic [15:0] leafq_status_i,
    input logic [AddrBits-1:0] leafq_addr_i,
    input logic [20:0] leafq_bytes_i,

    // pushes: push_valid_i falls when the results were taken
    input logic push_valid_i,
    output logic push_done_o,
    input logic [31:0] push_read_i,
    input logic [AddrBits-1:0] push_addr_i,
    input logic [20:0] push_bytes_i,
    input logic [15:0] push_block_i,
    output logic [31:0] push_blocks_o,
    output logic [255:0] push_digest_o
);

  localparam int unsigned PaceBits = 38;  // of time_ns_i that pacing looks at: two minutes either way

  typedef enum logic [3:0] {
    StIdle,
    StJudge,
    StCopy,
    StCopying,
    StStart,
    StRun,
    StAnswer,
    StPushed,
    StRelease,
    StEnd
  } state_e;

  state_e state_q, state_d;
  logic push_q, ended_q, begins, stops, mute;
  logic head_valid, head_pop, busy_valid, busy_done, slot_re;
  logic [2:0] slot_word, fr_word;
  logic [31:0] object, answer_object, answer_index, answer_length;
  logic [1:0] digest_word;
  logic [63:0] digest_data;
  logic [63:0] slot_data;
  logic judged, copies, copies_role, to_end, copied, hashed, sent_all;
  logic [15:0] status, sent;
  logic [AddrBits-1:0] addr;
  logic [20:0] length;
  logic [31:0] gap_ns;
  logic [7:0] block;
  logic [13:0] first, start;
  logic [20:0] bytes;
  logic [11:0] span_end;
  logic [8:0] copy_last;
  logic answer_q, answer_busy_q, answered, is_answered;

  assign fr_addr_o = BeatBits'(fr_word);

  // what this unit does not look at
  logic unused;
  assign unused = &{1'b0, req_i.src, req_i.bcast, req_i.etype, req_i.suite, req_i.opcode, req_i.session, req_i.length,
                    req_i.flags, req_i.sequence_, req_i.frame_bytes, pay_i[511:384], pay_i[351:0], role_i.card_state,
                    role_i.pr_status, role_i.epoch, role_i.image_digest, cfg_i, session_i, time_ns_i, push_block_i, leafq_status_i,
                    leafq_addr_i};

  saf_read_queue u_queue (
      .clk_i,
      .rst_ni,
      .session_end_i,
      .h_valid_i,
      .h_done_o,
      .object_i(req_i.object),
      .index_i(req_i.index),
      .length_i(pay_i[383:352]),
      .fr_word_o(fr_word),
      .fr_data_i,
      .busy_valid_o(busy_valid),
      .busy_done_i(busy_done),
      .head_valid_o(head_valid),
      .head_pop_i(head_pop),
      .rd_en_i(slot_re),
      .rd_word_i(slot_word),
      .rd_data_o(slot_data),
      .object_o(object),
      .answer_en_i(!answer_q),
      .answer_busy_i(state_q != StAnswer),
      .answer_object_o(answer_object),
      .answer_index_o(answer_index),
      .answer_length_o(answer_length)
  );

  // ---- one READ or push at a time
  assign begins = state_q == StIdle && !scrub_busy_i && (push_valid_i || (head_valid && !session_end_i));
  assign stops = ended_q && !push_q;
  assign mute = push_q && (ended_q || !session_i.open);
  assign head_pop = state_q == StEnd && !push_q && !ended_q;
  assign push_done_o = state_q == StPushed;
  assign is_answered = answered && !answer_busy_q;

  always_comb begin
    state_d = state_q;
    case (state_q)
      StIdle: if (begins) state_d = StJudge;
      StJudge:
      if (judged) begin
        if (stops) state_d = StEnd;
        else if (status != saf_pkg::StatusOk) state_d = StAnswer;
        else state_d = copies ? StCopy : StStart;
      end
      StCopy: state_d = StCopying;
      StCopying: if (copied) state_d = stops ? StEnd : StStart;
      StStart: state_d = StRun;
      StRun:
      if (hashed && sent_all) begin
        if (push_q) state_d = StPushed;
        else state_d = stops ? StEnd : StAnswer;
      end
      // an answer that has not begun when the session ends is none
      StAnswer: if (is_answered || (ended_q && !(answer_q && !answer_busy_q))) state_d = StEnd;
      StPushed: state_d = StRelease;
      StRelease: if (!push_valid_i) state_d = StIdle;
      default: state_d = StIdle;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      push_q <= 1'b0;
      ended_q <= 1'b0;
      answer_q <= 1'b0;
      answer_busy_q <= 1'b0;
    end else begin
      state_q <= state_d;
      if (state_q == StIdle) push_q <= push_valid_i;
      ended_q <= state_d != StIdle && (ended_q || session_end_i);
      if (answer_q) begin
        answer_q <= !answered;
      end else begin
        answer_busy_q <= state_q != StAnswer;
        answer_q <= (state_q == StAnswer && !ended_q && !session_end_i) || busy_valid;
      end
    end
  end

  saf_read_judge u_judge (
      .clk_i,
      .rst_ni,
      .block_limit_i(session_i.block_limit[15:6]),
      .has_role_i(role_i.has_role),
      .start_i(begins),
      .is_push_i(push_valid_i),
      .push_addr_i,
      .push_bytes_i,
      .push_block_i(push_block_i[13:6]),
      .done_o(judged),
      .rd_en_o(slot_re),
      .rd_word_o(slot_word),
      .rd_data_i(slot_data),
      .leafq_valid_o,
      .leafq_id_o,
      .leafq_done_i,
      .leafq_status_i(leafq_status_i[5:0]),
      .leafq_ctx_i(leafq_addr_i[20:19]),
      .leafq_bytes_i,
      .status_o(status),
      .copies_o(copies),
      .copies_role_o(copies_role),
      .addr_o(addr),
      .length_o(length),
      .end_o(span_end),
      .block_o(block),
      .gap_ns_o(gap_ns),
      .first_o(first),
      .start_o(start),
      .bytes_o(bytes),
      .to_end_o(to_end)
  );

  // the word of the last byte
  assign copy_last = span_end[11:3] - 9'(span_end[2:0] == '0);

  saf_read_copy u_copy (
      .clk_i,
      .rst_ni,
      .start_i(state_q == StCopy),
      .stop_i(stops),
      .done_o(copied),
      .is_role_i(copies_role),
      .first_i(addr[11:3]),
      .last_i(copy_last),
      .reg_addr_o,
      .reg_data_i,
      .rolereg_valid_o,
      .rolereg_addr_o,
      .rolereg_done_i,
      .rolereg_data_i,
      .wr_valid_o,
      .wr_ready_i,
      .wr_addr_o,
      .wr_bytes_o,
      .wr_data_o,
      .wr_last_o,
      .wr_done_i
  );

  saf_read_tree u_tree (
      .clk_i,
      .rst_ni,
      .start_i(state_q == StStart),
      .stop_i(stops),
      .done_o(hashed),
      .addr_i(addr),
      .length_i(length),
      .digest_o(push_digest_o),
      .digest_word_i(digest_word),
      .digest_data_o(digest_data),
      .job_valid_o,
      .job_ready_i,
      .job_o,
      .job_done_i,
      .job_digest_i
  );

  saf_read_frames #(
      .PaceBits(PaceBits)
  ) u_frames (
      .clk_i,
      .rst_ni,
      .mac_i(cfg_i.mac0),
      .ethertype_i(cfg_i.ethertypes[EtResult]),
      .host_i(session_i.host),
      .session_i(session_i.id),
      .time_ns_i(time_ns_i[PaceBits-1:0]),
      .start_i(state_q == StStart),
      .stop_i(stops),
      .mute_i(mute),
      .done_o(sent_all),
      .sent_o(sent),
      .addr_i({addr[AddrBits-1:6] + {14'd0, start}, addr[5:0]}),
      .bytes_i(bytes),
      .first_i(first),
      .to_end_i(to_end),
      .block_i(block),
      .gap_ns_i(gap_ns),
      .object_i(push_q ? push_read_i : object),
      .tf_valid_o,
      .tf_ready_i,
      .tf_data_o,
      .tf_last_o,
      .tf_bytes_o,
      .rd_valid_o,
      .rd_ready_i,
      .rd_addr_o,
      .rd_bytes_o,
      .rd_dvalid_i,
      .rd_dready_o,
      .rd_data_i,
      .rd_dlast_i,
      .rd_abort_o
  );

  assign push_blocks_o = {16'd0, sent};
  assign busy_done = answered && answer_busy_q;

  saf_read_answer u_answer (
      .clk_i,
      .rst_ni,
      .open_i(session_i.open),
      .session_i(session_i.id),
      .host_i(session_i.host),
      .session_end_i,
      .start_i(answer_q),
      .done_o(answered),
      .status_i(answer_busy_q ? saf_pkg::StatusBusy : status),
      .object_i(answer_object),
      .index_i(answer_index),
      .length_i(answer_length),
      .sent_i(answer_busy_q || status != saf_pkg::StatusOk ? 16'd0 : sent),
      .digest_word_o(digest_word),
      .digest_data_i(digest_data),
      .msg_valid_o,
      .msg_ready_i,
      .msg_meta_o,
      .msg_data_o,
      .msg_last_o
  );

endmodule
