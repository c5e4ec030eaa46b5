// Carries out what concerns transfers, one thing after another: a new owner's forget, a VERDICT that is due, a control
// frame (XFER_OPEN, POLL, CLOSE, INVALIDATE, ABORT), a question for leaf digests.
//
// Each takes the lock (the verifier stops between two steps), looks the transfer up, waits until DATA that came before is
// settled if it is receiving, reads its record, acts, and has saf_xfer_say send the answer. A CLOSE that finds all blocks
// there stops the writing, waits for the fence, and lets go of the lock for at most VerdictWait cycles if the object is
// small: then it is answered with the outcome instead of `running`.
//
// Latency: 20 to 60 cycles to the first beat when nothing has to be waited for. Reset: nothing under way.
// Back-pressure: waits for say, saf_bulk, the scrub; never for the crypto unit.

module saf_xfer_handle
  import saf_shell_pkg::*;
#(
    parameter int unsigned SettleWait = 4096,  // cycles that earlier DATA may take
    parameter int unsigned VerdictWait = 2048
) (
    input logic clk_i,
    input logic rst_ni,
    input logic forget_i,
    output logic forget_busy_o,
    input logic scrub_busy_i,
    input logic session_open_i,
    input ctl_req_t req_i,
    input logic [63:0] pay_i,  // first word
    input logic h_valid_i,
    output logic h_done_o,
    input logic leafq_valid_i,
    output logic leafq_done_o,
    output logic leafq_ok_o,
    output logic leafq_unknown_o,
    // lock over records and saf_bulk
    output logic lock_o,
    input logic quiet_i,
    // contexts
    output logic clear_o,
    output logic [1:0] ctx_o,
    output logic set_o,
    output xfer_state_t set_state_o,
    output logic set_guarded_o,
    output logic set_new_o,
    output logic set_slot_o,  // the image slot has that state too
    output logic use_slot_o,  // set_slot_o and the comparison mean the slot that is asked for
    output logic set_closing_o,
    output logic told_o,
    output logic [Contexts-1:0] kill_o,
    input logic choice_valid_i,
    input logic [1:0] choice_i,
    input xfer_state_t [Contexts-1:0] state_i,
    input logic [Contexts-1:0] used_i,
    input logic [Contexts-1:0] hashed_i,
    input logic [Contexts-1:0] due_i,
    // ids
    output logic find_o,
    input logic find_done_i,
    input logic find_hit_i,
    input logic find_past_i,
    input logic [4:0] find_which_i,
    input logic not_newer_i,
    // a new transfer
    input logic [5:0] judged_i,
    output logic begin_o,
    output logic begin_leave_o,
    output logic begin_open_o,
    input logic begin_done_i,
    input logic begin_same_i,
    // leaves of the context: those whose digest holds; of these only so many from now on
    input logic [LeafBits-1:0] leaves_done_i,
    output logic leaves_wr_o,
    output logic [LeafBits-1:0] leaves_next_o,
    // records
    input xfer_shape_t shape_i,
    input xfer_past_t past_i,
    output logic st_rd_o,
    output xfer_addr_t st_rd_addr_o,
    input logic [63:0] st_data_i,
    output logic st_wr_o,
    output xfer_addr_t st_wr_addr_o,
    // saf_bulk
    input logic rx_pending_i,
    output logic q_use_o,
    input logic [17:0] q_missing_i,
    input logic [17:0] q_lowest_i,
    input logic [31:0] q_received_i,
    input logic [15:0] q_sections_i,
    input logic q_settled_i,
    output logic forget_valid_o,
    input logic forget_done_i,
    // the answer
    output logic say_o,
    output xfer_say_t say_what_o,
    output logic say_unasked_o,
    output logic [31:0] say_object_o,  // of a VERDICT nobody asked for
    output logic [31:0] say_index_o,
    input logic say_done_i
);

  localparam int unsigned TimerBits = $clog2(SettleWait > VerdictWait ? SettleWait + 1 : VerdictWait + 1);

  typedef enum logic [4:0] {
    StIdle, StLock, StFind, StSettle, StLoad, StShape, StRest, StAct, StSay, StSaying, StDone, StLeafAnswer,
    StMul, StJudge, StScrub, StBegin, StBegun, StLeave, StAbort, StDrain, StFence, StVerdict,
    StTear, StForget, StTorn, StAgain, StRepaired, StClear, StCleared
  } state_e;

  typedef enum logic [1:0] {
    TkForget,
    TkTell,
    TkFrame,
    TkLeaves
  } task_e;

  state_e state_q;
  task_e task_q;
  logic [1:0] ctx_q;
  logic past_q, again_q, forget_q, settled;
  logic [4:0] which_q;
  logic [TimerBits-1:0] timer_q;
  logic [LeafBits-1:0] start_q;  // leaf in which INVALIDATE's range begins
  logic [25:0] start_units;
  logic [LeafBits:0] leaves_over;
  logic [Contexts-1:0] drain_q;

  xfer_state_t own;
  xfer_next_e next;
  logic is_open, is_close, is_abort, says_verdict, closing, refuse, unused;
  logic [5:0] refuse_status;

  assign unused = ^{req_i, shape_i, past_i, start_units, leaves_over};
  assign own = state_i[ctx_q];
  assign ctx_o = ctx_q;
  assign is_open = req_i.opcode == saf_pkg::OpcodeXferOpen;
  assign is_close = req_i.opcode == saf_pkg::OpcodeClose;
  assign is_abort = req_i.opcode == saf_pkg::OpcodeAbort;
  assign says_verdict = task_q == TkTell || is_close;

  // ---------------------------------------------------------------- what the answer says

  always_comb begin
    refuse = 1'b0;
    refuse_status = 6'(saf_pkg::StatusStale);
    if (state_q == StFind) begin
      refuse = find_done_i && !find_hit_i && task_q == TkFrame && not_newer_i
          && (is_open || (is_abort && req_i.object != '0));
      if (!is_open) refuse_status = 6'(saf_pkg::StatusOk);
    end else if (state_q == StJudge) begin
      refuse = 1'b1;
      refuse_status = judged_i != 6'(saf_pkg::StatusOk) ? judged_i : 6'(saf_pkg::StatusBusy);
    end
  end

  saf_xfer_answer u_answer (
      .clk_i,
      .rst_ni,
      .found_i(state_q == StFind && find_done_i),
      .refuse_i(refuse),
      .refuse_status_i(refuse_status),
      .shape_i(state_q == StShape),
      .rest_i(state_q == StRest),
      .act_i(state_q == StAct),
      .count_i(state_q == StBegun || state_q == StRepaired),
      .begun_i(state_q == StBegin && begin_done_i),
      .begun_state_i(set_state_o),
      .torn_i(state_q == StTorn),
      .past_i(past_q),
      .which_i(which_q),
      .ctx_i(ctx_q),
      .state_i(own),
      .hashed_i(hashed_i[ctx_q]),
      .st_data_i,
      .shape_data_i(shape_i),
      .past_data_i(past_i),
      .leaves_done_i,
      .q_missing_i,
      .q_lowest_i,
      .q_received_i,
      .q_sections_i,
      .tell_i(task_q == TkTell),
      .leaves_i(task_q == TkLeaves),
      .session_open_i,
      .opcode_i(req_i.opcode),
      .index_i(req_i.index),
      .pay_i,
      .next_o(next),
      .closing_o(closing),
      .say_o(say_what_o),
      .say_object_o,
      .say_index_o
  );
  assign say_unasked_o = task_q == TkTell;

  // ---------------------------------------------------------------- what it drives, by state

  // saf_bulk's answers lag two cycles behind ctx_q and the levels of a context
  assign settled = q_settled_i && timer_q[TimerBits-1:2] != '0;
  assign forget_busy_o = forget_q;
  assign lock_o = state_q != StIdle && state_q != StVerdict;
  assign q_use_o = lock_o && (task_q == TkFrame || task_q == TkForget);
  assign find_o = state_q == StLock && quiet_i && !again_q && (task_q == TkFrame || task_q == TkLeaves);
  assign h_done_o = state_q == StDone && task_q == TkFrame;
  assign leafq_done_o = state_q == StLeafAnswer;
  assign leafq_ok_o = say_what_o.status == 6'(saf_pkg::StatusOk);
  assign leafq_unknown_o = say_what_o.status == 6'(saf_pkg::StatusUnknownTransfer);
  assign clear_o = state_q == StClear;
  assign told_o = state_q == StAct && task_q == TkTell;
  assign say_o = state_q == StSay;
  assign begin_o = state_q == StLeave || (state_q == StScrub && !scrub_busy_i);
  assign begin_leave_o = own == XsVerified;
  assign begin_open_o = is_open;
  assign forget_valid_o = state_q == StForget;
  assign set_slot_o = set_o && ctx_q == '0 && (state_q != StBegin || is_open);
  assign use_slot_o = is_open && (state_q == StScrub || state_q == StBegin);

  // leaves in front of the range hold, those behind it are digested again
  assign start_units = 26'(pay_i[49:32]) * 26'(shape_i.units);
  assign leaves_wr_o = state_q == StTorn;
  assign leaves_over = {1'b0, leaves_done_i} - {1'b0, start_q};
  assign leaves_next_o = leaves_over[LeafBits] ? leaves_done_i : start_q;

  always_comb begin
    set_o = 1'b0;
    set_state_o = XsUnused;
    set_guarded_o = 1'b0;
    set_new_o = 1'b0;
    set_closing_o = 1'b0;
    kill_o = '0;
    case (state_q)
      StAct: begin
        // CLOSE: verification begins; INVALIDATE: no block is written while the range is torn out
        set_o = next == XnFence || next == XnTear;
        set_state_o = next == XnFence ? XsVerifying : XsClearing;
        set_closing_o = closing;
      end
      StAbort: begin
        set_o = 1'b1;
        set_new_o = 1'b1;
        kill_o[ctx_q] = 1'b1;
      end
      StBegin: begin
        set_o = begin_done_i;
        set_new_o = 1'b1;
        if (is_open) set_state_o = begin_same_i ? XsVerified : XsReceiving;
      end
      StTorn: kill_o[ctx_q] = 1'b1;
      StAgain: begin
        set_o = 1'b1;
        set_state_o = XsReceiving;
        set_guarded_o = 1'b1;
      end
      StClear: kill_o = '1;
      default: ;
    endcase
  end

  always_comb begin
    // the newest CLOSE's index for a verdict, else the newest INVALIDATE's
    st_rd_o = state_q == StRest;
    st_rd_addr_o = past_q ? xfer_past_word(which_q, XferRecCtl[2:0])
        : xfer_context_word(ctx_q, says_verdict ? XferRecClose : XferRecCtl);
    // object and index of the frame
    st_wr_o = state_q == StAgain || (state_q == StAct && task_q == TkFrame && is_close && !past_q);
    st_wr_addr_o = xfer_context_word(ctx_q, is_close ? XferRecClose : XferRecCtl);
  end

  // ---------------------------------------------------------------- what comes next

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      task_q <= TkForget;
      ctx_q <= '0;
      past_q <= 1'b0;
      again_q <= 1'b0;
      forget_q <= 1'b0;
      which_q <= '0;
      timer_q <= '0;
      start_q <= '0;
      drain_q <= '0;
    end else begin
      if (forget_i) forget_q <= 1'b1;
      timer_q <= timer_q + 1'b1;
      case (state_q)
        StIdle: begin
          past_q <= 1'b0;
          again_q <= 1'b0;
          state_q <= StLock;
          if (forget_q) task_q <= TkForget;
          else if (due_i != '0 && session_open_i) begin
            task_q <= TkTell;
            ctx_q <= due_i[0] ? 2'd0 : due_i[1] ? 2'd1 : due_i[2] ? 2'd2 : 2'd3;
          end else if (h_valid_i) task_q <= TkFrame;
          else if (leafq_valid_i) task_q <= TkLeaves;
          else state_q <= StIdle;
        end
        StLock:
        if (quiet_i) begin
          if (task_q == TkForget) state_q <= StClear;
          else state_q <= find_o ? StFind : StLoad;
        end
        StFind:
        if (find_done_i) begin
          past_q <= find_past_i;
          which_q <= find_which_i;
          ctx_q <= find_which_i[1:0];
          timer_q <= '0;
          if (find_hit_i) state_q <= StSettle;
          else if (task_q == TkLeaves) state_q <= StLeafAnswer;
          else begin
            past_q <= 1'b0;
            state_q <= is_open && !not_newer_i ? StMul : StSay;
          end
        end
        StSettle:
        if (task_q == TkLeaves && past_q) state_q <= StLeafAnswer;
        else if (task_q != TkFrame || past_q || own != XsReceiving || (settled && !rx_pending_i)
                 || timer_q == TimerBits'(SettleWait)) state_q <= StLoad;

        // the record
        StLoad: state_q <= StShape;
        StShape: state_q <= StRest;
        StRest: begin
          if (past_q) ctx_q <= past_i.ctx;
          state_q <= StAct;
        end
        StAct: begin
          timer_q <= '0;
          case (next)
            XnFence: state_q <= StFence;
            XnTear: state_q <= StTear;
            XnLeave: state_q <= StLeave;
            XnAbort: state_q <= StAbort;
            XnLeaves: state_q <= StLeafAnswer;
            XnIdle: state_q <= StIdle;
            default: state_q <= StSay;
          endcase
        end

        // XFER_OPEN of a new transfer
        StMul: state_q <= StJudge;
        StJudge: begin
          ctx_q <= choice_i;
          state_q <= judged_i == 6'(saf_pkg::StatusOk) && choice_valid_i ? StScrub : StSay;
        end
        StScrub: if (!scrub_busy_i) state_q <= StBegin;
        StBegin:
        if (begin_done_i) begin
          timer_q <= '0;
          state_q <= StBegun;
        end
        StBegun, StRepaired: if (timer_q == TimerBits'(4)) state_q <= StSay;

        // ABORT: the context of a verified transfer, of another one
        StLeave: state_q <= StBegin;
        StAbort: begin
          timer_q <= '0;
          state_q <= StDrain;
        end
        StDrain: if (settled) state_q <= StSay;

        // CLOSE
        StFence:
        if (settled) begin
          timer_q <= '0;
          again_q <= 1'b1;
          state_q <= say_what_o.leaves > LeafBits'(2) ? StLock : StVerdict;
        end
        StVerdict: if (own != XsVerifying || timer_q == TimerBits'(VerdictWait)) state_q <= StLock;

        // INVALIDATE
        StTear: begin
          start_q <= start_units[23:10];
          if (settled) state_q <= StForget;
        end
        StForget: if (forget_done_i) state_q <= StTorn;
        StTorn: begin
          timer_q <= '0;
          state_q <= StAgain;
        end
        StAgain: state_q <= StRepaired;

        StSay: state_q <= StSaying;
        StSaying: if (say_done_i) state_q <= StDone;

        // a new owner: nothing of the old one's may still be on its way into DDR
        StClear: begin
          drain_q <= used_i;
          ctx_q <= '0;
          timer_q <= '0;
          state_q <= StCleared;
        end
        StCleared:
        if (!drain_q[0] || settled) begin
          drain_q <= drain_q >> 1;
          ctx_q <= ctx_q + 2'd1;
          timer_q <= '0;
          if (drain_q[Contexts-1:1] == '0) begin
            forget_q <= 1'b0;
            state_q <= StIdle;
          end
        end
        default: state_q <= StIdle;  // StDone, StLeafAnswer
      endcase
    end
  end

endmodule
