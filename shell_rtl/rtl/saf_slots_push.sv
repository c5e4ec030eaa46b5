// The one push of the command slots that is under way: a command's result that is sent to the host before the command ends.
//
// Data flow: the words of the slot's payload, one a step of the sequencer -> what to read and where to push it, held until
// `push_done_i`; then `ended_o`, until the command's answer is out. After a forget the push has no command any more: it is
// awaited (`orphan_o`) and dropped.
// Latency: with the payload's last word. Reset: none. Back-pressure: there is one at a time; who has another waits.

`include "saf_assert.svh"

module saf_slots_push
  import saf_shell_pkg::*;
#(
    localparam int unsigned Slots = saf_pkg::CommandSlots
) (
    input logic clk_i,
    input logic rst_ni,
    input slots_state_e state_i,
    // verilator lint_off UNUSEDSIGNAL
    input slots_due_t due_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic [2:0] slot_i,
    input logic [2:0] word_i,
    input logic [31:0] data_i,
    input logic answered_i,  // the answer that tells of it is out
    // verilator lint_off UNUSEDSIGNAL
    input logic [Slots-1:0] pushes_i,  // asserted on
    // verilator lint_on UNUSEDSIGNAL
    output logic ended_o,
    output logic orphan_o,
    output logic [2:0] slot_o,

    output logic push_valid_o,
    input logic push_done_i,
    output logic [31:0] push_read_o,
    output logic [AddrBits-1:0] push_addr_o,
    output logic [20:0] push_bytes_o,
    output logic [15:0] push_block_o
);

  logic valid_q, ended_q, orphan_q;
  logic [2:0] slot_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
      ended_q <= 1'b0;
      orphan_q <= 1'b0;
      slot_q <= '0;
      push_read_o <= '0;
      push_addr_o <= '0;
      push_bytes_o <= '0;
      push_block_o <= '0;
    end else begin
      if (push_done_i) ended_q <= 1'b1;
      if (due_i.forget) orphan_q <= valid_q;
      if (state_i == SqPushTake) begin
        case (word_i)
          3'd0: push_read_o <= data_i;
          3'd1: push_addr_o[AddrBits-1:32] <= data_i[AddrBits-33:0];
          3'd2: push_addr_o[31:0] <= data_i;
          3'd3: push_bytes_o <= data_i[20:0];
          default: begin
            push_block_o <= data_i[31:16];
            slot_q <= slot_i;
            valid_q <= 1'b1;
          end
        endcase
      end
      if (answered_i || (due_i.pushed && orphan_q)) begin
        valid_q <= 1'b0;
        ended_q <= 1'b0;
        orphan_q <= 1'b0;
      end
    end
  end

  assign push_valid_o = valid_q;
  assign ended_o = ended_q;
  assign orphan_o = orphan_q;
  assign slot_o = slot_q;

  `SAF_ASSERT(AssertPushInSlot, !valid_q || orphan_q || pushes_i[slot_q] || state_i == SqReply)

endmodule
