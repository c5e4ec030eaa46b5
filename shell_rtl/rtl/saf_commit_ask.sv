// COMMITs and their answers: whether a new one may begin, what is said of the last one, once more unasked at its end.
//
// Data flow: COMMIT (handler port) -> its digest into RAM -> image lookup -> accept_o or refusal -> COMMITTED; a repeated
// one (same id) is told what became of it, one during a commit that it is busy. The reply is kept as a status; the rest of it
// no longer changes (role_i, phase_i, fed_*). Digests in RAM: of the role that runs, and of the image that was asked for
// last; the latter's words are shown when it is released (show_word_i, digest_o).
// Latency: nine cycles and the image lookup to an answer. Back-pressure: the handler waits for its answer to be taken.
// Reset: no commit known.

module saf_commit_ask
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic session_open_i,
    input logic session_end_i,
    input logic forget_i,
    output logic forget_busy_o,
    output logic forgets_o,  // now
    input logic scrub_busy_i,
    input logic [31:0] object_i,
    input logic [31:0] index_i,
    input logic [31:0] epoch_i,  // that COMMIT asks for
    input logic h_valid_i,
    output logic h_done_o,
    output logic [1:0] fr_word_o,
    input logic [63:0] fr_data_i,
    output logic img_valid_o,
    input logic [1:0] img_word_i,
    input logic img_done_i,
    input logic img_found_i,
    input logic img_verified_i,
    // the commit
    output logic go_o,  // no message is on its way
    output logic known_o,  // last_id_o is not 0
    output logic [31:0] last_id_o,
    output logic decide_o,
    output logic accept_o,  // with decide_o
    input logic active_i,
    input logic [7:0] phase_i,
    input logic over_i,
    input logic [5:0] status_i,
    input logic released_i,  // the image asked for is the role
    input logic shows_i,
    input logic [1:0] show_word_i,
    output logic [63:0] digest_o,
    // what answers say besides
    input role_view_t role_i,
    input logic fed_all_i,
    input logic [25:0] fed_words_i,
    input logic [27:0] length_i,
    input logic [31:0] passed_us_i,
    input logic passed_full_i,
    input logic [31:0] stored_us_i,
    input logic stored_full_i,
    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o
);

  localparam int unsigned DigestDepth = BlockRamBits / 64;  // eight words would do, and be LUT RAM

  typedef enum logic [2:0] {
    StIdle,
    StCopy,
    StLookup,
    StAccept,
    StSend
  } state_e;

  state_e state_q;
  logic [2:0] copy_q;  // words of the digest asked for
  logic running_bank_q;  // which of the two digests in RAM is the role's
  logic sent_fed_q, sent_stored_q;  // of the message on its way: what it says
  logic answering_q;  // the message on its way answers the handler
  logic tell_q, forget_q, found_q, verified_q, repeated;
  logic [31:0] index_q;
  logic [32:0] newer;  // last id less COMMIT's: below zero when that is newer
  // the stored reply
  logic stored_q;
  logic [5:0] reply_status_q;

  logic [5:0] send_status, accept_status;  // six bits hold any
  logic send, send_answer, send_stored, sent, refuse;
  logic [1:0] reply_word;

  assign newer = {1'b0, last_id_o} - {1'b0, object_i};
  assign repeated = newer[31:0] == '0 && known_o;
  assign img_valid_o = state_q == StLookup;
  assign fr_word_o = state_q == StLookup ? img_word_i : copy_q[1:0];
  assign forget_busy_o = forget_q;
  assign forgets_o = state_q == StIdle && forget_q;
  assign go_o = state_q == StIdle && !forget_q;
  assign decide_o = state_q == StAccept;

  saf_ram_1r1w #(
      .Width(64),
      .Depth(DigestDepth)
  ) u_digest (
      .clk_i,
      .wr_en_i(state_q == StCopy && copy_q != '0),
      .wr_addr_i({3'd0, !running_bank_q, copy_q[1:0] - 2'd1}),
      .wr_data_i(fr_data_i),
      .rd_en_i(1'b1),
      .rd_addr_i({3'd0, state_q == StIdle ? {!running_bank_q, show_word_i} : {running_bank_q, reply_word}}),
      .rd_data_o(digest_o)
  );

  // ---- what is said

  assign accept_o = state_q == StAccept && accept_status == 6'(saf_pkg::StatusOk);
  assign refuse = state_q == StAccept && !accept_o;
  always_comb begin
    accept_status = 6'(saf_pkg::StatusOk);
    if (!found_q) accept_status = 6'(saf_pkg::StatusUnknownImage);
    else if (!verified_q) accept_status = 6'(saf_pkg::StatusNotVerified);
    else if (epoch_i != role_i.epoch) accept_status = 6'(saf_pkg::StatusBadEpoch);
  end

  always_comb begin
    send = 1'b0;
    send_answer = 1'b0;
    send_stored = 1'b0;
    send_status = 6'(saf_pkg::StatusRunning);
    if (state_q == StAccept) begin
      send = 1'b1;
      send_answer = 1'b1;
      if (refuse) send_status = accept_status;
    end else if (state_q == StIdle && !forget_q && !over_i && !shows_i) begin
      if (tell_q) begin
        send = session_open_i && !session_end_i;
        send_stored = 1'b1;
      end else if (h_valid_i && !h_done_o && (repeated || active_i || !newer[32])) begin
        send = 1'b1;
        send_answer = 1'b1;
        send_stored = repeated && stored_q;
        if (!repeated) send_status = !newer[32] ? 6'(saf_pkg::StatusStale) : 6'(saf_pkg::StatusBusy);
      end
    end
    if (send_stored) send_status = reply_status_q;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      answering_q <= 1'b0;
      h_done_o <= 1'b0;
      found_q <= 1'b0;
      verified_q <= 1'b0;
      copy_q <= '0;
      sent_fed_q <= 1'b0;
      sent_stored_q <= 1'b0;
    end else begin
      h_done_o <= sent && answering_q;
      if (send) begin
        answering_q <= send_answer;
        sent_fed_q <= active_i || send_stored;
        sent_stored_q <= send_stored;
      end
      case (state_q)
        StIdle:
        if (send) state_q <= StSend;
        else if (h_valid_i && !h_done_o && !forget_q && !active_i && !tell_q && !scrub_busy_i) state_q <= StCopy;
        StCopy: begin
          copy_q <= copy_q + 3'd1;
          if (copy_q == 3'd4) begin
            copy_q <= '0;
            state_q <= StLookup;
          end
        end
        StLookup:
        if (img_done_i) begin
          found_q <= img_found_i;
          verified_q <= img_verified_i;
          state_q <= StAccept;
        end
        StAccept: state_q <= StSend;
        default: if (sent) state_q <= StIdle;
      endcase
    end
  end

  // ---- what is known of the last commit

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      tell_q <= 1'b0;
      forget_q <= 1'b0;
      known_o <= 1'b0;
      running_bank_q <= 1'b0;
      index_q <= '0;
      stored_q <= 1'b0;
      reply_status_q <= '0;
    end else begin
      forget_q <= forget_i || (forget_q && !forgets_o);
      if (released_i) running_bank_q <= !running_bank_q;
      if (state_q == StIdle && send && send_answer && repeated) index_q <= index_i;
      if (state_q == StAccept) begin
        known_o <= 1'b1;
        index_q <= index_i;
        stored_q <= refuse;
        reply_status_q <= accept_status;
      end
      if (over_i) begin
        stored_q <= 1'b1;
        reply_status_q <= status_i;
        tell_q <= session_open_i;
      end
      if (session_end_i || (state_q == StIdle && tell_q && !forget_q)) tell_q <= 1'b0;
      if (forgets_o) begin
        tell_q <= 1'b0;
        stored_q <= 1'b0;
        known_o <= 1'b0;
      end
    end
  end

  // cleared by the flops' own synchronous clear, after a reset too
  always_ff @(posedge clk_i) begin
    if (state_q == StAccept) last_id_o <= object_i;
    else if (!known_o || forgets_o) last_id_o <= '0;
  end

  saf_commit_reply u_reply (
      .clk_i,
      .rst_ni,
      .send_i(send),
      .done_o(sent),
      .object_i(answering_q ? object_i : last_id_o),
      .index_i(answering_q ? index_i : index_q),
      .status_i(send_status),
      // the phase that the answer to a new commit shows is the one it enters
      .phase_i(accept_o ? saf_pkg::CommitPhaseDrain : phase_i),
      .role_i,
      .with_fed_i(sent_fed_q),
      .fed_all_i,
      .fed_words_i,
      .length_i,
      .stored_i(sent_stored_q),
      .passed_us_i,
      .passed_full_i,
      .stored_us_i,
      .stored_full_i,
      .digest_word_o(reply_word),
      .digest_i(digest_o),
      .msg_valid_o,
      .msg_ready_i,
      .msg_meta_o,
      .msg_data_o,
      .msg_last_o
  );

endmodule
