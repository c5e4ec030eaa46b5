// Which contexts still have blocks on their way to DDR.
//
// Purpose: a transfer is sealed only when its last block is in DDR. Blocks get a running number as they leave; the DDR side
// reports them in that order, so a context is clear once the number of its latest block was reported.
// Latency: pending_o one cycle after issue_i or done_i. Reset: nothing is on its way. Back-pressure: room_o low: as many
// blocks are on their way as can be told apart; nothing may be issued.

`include "saf_assert.svh"

module saf_bulk_fence
  import saf_shell_pkg::*;
#(
    parameter int unsigned NumberBits = 8
) (
    input logic clk_i,
    input logic rst_ni,
    input logic issue_i,
    input logic [1:0] issue_ctx_i,
    input logic done_i,
    output logic room_o,
    output logic [NumberBits-1:0] issued_o,  // number of the latest block issued, this cycle's included
    output logic [NumberBits-1:0] done_o,  // of the latest one reported
    output logic [Contexts-1:0] pending_o
);

  logic [NumberBits-1:0] issued_q, done_q, issued_next, done_next;
  logic [Contexts-1:0][NumberBits-1:0] latest_q;

  assign issued_next = issued_q + 1'b1;
  assign done_next = done_q + 1'b1;
  assign issued_o = issue_i ? issued_next : issued_q;
  assign done_o = done_q;
  assign room_o = issued_next != done_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      issued_q <= '0;
      done_q <= '0;
      latest_q <= '0;
      pending_o <= '0;
    end else begin
      if (done_i) begin
        done_q <= done_next;
        for (int unsigned i = 0; i < Contexts; i++) if (latest_q[i] == done_next) pending_o[i] <= 1'b0;
      end
      if (issue_i) begin
        issued_q <= issued_next;
        latest_q[issue_ctx_i] <= issued_next;
        pending_o[issue_ctx_i] <= 1'b1;
      end
    end
  end

  `SAF_ASSERT(AssertRoom, !issue_i || room_o)
  `SAF_ASSERT(AssertDoneWasIssued, !done_i || done_q != issued_q)
  `SAF_ASSERT(AssertEmptyIsClear, done_q != issued_q || pending_o == '0)

endmodule
