// Carries out what concerns transfers, one thing after another: a new owner's forget, a VERDICT that is due, a control
// frame (XFER_OPEN, POLL, CLOSE, INVALIDATE, ABORT), a question for leaf digests.
//
// Each takes the lock (the verifier stops between two steps), looks the transfer up, waits until DATA that came before is
// settled if it is receiving, reads its record, acts, and has saf_xfer_reply send the answer; saf_xfer_reply says too what
// has to happen before (next_i), saf_xfer_change what each step changes. A CLOSE that finds all blocks there stops the
// writing, waits for the fence, and lets go of the lock for at most VerdictWait cycles if the object is small: then it is
// answered with the outcome instead of `running`.
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
    input logic h_valid_i,
    output logic h_done_o,
    input logic leafq_valid_i,
    output logic leafq_done_o,
    // lock over records and saf_bulk
    output logic lock_o,
    input logic quiet_i,
    // contexts
    output logic [1:0] ctx_o,
    output xfer_set_t set_o,
    output logic [Contexts-1:0] kill_o,
    input xfer_contexts_t contexts_i,
    // ids
    output logic find_o,
    input xfer_found_t found_i,
    // a new transfer
    input logic [5:0] judged_i,
    output logic begin_o,
    input logic begin_done_i,
    input logic begin_same_i,
    // INVALIDATE tears out leaves, has torn them out
    output logic tear_o,
    output logic torn_o,
    // records
    input logic [1:0] past_ctx_i,
    output xfer_access_t rd_o,
    output xfer_access_t wr_o,
    // saf_bulk
    input logic rx_pending_i,
    output logic q_use_o,
    input logic q_settled_i,
    output logic forget_valid_o,
    input logic forget_done_i,
    // the answer, and what has to happen before it
    output xfer_step_t step_o,
    input xfer_next_e next_i,
    input logic closing_i,
    input logic [LeafBits-1:0] leaves_i,
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
  logic [Contexts-1:0] drain_q;

  xfer_state_t own;
  logic is_open, is_close, is_abort, unused;

  assign unused = ^{req_i, contexts_i};
  assign own = contexts_i.state[ctx_q];
  assign ctx_o = ctx_q;
  assign is_open = req_i.opcode == saf_pkg::OpcodeXferOpen;
  assign is_close = req_i.opcode == saf_pkg::OpcodeClose;
  assign is_abort = req_i.opcode == saf_pkg::OpcodeAbort;

  // ---------------------------------------------------------------- what the answer says

  always_comb begin
    step_o.found = state_q == StFind && found_i.done;
    step_o.shape = state_q == StShape;
    step_o.rest = state_q == StRest;
    step_o.act = state_q == StAct;
    step_o.count = state_q == StBegun || state_q == StRepaired;
    step_o.begun = state_q == StBegin && begin_done_i;
    step_o.torn = state_q == StTorn;
    step_o.say = state_q == StSay;
    step_o.tell = task_q == TkTell;
    step_o.leaves = task_q == TkLeaves;
    step_o.past = past_q;
    step_o.which = which_q;
    step_o.refuse = 1'b0;
    step_o.refuse_status = 6'(saf_pkg::StatusStale);
    if (state_q == StFind) begin
      step_o.refuse = found_i.done && !found_i.hit && task_q == TkFrame && found_i.not_newer
          && (is_open || (is_abort && req_i.object != '0));
      if (!is_open) step_o.refuse_status = 6'(saf_pkg::StatusOk);
    end else if (state_q == StJudge) begin
      step_o.refuse = 1'b1;
      step_o.refuse_status = judged_i != 6'(saf_pkg::StatusOk) ? judged_i : 6'(saf_pkg::StatusBusy);
    end
  end

  // ---------------------------------------------------------------- what it drives, by state

  // saf_bulk's answers lag two cycles behind ctx_q and the levels of a context
  assign settled = q_settled_i && timer_q[TimerBits-1:2] != '0;
  assign forget_busy_o = forget_q;
  assign lock_o = state_q != StIdle && state_q != StVerdict;
  assign q_use_o = lock_o && (task_q == TkFrame || task_q == TkForget);
  assign find_o = state_q == StLock && quiet_i && !again_q && (task_q == TkFrame || task_q == TkLeaves);
  assign h_done_o = state_q == StDone && task_q == TkFrame;
  assign leafq_done_o = state_q == StLeafAnswer;
  assign begin_o = state_q == StLeave || (state_q == StScrub && !scrub_busy_i);
  assign forget_valid_o = state_q == StForget;
  assign tear_o = state_q == StTear;
  assign torn_o = state_q == StTorn;

  saf_xfer_change u_change (
      .step_i(step_o),
      .scrub_i(state_q == StScrub),
      .begin_i(state_q == StBegin),
      .abort_i(state_q == StAbort),
      .again_i(state_q == StAgain),
      .clear_i(state_q == StClear),
      .is_frame_i(task_q == TkFrame),
      .is_open_i(is_open),
      .is_close_i(is_close),
      .begin_same_i,
      .next_i,
      .closing_i,
      .ctx_i(ctx_q),
      .set_o,
      .kill_o,
      .rd_o,
      .wr_o
  );

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
          else if (contexts_i.due != '0 && session_open_i) begin
            task_q <= TkTell;
            ctx_q <= contexts_i.due[0] ? 2'd0 : contexts_i.due[1] ? 2'd1 : contexts_i.due[2] ? 2'd2 : 2'd3;
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
        if (found_i.done) begin
          past_q <= found_i.past;
          which_q <= found_i.which;
          ctx_q <= found_i.which[1:0];
          timer_q <= '0;
          if (found_i.hit) state_q <= StSettle;
          else if (task_q == TkLeaves) state_q <= StLeafAnswer;
          else begin
            past_q <= 1'b0;
            state_q <= is_open && !found_i.not_newer ? StMul : StSay;
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
          if (past_q) ctx_q <= past_ctx_i;
          state_q <= StAct;
        end
        StAct: begin
          timer_q <= '0;
          case (next_i)
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
          ctx_q <= contexts_i.choice;
          state_q <= judged_i == 6'(saf_pkg::StatusOk) && contexts_i.choice_valid ? StScrub : StSay;
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
          state_q <= leaves_i > LeafBits'(2) ? StLock : StVerdict;
        end
        StVerdict: if (own != XsVerifying || timer_q == TimerBits'(VerdictWait)) state_q <= StLock;

        // INVALIDATE
        StTear: if (settled) state_q <= StForget;
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
          drain_q <= contexts_i.used;
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
