// READs and pushes, one at a time: whose turn it is, what it waits for, and the answers to READs.
//
// Data flow: handler -> saf_read_queue -> (in order of arrival; a push comes before the READs that wait) begins_o: judge ->
// copy_o: registers into scratch -> start_o: tree and frames -> saf_read_answer; or push_done_o. A READ that finds the
// queue full is answered BUSY in between.
// Session's end: READs that wait are forgotten, the one under way ends (stops_o), unanswered; a push goes on and sends no
// more (mute_o). Latency: one cycle a step. Reset: idle. Back-pressure: the message waits for the transmitter.

module saf_read_turn
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input session_view_t session_i,
    input logic session_end_i,
    input logic scrub_busy_i,

    // handler
    input logic [31:0] object_i,
    input logic [31:0] index_i,
    input logic [31:0] length_i,
    input logic h_valid_i,
    output logic h_done_o,
    output logic [2:0] fr_word_o,
    input logic [63:0] fr_data_i,

    // pushes
    input logic push_valid_i,
    output logic push_done_o,

    // its steps
    output logic begins_o,
    output logic stops_o,
    output logic mute_o,
    output logic push_o,  // a push is under way
    output logic [31:0] object_o,  // of the READ
    input logic rd_en_i,  // its fields
    input logic [2:0] rd_word_i,
    output logic [63:0] rd_data_o,
    input logic judged_i,
    input logic [15:0] status_i,
    input logic copies_i,
    output logic copy_o,
    input logic copied_i,
    output logic start_o,
    input logic hashed_i,
    input logic sent_all_i,
    input logic [15:0] sent_i,

    // answers
    output logic [1:0] digest_word_o,
    input logic [63:0] digest_data_i,
    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o
);

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
  logic ended_q, head_valid, busy_valid, unused;
  logic answer_q, answer_busy_q, answered, is_answered;
  logic [31:0] answer_object, answer_index, answer_length;

  assign unused = ^session_i;
  assign begins_o = state_q == StIdle && !scrub_busy_i && (push_valid_i || (head_valid && !session_end_i));
  assign stops_o = ended_q && !push_o;
  assign mute_o = push_o && (ended_q || !session_i.open);
  assign push_done_o = state_q == StPushed;
  assign copy_o = state_q == StCopy;
  assign start_o = state_q == StStart;
  assign is_answered = answered && !answer_busy_q;

  saf_read_queue u_queue (
      .clk_i,
      .rst_ni,
      .session_end_i,
      .h_valid_i,
      .h_done_o,
      .object_i,
      .index_i,
      .length_i,
      .fr_word_o,
      .fr_data_i,
      .busy_valid_o(busy_valid),
      .busy_done_i(answered && answer_busy_q),
      .head_valid_o(head_valid),
      .head_pop_i(state_q == StEnd && !push_o && !ended_q),
      .rd_en_i,
      .rd_word_i,
      .rd_data_o,
      .object_o,
      .answer_en_i(!answer_q),
      .answer_busy_i(state_q != StAnswer),
      .answer_object_o(answer_object),
      .answer_index_o(answer_index),
      .answer_length_o(answer_length)
  );

  always_comb begin
    state_d = state_q;
    case (state_q)
      StIdle: if (begins_o) state_d = StJudge;
      StJudge:
      if (judged_i) begin
        if (stops_o) state_d = StEnd;
        else if (status_i != saf_pkg::StatusOk) state_d = StAnswer;
        else state_d = copies_i ? StCopy : StStart;
      end
      StCopy: state_d = StCopying;
      StCopying: if (copied_i) state_d = stops_o ? StEnd : StStart;
      StStart: state_d = StRun;
      StRun:
      if (hashed_i && sent_all_i) begin
        if (push_o) state_d = StPushed;
        else state_d = stops_o ? StEnd : StAnswer;
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
      push_o <= 1'b0;
      ended_q <= 1'b0;
      answer_q <= 1'b0;
      answer_busy_q <= 1'b0;
    end else begin
      state_q <= state_d;
      if (state_q == StIdle) push_o <= push_valid_i;
      ended_q <= state_d != StIdle && (ended_q || session_end_i);
      if (answer_q) begin
        answer_q <= !answered;
      end else begin
        answer_busy_q <= state_q != StAnswer;
        answer_q <= (state_q == StAnswer && !ended_q && !session_end_i) || busy_valid;
      end
    end
  end

  saf_read_answer u_answer (
      .clk_i,
      .rst_ni,
      .open_i(session_i.open),
      .session_i(session_i.id),
      .host_i(session_i.host),
      .session_end_i,
      .start_i(answer_q),
      .done_o(answered),
      .status_i(answer_busy_q ? saf_pkg::StatusBusy : status_i),
      .object_i(answer_object),
      .index_i(answer_index),
      .length_i(answer_length),
      .sent_i(answer_busy_q || status_i != saf_pkg::StatusOk ? 16'd0 : sent_i),
      .digest_word_o,
      .digest_data_i,
      .msg_valid_o,
      .msg_ready_i,
      .msg_meta_o,
      .msg_data_o,
      .msg_last_o
  );

endmodule
