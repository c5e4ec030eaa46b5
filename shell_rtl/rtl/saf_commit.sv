// COMMIT: drain, freeze, wait for DDR, feed the PR controller, check, release; each with a deadline, exactly once by id.
//
// Data flow: COMMIT (handler port) -> image lookup -> phases -> COMMITTED, once more unasked at the end. The image goes from
// DDR to the PR IP through saf_commit_feed. What the card is (epoch, state, PR status, running image) lives here and is
// shown in role_o. Until the feed begins a failure leaves the old role running; after that it leaves none.
// Phases go on only between messages, so a reply never mixes two of them. Digests lie in a RAM: of the role that runs, and of
// the image that was asked for last; the latter is shown in role_o when it is released.
// Latency: nine cycles and the image lookup to an answer. Back-pressure: handler waits for its answer to be taken.
// Reset: no role, no commit known. The region stays frozen, blocked and in reset while it holds no role.

module saf_commit
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic pr_clk_i,
    input logic pr_rst_ni,
    // verilator lint_off UNUSEDSIGNAL
    input cfg_t cfg_i,
    // verilator lint_on UNUSEDSIGNAL
    // verilator lint_off UNUSEDSIGNAL
    input session_view_t session_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic session_end_i,
    input logic forget_i,
    output logic forget_busy_o,
    input logic scrub_busy_i,
    input logic [63:0] time_us_i,
    // verilator lint_off UNUSEDSIGNAL
    input ctl_req_t req_i,
    input logic [511:0] pay_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic h_valid_i,
    output logic h_done_o,
    output logic [10:0] fr_addr_o,
    input logic [63:0] fr_data_i,
    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o,

    output logic img_valid_o,
    input logic [1:0] img_word_i,  // of COMMIT's payload: to be on fr_data_i in the next cycle
    input logic img_done_i,
    input logic img_found_i,
    input logic img_verified_i,
    input logic [1:0] img_slot_i,
    // verilator lint_off UNUSEDSIGNAL
    input logic [AddrBits-1:0] img_length_i,
    // verilator lint_on UNUSEDSIGNAL
    output logic used_valid_o,
    output logic [1:0] used_slot_o,
    output logic [31:0] used_epoch_o,

    input logic [7:0] slots_running_i,
    output logic kill_all_o,
    input logic kill_done_i,
    input logic bus_idle_i,
    output logic freeze_o,
    input logic role_frozen_i,
    output logic role_block_o,
    input logic role_idle_i,

    output logic rd_valid_o,
    input logic rd_ready_i,
    output logic [AddrBits-1:0] rd_addr_o,
    output logic [31:0] rd_bytes_o,
    input logic rd_dvalid_i,
    output logic rd_dready_o,
    input logic [63:0] rd_data_i,
    input logic rd_dlast_i,
    output logic rd_abort_o,

    output logic pr_start_o,
    output logic pr_valid_o,
    output logic [31:0] pr_data_o,
    input logic pr_ready_i,
    input logic [2:0] pr_status_i,
    output logic pr_reset_o,
    input logic pcie_pr_active_i,
    input logic pcie_pr_start_i,
    input logic pcie_pr_valid_i,
    input logic [31:0] pcie_pr_data_i,
    output logic pcie_pr_ready_o,

    output role_view_t role_o,
    output logic commit_active_o,
    output logic [1:0] commit_slot_o,
    output logic [31:0] pr_count_o,
    output logic [31:0] last_commit_o,
    output logic role_reset_o,
    output logic role_changed_o
);

  localparam int unsigned DigestDepth = BlockRamBits / 64;  // eight words would do, and be LUT RAM
  localparam int unsigned OptionKillBit = 0;
  // Release: the bridges open, the digest is shown word by word, then the role leaves reset
  localparam logic [3:0] ReleaseOpen = 4'd8, ReleaseFetch = 4'd11, ReleaseShow = 4'd12, ReleaseEnd = 4'd15;

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

  // the commit
  logic active_q, kill_option_q, kill_q, tell_q, forget_q, found_q, verified_q;
  logic [3:0] release_q;
  logic [7:0] phase_q;
  logic [31:0] last_id_q, index_q;
  logic known_q;  // last_id_q is not 0
  logic [1:0] slot_q;
  logic [27:0] length_q;
  logic late, repeated;
  logic [32:0] newer;  // last id less COMMIT's: below zero when that is newer

  // its stored reply: with role_o and phase_q, which no longer change, and fed_bytes
  logic stored_q;
  logic [5:0] reply_status_q;

  logic role_frozen, feed_idle, feed_done, fed_all;
  logic [2:0] feed_status;
  logic [25:0] fed_words;
  logic [31:0] passed_us, stored_us;
  logic passed_full, stored_full;

  saf_sync u_frozen (
      .clk_i,
      .rst_ni,
      .d_i(role_frozen_i),
      .q_o(role_frozen)
  );

  // COMMIT's fields
  logic [31:0] ask_epoch;
  assign ask_epoch = pay_i[255:224];
  assign img_valid_o = state_q == StLookup;
  assign newer = {1'b0, last_id_q} - {1'b0, req_i.object};
  assign repeated = newer[31:0] == '0 && known_q;
  assign fr_addr_o = {9'd0, state_q == StLookup ? img_word_i : copy_q[1:0]};

  // ---- what happens in this cycle

  logic step, ends, begin_feed, wins, enter_check, accept, refuse, forgets, loses, drained, frozen;
  logic [5:0] send_status, accept_status;  // six bits hold any
  logic [5:0] end_status;
  logic [7:0] lost_pr_status;
  logic send, send_answer, send_stored, sent;

  assign forgets = state_q == StIdle && forget_q;
  assign step = state_q == StIdle && !forget_q && active_q && !kill_q;

  assign drained = slots_running_i == '0;
  assign frozen = role_frozen && bus_idle_i;

  saf_commit_step u_step (
      .step_i(step),
      .phase_i(phase_q),
      .late_i(late),
      .drained_i(drained),
      .kill_option_i(kill_option_q),
      .frozen_i(frozen),
      .can_feed_i(role_idle_i && !scrub_busy_i && feed_idle),
      .feed_done_i(feed_done),
      .feed_status_i(feed_status),
      .fed_all_i(fed_all),
      .released_i(release_q == ReleaseEnd),
      .ends_o(ends),
      .loses_o(loses),
      .begin_feed_o(begin_feed),
      .enter_check_o(enter_check),
      .wins_o(wins),
      .status_o(end_status),
      .lost_pr_status_o(lost_pr_status)
  );

  saf_commit_time u_time (
      .clk_i,
      .rst_ni,
      .time_us_i,
      .start_i(state_q == StAccept),
      .known_i(known_q && !forgets),
      .span_i(state_q == StAccept || begin_feed
          || (step && ((phase_q == saf_pkg::CommitPhaseDrain && drained) || (phase_q == saf_pkg::CommitPhaseFreeze && frozen)))),
      .span_feed_i(phase_q == saf_pkg::CommitPhaseWaitDdrIdle),
      .drain_ms_i(pay_i[223:192]),
      .feed_ms_i(pay_i[191:160]),
      .late_o(late),
      .end_i(ends || loses),
      .passed_us_o(passed_us),
      .passed_full_o(passed_full),
      .stored_us_o(stored_us),
      .stored_full_o(stored_full)
  );

  // ---- digests

  logic releases, shows;
  logic [1:0] reply_word;
  logic [63:0] digest_word;
  assign releases = step && phase_q == saf_pkg::CommitPhaseRelease;
  assign shows = active_q && phase_q == saf_pkg::CommitPhaseRelease && release_q >= ReleaseFetch;

  saf_ram_1r1w #(
      .Width(64),
      .Depth(DigestDepth)
  ) u_digest (
      .clk_i,
      .wr_en_i(state_q == StCopy && copy_q != '0),
      .wr_addr_i({3'd0, !running_bank_q, copy_q[1:0] - 2'd1}),
      .wr_data_i(fr_data_i),
      .rd_en_i(1'b1),
      .rd_addr_i({3'd0, state_q == StIdle ? {!running_bank_q, release_q[1:0] - ReleaseFetch[1:0]} : {running_bank_q, reply_word}}),
      .rd_data_o(digest_word)
  );

  // ---- answers

  assign accept = state_q == StAccept && accept_status == 6'(saf_pkg::StatusOk);
  assign refuse = state_q == StAccept && !accept;
  always_comb begin
    accept_status = 6'(saf_pkg::StatusOk);
    if (!found_q) accept_status = 6'(saf_pkg::StatusUnknownImage);
    else if (!verified_q) accept_status = 6'(saf_pkg::StatusNotVerified);
    else if (ask_epoch != role_o.epoch) accept_status = 6'(saf_pkg::StatusBadEpoch);
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
    end else if (state_q == StIdle && !forget_q && !(active_q && (ends || loses)) && !shows) begin
      if (tell_q) begin
        send = session_i.open && !session_end_i;
        send_stored = 1'b1;
      end else if (h_valid_i && !h_done_o && (repeated || active_q || !newer[32])) begin
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
    end else begin
      h_done_o <= sent && answering_q;
      if (send) answering_q <= send_answer;
      case (state_q)
        StIdle:
        if (send) state_q <= StSend;
        else if (h_valid_i && !h_done_o && !forget_q && !active_q && !tell_q && !scrub_busy_i) state_q <= StCopy;
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

  saf_commit_reply u_reply (
      .clk_i,
      .rst_ni,
      .send_i(send),
      .done_o(sent),
      .object_i(answering_q ? req_i.object : last_id_q),
      .index_i(answering_q ? req_i.index : index_q),
      .status_i(send_status),
      // the phase that the answer to a new commit shows is the one it enters
      .phase_i(accept ? saf_pkg::CommitPhaseDrain : phase_q),
      .role_i(role_o),
      .with_fed_i(sent_fed_q),
      .fed_all_i(fed_all),
      .fed_words_i(fed_words),
      .length_i(length_q),
      .stored_i(sent_stored_q),
      .passed_us_i(passed_us),
      .passed_full_i(passed_full),
      .stored_us_i(stored_us),
      .stored_full_i(stored_full),
      .digest_word_o(reply_word),
      .digest_i(digest_word),
      .msg_valid_o,
      .msg_ready_i,
      .msg_meta_o,
      .msg_data_o,
      .msg_last_o
  );

  // ---- the commit

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      active_q <= 1'b0;
      kill_option_q <= 1'b0;
      kill_q <= 1'b0;
      tell_q <= 1'b0;
      forget_q <= 1'b0;
      release_q <= '0;
      phase_q <= saf_pkg::CommitPhaseIdle;
      known_q <= 1'b0;
      running_bank_q <= 1'b0;
      index_q <= '0;
      slot_q <= '0;
      length_q <= '0;
      stored_q <= 1'b0;
      reply_status_q <= '0;
      sent_fed_q <= 1'b0;
      sent_stored_q <= 1'b0;
    end else begin
      forget_q <= forget_i || (forget_q && !forgets);
      if (kill_done_i) kill_q <= 1'b0;
      if (send) sent_fed_q <= active_q || send_stored;
      if (send) sent_stored_q <= send_stored;
      if (used_valid_o) running_bank_q <= !running_bank_q;
      if (state_q == StIdle && send && send_answer && repeated) index_q <= req_i.index;
      if (state_q == StLookup && img_done_i) begin
        slot_q <= img_slot_i;
        length_q <= img_length_i[27:0];
      end
      if (state_q == StAccept) begin
        known_q <= 1'b1;
        index_q <= req_i.index;
        stored_q <= refuse;
        reply_status_q <= accept_status;
        kill_option_q <= pay_i[128+OptionKillBit];
        active_q <= accept;
        if (accept) phase_q <= saf_pkg::CommitPhaseDrain;
      end
      if (step) begin
        case (phase_q)
          saf_pkg::CommitPhaseDrain:
          if (drained) phase_q <= saf_pkg::CommitPhaseFreeze;
          else if (late && kill_option_q) kill_q <= 1'b1;
          saf_pkg::CommitPhaseFreeze: if (frozen) phase_q <= saf_pkg::CommitPhaseWaitDdrIdle;
          saf_pkg::CommitPhaseRelease: release_q <= release_q + 4'd1;
          default: ;
        endcase
        if (begin_feed) phase_q <= saf_pkg::CommitPhaseFeed;
        if (enter_check) phase_q <= saf_pkg::CommitPhaseCheck;
        if (wins) begin
          phase_q <= saf_pkg::CommitPhaseRelease;
          release_q <= '0;
        end
        if (loses) phase_q <= saf_pkg::CommitPhaseNoRole;
        if (ends || loses) begin
          active_q <= 1'b0;
          stored_q <= 1'b1;
          reply_status_q <= end_status;
          tell_q <= session_i.open;
        end
      end
      if (session_end_i || (state_q == StIdle && tell_q && !forget_q)) tell_q <= 1'b0;
      if (forgets) begin
        active_q <= 1'b0;
        kill_q <= 1'b0;
        tell_q <= 1'b0;
        stored_q <= 1'b0;
        phase_q <= saf_pkg::CommitPhaseIdle;
        known_q <= 1'b0;
      end
    end
  end

  // cleared by the flops' own synchronous clear, after a reset too
  always_ff @(posedge clk_i) begin
    if (state_q == StAccept) last_id_q <= req_i.object;
    else if (!known_q || forgets) last_id_q <= '0;
  end

  assign forget_busy_o = forget_q;
  assign kill_all_o = kill_q;
  assign commit_active_o = active_q;
  assign commit_slot_o = slot_q;
  assign last_commit_o = last_id_q;
  assign used_valid_o = step && ends && phase_q == saf_pkg::CommitPhaseRelease;
  assign used_slot_o = slot_q;
  assign used_epoch_o = role_o.epoch + 32'd1;
  assign role_changed_o = used_valid_o;

  saf_commit_role u_role (
      .clk_i,
      .rst_ni,
      .active_i(active_q),
      .show_i(releases && release_q >= ReleaseShow),
      .word_i(digest_word),
      .drained_i(step && phase_q == saf_pkg::CommitPhaseDrain && drained),
      .begin_feed_i(begin_feed),
      .lose_i(loses),
      .lost_pr_status_i(lost_pr_status),
      .pass_i(wins),
      .open_i(releases && release_q == ReleaseOpen),
      .release_i(used_valid_o),
      .give_up_i(ends && phase_q != saf_pkg::CommitPhaseRelease),
      .forget_i(forgets),
      .role_o,
      .pr_count_o,
      .freeze_o,
      .role_reset_o
  );
  assign role_block_o = freeze_o;

  saf_commit_feed u_feed (
      .clk_i,
      .rst_ni,
      .start_i(begin_feed),
      .stop_i(loses || wins || forgets),
      .clear_i(state_q == StAccept),
      .slot_i(slot_q),
      .length_i(length_q),
      .idle_o(feed_idle),
      .done_o(feed_done),
      .status_o(feed_status),
      .fed_all_o(fed_all),
      .fed_words_o(fed_words),
      .rd_valid_o,
      .rd_ready_i,
      .rd_addr_o,
      .rd_bytes_o,
      .rd_dvalid_i,
      .rd_dready_o,
      .rd_data_i,
      .rd_dlast_i,
      .rd_abort_o,
      .pr_clk_i,
      .pr_rst_ni,
      .pr_start_o,
      .pr_valid_o,
      .pr_data_o,
      .pr_ready_i,
      .pr_status_i,
      .pr_reset_o,
      .pcie_pr_active_i,
      .pcie_pr_start_i,
      .pcie_pr_valid_i,
      .pcie_pr_data_i,
      .pcie_pr_ready_o
  );

endmodule
