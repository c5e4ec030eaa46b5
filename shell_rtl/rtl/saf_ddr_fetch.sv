// Prefetch of one read client: what of its range is still to be asked for, what has arrived, where the next beat lies.
//
// Data flow: a command (address, bytes) → bursts, as long as eight of the client's rows are free (ask_*) → rows arrive in order
// (arrived_i) → beats of eight bytes from any byte on (serve_*). A row is free again with its last beat.
// Abort: forgets what is left and gives rows back as they arrive; ready_o says when nothing is under way.
// Reset: idle. Back-pressure: serve_valid_o only where the bytes are there and the client's FIFO has a place.

`include "saf_assert.svh"

module saf_ddr_fetch
  import saf_shell_pkg::*;
#(
    parameter int unsigned Places = 8  // of the client's FIFO
) (
    input logic clk_i,
    input logic rst_ni,

    input logic valid_i,
    output logic ready_o,
    input logic [AddrBits-1:0] addr_i,
    input logic [31:0] bytes_i,
    input logic abort_i,
    output logic drain_o,  // the client's FIFO is to be emptied

    output logic ask_valid_o,
    input logic ask_taken_i,
    output logic [4:0] ask_row_o,
    output logic [DdrWordBits-1:0] ask_addr_o,
    output logic [2:0] ask_count_o,  // rows, less one
    input logic arrived_i,  // a row

    output logic serve_valid_o,
    input logic serve_taken_i,
    output logic [10:0] serve_at_o,  // row, lane, byte
    output logic [2:0] serve_bytes_o,  // of the last beat; 0 is eight
    output logic serve_last_o,
    input logic popped_i  // a beat left the FIFO
);

  localparam int unsigned LengthBits = 28;  // bytes of one command: below 256 MiB
  localparam int unsigned RowBits = LengthBits - 5;

  logic active_q, abort_q;
  logic [DdrWordBits-1:0] ask_addr_q;
  logic [RowBits-1:0] ask_left_q;  // rows
  logic [5:0] used_q, there_q;  // rows asked for and not yet free; those of them that arrived
  logic [10:0] at_q;
  logic [LengthBits-1:0] left_q;
  logic [$clog2(Places+1)-1:0] places_q;  // beats in the FIFO and on their way there

  logic start, idle, ends, crosses, leaves_row;
  logic [1:0] freed;
  logic [2:0] to_boundary;
  logic [RowBits-1:0] ask_rows;

  assign start = valid_i && ready_o;
  assign ready_o = !active_q && !abort_q && !abort_i;
  assign drain_o = abort_q;
  assign idle = left_q == '0 && ask_left_q == '0 && used_q == '0 && places_q == '0;

  // bursts end at multiples of eight rows
  assign to_boundary = 3'd7 - ask_addr_q[2:0];
  assign ask_count_o = ask_left_q > RowBits'(to_boundary) ? to_boundary : 3'(ask_left_q - 1'b1);
  assign ask_rows = RowBits'(ask_count_o) + 1'b1;
  assign ask_valid_o = ask_left_q != '0 && used_q <= 6'(MemReadRows - MemBurstRows);
  assign ask_row_o = at_q[10:6] + used_q[4:0];
  assign ask_addr_o = ask_addr_q;

  // a beat may lie in two rows
  assign ends = left_q <= LengthBits'(8);
  assign crosses = at_q[5:3] == 3'd7
      && (left_q >= LengthBits'(8) ? at_q[2:0] != 3'd0 : {1'b0, at_q[2:0]} + {1'b0, left_q[2:0]} > 4'd8);
  assign leaves_row = ends || at_q[5:3] == 3'd7;
  assign serve_valid_o = left_q != '0 && there_q > {5'd0, crosses} && places_q != $bits(places_q)'(Places);
  assign serve_at_o = at_q;
  assign serve_bytes_o = left_q[2:0];
  assign serve_last_o = ends;

  always_comb begin
    freed = 2'd0;
    if (abort_q) freed = {1'b0, there_q != '0};
    else if (serve_taken_i) freed = {1'b0, leaves_row} + {1'b0, ends && crosses};
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      active_q <= 1'b0;
      abort_q <= 1'b0;
      ask_addr_q <= '0;
      ask_left_q <= '0;
      used_q <= '0;
      there_q <= '0;
      at_q <= '0;
      left_q <= '0;
      places_q <= '0;
    end else begin
      active_q <= start || (active_q && !idle);
      abort_q <= abort_i || (abort_q && !idle);
      used_q <= used_q + (ask_taken_i ? 6'(ask_rows) : 6'd0) - {4'd0, freed};
      there_q <= there_q + {5'd0, arrived_i} - {4'd0, freed};
      places_q <= places_q + $bits(places_q)'(serve_taken_i) - $bits(places_q)'(popped_i);

      if (start) begin
        ask_addr_q <= addr_i[AddrBits-1:6];
        ask_left_q <= RowBits'((bytes_i[LengthBits-1:0] + LengthBits'(addr_i[5:0]) + LengthBits'(63)) >> 6);
        left_q <= bytes_i[LengthBits-1:0];
        at_q[5:0] <= addr_i[5:0];
      end else if (abort_i || abort_q) begin
        ask_left_q <= '0;
        left_q <= '0;
        at_q[10:6] <= at_q[10:6] + {3'd0, freed};
      end else begin
        if (ask_taken_i) begin
          ask_addr_q <= ask_addr_q + DdrWordBits'(ask_rows);
          ask_left_q <= ask_left_q - ask_rows;
        end
        if (serve_taken_i) begin
          left_q <= ends ? '0 : left_q - LengthBits'(8);
          at_q <= ends ? {at_q[10:6] + {3'd0, freed}, 6'd0} : at_q + 11'd8;
        end
      end
    end
  end

  `SAF_ASSERT(AssertRange, !start || (bytes_i != '0 && bytes_i[31:LengthBits] == '0))
  `SAF_ASSERT(AssertRows, there_q <= used_q && used_q <= 6'(MemReadRows))
  `SAF_ASSERT(AssertArrived, !arrived_i || there_q != used_q)

endmodule
