// States of the command slots, and the order in which their commands came.
//
// Data flow: one slot (`slot_i`) changes a cycle, by what the sequencer is at. `order_o`: all slots, the one whose command was queued last at the end, so
// that a command's place tells which came before it. Latency: one cycle. Reset: all idle; forget: likewise.
// Back-pressure: none.

module saf_slots_state
  import saf_shell_pkg::*;
#(
    localparam int unsigned Slots = saf_pkg::CommandSlots
) (
    input logic clk_i,
    input logic rst_ni,
    input logic forget_i,
    input logic [2:0] slot_i,
    input slots_state_e state_i,
    input logic recorded_i,
    // verilator lint_off UNUSEDSIGNAL
    input slots_ask_t ask_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic cmd_done_i,
    input logic role_fault_i,  // of all that is launched
    output slot_e [Slots-1:0] slots_o,
    output logic [Slots-1:0] queued_o,
    output logic [Slots-1:0] launched_o,
    output logic [Slots-1:0] pushes_o,
    output logic [Slots-1:0] deadline_o,  // runs, and has a deadline
    output logic [Slots-1:0] fault_o,
    output logic [Slots-1:0][2:0] order_o
);

  slot_e [Slots-1:0] slots_q;
  logic [Slots-1:0] deadline_q, fault_q;

  logic set;
  slot_e becomes;
  always_comb begin
    becomes = SlotDone;
    case (state_i)
      SqRecord: {set, becomes} = {recorded_i, ask_i.empty ? SlotPush : SlotQueued};
      SqLaunch: {set, becomes} = {cmd_done_i, SlotLaunched};
      SqEnded: {set, becomes} = {1'b1, SlotPush};
      default: set = state_i == SqFinish;
    endcase
  end

  for (genvar s = 0; s < Slots; s++) begin : gen_slot
    logic here;
    assign here = slot_i == 3'(s);

    always_ff @(posedge clk_i or negedge rst_ni) begin
      if (!rst_ni) begin
        slots_q[s] <= SlotIdle;
        deadline_q[s] <= 1'b0;
        fault_q[s] <= 1'b0;
      end else begin
        if (forget_i) slots_q[s] <= SlotIdle;
        else if (set && here) slots_q[s] <= becomes;
        if (state_i == SqRecord && here) deadline_q[s] <= ask_i.deadline;
        // a launch begins without
        fault_q[s] <= (role_fault_i || fault_q[s]) && launched_o[s];
      end
    end

    assign queued_o[s] = slots_q[s] == SlotQueued;
    assign launched_o[s] = slots_q[s] == SlotLaunched;
    assign pushes_o[s] = slots_q[s] == SlotPush;
    assign deadline_o[s] = deadline_q[s] && (queued_o[s] || launched_o[s]);
  end

  assign slots_o = slots_q;
  assign fault_o = fault_q;

  // the slot that queues a command goes to the end, those behind it move up
  logic [Slots-1:0][2:0] order_q;
  logic [Slots-1:0] behind;
  assign behind[0] = order_q[0] == slot_i;
  for (genvar i = 1; i < Slots; i++) begin : gen_behind
    assign behind[i] = behind[i-1] || order_q[i] == slot_i;
  end
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      for (int unsigned i = 0; i < Slots; i++) order_q[i] <= 3'(i);
    end else if (set && becomes == SlotQueued) begin
      for (int unsigned i = 0; i < Slots - 1; i++) if (behind[i]) order_q[i] <= order_q[i+1];
      order_q[Slots-1] <= slot_i;
    end
  end
  assign order_o = order_q;

endmodule
