// The command slots' sequencer: RUN at most once in eight slots, KILL, launches, ends, deadlines, pushes.
//
// Data flow: one thing at a time. A handler's request goes first; else the slots are looked at in turn (kernel done?
// deadline? may it be launched? push?), 32 cycles a round. A slot's words lie in RAMs (saf_slots_rows, _ram, _time), its
// state here. A command waits for those
// before it that use its kernel: they are walked through in the order of their coming. At a deadline the kernel cannot be
// stopped alone: nothing more is launched until the others ended, then the role's kernels are reset.
// Latency: empty kernel about 20 cycles to its answer. Reset: all slots idle. Back-pressure: of messages and of the bus.

`include "saf_assert.svh"

module saf_slots_ctl
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    // verilator lint_off UNUSEDSIGNAL
    input ctl_req_t req_i,
    input logic [511:0] pay_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic h_valid_i,
    output logic h_done_o,
    output logic [10:0] fr_addr_o,
    input logic [63:0] fr_data_i,
    // verilator lint_off UNUSEDSIGNAL
    input session_view_t session_i,
    input role_view_t role_i,
    // verilator lint_on UNUSEDSIGNAL
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

    // rows of commands: that of a slot or of KILL, or of the frame that is answered; status of a slot's
    output logic row_wr_o,
    output logic [3:0] row_wr_addr_o,
    output logic [3:0] row_addr_o,
    // verilator lint_off UNUSEDSIGNAL
    input slot_row_t row_i,
    // verilator lint_on UNUSEDSIGNAL
    output logic status_wr_o,
    output logic [5:0] status_o,

    output slots_state_e state_o,
    output logic [2:0] slot_o,
    output logic [7:0] count_o,
      output logic [15:0] kernel_o,
    output logic large_o,
    output logic [10:0] bytes_o,
    input logic [31:0] ram_data_i,
    input logic late_i,

    output logic [31:0] segment_o,  // of the latest launch
    output logic rolereg_blocked_o,
    input logic cmd_done_i,
    input logic cmd_error_i,
    input logic [63:0] cmd_data_i,
    input logic irq_i,

    output logic reply_start_o,
    input logic reply_done_i,
    output logic reply_killed_o,
    output logic reply_stored_o,
    output logic reply_keep_o,
    output logic reply_timed_o,
    output logic reply_pushed_o,
    output logic [5:0] reply_status_o,
    output logic [7:0] reply_state_o,

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
  localparam int unsigned TickBits = 10;  // without an interrupt a kernel is asked every 1024 cycles
  localparam logic [7:0] AskWords = 8'd7;

  typedef enum logic [1:0] {
    KillNone,
    KillCommand,
    KillCommit,
    KillFault
  } kill_e;

  slots_state_e state_q;
  logic [2:0] slot_q;
  slot_e [Slots-1:0] slots;
  logic [Slots-1:0] queued, launched, pushes, running, deadlines, fault;
  logic [Slots-1:0][2:0] order;
  logic shared_busy_q;
  logic [2:0] shared_slot_q;
  logic [4:0] scan_q;
  logic [TickBits-1:0] tick_q;
  logic due_q, polling_q;
  logic [7:0] count_q;
  logic mask_loaded_q, counted_q;
  logic [5:0] status_q;
  logic answering_q, bad_slot_q;
  logic [31:0] segment_q, last_kill_q;
  logic [KernelBits-1:0] launch_kernel_q;
  logic segment_known_q, kill_known_q, kill_ok_q, forget_q, reset_q, role_done_q, kill_done_q, blocked_q;
  kill_e kill_by_q;
  logic push_valid_q, push_ended_q, push_orphan_q;
  logic [2:0] push_slot_q;

  assign running = queued | launched | pushes;

  // ---- the control frame: what it is, and whether it ends here

  logic is_kill, bad_slot, older, same, bad_epoch, ask_empty, ask_big, ask_deadline, copied, request_ends;
  slots_run_e run;
  logic [7:0] from_word;
  logic [5:0] request_status;

  saf_slots_request u_request (
      .clk_i,
      .rst_ni,
      .state_i(state_q),
      .count_i(count_q),
      .req_i,
      .pay_i,
      .fr_data_i,
      .block_limit_i(session_i.block_limit),
      .epoch_i(role_i.epoch),
      .has_role_i(role_i.has_role),
      .commit_active_i,
      .kill_known_i(kill_known_q),
      .slot_known_i(slots[slot_q] != SlotIdle),
      .slot_runs_i(running[slot_q]),
      .shared_busy_i(shared_busy_q),
      .newest_i(row_i.index),
      .cmd_done_i,
      .cmd_error_i,
      .cmd_data_i,
      .is_kill_o(is_kill),
      .bad_slot_o(bad_slot),
      .older_o(older),
      .same_o(same),
      .run_o(run),
      .bad_epoch_o(bad_epoch),
      .empty_o(ask_empty),
      .large_o(ask_big),
      .kernel_o,
      .bytes_o,
      .deadline_o(ask_deadline),
      .from_word_o(from_word),
      .copied_o(copied),
      .ends_o(request_ends),
      .status_o(request_status)
  );

  // ---- what is due

  logic [2:0] scan_slot;
  assign scan_slot = scan_q[4:2];

  logic kill_now, kill_this;
  // a kernel that ended by itself and whose result is on its way is not killed any more
  logic [Slots-1:0] killable;
  assign killable = running & ~(push_valid_q && !push_orphan_q ? Slots'(1) << push_slot_q : '0);

  assign kill_this = kill_by_q == KillFault ? launched[count_q[2:0]] : killable[count_q[2:0]];
  assign kill_now = kill_all_i && !kill_done_q;

  logic [2:0] walk_slot;
  logic walk_ends, walk_waits;

  // the commands that came before the one to launch: is there one for the same kernel?
  assign walk_slot = order[count_q[2:0]];
  assign walk_ends = walk_slot == slot_q;
  assign walk_waits = (queued[walk_slot] || launched[walk_slot]) && row_i.kernel == launch_kernel_q;

  // ---- states of the slots

  logic slot_set;
  slot_e slot_new;
  always_comb begin
    slot_new = SlotDone;
    case (state_q)
      SqRecord: {slot_set, slot_new} = {count_q[1], ask_empty ? SlotPush : SlotQueued};
      SqLaunch: {slot_set, slot_new} = {cmd_done_i, SlotLaunched};
      SqEnded: {slot_set, slot_new} = {1'b1, SlotPush};
      default: slot_set = state_q == SqFinish;
    endcase
  end

  saf_slots_state u_state (
      .clk_i,
      .rst_ni,
      .forget_i(state_q == SqIdle && forget_q),
      .slot_i(slot_q),
      .set_i(slot_set),
      .state_i(slot_new),
      .deadline_set_i(state_q == SqRecord),
      .deadline_i(ask_deadline),
      .role_fault_i,
      .slots_o(slots),
      .queued_o(queued),
      .launched_o(launched),
      .pushes_o(pushes),
      .deadline_o(deadlines),
      .fault_o(fault),
      .order_o(order)
  );

  // ---- the sequencer

  logic reset_now, handle;
  assign reset_now = reset_q && launched == '0;
  assign handle = h_valid_i && !h_done_o;

  logic finish;  // this state is followed by SqFinishFetch
  // verilator lint_off UNUSEDSIGNAL
  logic [15:0] finish_status;  // six bits hold any
  // verilator lint_on UNUSEDSIGNAL

  always_comb begin
    finish = request_ends;
    finish_status = {10'd0, request_status};
    case (state_q)
      SqIdle:
      finish = !forget_q && !reset_now && !kill_now && !handle && !rolereg_valid_i && push_ended_q && !push_orphan_q;
      SqKillNext:
      if (!count_q[3] && kill_this) begin
        finish = 1'b1;
        finish_status = kill_by_q == KillFault ? saf_pkg::StatusRoleFault : saf_pkg::StatusKilled;
      end
      SqEnded: begin
        finish = fault[slot_q] || !row_i.push;
        if (fault[slot_q]) finish_status = saf_pkg::StatusBadRange;
      end
      SqDeadline:
      if (late_i) {finish, finish_status} = {1'b1, saf_pkg::StatusDeadline};
      default: ;
    endcase
  end

  // what failed or was not allowed reads as zeros
  assign rolereg_done_o = state_q == SqRegister && cmd_done_i;
  always_comb begin
    rolereg_data_o = bytes_swapped(cmd_data_i);
    // the done bit stays to be seen although it was acknowledged
    if (rolereg_addr_i == '0 && !blocked_q && !cmd_error_i) rolereg_data_o[56+CsrDoneBit] |= role_done_q;
  end

  assign slot_o = slot_q;
  assign slots_o = slots;
  assign running_o = running;
  assign last_kill_o = last_kill_q;
  assign forget_busy_o = forget_q;
  assign kill_done_o = kill_done_q;
  assign command_count_o = state_q == SqInfo && !is_kill && !bad_slot && run == RunNew;
  assign fr_addr_o = {3'd0, from_word};
  assign segment_o = segment_q;
  assign rolereg_blocked_o = blocked_q;
  assign push_valid_o = push_valid_q;
  assign state_o = state_q;
  assign count_o = count_q;
  assign large_o = ask_big;

  // while a frame is looked at, the row of what it names; while it is answered, its own
  logic [3:0] named;
  logic newest_wr;
  assign named = is_kill ? SlotRowKill : {1'b0, req_i.object[2:0]};
  always_comb begin
    row_addr_o = {1'b0, slot_q};
    if (state_q == SqIdle) row_addr_o = named;
    else if (state_q == SqWalkFetch) row_addr_o = {1'b0, walk_slot};
    else if (answering_q) row_addr_o = SlotRowAnswer;
  end
  assign row_wr_addr_o = state_q == SqIdle ? SlotRowAnswer : named;
  assign row_wr_o = state_q == SqIdle || newest_wr || (state_q == SqRomKernel && cmd_done_i);
  assign newest_wr = command_count_o || (state_q == SqInfo && is_kill && !older && !same);
  assign status_wr_o = counted_q || state_q == SqFinish;  // its row is there in the next cycle
  assign status_o = state_q == SqFinish ? status_q : saf_pkg::StatusRunning[5:0];

  assign reply_status_o = status_q;
  always_comb begin
    reply_state_o = saf_pkg::SlotStateRunning;
    if (bad_slot_q || slots[slot_q] == SlotIdle) reply_state_o = saf_pkg::SlotStateIdle;
    else if (slots[slot_q] == SlotDone) reply_state_o = saf_pkg::SlotStateDone;
  end

  // an answer that is neither stored nor kept
  `define SAF_REFUSE(Status) \
    status_q <= Status; \
    reply_start_o <= 1'b1; \
    state_q <= SqReply;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= SqIdle;
      slot_q <= '0;
      shared_busy_q <= 1'b0;
      shared_slot_q <= '0;
      scan_q <= '0;
      tick_q <= '0;
      due_q <= 1'b0;
      polling_q <= 1'b0;
      count_q <= '0;
      mask_loaded_q <= 1'b0;
      counted_q <= 1'b0;
      status_q <= '0;
      answering_q <= 1'b0;
      bad_slot_q <= 1'b0;
      launch_kernel_q <= '0;
      segment_known_q <= 1'b0;
      kill_known_q <= 1'b0;
      blocked_q <= 1'b0;
      kill_ok_q <= 1'b0;
      forget_q <= 1'b0;
      reset_q <= 1'b0;
      role_done_q <= 1'b0;
      kill_done_q <= 1'b0;
      kill_by_q <= KillNone;
      push_valid_q <= 1'b0;
      push_ended_q <= 1'b0;
      push_orphan_q <= 1'b0;
      push_slot_q <= '0;
      push_read_o <= '0;
      push_addr_o <= '0;
      push_bytes_o <= '0;
      push_block_o <= '0;
      h_done_o <= 1'b0;
      reply_start_o <= 1'b0;
      reply_killed_o <= 1'b0;
      reply_stored_o <= 1'b0;
      reply_keep_o <= 1'b0;
      reply_timed_o <= 1'b0;
      reply_pushed_o <= 1'b0;
    end else begin
      h_done_o <= 1'b0;
      reply_start_o <= 1'b0;
      kill_done_q <= 1'b0;
      tick_q <= tick_q + 1'b1;
      counted_q <= command_count_o;
      if (forget_i) forget_q <= 1'b1;
      if (push_done_i) push_ended_q <= 1'b1;

      case (state_q)
        SqIdle: begin
          count_q <= '0;
          mask_loaded_q <= 1'b0;
          bad_slot_q <= 1'b0;
          answering_q <= 1'b0;
          kill_by_q <= KillNone;
          reply_killed_o <= 1'b0;
          reply_stored_o <= 1'b0;
          reply_keep_o <= 1'b0;
          reply_timed_o <= 1'b0;
          reply_pushed_o <= 1'b0;
          if (forget_q) begin
            forget_q <= forget_i;
            shared_busy_q <= 1'b0;
            kill_known_q <= 1'b0;
            push_orphan_q <= push_valid_q;
            reset_q <= 1'b1;
            role_done_q <= 1'b0;
            segment_known_q <= 1'b0;
          end else if (reset_now) begin
            state_q <= SqReset;
          end else if (kill_now) begin
            kill_by_q <= KillCommit;
            state_q <= launched != '0 ? SqKillReset : SqKillNext;
          end else if (handle) begin
            slot_q <= req_i.object[2:0];
            answering_q <= 1'b1;
            state_q <= SqInfo;
          end else if (rolereg_valid_i) begin
            blocked_q <= freeze_i || !role_i.has_role;
            state_q <= SqRegister;
          end else if (push_ended_q) begin
            slot_q <= push_slot_q;
            reply_timed_o <= 1'b1;
            reply_pushed_o <= 1'b1;
            if (push_orphan_q) begin
              push_valid_q <= 1'b0;
              push_ended_q <= 1'b0;
              push_orphan_q <= 1'b0;
            end
          end else begin
            scan_q <= scan_q + 5'd1;
            slot_q <= scan_slot;
            if (scan_q == '1) begin
              polling_q <= irq_i || due_q;
              due_q <= 1'b0;
            end
            case (scan_q[1:0])
              2'd0: if (launched[scan_slot] && polling_q && !freeze_i) state_q <= SqPollFetch;
              2'd1:
              if (deadlines[scan_slot]) state_q <= SqDeadlineFetch;
              2'd2:
              if (queued[scan_slot] && !reset_q && !freeze_i) state_q <= SqLaunchFetch;
              default: if (pushes[scan_slot] && !push_valid_q) state_q <= SqPushFetch;
            endcase
          end
        end

        SqReset, SqKillReset:
        if (cmd_done_i) begin
          reset_q <= 1'b0;
          state_q <= state_q == SqReset ? SqIdle : SqKillNext;
        end

        // -- KILL and RUN
        SqInfo:
        if (is_kill) begin
          reply_killed_o <= 1'b1;
          if (older) begin
            `SAF_REFUSE(saf_pkg::StatusStale[5:0])
          end else begin
            kill_known_q <= 1'b1;
            if (!same) kill_ok_q <= !bad_epoch;
            if (same || bad_epoch) begin
              `SAF_REFUSE(same && kill_ok_q ? saf_pkg::StatusOk[5:0] : saf_pkg::StatusBadEpoch[5:0])
            end else begin
              kill_by_q <= KillCommand;
              reply_killed_o <= 1'b0;
              answering_q <= 1'b0;
              state_q <= launched != '0 ? SqKillReset : SqKillNext;
            end
          end
        end else if (bad_slot) begin
          bad_slot_q <= 1'b1;
          `SAF_REFUSE(saf_pkg::StatusBadSlot[5:0])
        end else begin
          reply_stored_o <= run == RunStored;
          count_q <= -AskWords;
          case (run)
            RunNew: state_q <= ask_empty ? SqCopyAddr : SqRomHead;
            RunStale: begin
              `SAF_REFUSE(saf_pkg::StatusStale[5:0])
            end
            RunBusy: begin
              `SAF_REFUSE(saf_pkg::StatusBusy[5:0])
            end
            default: begin
              `SAF_REFUSE(saf_pkg::StatusRunning[5:0])
            end
          endcase
        end
        SqRomHead:
        if (cmd_done_i) begin
          if (cmd_error_i) reset_q <= 1'b1;
          state_q <= SqRomKernel;
        end
        SqRomKernel:
        if (cmd_done_i) begin
          if (cmd_error_i) reset_q <= 1'b1;
          state_q <= SqCopyAddr;
        end
        SqRomMask:
        if (cmd_done_i) begin
          if (cmd_error_i) reset_q <= 1'b1;
          mask_loaded_q <= 1'b1;
          state_q <= SqCopyAddr;
        end
        SqCopyAddr:
        if (!mask_loaded_q && !count_q[7] && count_q[5:0] == '0) state_q <= SqRomMask;
        else state_q <= SqCopy;
        SqCopy: begin
          mask_loaded_q <= 1'b0;
          count_q <= copied ? '0 : count_q + 8'd1;
          state_q <= copied ? SqRecord : SqCopyAddr;
        end
        SqRecord: begin
          count_q <= count_q + 8'd1;
          if (count_q[1]) begin
            if (ask_big) begin
              shared_busy_q <= 1'b1;
              shared_slot_q <= slot_q;
            end
            h_done_o <= 1'b1;
            state_q <= SqIdle;
          end
        end

        // -- the end of a command
        SqFinishFetch: state_q <= SqFinish;
        SqFinish: begin
          if (shared_slot_q == slot_q) shared_busy_q <= 1'b0;
          reply_keep_o <= 1'b1;
          reply_start_o <= 1'b1;
          state_q <= SqReply;
        end
        SqReply:
        if (reply_done_i) begin
          if (reply_pushed_o) begin
            push_valid_q <= 1'b0;
            push_ended_q <= 1'b0;
            push_orphan_q <= 1'b0;
          end
          h_done_o <= answering_q;
          state_q <= kill_by_q == KillNone || reply_killed_o ? SqIdle : SqKillNext;
        end

        // -- several ends at once
        SqKillNext:
        if (count_q[3]) begin
          state_q <= SqIdle;
          kill_done_q <= kill_by_q == KillCommit;
          if (kill_by_q == KillCommand) begin
            answering_q <= 1'b1;
            reply_killed_o <= 1'b1;
            reply_keep_o <= 1'b0;
            `SAF_REFUSE(saf_pkg::StatusOk[5:0])
          end
        end else begin
          slot_q <= count_q[2:0];
          count_q <= count_q + 8'd1;
        end

        // -- a kernel that may be done
        SqPollFetch: state_q <= SqPoll;
        SqPoll:
        if (cmd_done_i) begin
          if (cmd_error_i) begin
            kill_by_q <= KillFault;
            state_q <= SqKillReset;
          end else begin
            state_q <= cmd_data_i[CsrDoneBit] ? SqAck : SqIdle;
          end
        end
        SqAck: if (cmd_done_i) state_q <= SqStampFetch;
        SqStampFetch: state_q <= SqStamp;
        SqStamp: state_q <= SqEnded;
        SqEnded: begin
          reply_timed_o <= !fault[slot_q];
          if (!fault[slot_q]) role_done_q <= 1'b1;
          state_q <= SqIdle;
        end

        SqDeadlineFetch: state_q <= SqDeadline;
        SqDeadline: begin
          if (finish && launched[slot_q]) reset_q <= 1'b1;
          state_q <= SqIdle;
        end

        SqLaunchFetch: state_q <= SqLaunchTake;
        SqLaunchTake: begin
          launch_kernel_q <= row_i.kernel;
          state_q <= SqWalkFetch;
        end
        SqWalkFetch: state_q <= SqWalk;
        SqWalk: begin
          count_q <= count_q + 8'd1;
          state_q <= SqWalkFetch;
          if (walk_ends) begin
            segment_known_q <= 1'b1;
            state_q <= SqLaunch;
          end else if (walk_waits) begin
            state_q <= SqIdle;
          end
        end
        SqLaunch:
        if (cmd_done_i) begin
          if (row_i.shared) shared_busy_q <= 1'b0;
          state_q <= SqIdle;
        end

        SqPushFetch: state_q <= SqPushTake;
        SqPushTake: begin
          count_q <= count_q + 8'd1;
          state_q <= SqPushFetch;
          case (count_q[2:0])
            3'd0: push_read_o <= ram_data_i;
            3'd1: push_addr_o[AddrBits-1:32] <= ram_data_i[AddrBits-33:0];
            3'd2: push_addr_o[31:0] <= ram_data_i;
            3'd3: push_bytes_o <= ram_data_i[20:0];
            default: begin
              push_block_o <= ram_data_i[31:16];
              push_slot_q <= slot_q;
              push_valid_q <= 1'b1;
              state_q <= SqIdle;
            end
          endcase
        end

        default:  // SqRegister
        if (cmd_done_i) begin
          if (cmd_error_i) reset_q <= 1'b1;
          state_q <= SqIdle;
        end
      endcase

      // behind the scan, which may end in this very cycle: the two go at the same pace
      if (tick_q == '0) due_q <= 1'b1;
      if (finish) begin
        status_q <= finish_status[5:0];
        state_q <= SqFinishFetch;
      end
      if (role_changed_i) begin
        reset_q <= 1'b1;
        role_done_q <= 1'b0;
        segment_known_q <= 1'b0;
      end
    end
  end
  `undef SAF_REFUSE

  // what is cleared by the flops' own synchronous clear, after a reset too, or has no meaning before it is loaded
  always_ff @(posedge clk_i) begin
    if (state_q == SqWalk && walk_ends) segment_q <= row_i.segment;
    else if (!segment_known_q) segment_q <= '0;
    if (newest_wr && is_kill) last_kill_q <= req_i.index;
    else if (!kill_known_q || forget_q) last_kill_q <= '0;
  end

  // what the bus and the reply rely on
  `SAF_ASSERT(AssertSharedUsed,
              !shared_busy_q || running[shared_slot_q])
  `SAF_ASSERT(AssertPushInSlot, !push_valid_q || push_orphan_q || pushes[push_slot_q] || state_q == SqReply)

endmodule
