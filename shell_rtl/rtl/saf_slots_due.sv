// What the sequencer of the command slots does next when it is idle.
//
// Data flow: what is asked -> `due_o`, at most one of its bits, in this order: forget all; the reset the role's kernels are owed,
// once none runs; the end of all commands that COMMIT asks for; a handler's request; a register; a push that ended. Else a
// slot is looked at: is its kernel done, is its deadline over, may it be launched, has it a push? Four cycles a slot, 32
// a round; a kernel is asked in rounds that follow an interrupt or a while without. `goes_o` says where to.
// Latency: combinational. Reset: nothing asked, the first slot. Back-pressure: what is asked waits.

module saf_slots_due
  import saf_shell_pkg::*;
#(
    localparam int unsigned Slots = saf_pkg::CommandSlots
) (
    input logic clk_i,
    input logic rst_ni,
    input logic idle_i,
    input logic forget_i,
    output logic forget_busy_o,
    input logic reset_i,  // is owed
    input logic kill_i,
    input logic ask_i,
    input logic register_i,
    input logic push_valid_i,
    input logic push_ended_i,
    input logic irq_i,
    input logic freeze_i,
    input logic [Slots-1:0] queued_i,
    input logic [Slots-1:0] launched_i,
    input logic [Slots-1:0] pushes_i,
    input logic [Slots-1:0] deadlines_i,
    output slots_due_t due_o,
    output logic [2:0] slot_o,  // that is looked at
    output slots_state_e goes_o
);

  localparam int unsigned TickBits = 10;  // without an interrupt a kernel is asked every 1024 cycles

  logic [4:0] scan_q;
  logic [TickBits-1:0] tick_q;
  logic due_q, polling_q, forget_q;
  logic [2:0] scan_slot;
  assign scan_slot = scan_q[4:2];

  always_comb begin
    due_o = '0;
    if (idle_i) begin
      if (forget_q) due_o.forget = 1'b1;
      else if (reset_i && launched_i == '0) due_o.reset = 1'b1;
      else if (kill_i) due_o.kill = 1'b1;
      else if (ask_i) due_o.ask = 1'b1;
      else if (register_i) due_o.read = 1'b1;
      else if (push_ended_i) due_o.pushed = 1'b1;
      else due_o.scan = 1'b1;
    end
  end

  always_comb begin
    goes_o = SqIdle;
    case (scan_q[1:0])
      2'd0: if (launched_i[scan_slot] && polling_q && !freeze_i) goes_o = SqPollFetch;
      2'd1: if (deadlines_i[scan_slot]) goes_o = SqDeadlineFetch;
      2'd2: if (queued_i[scan_slot] && !reset_i && !freeze_i) goes_o = SqLaunchFetch;
      default: if (pushes_i[scan_slot] && !push_valid_i) goes_o = SqPushFetch;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      scan_q <= '0;
      tick_q <= '0;
      due_q <= 1'b0;
      polling_q <= 1'b0;
      forget_q <= 1'b0;
    end else begin
      tick_q <= tick_q + 1'b1;
      if (forget_i) forget_q <= 1'b1;
      else if (due_o.forget) forget_q <= 1'b0;
      if (due_o.scan) begin
        scan_q <= scan_q + 5'd1;
        if (scan_q == '1) begin
          polling_q <= irq_i || due_q;
          due_q <= 1'b0;
        end
      end
      // behind the scan, which may end in this very cycle: the two go at the same pace
      if (tick_q == '0) due_q <= 1'b1;
    end
  end

  assign forget_busy_o = forget_q;
  assign slot_o = scan_slot;

endmodule
