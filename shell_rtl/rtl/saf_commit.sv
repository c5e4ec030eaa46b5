// COMMIT: drain, freeze, wait for DDR, feed the PR controller, check, release; each with a deadline, exactly once by id.
//
// Data flow: COMMIT (handler port) -> saf_commit_ask (image lookup) -> saf_commit_run (phases) -> COMMITTED, once more unasked
// at the end. The image goes from DDR to the PR IP through saf_commit_feed. What the card is (epoch, state, PR status,
// running image) lives in saf_commit_role and is shown in role_o. Until the feed begins a failure leaves the old role
// running; after that it leaves none. Phases go on only between messages, so a reply never mixes two of them.
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

  localparam int unsigned OptionKillBit = 0;

  logic role_frozen, feed_idle, feed_done, fed_all;
  logic [2:0] feed_status;
  logic [25:0] fed_words;
  logic [31:0] passed_us, stored_us;
  logic passed_full, stored_full;
  logic go, known, decide, accept, over, forgets;
  logic drain_over, begin_feed, loses, wins, open, show, give_up, shows;
  logic [7:0] phase, lost_pr_status;
  logic [5:0] end_status;
  logic [27:0] length;
  logic [1:0] show_word, fr_word;
  logic [63:0] digest_word;

  saf_sync u_frozen (
      .clk_i,
      .rst_ni,
      .d_i(role_frozen_i),
      .q_o(role_frozen)
  );

  assign fr_addr_o = {9'd0, fr_word};
  assign used_slot_o = commit_slot_o;
  assign used_epoch_o = role_o.epoch + 32'd1;
  assign role_changed_o = used_valid_o;

  saf_commit_ask u_ask (
      .clk_i,
      .rst_ni,
      .session_open_i(session_i.open),
      .session_end_i,
      .forget_i,
      .forget_busy_o,
      .forgets_o(forgets),
      .scrub_busy_i,
      .object_i(req_i.object),
      .index_i(req_i.index),
      .epoch_i(pay_i[255:224]),
      .h_valid_i,
      .h_done_o,
      .fr_word_o(fr_word),
      .fr_data_i,
      .img_valid_o,
      .img_word_i,
      .img_done_i,
      .img_found_i,
      .img_verified_i,
      .go_o(go),
      .known_o(known),
      .last_id_o(last_commit_o),
      .decide_o(decide),
      .accept_o(accept),
      .active_i(commit_active_o),
      .phase_i(phase),
      .over_i(over),
      .status_i(end_status),
      .released_i(used_valid_o),
      .shows_i(shows),
      .show_word_i(show_word),
      .digest_o(digest_word),
      .role_i(role_o),
      .fed_all_i(fed_all),
      .fed_words_i(fed_words),
      .length_i(length),
      .passed_us_i(passed_us),
      .passed_full_i(passed_full),
      .stored_us_i(stored_us),
      .stored_full_i(stored_full),
      .msg_valid_o,
      .msg_ready_i,
      .msg_meta_o,
      .msg_data_o,
      .msg_last_o
  );

  saf_commit_run u_run (
      .clk_i,
      .rst_ni,
      .time_us_i,
      .go_i(go),
      .forget_i(forgets),
      .known_i(known),
      .found_i(img_valid_o && img_done_i),
      .slot_i(img_slot_i),
      .length_i(img_length_i[27:0]),
      .decide_i(decide),
      .accept_i(accept),
      .kill_option_i(pay_i[128+OptionKillBit]),
      .drain_ms_i(pay_i[223:192]),
      .feed_ms_i(pay_i[191:160]),
      .drained_i(slots_running_i == '0),
      .kill_all_o,
      .kill_done_i,
      .frozen_i(role_frozen && bus_idle_i),
      .can_feed_i(role_idle_i && !scrub_busy_i && feed_idle),
      .feed_done_i(feed_done),
      .feed_status_i(feed_status),
      .fed_all_i(fed_all),
      .active_o(commit_active_o),
      .phase_o(phase),
      .slot_o(commit_slot_o),
      .length_o(length),
      .over_o(over),
      .status_o(end_status),
      .passed_us_o(passed_us),
      .passed_full_o(passed_full),
      .stored_us_o(stored_us),
      .stored_full_o(stored_full),
      .drain_over_o(drain_over),
      .begin_feed_o(begin_feed),
      .loses_o(loses),
      .lost_pr_status_o(lost_pr_status),
      .wins_o(wins),
      .open_o(open),
      .show_o(show),
      .released_o(used_valid_o),
      .give_up_o(give_up),
      .show_word_o(show_word),
      .shows_o(shows)
  );

  saf_commit_role u_role (
      .clk_i,
      .rst_ni,
      .active_i(commit_active_o),
      .show_i(show),
      .word_i(digest_word),
      .drained_i(drain_over),
      .begin_feed_i(begin_feed),
      .lose_i(loses),
      .lost_pr_status_i(lost_pr_status),
      .pass_i(wins),
      .open_i(open),
      .release_i(used_valid_o),
      .give_up_i(give_up),
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
      .clear_i(decide),
      .slot_i(commit_slot_o),
      .length_i(length),
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
