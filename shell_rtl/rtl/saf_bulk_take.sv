// One frame at a time between the checks and the payload: bounds, guard, bitmap.
//
// Purpose: decides whether a frame's block is written, clears its bit first (so that of two equal blocks one is written),
// and hands the frame to the payload streamer, which works on the frame before meanwhile.
// Data flow: in_* (checked frame; a dropped one only passes through) → bounds → guard, if the frame is GUARDED → bitmap →
// go_*. A frame whose guard is checked waits until all frames before it have left the frame RAM.
// Latency: 1 cycle for a dropped frame, 5 to 9 for another one, plus the guard's. Reset: empty.
// Back-pressure: go_ready_i; room_i (blocks on their way to DDR).

`include "saf_assert.svh"

module saf_bulk_take
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic in_valid_i,
    output logic in_ready_o,
    input logic in_drop_i,
    input logic in_guarded_i,
    input logic [1:0] in_ctx_i,
    input logic [BlockBits-2:0] in_index_i,
    input logic [FrameBytesBits-1:0] in_bytes_i,
    input logic [AddrBits-1:0] in_addr_i,
    input logic bound_ok_i,
    // guard; guard_start_o holds until done
    input logic oldest_i,
    output logic guard_start_o,
    input logic guard_done_i,
    input logic guard_ok_i,
    // bitmap; take_valid_o holds until done
    input logic room_i,
    output logic take_valid_o,
    input logic take_done_i,
    input logic take_new_i,
    // to the streamer; ctx, index, addr and bytes hold while a frame is here
    output logic go_valid_o,
    input logic go_ready_i,
    output logic go_write_o,
    output logic [1:0] ctx_o,
    output logic [BlockBits-2:0] index_o,
    output logic [FrameBytesBits-1:0] bytes_o,
    output logic [AddrBits-1:0] addr_o,
    output logic undecided_o,
    output logic drop_valid_o,
    output logic [4:0] drop_reason_o
);

  typedef enum logic [2:0] {
    StEmpty,
    StBounds,
    StGuard,
    StTake,
    StWrite,
    StSkip
  } state_e;

  state_e state_q;
  logic guarded_q, out_of_bounds, bad_guard, duplicate;

  assign in_ready_o = state_q == StEmpty || (go_valid_o && go_ready_i);
  assign go_valid_o = state_q == StWrite || state_q == StSkip;
  assign go_write_o = state_q == StWrite;
  assign guard_start_o = state_q == StGuard && oldest_i;
  assign take_valid_o = state_q == StTake && room_i;
  assign undecided_o = state_q == StBounds || state_q == StGuard || state_q == StTake;

  assign out_of_bounds = state_q == StBounds && !bound_ok_i;
  assign bad_guard = state_q == StGuard && guard_done_i && !guard_ok_i;
  assign duplicate = take_done_i && !take_new_i;
  assign drop_valid_o = out_of_bounds || bad_guard || duplicate;

  always_comb begin
    drop_reason_o = 5'(saf_pkg::DropReasonDuplicateBlock);
    if (out_of_bounds) drop_reason_o = 5'(saf_pkg::DropReasonIndexOutOfRange);
    if (bad_guard) drop_reason_o = 5'(saf_pkg::DropReasonUnguarded);
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StEmpty;
      guarded_q <= 1'b0;
      ctx_o <= '0;
      index_o <= '0;
      bytes_o <= '0;
      addr_o <= '0;
    end else if (in_valid_i && in_ready_o) begin
      state_q <= in_drop_i ? StSkip : StBounds;
      guarded_q <= in_guarded_i;
      ctx_o <= in_ctx_i;
      index_o <= in_index_i;
      bytes_o <= in_bytes_i;
      addr_o <= in_addr_i;
    end else begin
      case (state_q)
        StBounds: state_q <= out_of_bounds ? StSkip : guarded_q ? StGuard : StTake;
        StGuard: if (guard_done_i) state_q <= guard_ok_i ? StTake : StSkip;
        StTake: if (take_done_i) state_q <= take_new_i ? StWrite : StSkip;
        StWrite, StSkip: if (go_ready_i) state_q <= StEmpty;
        default: state_q <= StEmpty;
      endcase
    end
  end

  // the address comes from the same table as the bounds: they never disagree
  `SAF_ASSERT(AssertInBounds, !out_of_bounds)
  `SAF_ASSERT(AssertTakeAsked, !take_done_i || take_valid_o)

endmodule
