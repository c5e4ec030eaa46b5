// The command slots' sequencer: RUN at most once in eight slots, KILL, launches, ends, deadlines, pushes.
//
// Data flow: one thing at a time. What is due (saf_slots_due) takes its steps (saf_slots_step): a handler's request is judged
// (saf_slots_request), several commands end at once (_kill), one waits for its push (_push); what is said of it all makes
// saf_slots_answer. A slot's words lie in RAMs (saf_slots_rows, _ram, _time), its state in saf_slots_state. At a deadline the
// kernel cannot be stopped alone: nothing more is launched until the others ended, then the role's kernels are reset
// (saf_slots_role).
// Latency: empty kernel about 20 cycles to its answer. Reset: all slots idle. Back-pressure: of messages and of the bus.

module saf_slots_ctl
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    // verilator lint_off UNUSEDSIGNAL
    input ctl_req_t req_i,
    input logic [511:0] pay_i,
    input session_view_t session_i,
    input role_view_t role_i,
    // rows of commands: that of a slot or of KILL, or of the frame that is answered
    input slot_row_t row_i,
    // verilator lint_on UNUSEDSIGNAL
    output logic row_wr_o,
    output logic [3:0] row_wr_addr_o,
    output logic [3:0] row_addr_o,
    output logic status_wr_o,
    output logic [5:0] status_o,

    input logic h_valid_i,
    output logic h_done_o,
    output logic [10:0] fr_addr_o,
    input logic [63:0] fr_data_i,
    input logic forget_i,
    output logic forget_busy_o,
    input logic commit_active_i,
    input logic freeze_i,
    input logic role_changed_i,
    input logic role_fault_i,
    input logic kill_all_i,
    output logic kill_done_o,
    output logic [7:0] running_o,
    output slot_e [7:0] slots_o,
    output logic [31:0] last_kill_o,
    output logic command_count_o,

    output slots_state_e state_o,
    output logic [2:0] slot_o,
    output logic [7:0] count_o,
    output slots_ask_t ask_o,
    input logic [31:0] ram_data_i,
    input logic late_i,

    output logic [31:0] segment_o,  // of the latest launch
    output logic rolereg_blocked_o,
    input logic cmd_done_i,
    input logic cmd_error_i,
    input logic [63:0] cmd_data_i,
    input logic irq_i,

    output slots_reply_t reply_o,
    input logic reply_done_i,

    output logic push_valid_o,
    input logic push_done_i,
    output logic [31:0] push_read_o,
    output logic [AddrBits-1:0] push_addr_o,
    output logic [20:0] push_bytes_o,
    output logic [15:0] push_block_o,

    input logic rolereg_valid_i,
    input logic [8:0] rolereg_addr_i,
    output logic rolereg_done_o,
    output logic [63:0] rolereg_data_o
);

  localparam int unsigned Slots = saf_pkg::CommandSlots;
  localparam int unsigned CsrDoneBit = 1;

  slots_due_t due;
  slots_state_e scan_goes;
  logic [2:0] scan_slot, walk_slot, push_slot;
  logic [Slots-1:0] queued, launched, pushes, deadlines, fault;
  logic [Slots-1:0][2:0] order;
  logic finish, refuse, answering, launches, recorded, reset;
  logic [7:0] from_word;
  logic push_ended, push_orphan, kill_ends, kill_new, kill_known, kill_ok;
  slots_kill_e kill_by;

  assign running_o = queued | launched | pushes;
  assign recorded = count_o[1];  // in SqRecord

  saf_slots_due u_due (
      .clk_i,
      .rst_ni,
      .idle_i(state_o == SqIdle),
      .forget_i,
      .forget_busy_o,
      .reset_i(reset),
      .kill_i(kill_all_i && !kill_done_o),
      .ask_i(h_valid_i && !h_done_o),
      .register_i(rolereg_valid_i),
      .push_valid_i(push_valid_o),
      .push_ended_i(push_ended),
      .irq_i,
      .freeze_i,
      .queued_i(queued),
      .launched_i(launched),
      .pushes_i(pushes),
      .deadlines_i(deadlines),
      .due_o(due),
      .slot_o(scan_slot),
      .goes_o(scan_goes)
  );

  saf_slots_step u_step (
      .clk_i,
      .rst_ni,
      .due_i(due),
      .ask_i(ask_o),
      .ask_slot_i(req_i.object[2:0]),
      .scan_slot_i(scan_slot),
      .scan_goes_i(scan_goes),
      .push_slot_i(push_slot),
      .finish_i(finish),
      .refuse_i(refuse),
      .kill_by_i(kill_by),
      .cmd_done_i,
      .cmd_error_i,
      .kernel_done_i(cmd_data_i[CsrDoneBit]),
      .reply_done_i,
      .reply_killed_i(reply_o.killed),
      .row_kernel_i(row_i.kernel),
      .queued_i(queued),
      .launched_i(launched),
      .order_i(order),
      .state_o,
      .slot_o,
      .count_o,
      .walk_slot_o(walk_slot),
      .launches_o(launches)
  );

  saf_slots_request u_request (
      .clk_i,
      .rst_ni,
      .state_i(state_o),
      .count_i(count_o),
      .req_i,
      .pay_i,
      .fr_data_i,
      .block_limit_i(session_i.block_limit),
      .epoch_i(role_i.epoch),
      .has_role_i(role_i.has_role),
      .commit_active_i,
      .kill_known_i(kill_known),
      .forget_i(due.forget),
      .slot_i(slot_o),
      .slot_known_i(slots_o[slot_o] != SlotIdle),
      .running_i(running_o),
      .row_shared_i(row_i.shared),
      .newest_i(row_i.index),
      .cmd_done_i,
      .cmd_error_i,
      .cmd_data_i,
      .ask_o,
      .from_word_o(from_word)
  );

  saf_slots_state u_state (
      .clk_i,
      .rst_ni,
      .forget_i(due.forget),
      .slot_i(slot_o),
      .state_i(state_o),
      .recorded_i(recorded),
      .ask_i(ask_o),
      .cmd_done_i,
      .role_fault_i,
      .slots_o,
      .queued_o(queued),
      .launched_o(launched),
      .pushes_o(pushes),
      .deadline_o(deadlines),
      .fault_o(fault),
      .order_o(order)
  );

  saf_slots_kill u_kill (
      .clk_i,
      .rst_ni,
      .state_i(state_o),
      .due_i(due),
      .ask_i(ask_o),
      .index_i(req_i.index),
      .forget_i(forget_busy_o),
      .bus_failed_i(state_o == SqPoll && cmd_done_i && cmd_error_i),
      .slot_i(count_o[2:0]),
      .walked_i(count_o[3]),
      .running_i(running_o),
      .launched_i(launched),
      .pushing_i(push_valid_o && !push_orphan),
      .push_slot_i(push_slot),
      .by_o(kill_by),
      .ends_o(kill_ends),
      .new_o(kill_new),
      .known_o(kill_known),
      .ok_o(kill_ok),
      .last_o(last_kill_o),
      .done_o(kill_done_o)
  );

  saf_slots_role u_role (
      .clk_i,
      .rst_ni,
      .state_i(state_o),
      .due_i(due),
      .changed_i(role_changed_i),
      .has_role_i(role_i.has_role),
      .freeze_i,
      .late_i,
      .launched_i(launched[slot_o]),
      .fault_i(fault[slot_o]),
      .launches_i(launches),
      .launch_segment_i(row_i.segment),
      .cmd_done_i,
      .cmd_error_i,
      .cmd_data_i,
      .reset_o(reset),
      .segment_o,
      .blocked_o(rolereg_blocked_o),
      .rolereg_addr_i,
      .rolereg_done_o,
      .rolereg_data_o
  );

  saf_slots_push u_push (
      .clk_i,
      .rst_ni,
      .state_i(state_o),
      .due_i(due),
      .slot_i(slot_o),
      .word_i(count_o[2:0]),
      .data_i(ram_data_i),
      .answered_i(state_o == SqReply && reply_done_i && reply_o.pushed),
      .pushes_i(pushes),
      .ended_o(push_ended),
      .orphan_o(push_orphan),
      .slot_o(push_slot),
      .push_valid_o,
      .push_done_i,
      .push_read_o,
      .push_addr_o,
      .push_bytes_o,
      .push_block_o
  );

  saf_slots_answer u_answer (
      .clk_i,
      .rst_ni,
      .state_i(state_o),
      .due_i(due),
      .ask_i(ask_o),
      .recorded_i(recorded),
      .command_count_i(command_count_o),
      .slot_state_i(slots_o[slot_o]),
      .push_orphan_i(push_orphan),
      .kill_by_i(kill_by),
      .kill_walked_i(count_o[3]),
      .kill_ends_i(kill_ends),
      .kill_ok_i(kill_ok),
      .fault_i(fault[slot_o]),
      .push_i(row_i.push),
      .late_i,
      .finish_o(finish),
      .refuse_o(refuse),
      .answering_o(answering),
      .h_done_o,
      .status_wr_o,
      .status_o,
      .reply_o,
      .reply_done_i
  );

  // while a frame is looked at, the row of what it names; while it is answered, its own
  logic [3:0] named;
  assign named = ask_o.is_kill ? SlotRowKill : {1'b0, req_i.object[2:0]};
  always_comb begin
    row_addr_o = {1'b0, slot_o};
    if (state_o == SqIdle) row_addr_o = named;
    else if (state_o == SqWalkFetch) row_addr_o = {1'b0, walk_slot};
    else if (answering) row_addr_o = SlotRowAnswer;
  end
  assign row_wr_addr_o = state_o == SqIdle ? SlotRowAnswer : named;
  assign row_wr_o = state_o == SqIdle || command_count_o || kill_new || (state_o == SqRomKernel && cmd_done_i);
  assign command_count_o = state_o == SqInfo && !ask_o.is_kill && !ask_o.bad_slot && ask_o.run == RunNew;
  assign fr_addr_o = {3'd0, from_word};

endmodule
