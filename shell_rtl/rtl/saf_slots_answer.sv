// What the command slots answer: which command ends and with what status, what is refused, and what the reply has to say.
//
// Data flow: the request, and in each state what that state is about -> `finish_o` (the slot's command ends, its answer is
// made and kept) or `refuse_o` (an answer that is neither made for a slot nor kept); `reply_o` is held until `reply_done_i`.
// Latency: finish and refuse at once, the reply one cycle later. Reset: nothing to say. Back-pressure: the reply's.

module saf_slots_answer
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input slots_state_e state_i,
    // verilator lint_off UNUSEDSIGNAL
    input slots_due_t due_i,
    input slots_ask_t ask_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic recorded_i,
    input logic command_count_i,
    input slot_e slot_state_i,
    input logic push_orphan_i,
    input slots_kill_e kill_by_i,
    input logic kill_walked_i,  // all slots were asked
    input logic kill_ends_i,  // this one does
    input logic kill_ok_i,
    input logic fault_i,
    input logic push_i,  // the command has one
    input logic late_i,
    output logic finish_o,
    output logic refuse_o,
    output logic answering_o,  // a handler's request
    output logic h_done_o,
    output logic status_wr_o,
    output logic [5:0] status_o,
    output slots_reply_t reply_o,
    input logic reply_done_i
);

  logic answering_q, bad_slot_q, counted_q;
  logic [5:0] status_q;
  // verilator lint_off UNUSEDSIGNAL
  logic [15:0] finish_status, refuse_status;  // six bits hold any
  // verilator lint_on UNUSEDSIGNAL

  always_comb begin
    finish_o = ask_i.ends;
    finish_status = {10'd0, ask_i.status};
    case (state_i)
      SqIdle: finish_o = due_i.pushed && !push_orphan_i;
      SqKillNext:
      if (!kill_walked_i && kill_ends_i) begin
        finish_o = 1'b1;
        finish_status = kill_by_i == KillFault ? saf_pkg::StatusRoleFault : saf_pkg::StatusKilled;
      end
      SqEnded: begin
        finish_o = fault_i || !push_i;
        if (fault_i) finish_status = saf_pkg::StatusBadRange;
      end
      SqDeadline: if (late_i) {finish_o, finish_status} = {1'b1, saf_pkg::StatusDeadline};
      default: ;
    endcase
  end

  always_comb begin
    refuse_o = 1'b0;
    refuse_status = saf_pkg::StatusOk;
    case (state_i)
      SqInfo:
      if (ask_i.is_kill) begin
        refuse_o = ask_i.older || ask_i.same || ask_i.bad_epoch;
        if (ask_i.older) refuse_status = saf_pkg::StatusStale;
        else if (!ask_i.same || !kill_ok_i) refuse_status = saf_pkg::StatusBadEpoch;
      end else if (ask_i.bad_slot) begin
        {refuse_o, refuse_status} = {1'b1, saf_pkg::StatusBadSlot};
      end else begin
        refuse_o = ask_i.run != RunNew;
        case (ask_i.run)
          RunStale: refuse_status = saf_pkg::StatusStale;
          RunBusy: refuse_status = saf_pkg::StatusBusy;
          default: refuse_status = saf_pkg::StatusRunning;
        endcase
      end
      SqKillNext: refuse_o = kill_walked_i && kill_by_i == KillCommand;  // no refusal, but as short
      default: ;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      h_done_o <= 1'b0;
      answering_q <= 1'b0;
      bad_slot_q <= 1'b0;
      counted_q <= 1'b0;
      status_q <= '0;
      reply_o.start <= 1'b0;
      reply_o.killed <= 1'b0;
      reply_o.stored <= 1'b0;
      reply_o.keep <= 1'b0;
      reply_o.timed <= 1'b0;
      reply_o.pushed <= 1'b0;
    end else begin
      counted_q <= command_count_i;
      h_done_o <= (state_i == SqRecord && recorded_i) || (state_i == SqReply && reply_done_i && answering_q);
      reply_o.start <= refuse_o || state_i == SqFinish;
      case (state_i)
        SqIdle: begin
          bad_slot_q <= 1'b0;
          answering_q <= due_i.ask;
          reply_o.killed <= 1'b0;
          reply_o.stored <= 1'b0;
          reply_o.keep <= 1'b0;
          reply_o.timed <= due_i.pushed;
          reply_o.pushed <= due_i.pushed;
        end
        SqInfo:
        if (ask_i.is_kill) begin
          // a new one is answered when all have ended
          reply_o.killed <= refuse_o;
          if (!refuse_o) answering_q <= 1'b0;
        end else if (ask_i.bad_slot) begin
          bad_slot_q <= 1'b1;
        end else begin
          reply_o.stored <= ask_i.run == RunStored;
        end
        SqFinish: reply_o.keep <= 1'b1;
        SqKillNext:
        if (refuse_o) begin
          answering_q <= 1'b1;
          reply_o.killed <= 1'b1;
          reply_o.keep <= 1'b0;
        end
        SqEnded: reply_o.timed <= !fault_i;
        default: ;
      endcase
      if (finish_o) status_q <= finish_status[5:0];
      else if (refuse_o) status_q <= refuse_status[5:0];
    end
  end

  assign reply_o.status = status_q;
  always_comb begin
    reply_o.state = saf_pkg::SlotStateRunning;
    if (bad_slot_q || slot_state_i == SlotIdle) reply_o.state = saf_pkg::SlotStateIdle;
    else if (slot_state_i == SlotDone) reply_o.state = saf_pkg::SlotStateDone;
  end

  assign answering_o = answering_q;
  assign status_wr_o = counted_q || state_i == SqFinish;  // its row is there in the next cycle
  assign status_o = state_i == SqFinish ? status_q : saf_pkg::StatusRunning[5:0];

endmodule
