// Payload streamer: a frame's block out of the frame RAM as one object of the DDR write stream.
//
// Data flow: go_* (a frame that was decided upon; go_write_i: its block is to be written, else it only leaves the frame RAM)
// → beats 5 and following of the oldest frame → wr_*. df_done_o when the frame's RAM may go.
// Latency: first beat two cycles after go, then one a cycle; the next go is taken in the cycle of the last beat, so a block
// of n beats takes n + 2 cycles. Reset: idle; a half-written object stays one (the DDR side is reset too).
// Back-pressure: wr_ready_i stalls; the frame RAM's output register holds the beat. Bytes behind wr_bytes_o in the last
// beat are the frame's padding.

`include "saf_assert.svh"

module saf_bulk_write
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic go_valid_i,
    output logic go_ready_o,
    input logic go_write_i,
    input logic [AddrBits-1:0] go_addr_i,
    input logic [FrameBytesBits-1:0] go_bytes_i,
    output logic idle_o,
    output logic rd_en_o,
    output logic [BeatBits-1:0] rd_addr_o,
    input logic [63:0] rd_data_i,
    output logic df_done_o,
    output logic wr_valid_o,
    input logic wr_ready_i,
    output logic [AddrBits-1:0] wr_addr_o,
    output logic [15:0] wr_bytes_o,
    output logic [63:0] wr_data_o,
    output logic wr_last_o
);

  localparam int unsigned HeaderBeats = saf_pkg::HeaderBytes / 8;

  logic busy_q, write_q, have_q;
  logic [AddrBits-1:0] addr_q;
  logic [FrameBytesBits-1:0] bytes_q;
  logic [BeatBits-1:0] beat_q, stop;
  logic all_read, load;

  // the beat behind the block's last
  assign stop = BeatBits'((bytes_q + FrameBytesBits'(saf_pkg::HeaderBytes + 7)) >> 3);
  assign all_read = beat_q == stop;

  assign rd_en_o = busy_q && write_q && !all_read && (!have_q || wr_ready_i);
  assign rd_addr_o = beat_q;
  assign wr_valid_o = have_q;
  assign wr_addr_o = addr_q;
  assign wr_bytes_o = 16'(bytes_q);
  assign wr_data_o = rd_data_i;
  assign wr_last_o = all_read;

  assign df_done_o = busy_q && (!write_q || (have_q && all_read && wr_ready_i));
  assign go_ready_o = !busy_q || df_done_o;
  assign idle_o = !busy_q;
  assign load = go_valid_i && go_ready_o;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      write_q <= 1'b0;
      have_q <= 1'b0;
      addr_q <= '0;
      bytes_q <= '0;
      beat_q <= '0;
    end else begin
      if (rd_en_o) begin
        beat_q <= beat_q + 1'b1;
        have_q <= 1'b1;
      end else if (wr_ready_i) begin
        have_q <= 1'b0;
      end
      if (load) begin
        busy_q <= 1'b1;
        write_q <= go_write_i;
        addr_q <= go_addr_i;
        bytes_q <= go_bytes_i;
        beat_q <= BeatBits'(HeaderBeats);
      end else if (df_done_o) begin
        busy_q <= 1'b0;
      end
    end
  end

  `SAF_STABLE(AssertWriteStable, wr_valid_o, wr_ready_i, {wr_addr_o, wr_bytes_o, wr_data_o, wr_last_o}, clk_i, rst_ni)
  `SAF_ASSERT(AssertReadsInsideBlock, !rd_en_o || beat_q < stop)
  `SAF_ASSERT(AssertNotEmpty, !(go_valid_i && go_write_i) || go_bytes_i != '0)

endmodule
