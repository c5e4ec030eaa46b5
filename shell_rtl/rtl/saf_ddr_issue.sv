// DDR-clock half of the MEM FIFO: presents bursts of rows and the lanes of each to the DDR port. Which bytes of a lane count lies
// in the row RAM.
//
// Data flow: burst command → rows of the RAM in order, one read ahead of the port; the RAM's output register is the write data.
// Latency: two cycles from the command to the first beat; a beat a cycle inside a burst, one cycle between bursts.
// Reset: nothing under way. Back-pressure: the beat holds until the port takes it.

module saf_ddr_issue (
    input logic ddr_clk_i,
    input logic ddr_rst_ni,

    input logic mem_valid_i,
    output logic mem_ready_o,
    input logic [2:0] mem_count_i,
    input logic [2:0] mem_first_i,
    input logic [2:0] mem_last_i,

    output logic row_re_o,
    output logic [5:0] row_addr_o,
    output logic row_done_o,  // a row is in DDR

    output logic out_valid_o,
    input logic out_ready_i,
    output logic out_last_o,  // of the burst
    output logic [7:0] out_lanes_o  // that were written
);

  logic shown_q, take;
  logic [2:0] beat_q;
  logic [5:0] row_q;
  logic is_first, is_last;

  assign is_first = beat_q == 3'd0;
  assign is_last = beat_q == mem_count_i;
  assign take = shown_q && out_ready_i;
  assign row_re_o = mem_valid_i && (!shown_q || (take && !is_last));
  assign row_addr_o = row_q;
  assign row_done_o = take;
  assign mem_ready_o = take && is_last;
  assign out_valid_o = shown_q;
  assign out_last_o = is_last;

  always_ff @(posedge ddr_clk_i or negedge ddr_rst_ni) begin
    if (!ddr_rst_ni) begin
      shown_q <= 1'b0;
      beat_q <= '0;
      row_q <= '0;
    end else begin
      if (row_re_o) begin
        shown_q <= 1'b1;
        row_q <= row_q + 6'd1;
      end else if (take) begin
        shown_q <= 1'b0;
      end
      if (take) beat_q <= is_last ? 3'd0 : beat_q + 3'd1;
    end
  end

  always_comb begin
    for (int unsigned lane = 0; lane < 8; lane++) begin
      out_lanes_o[lane] = (!is_first || 3'(lane) >= mem_first_i) && (!is_last || 3'(lane) <= mem_last_i);
    end
  end

endmodule
