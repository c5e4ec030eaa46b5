// Ends of several commands at once: why, and whose; and what is remembered of the latest KILL.
//
// Data flow: KILL (with its number, at most once), COMMIT or a bus that failed -> `by_o`, until the sequencer is idle again; it
// then asks slot by slot (`slot_i`) whether that one ends. A bus that failed ends what is launched; the others end all, but
// not a command that ended by itself and whose result is on its way.
// Latency: one cycle; `ends_o` at once. Reset: no KILL known; forget: likewise. Back-pressure: none.

module saf_slots_kill
  import saf_shell_pkg::*;
#(
    localparam int unsigned Slots = saf_pkg::CommandSlots
) (
    input logic clk_i,
    input logic rst_ni,
    input slots_state_e state_i,
    // verilator lint_off UNUSEDSIGNAL
    input slots_due_t due_i,
    input slots_ask_t ask_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic [31:0] index_i,
    input logic forget_i,
    input logic bus_failed_i,
    input logic [2:0] slot_i,
    input logic walked_i,  // all slots were asked
    input logic [Slots-1:0] running_i,
    input logic [Slots-1:0] launched_i,
    input logic pushing_i,
    input logic [2:0] push_slot_i,
    output slots_kill_e by_o,
    output logic ends_o,
    output logic new_o,  // this KILL is
    output logic known_o,
    output logic ok_o,  // so the latest was answered
    output logic [31:0] last_o,
    output logic done_o  // COMMIT's
);

  slots_kill_e by_q;
  logic known_q, ok_q, done_q;
  logic [31:0] last_q;
  logic [Slots-1:0] killable;

  assign killable = running_i & ~(pushing_i ? Slots'(1) << push_slot_i : '0);
  assign ends_o = by_q == KillFault ? launched_i[slot_i] : killable[slot_i];
  assign new_o = state_i == SqInfo && ask_i.is_kill && !ask_i.older && !ask_i.same;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      by_q <= KillNone;
      known_q <= 1'b0;
      ok_q <= 1'b0;
      done_q <= 1'b0;
    end else begin
      done_q <= state_i == SqKillNext && walked_i && by_q == KillCommit;
      if (state_i == SqIdle) by_q <= due_i.kill ? KillCommit : KillNone;
      if (due_i.forget) known_q <= 1'b0;
      if (new_o) begin
        known_q <= 1'b1;
        ok_q <= !ask_i.bad_epoch;
        if (!ask_i.bad_epoch) by_q <= KillCommand;
      end
      if (bus_failed_i) by_q <= KillFault;
    end
  end

  // cleared by the flops' own synchronous clear, after a reset too
  always_ff @(posedge clk_i) begin
    if (new_o) last_q <= index_i;
    else if (!known_q || forget_i) last_q <= '0;
  end

  assign by_o = by_q;
  assign known_o = known_q;
  assign ok_o = ok_q;
  assign last_o = last_q;
  assign done_o = done_q;

endmodule
