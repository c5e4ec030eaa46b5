// COMMIT: drain, freeze, wait for DDR, feed the PR controller, check, release; each with a deadline, exactly once by id.
//
// Data flow: COMMIT (handler port) -> image lookup -> phases -> COMMITTED, once more unasked at the end. The image goes from
// DDR to the PR IP through saf_commit_feed. What the card is (epoch, state, PR status, running image) lives here and is
// shown in role_o. Until the feed begins a failure leaves the old role running; after that it leaves none.
// Phases go on only between messages, so a reply never mixes two of them. Time is compared with >=, deadlines are in
// microseconds since reset (48 bits: nine years).
// Latency: four cycles and the image lookup to an answer. Back-pressure: handler waits for its answer to be taken.
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
    // verilator lint_off UNUSEDSIGNAL
    input logic [63:0] time_us_i,
    input ctl_req_t req_i,
    input logic [511:0] pay_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic h_valid_i,
    output logic h_done_o,
    output logic [10:0] fr_addr_o,
    // verilator lint_off UNUSEDSIGNAL
    input logic [63:0] fr_data_i,
    // verilator lint_on UNUSEDSIGNAL
    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o,

    output logic img_valid_o,
    output logic [255:0] img_digest_o,
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

  localparam int unsigned StampBits = 48;
  localparam logic [31:0] DefaultFeedMs = 32'd60_000;
  localparam logic [31:0] IsolateMs = 32'd100;
  localparam int unsigned OptionKillBit = 0;
  // Release: the bridges open, then the role leaves reset
  localparam logic [3:0] ReleaseOpen = 4'd8, ReleaseEnd = 4'd15;

  typedef enum logic [1:0] {
    StIdle,
    StLookup,
    StAccept,
    StSend
  } state_e;

  state_e state_q;
  logic sent_fed_q;
  logic [31:0] sent_elapsed_q;
  logic answering_q;  // the message on its way answers the handler

  // the commit
  logic active_q, kill_option_q, kill_q, tell_q, forget_q, found_q, verified_q;
  logic [3:0] release_q;
  logic [7:0] phase_q;
  logic [31:0] last_id_q, index_q, feed_ms_q;
  logic [1:0] slot_q;
  logic [27:0] length_q;
  logic [StampBits-1:0] now, start_q, end_q;
  logic late, repeated;

  // its stored reply: with role_o and phase_q, which no longer change, and fed_bytes
  logic stored_q;
  logic [5:0] reply_status_q;
  logic [31:0] reply_elapsed_q;

  logic role_frozen, feed_idle, feed_done, fed_all;
  logic [2:0] feed_status;
  logic [27:0] fed_bytes;
  logic [StampBits-1:0] passed;
  logic [31:0] passed_us;

  saf_sync u_frozen (
      .clk_i,
      .rst_ni,
      .d_i(role_frozen_i),
      .q_o(role_frozen)
  );

  assign now = time_us_i[StampBits-1:0];
  assign late = now >= end_q;
  assign passed = now - start_q;
  assign passed_us = |passed[StampBits-1:32] ? '1 : passed[31:0];

  // COMMIT's fields
  logic [31:0] ask_epoch, ask_drain_ms, ask_feed_ms;
  assign img_digest_o = pay_i[511:256];
  assign ask_epoch = pay_i[255:224];
  assign ask_drain_ms = pay_i[223:192];
  assign ask_feed_ms = pay_i[191:160];
  assign img_valid_o = state_q == StLookup;
  assign repeated = req_i.object == last_id_q && last_id_q != '0;
  assign fr_addr_o = '0;

  // a deadline that begins now
  logic [31:0] span_ms;
  logic [StampBits-1:0] span_end;
  always_comb begin
    span_ms = IsolateMs;
    if (state_q == StAccept) span_ms = ask_drain_ms;
    else if (phase_q == saf_pkg::CommitPhaseWaitDdrIdle) span_ms = feed_ms_q;
    span_end = now + StampBits'(us_of(span_ms));
  end

  // ---- what happens in this cycle

  logic step, ends, begin_feed, wins, enter_check, accept, refuse, forgets, loses;
  logic [15:0] send_status, accept_status;
  // verilator lint_off UNUSEDSIGNAL
  logic [15:0] end_status;  // kept in the six bits that any status has
  // verilator lint_on UNUSEDSIGNAL
  logic [7:0] lost_pr_status;
  logic send, send_answer, send_stored, sent;

  assign forgets = state_q == StIdle && forget_q;
  assign step = state_q == StIdle && !forget_q && active_q && !kill_q;

  always_comb begin
    ends = 1'b0;
    loses = 1'b0;
    begin_feed = 1'b0;
    enter_check = 1'b0;
    wins = 1'b0;
    end_status = saf_pkg::StatusOk;
    lost_pr_status = saf_pkg::PrStatusPowerUp;
    if (step) begin
      case (phase_q)
        saf_pkg::CommitPhaseDrain:
        if (slots_running_i != '0 && late && !kill_option_q) begin
          ends = 1'b1;
          end_status = saf_pkg::StatusDrainTimeout;
        end
        saf_pkg::CommitPhaseFreeze:
        if (!(role_frozen && bus_idle_i) && late) begin
          ends = 1'b1;
          end_status = saf_pkg::StatusFreezeTimeout;
        end
        saf_pkg::CommitPhaseWaitDdrIdle:
        if (role_idle_i && !scrub_busy_i && feed_idle) begin
          begin_feed = 1'b1;
        end else if (late) begin
          ends = 1'b1;
          end_status = saf_pkg::StatusDdrTimeout;
        end
        saf_pkg::CommitPhaseFeed, saf_pkg::CommitPhaseCheck:
        if (feed_done && feed_status != saf_pkg::PrStatusSuccess[2:0]) begin
          loses = 1'b1;
          lost_pr_status = {5'd0, feed_status};
          case (feed_status)
            saf_pkg::PrStatusCrcError[2:0]: end_status = saf_pkg::StatusPrCrcError;
            saf_pkg::PrStatusIncompatible[2:0]: end_status = saf_pkg::StatusPrIncompatible;
            default: begin
              end_status = saf_pkg::StatusPrError;
              lost_pr_status = saf_pkg::PrStatusPrError;
            end
          endcase
        end else if (phase_q == saf_pkg::CommitPhaseFeed && (feed_done || fed_all)) begin
          enter_check = 1'b1;
        end else if (feed_done) begin
          wins = 1'b1;
        end else if (late) begin
          loses = 1'b1;
          end_status = saf_pkg::StatusPrTimeout;
        end
        default: ends = release_q == ReleaseEnd;
      endcase
    end
  end

  // ---- answers

  assign accept = state_q == StAccept && accept_status == saf_pkg::StatusOk;
  assign refuse = state_q == StAccept && !accept;
  always_comb begin
    accept_status = saf_pkg::StatusOk;
    if (!found_q) accept_status = saf_pkg::StatusUnknownImage;
    else if (!verified_q) accept_status = saf_pkg::StatusNotVerified;
    else if (ask_epoch != role_o.epoch) accept_status = saf_pkg::StatusBadEpoch;
  end

  always_comb begin
    send = 1'b0;
    send_answer = 1'b0;
    send_stored = 1'b0;
    send_status = saf_pkg::StatusRunning;
    if (state_q == StAccept) begin
      send = 1'b1;
      send_answer = 1'b1;
      if (refuse) send_status = accept_status;
    end else if (state_q == StIdle && !forget_q && !(active_q && (ends || loses))) begin
      if (tell_q) begin
        send = session_i.open && !session_end_i;
        send_stored = 1'b1;
      end else if (h_valid_i && !h_done_o && (repeated || active_q || req_i.object <= last_id_q)) begin
        send = 1'b1;
        send_answer = 1'b1;
        send_stored = repeated && stored_q;
        if (!repeated) send_status = req_i.object <= last_id_q ? saf_pkg::StatusStale : saf_pkg::StatusBusy;
      end
    end
    if (send_stored) send_status = {10'd0, reply_status_q};
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      answering_q <= 1'b0;
      h_done_o <= 1'b0;
      found_q <= 1'b0;
      verified_q <= 1'b0;
    end else begin
      h_done_o <= sent && answering_q;
      if (send) answering_q <= send_answer;
      case (state_q)
        StIdle:
        if (send) state_q <= StSend;
        else if (h_valid_i && !h_done_o && !forget_q && !active_q && !tell_q && !scrub_busy_i) state_q <= StLookup;
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
      .fed_bytes_i(sent_fed_q ? fed_bytes : '0),
      .elapsed_us_i(sent_elapsed_q),
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
      last_id_q <= '0;
      index_q <= '0;
      feed_ms_q <= '0;
      slot_q <= '0;
      length_q <= '0;
      start_q <= '0;
      end_q <= '0;
      stored_q <= 1'b0;
      reply_status_q <= '0;
      reply_elapsed_q <= '0;
      sent_fed_q <= 1'b0;
      sent_elapsed_q <= '0;
    end else begin
      forget_q <= forget_i || (forget_q && !forgets);
      if (kill_done_i) kill_q <= 1'b0;
      if (send) begin
        sent_fed_q <= active_q || send_stored;
        sent_elapsed_q <= send_stored ? reply_elapsed_q : state_q == StAccept ? '0 : passed_us;
      end
      if (state_q == StIdle && send && send_answer && repeated) index_q <= req_i.index;
      if (state_q == StLookup && img_done_i) begin
        slot_q <= img_slot_i;
        length_q <= img_length_i[27:0];
      end
      if (state_q == StAccept) begin
        last_id_q <= req_i.object;
        index_q <= req_i.index;
        start_q <= now;
        stored_q <= refuse;
        reply_status_q <= accept_status[5:0];
        reply_elapsed_q <= '0;
        feed_ms_q <= ask_feed_ms == '0 ? DefaultFeedMs : ask_feed_ms;
        kill_option_q <= pay_i[128+OptionKillBit];
        end_q <= span_end;
        active_q <= accept;
        if (accept) phase_q <= saf_pkg::CommitPhaseDrain;
      end
      if (step) begin
        case (phase_q)
          saf_pkg::CommitPhaseDrain:
          if (slots_running_i == '0) begin
            phase_q <= saf_pkg::CommitPhaseFreeze;
            end_q <= span_end;
          end else if (late && kill_option_q) begin
            kill_q <= 1'b1;
          end
          saf_pkg::CommitPhaseFreeze:
          if (role_frozen && bus_idle_i) begin
            phase_q <= saf_pkg::CommitPhaseWaitDdrIdle;
            end_q <= span_end;
          end
          saf_pkg::CommitPhaseRelease: release_q <= release_q + 4'd1;
          default: ;
        endcase
        if (begin_feed) begin
          phase_q <= saf_pkg::CommitPhaseFeed;
          end_q <= span_end;
        end
        if (enter_check) phase_q <= saf_pkg::CommitPhaseCheck;
        if (wins) begin
          phase_q <= saf_pkg::CommitPhaseRelease;
          release_q <= '0;
        end
        if (loses) phase_q <= saf_pkg::CommitPhaseNoRole;
        if (ends || loses) begin
          active_q <= 1'b0;
          stored_q <= 1'b1;
          reply_status_q <= end_status[5:0];
          reply_elapsed_q <= passed_us;
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
        last_id_q <= '0;
        start_q <= '0;
      end
    end
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
      .accept_i(state_q == StAccept),
      .digest_i(img_digest_o),
      .drained_i(step && phase_q == saf_pkg::CommitPhaseDrain && slots_running_i == '0),
      .begin_feed_i(begin_feed),
      .lose_i(loses),
      .lost_pr_status_i(lost_pr_status),
      .pass_i(wins),
      .open_i(step && phase_q == saf_pkg::CommitPhaseRelease && release_q == ReleaseOpen),
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
      .fed_bytes_o(fed_bytes),
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
