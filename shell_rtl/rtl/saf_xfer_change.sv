// What a step of the handler changes: the context's state, leaf jobs that count no more, the record's words read and written.
//
// Combinational; the strobes are one-hot. step_i as for the answer; abort_i, again_i (INVALIDATE's end), clear_i (a new
// owner); scrub_i and begin_i are high while a new transfer, or none any more, is begun.

module saf_xfer_change
  import saf_shell_pkg::*;
(
    // verilator lint_off UNUSEDSIGNAL
    input xfer_step_t step_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic scrub_i,
    input logic begin_i,
    input logic abort_i,
    input logic again_i,
    input logic clear_i,
    input logic is_frame_i,
    input logic is_open_i,
    input logic is_close_i,
    input logic begin_same_i,
    input xfer_next_e next_i,
    input logic closing_i,
    input logic [1:0] ctx_i,
    output xfer_set_t set_o,
    output logic [Contexts-1:0] kill_o,
    output xfer_access_t rd_o,
    output xfer_access_t wr_o
);

  always_comb begin
    set_o.set = abort_i || again_i || step_i.begun;
    set_o.state = XsUnused;
    set_o.guarded = again_i;
    set_o.new_ = abort_i || begin_i;
    set_o.closing = 1'b0;
    if (step_i.act) begin
      // CLOSE: verification begins; INVALIDATE: no block is written while the range is torn out
      set_o.set = next_i == XnFence || next_i == XnTear;
      set_o.state = next_i == XnFence ? XsVerifying : XsClearing;
      set_o.closing = closing_i;
    end
    if (begin_i && is_open_i) set_o.state = begin_same_i ? XsVerified : XsReceiving;
    if (again_i) set_o.state = XsReceiving;
    set_o.clear = clear_i;
    set_o.told = step_i.act && step_i.tell;
    set_o.slot = set_o.set && ctx_i == '0 && (!begin_i || is_open_i);
    set_o.use_slot = is_open_i && (scrub_i || begin_i);
  end

  always_comb begin
    kill_o = '0;
    if (clear_i) kill_o = '1;
    else if (abort_i || step_i.torn) kill_o[ctx_i] = 1'b1;
  end

  always_comb begin
    // the newest CLOSE's index for a verdict, else the newest INVALIDATE's
    rd_o.en = step_i.rest;
    rd_o.addr = step_i.past ? xfer_past_word(step_i.which, XferRecCtl[2:0])
        : xfer_context_word(ctx_i, step_i.tell || is_close_i ? XferRecClose : XferRecCtl);
    // object and index of the frame
    wr_o.en = again_i || (step_i.act && is_frame_i && is_close_i && !step_i.past);
    wr_o.addr = xfer_context_word(ctx_i, is_close_i ? XferRecClose : XferRecCtl);
  end

endmodule
