// Ring of received frames with commit: beats are written behind the frames that are kept, and become one of them only by
// commit_i with the last beat; a frame that is not committed is overwritten by the next.
//
// Data flow: beat_* (a frame's beats in order, index 0 starts a frame) → RAM; reads address beats of the oldest frame
// kept. lost_o, valid with each beat: this frame does not fit; it must not be committed.
// Latency: read data one cycle after rd_en_i, held while it is low. A release takes effect on reads and room in the
// next cycle. Reset: empty. Back-pressure: none; what does not fit is lost.

`include "saf_assert.svh"

module saf_rx_ram
  import saf_shell_pkg::BeatBits;
#(
    parameter int unsigned Depth = 2048
) (
    input logic clk_i,
    input logic rst_ni,
    input logic beat_valid_i,
    input logic [BeatBits-1:0] beat_index_i,
    input logic [63:0] beat_data_i,
    input logic commit_i,
    output logic lost_o,
    input logic release_i,
    input logic [BeatBits-1:0] release_beats_i,
    input logic rd_en_i,
    input logic [BeatBits-1:0] rd_addr_i,
    output logic [63:0] rd_data_o
);

  localparam int unsigned AddrWidth = $clog2(Depth);
  localparam int unsigned CountWidth = $clog2(Depth + 1);

  if (Depth < 16 || Depth > 4096) begin : gen_bad_depth
    $error("saf_rx_ram: Depth must be between 16 and 4096");
  end

  function automatic logic [AddrWidth-1:0] forward(input logic [AddrWidth-1:0] from, input logic [BeatBits-1:0] by);
    logic [AddrWidth:0] sum;
    sum = {1'b0, from} + (AddrWidth + 1)'(by);
    return sum >= (AddrWidth + 1)'(Depth) ? AddrWidth'(sum - (AddrWidth + 1)'(Depth)) : sum[AddrWidth-1:0];
  endfunction

  logic first, lost_q;
  logic [AddrWidth-1:0] start_q, next_q, wr_addr, wr_next, base_q;
  logic [CountWidth-1:0] free_q, taken, released;

  assign first = beat_index_i == '0;
  assign lost_o = (!first && lost_q) || CountWidth'(beat_index_i) >= free_q;
  assign wr_addr = first ? start_q : next_q;
  assign wr_next = forward(wr_addr, BeatBits'(1));
  assign taken = commit_i ? CountWidth'(beat_index_i) + 1'b1 : '0;
  assign released = release_i ? CountWidth'(release_beats_i) : '0;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      start_q <= '0;
      next_q <= '0;
      base_q <= '0;
      lost_q <= 1'b0;
      free_q <= CountWidth'(Depth);
    end else begin
      if (beat_valid_i) begin
        next_q <= wr_next;
        lost_q <= lost_o;
      end
      if (commit_i) start_q <= wr_next;
      if (release_i) base_q <= forward(base_q, release_beats_i);
      free_q <= free_q - taken + released;
    end
  end

  saf_ram_1r1w #(
      .Width(64),
      .Depth(Depth)
  ) u_ram (
      .clk_i,
      .wr_en_i(beat_valid_i && !lost_o),
      .wr_addr_i(wr_addr),
      .wr_data_i(beat_data_i),
      .rd_en_i,
      .rd_addr_i(forward(base_q, rd_addr_i)),
      .rd_data_o
  );

  `SAF_ASSERT(AssertCommitFits, !commit_i || (beat_valid_i && !lost_o))
  `SAF_ASSERT(AssertFree, free_q <= CountWidth'(Depth))

endmodule
