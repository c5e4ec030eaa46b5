// DDR-clock half of the MEM FIFO: shows bursts of rows and the lanes of each to the DDR port. Which bytes of a lane count lies
// in the row RAM.
//
// Data flow: burst command → its rows in order, each with the number of its place in the row RAM, which the port reads.
// Latency: none; a beat a cycle. Reset: nothing under way. Back-pressure: the beat holds until the port takes it.

module saf_ddr_issue
  import saf_shell_pkg::*;
(
    input logic ddr_clk_i,
    input logic ddr_rst_ni,

    input logic mem_valid_i,
    output logic mem_ready_o,
    input logic [2:0] mem_count_i,
    input logic [2:0] mem_first_i,
    input logic [2:0] mem_last_i,

    input logic out_ready_i,
    output logic out_last_o,  // of the burst
    output logic [MemRowBits-1:0] out_row_o,
    output logic [7:0] out_lanes_o  // that were written
);

  logic [2:0] beat_q;
  logic [MemRowBits-1:0] row_q;
  logic is_first, is_last, take;

  assign take = mem_valid_i && out_ready_i;
  assign is_first = beat_q == 3'd0;
  assign is_last = beat_q == mem_count_i;
  assign mem_ready_o = take && is_last;
  assign out_last_o = is_last;
  assign out_row_o = row_q;

  always_ff @(posedge ddr_clk_i or negedge ddr_rst_ni) begin
    if (!ddr_rst_ni) begin
      beat_q <= '0;
      row_q <= '0;
    end else if (take) begin
      beat_q <= is_last ? 3'd0 : beat_q + 3'd1;
      row_q <= row_q + 1'b1;
    end
  end

  always_comb begin
    for (int unsigned lane = 0; lane < 8; lane++) begin
      out_lanes_o[lane] = (!is_first || 3'(lane) >= mem_first_i) && (!is_last || 3'(lane) <= mem_last_i);
    end
  end

endmodule
