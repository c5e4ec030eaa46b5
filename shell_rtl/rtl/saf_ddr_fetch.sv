// One read client's account: rows under way and there, beats on their way to it, whether it has anything left to ask and to serve.
//
// Data flow: saf_ddr_read does the work for all clients in turn and reports here: a start, a burst asked for, a row that arrived,
// a step served (a beat, or the first word of an unaligned range), a beat that the client took.
// Abort: forgets what is left and gives rows back as they arrive; idle_o says when nothing is under way.
// Reset: idle.

`include "saf_assert.svh"

module saf_ddr_fetch
  import saf_shell_pkg::*;
#(
    parameter int unsigned Places = 8  // of the client's FIFO
) (
    input logic clk_i,
    input logic rst_ni,

    input logic start_i,
    input logic abort_i,
    output logic idle_o,
    output logic drain_o,  // the client's FIFO is to be emptied

    output logic ask_o,  // wants a burst
    input logic asked_i,
    input logic [3:0] asked_rows_i,
    input logic asked_last_i,
    input logic arrived_i,  // a row

    output logic serve_o,  // has a step
    input logic served_i,
    output logic last_row_o,  // the row in turn is the last
    output logic dry_o,  // the step needs no word
    input logic served_row_i,  // the step was the last one in its row
    input logic served_beat_i,  // the step gave a beat
    input logic served_last_i,
    input logic next_dry_i,  // what dry_o is to be in the step after it
    input logic popped_i  // a beat left the FIFO
);

  localparam int unsigned PlaceBits = $clog2(Places + 1);

  logic active_q, abort_q, more_q, left_q, dry_q;
  logic [5:0] used_q, there_q;  // rows asked for and not yet free; those of them that arrived
  logic [PlaceBits-1:0] places_q;  // beats in the FIFO and on their way there
  logic over, freed;

  assign idle_o = !active_q && !abort_q && !abort_i;
  assign drain_o = abort_q;
  assign over = !more_q && !left_q && used_q == '0 && places_q == '0;
  assign ask_o = more_q && used_q <= 6'(MemReadRows - MemBurstRows);
  assign serve_o = left_q && (there_q != '0 || dry_q) && places_q != PlaceBits'(Places);
  assign last_row_o = !more_q && used_q == 6'd1;
  assign dry_o = dry_q;
  assign freed = abort_q ? there_q != '0 : served_i && served_row_i;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      active_q <= 1'b0;
      abort_q <= 1'b0;
      more_q <= 1'b0;
      left_q <= 1'b0;
      dry_q <= 1'b0;
      used_q <= '0;
      there_q <= '0;
      places_q <= '0;
    end else begin
      active_q <= start_i || (active_q && !over);
      abort_q <= abort_i || (abort_q && !over);
      if (start_i) more_q <= 1'b1;
      else if (abort_i || (asked_i && asked_last_i)) more_q <= 1'b0;
      if (start_i) left_q <= 1'b1;
      else if (abort_i || (served_i && served_last_i)) left_q <= 1'b0;
      if (start_i) dry_q <= 1'b0;
      else if (served_i) dry_q <= next_dry_i;
      used_q <= used_q + (asked_i ? {2'd0, asked_rows_i} : 6'd0) - {5'd0, freed};
      there_q <= there_q + {5'd0, arrived_i} - {5'd0, freed};
      places_q <= places_q + PlaceBits'(served_i && served_beat_i) - PlaceBits'(popped_i);
    end
  end

  `SAF_ASSERT(AssertRows, there_q <= used_q && used_q <= 6'(MemReadRows))
  `SAF_ASSERT(AssertArrived, !arrived_i || there_q != used_q)
  `SAF_ASSERT(AssertFreed, !freed || there_q != '0)
  `SAF_ASSERT(AssertStart, !start_i || over)

endmodule
