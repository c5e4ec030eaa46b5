// The commit that is under way: its phases one after another, each with its deadline, and what it asks of others.
//
// Data flow: image found (found_i), accepted (accept_i) -> drain, freeze, wait for DDR, feed, check, release -> over_o, with
// the commit's status. It goes on only while go_i: a reply that is being sent shows one phase. What has to be done in a
// phase leaves as strobes for role, feed and answers. Latency: a phase whose condition holds ends in one cycle, release
// takes 16. Reset and forget_i: no commit. Back-pressure: go_i.

module saf_commit_run
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic [63:0] time_us_i,
    input logic go_i,
    input logic forget_i,
    input logic known_i,
    // COMMIT
    input logic found_i,
    input logic [1:0] slot_i,
    input logic [27:0] length_i,
    input logic decide_i,
    input logic accept_i,
    input logic kill_option_i,
    input logic [31:0] drain_ms_i,
    input logic [31:0] feed_ms_i,
    // what is waited for
    input logic drained_i,
    output logic kill_all_o,
    input logic kill_done_i,
    input logic frozen_i,
    input logic can_feed_i,
    input logic feed_done_i,
    input logic [2:0] feed_status_i,
    input logic fed_all_i,
    // the commit
    output logic active_o,
    output logic [7:0] phase_o,
    output logic [1:0] slot_o,
    output logic [27:0] length_o,
    output logic over_o,  // the old role goes on, or the new one runs, or there is none
    output logic [5:0] status_o,
    output logic [31:0] passed_us_o,
    output logic passed_full_o,
    output logic [31:0] stored_us_o,
    output logic stored_full_o,
    // what happens to feed, role and digest
    output logic drain_over_o,
    output logic begin_feed_o,
    output logic loses_o,
    output logic [7:0] lost_pr_status_o,
    output logic wins_o,
    output logic open_o,
    output logic show_o,
    output logic released_o,
    output logic give_up_o,
    output logic [1:0] show_word_o,  // of the digest: asked for one cycle before its show_o
    output logic shows_o  // the digest is needed: no reply begins
);

  // Release: the bridges open, the digest is shown word by word, then the role leaves reset
  localparam logic [3:0] ReleaseOpen = 4'd8, ReleaseFetch = 4'd11, ReleaseShow = 4'd12, ReleaseEnd = 4'd15;

  logic kill_option_q, step, late, ends, enter_check, releases;
  logic [3:0] release_q;

  assign step = go_i && active_o && !kill_all_o;
  assign releases = step && phase_o == saf_pkg::CommitPhaseRelease;
  assign over_o = ends || loses_o;
  assign drain_over_o = step && phase_o == saf_pkg::CommitPhaseDrain && drained_i;
  assign open_o = releases && release_q == ReleaseOpen;
  assign show_o = releases && release_q >= ReleaseShow;
  assign released_o = step && ends && phase_o == saf_pkg::CommitPhaseRelease;
  assign give_up_o = ends && phase_o != saf_pkg::CommitPhaseRelease;
  assign show_word_o = release_q[1:0] - ReleaseFetch[1:0];
  assign shows_o = active_o && phase_o == saf_pkg::CommitPhaseRelease && release_q >= ReleaseFetch;

  saf_commit_step u_step (
      .step_i(step),
      .phase_i(phase_o),
      .late_i(late),
      .drained_i,
      .kill_option_i(kill_option_q),
      .frozen_i,
      .can_feed_i,
      .feed_done_i,
      .feed_status_i,
      .fed_all_i,
      .released_i(release_q == ReleaseEnd),
      .ends_o(ends),
      .loses_o,
      .begin_feed_o,
      .enter_check_o(enter_check),
      .wins_o,
      .status_o,
      .lost_pr_status_o
  );

  saf_commit_time u_time (
      .clk_i,
      .rst_ni,
      .time_us_i,
      .start_i(decide_i),
      .known_i(known_i && !forget_i),
      .span_i(decide_i || begin_feed_o || drain_over_o || (step && phase_o == saf_pkg::CommitPhaseFreeze && frozen_i)),
      .span_feed_i(phase_o == saf_pkg::CommitPhaseWaitDdrIdle),
      .drain_ms_i,
      .feed_ms_i,
      .late_o(late),
      .end_i(over_o),
      .passed_us_o,
      .passed_full_o,
      .stored_us_o,
      .stored_full_o
  );

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      active_o <= 1'b0;
      kill_option_q <= 1'b0;
      kill_all_o <= 1'b0;
      release_q <= '0;
      phase_o <= saf_pkg::CommitPhaseIdle;
      slot_o <= '0;
      length_o <= '0;
    end else begin
      if (kill_done_i) kill_all_o <= 1'b0;
      if (found_i) begin
        slot_o <= slot_i;
        length_o <= length_i;
      end
      if (decide_i) begin
        kill_option_q <= kill_option_i;
        active_o <= accept_i;
        if (accept_i) phase_o <= saf_pkg::CommitPhaseDrain;
      end
      if (step) begin
        case (phase_o)
          saf_pkg::CommitPhaseDrain:
          if (drained_i) phase_o <= saf_pkg::CommitPhaseFreeze;
          else if (late && kill_option_q) kill_all_o <= 1'b1;
          saf_pkg::CommitPhaseFreeze: if (frozen_i) phase_o <= saf_pkg::CommitPhaseWaitDdrIdle;
          saf_pkg::CommitPhaseRelease: release_q <= release_q + 4'd1;
          default: ;
        endcase
        if (begin_feed_o) phase_o <= saf_pkg::CommitPhaseFeed;
        if (enter_check) phase_o <= saf_pkg::CommitPhaseCheck;
        if (wins_o) begin
          phase_o <= saf_pkg::CommitPhaseRelease;
          release_q <= '0;
        end
        if (loses_o) phase_o <= saf_pkg::CommitPhaseNoRole;
        if (over_o) active_o <= 1'b0;
      end
      if (forget_i) begin
        active_o <= 1'b0;
        kill_all_o <= 1'b0;
        phase_o <= saf_pkg::CommitPhaseIdle;
      end
    end
  end

endmodule
