// States of the command slots, and which of them wait for which: a command waits for those before it on the same kernel.
//
// Data flow: one slot (`slot_i`) changes a cycle. Latency: one cycle. Reset and forget: all idle. Back-pressure: none.

module saf_slots_state
  import saf_shell_pkg::*;
#(
    localparam int unsigned Slots = saf_pkg::CommandSlots
) (
    input logic clk_i,
    input logic rst_ni,
    input logic forget_i,
    input logic [2:0] slot_i,
    input logic set_i,
    input slot_e state_i,
    input logic leave_i,  // the slot's kernel is free again: nobody waits for it any more
    input logic wait_set_i,  // slot_i waits for wait_for_i, or does not
    input logic [2:0] wait_for_i,
    input logic wait_i,
    input logic deadline_set_i,
    input logic deadline_i,
    input logic role_fault_i,  // of all that is launched
    output slot_e [Slots-1:0] slots_o,
    output logic [Slots-1:0] queued_o,
    output logic [Slots-1:0] launched_o,
    output logic [Slots-1:0] pushes_o,
    output logic [Slots-1:0] free_o,  // waits for no slot
    output logic [Slots-1:0] deadline_o,  // runs, and has a deadline
    output logic [Slots-1:0] fault_o
);

  slot_e [Slots-1:0] slots_q;
  logic [Slots-1:0][Slots-1:0] wait_q;
  logic [Slots-1:0] deadline_q, fault_q;

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
        else if (set_i && here) slots_q[s] <= state_i;
        if (deadline_set_i && here) deadline_q[s] <= deadline_i;
        // a launch begins without
        fault_q[s] <= (role_fault_i || fault_q[s]) && launched_o[s];
      end
    end

    for (genvar t = 0; t < Slots; t++) begin : gen_wait
      if (t == s) begin : gen_self
        assign wait_q[s][t] = 1'b0;
      end else begin : gen_other
        always_ff @(posedge clk_i or negedge rst_ni) begin
          if (!rst_ni) wait_q[s][t] <= 1'b0;
          else if (leave_i && slot_i == 3'(t)) wait_q[s][t] <= 1'b0;
          else if (wait_set_i && here && wait_for_i == 3'(t)) wait_q[s][t] <= wait_i;
        end
      end
    end

    assign queued_o[s] = slots_q[s] == SlotQueued;
    assign launched_o[s] = slots_q[s] == SlotLaunched;
    assign pushes_o[s] = slots_q[s] == SlotPush;
    assign free_o[s] = wait_q[s] == '0;
    assign deadline_o[s] = deadline_q[s] && (queued_o[s] || launched_o[s]);
  end

  assign slots_o = slots_q;
  assign fault_o = fault_q;

endmodule
