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
    // lock over records, multiplier, saf_bulk
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
    // leaves of the record word on st_data_i
    input logic [LeafBits-1:0] leaves_done_i,
    input xfer_leaves_t leaves_forgotten_i,
    output logic [LeafBits-1:0] leaves_start_o,
    output logic [LeafBits-1:0] leaves_stop_o,
    output logic mul_start_o,
    output logic mul_blocks_o,  // of an XFER_OPEN; else mul_a_o and mul_b_o
    output logic [31:0] mul_a_o,
    output logic [7:0] mul_b_o,
    input logic mul_done_i,
    input logic [39:0] mul_p_i,
    // records
    output logic st_rd_o,
    output xfer_addr_t st_rd_addr_o,
    input logic [63:0] st_data_i,
    output logic st_wr_o,
    output xfer_addr_t st_wr_addr_o,
    output logic [63:0] st_wr_data_o,
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
    StTear, StStart, StStop, StForget, StTorn, StAgain, StRepaired, StClear, StCleared
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
  logic past_q, again_q, blank_q, forget_q, settled;
  logic [4:0] which_q;
  logic [5:0] status_q;
  xfer_state_t told_state_q;
  logic [TimerBits-1:0] timer_q;
  logic [31:0] received_q, object_q, index_q;
  logic [17:0] missing_q, lowest_q, blocks_q;
  logic [15:0] sections_q;
  logic [13:0] bits_q;
  logic [7:0] units_q;
  logic [LeafBits-1:0] leaves_q, start_q;
  logic [Contexts-1:0] drain_q;

  xfer_ctl_t ctl;
  xfer_shape_t shape;
  xfer_past_t past;
  xfer_state_t own;
  logic [31:0] first, count;
  logic [18:0] range_end;  // where first and count are not too large by themselves
  logic [17:0] first_rest;
  logic is_open, is_poll, is_close, is_invalidate, is_abort, range_ok, in_section, begins_repair, says_verdict, unused;

  assign unused = ^{req_i, mul_p_i, shape, past};
  assign ctl = st_data_i;
  assign shape = st_data_i;
  assign past = st_data_i;
  assign own = state_i[ctx_q];
  assign ctx_o = ctx_q;
  assign first = pay_i[63:32];
  assign count = pay_i[31:0];
  assign range_end = {1'b0, first[17:0]} + {1'b0, count[17:0]};
  assign first_rest = blocks_q - first[17:0];
  assign is_open = req_i.opcode == saf_pkg::OpcodeXferOpen;
  assign is_poll = req_i.opcode == saf_pkg::OpcodePoll;
  assign is_close = req_i.opcode == saf_pkg::OpcodeClose;
  assign is_invalidate = req_i.opcode == saf_pkg::OpcodeInvalidate;
  assign is_abort = req_i.opcode == saf_pkg::OpcodeAbort;

  assign says_verdict = task_q == TkTell || is_close;

  // ---------------------------------------------------------------- what it drives, by state

  // saf_bulk's answers lag two cycles behind ctx_q and the levels of a context
  assign settled = q_settled_i && timer_q >= TimerBits'(4);
  assign forget_busy_o = forget_q;
  assign lock_o = state_q != StIdle && state_q != StVerdict;
  assign q_use_o = lock_o && (task_q == TkFrame || task_q == TkForget);
  assign find_o = state_q == StLock && quiet_i && !again_q && (task_q == TkFrame || task_q == TkLeaves);
  assign h_done_o = state_q == StDone && task_q == TkFrame;
  assign leafq_done_o = state_q == StLeafAnswer;
  assign leafq_ok_o = status_q == 6'(saf_pkg::StatusOk);
  assign leafq_unknown_o = status_q == 6'(saf_pkg::StatusUnknownTransfer);
  assign clear_o = state_q == StClear;
  assign told_o = state_q == StAct && task_q == TkTell;
  assign say_o = state_q == StSay;
  assign begin_o = state_q == StLeave || (state_q == StScrub && !scrub_busy_i);
  assign begin_leave_o = own == XsVerified;
  assign begin_open_o = is_open;
  assign forget_valid_o = state_q == StForget;
  assign set_slot_o = set_o && ctx_q == '0 && (state_q != StBegin || is_open);
  assign use_slot_o = is_open && (state_q == StScrub || state_q == StBegin);

  assign mul_start_o = state_q == StMul || (state_q == StTear && settled) || (state_q == StStart && mul_done_i);
  assign mul_blocks_o = is_open;
  assign mul_a_o = state_q == StTear || (state_q == StStart && !mul_done_i) ? first : {13'd0, range_end};
  assign mul_b_o = units_q;
  assign leaves_start_o = start_q;

  always_comb begin
    logic [LeafBits-1:0] stop;
    stop = mul_p_i[23:10] + {{LeafBits - 1{1'b0}}, |mul_p_i[9:0]};
    leaves_stop_o = stop < leaves_q ? stop : leaves_q;
  end

  assign range_ok = count != '0 && first[31:18] == '0 && count[31:18] == '0 && range_end <= {1'b0, blocks_q};
  assign in_section = first[31:18] == '0 && first[12:0] == '0 && first[17:0] < blocks_q;
  assign begins_repair = is_invalidate && req_i.index > ctl.index && !past_q && own != XsVerified && range_ok;

  always_comb begin
    set_o = 1'b0;
    set_state_o = XsUnused;
    set_guarded_o = 1'b0;
    set_new_o = 1'b0;
    set_closing_o = 1'b0;
    kill_o = '0;
    case (state_q)
      StAct:
      if (task_q == TkFrame && !past_q) begin
        if (is_close) begin
          set_o = own == XsReceiving && missing_q == '0;
          set_state_o = XsVerifying;
          set_closing_o = own == XsVerifying;
        end else if (begins_repair) begin
          // no block is written while the range is torn out
          set_o = 1'b1;
          set_state_o = XsClearing;
        end
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
    st_rd_o = 1'b1;
    st_rd_addr_o = past_q ? xfer_past_word(which_q, XferRecShape[2:0]) : xfer_context_word(ctx_q, XferRecShape);
    case (state_q)
      StShape: st_rd_addr_o = past_q ? xfer_past_word(which_q, XferRecPlace[2:0]) : xfer_context_word(ctx_q, XferRecLeaves);
      StRest: st_rd_addr_o = past_q ? xfer_past_word(which_q, XferRecCtl[2:0]) : xfer_context_word(ctx_q, says_verdict ? XferRecClose : XferRecCtl);
      StForget: st_rd_addr_o = xfer_context_word(ctx_q, XferRecLeaves);
      default: st_rd_o = state_q == StLoad;
    endcase
    st_wr_o = state_q == StTorn || state_q == StAgain || (state_q == StAct && task_q == TkFrame && is_close && !past_q);
    st_wr_addr_o = xfer_context_word(ctx_q, state_q == StTorn ? XferRecLeaves : is_close ? XferRecClose : XferRecCtl);
    st_wr_data_o = state_q == StTorn ? leaves_forgotten_i : {req_i.object, req_i.index};
  end

  always_comb begin
    say_what_o = '0;
    say_what_o.opcode = say_unasked_o ? saf_pkg::OpcodeVerdict : saf_pkg::opcode_answer(req_i.opcode);
    say_what_o.status = status_q;
    say_what_o.blank = blank_q;
    say_what_o.state = told_state_q;
    say_what_o.ctx = ctx_q;
    say_what_o.received = received_q;
    say_what_o.missing = missing_q;
    say_what_o.lowest = lowest_q;
    say_what_o.sections = sections_q;
    say_what_o.first_block = first;
    say_what_o.bits = bits_q;
    say_what_o.leaves = leaves_q;
    say_what_o.with_digest = !blank_q && (told_state_q == XsVerified || told_state_q == XsBad);
    say_what_o.digest = past_q ? xfer_past_word(which_q, XferRecDigest[2:0])
        : xfer_context_word(ctx_q, told_state_q == XsBad ? XferRecFound : XferRecDigest);
  end
  assign say_unasked_o = task_q == TkTell;
  assign say_object_o = object_q;
  assign say_index_o = index_q;

  // ---------------------------------------------------------------- what comes next

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      task_q <= TkForget;
      ctx_q <= '0;
      past_q <= 1'b0;
      again_q <= 1'b0;
      blank_q <= 1'b0;
      forget_q <= 1'b0;
      which_q <= '0;
      status_q <= '0;
      told_state_q <= '0;
      timer_q <= '0;
      received_q <= '0;
      index_q <= '0;
      object_q <= '0;
      missing_q <= '0;
      lowest_q <= '0;
      blocks_q <= '0;
      sections_q <= '0;
      bits_q <= '0;
      units_q <= '0;
      leaves_q <= '0;
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
          blank_q <= 1'b1;
          bits_q <= '0;
          timer_q <= '0;
          status_q <= 6'(saf_pkg::StatusUnknownTransfer);
          if (find_hit_i) state_q <= StSettle;
          else if (task_q == TkLeaves) state_q <= StLeafAnswer;
          else begin
            past_q <= 1'b0;
            state_q <= StSay;
            if (is_open && not_newer_i) status_q <= 6'(saf_pkg::StatusStale);
            else if (is_open) state_q <= StMul;
            else if (is_abort && not_newer_i && req_i.object != '0) status_q <= 6'(saf_pkg::StatusOk);
          end
        end
        StSettle:
        if (task_q == TkLeaves && past_q) state_q <= StLeafAnswer;
        else if (task_q != TkFrame || past_q || own != XsReceiving || (settled && !rx_pending_i)
                 || timer_q == TimerBits'(SettleWait)) state_q <= StLoad;

        // the record
        StLoad: state_q <= StShape;
        StShape: begin
          blocks_q <= shape.blocks;
          units_q <= shape.units;
          leaves_q <= shape.leaves;
          state_q <= StRest;
        end
        StRest: begin
          received_q <= past_q ? past.received : q_received_i;
          if (says_verdict) received_q <= {18'd0, past_q ? (past.hashed ? leaves_q : '0) : leaves_done_i};
          else if (is_invalidate) received_q <= past_q ? '0 : {14'd0, q_missing_i};
          missing_q <= past_q || task_q != TkFrame ? '0 : q_missing_i;
          lowest_q <= past_q ? blocks_q : q_lowest_i;
          sections_q <= past_q ? '0 : q_sections_i;
          if (past_q) ctx_q <= past.ctx;
          told_state_q <= past_q ? XsVerified : own;
          state_q <= StAct;
        end
        StAct: begin
          blank_q <= 1'b0;
          timer_q <= '0;
          object_q <= ctl.id;
          index_q <= ctl.index;
          status_q <= 6'(saf_pkg::StatusOk);
          state_q <= StSay;
          if (task_q == TkLeaves) begin
            state_q <= StLeafAnswer;
            if (!hashed_i[ctx_q] || (own != XsVerified && own != XsBad)) status_q <= 6'(saf_pkg::StatusBadState);
          end else if (task_q == TkTell || is_close) begin
            case (told_state_q)
              XsVerified: status_q <= 6'(saf_pkg::StatusOk);
              XsBad: status_q <= 6'(saf_pkg::StatusDigestMismatch);
              XsVerifying: status_q <= 6'(saf_pkg::StatusRunning);
              default: status_q <= 6'(saf_pkg::StatusBadState);
            endcase
            if (task_q == TkTell && !session_open_i) state_q <= StIdle;
            else if (set_o) state_q <= StFence;
          end else if (is_poll) begin
            if (!in_section || missing_q == '0) sections_q <= '0;
            if (!in_section) status_q <= 6'(saf_pkg::StatusBadRange);
            else if (missing_q != '0 && sections_q[first[16:13]])
              bits_q <= first_rest > 18'(saf_pkg::SectionBlocks) ? 14'(saf_pkg::SectionBlocks) : first_rest[13:0];
          end else if (is_invalidate) begin
            if (req_i.index == '0 || req_i.index < ctl.index) status_q <= 6'(saf_pkg::StatusStale);
            else if (req_i.index != ctl.index) begin
              if (past_q || own == XsVerified) status_q <= 6'(saf_pkg::StatusBadState);
              else if (!range_ok) status_q <= 6'(saf_pkg::StatusBadRange);
              else state_q <= StTear;
            end
          end else if (is_abort && !past_q) state_q <= own == XsVerified ? StLeave : StAbort;
        end

        // XFER_OPEN of a new transfer
        StMul: state_q <= StJudge;
        StJudge:
        if (mul_done_i) begin
          status_q <= judged_i;
          state_q <= StSay;
          ctx_q <= choice_i;
          if (judged_i == 6'(saf_pkg::StatusOk)) begin
            status_q <= 6'(saf_pkg::StatusBusy);
            if (choice_valid_i) state_q <= StScrub;
          end
        end
        StScrub: if (!scrub_busy_i) state_q <= StBegin;
        StBegin:
        if (begin_done_i) begin
          timer_q <= '0;
          blank_q <= 1'b0;
          status_q <= 6'(saf_pkg::StatusOk);
          told_state_q <= set_state_o;
          state_q <= StBegun;
        end
        StBegun, StRepaired: begin
          received_q <= is_open ? q_received_i : {14'd0, q_missing_i};
          missing_q <= q_missing_i;
          if (timer_q == TimerBits'(4)) state_q <= StSay;
        end

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
          state_q <= leaves_q > LeafBits'(2) ? StLock : StVerdict;
        end
        StVerdict: if (own != XsVerifying || timer_q == TimerBits'(VerdictWait)) state_q <= StLock;

        // INVALIDATE
        StTear: if (settled) state_q <= StStart;
        StStart:
        if (mul_done_i) begin
          start_q <= mul_p_i[23:10];
          state_q <= StStop;
        end
        StStop: if (mul_done_i) state_q <= StForget;
        StForget: if (forget_done_i) state_q <= StTorn;
        StTorn: begin
          timer_q <= '0;
          told_state_q <= XsReceiving;
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
