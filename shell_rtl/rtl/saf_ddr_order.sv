// Whose the rows are that arrive in the response buffer.
//
// Data flow: each burst asked for, its client and its rows → FIFO; the DDR clock counts the rows that came (rows_read_i), which
// come in that order → row_o, one a cycle, of client_o.
// Latency: one cycle. Reset: nothing under way. Back-pressure: ready_o low with 32 bursts under way.

module saf_ddr_order (
    input logic clk_i,
    input logic rst_ni,
    input logic asked_i,
    output logic ready_o,
    input logic [1:0] client_i,
    input logic [2:0] count_i,  // rows, less one
    input logic [7:0] rows_read_i,  // rows in the buffer since reset, modulo 256
    output logic row_o,
    output logic [1:0] client_o
);

  logic valid, is_last;
  logic [2:0] count, row_q;
  logic [7:0] rows_seen_q;
  logic [5:0] unused_count;

  saf_fifo_sync #(
      .Width(5),
      .Depth(32)
  ) u_fifo (
      .clk_i,
      .rst_ni,
      .wr_valid_i(asked_i),
      .wr_ready_o(ready_o),
      .wr_data_i({client_i, count_i}),
      .rd_valid_o(valid),
      .rd_ready_i(row_o && is_last),
      .rd_data_o({client_o, count}),
      .count_o(unused_count)
  );
  assign is_last = row_q == count;
  assign row_o = valid && rows_seen_q != rows_read_i;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      rows_seen_q <= '0;
      row_q <= '0;
    end else if (row_o) begin
      rows_seen_q <= rows_seen_q + 8'd1;
      row_q <= is_last ? 3'd0 : row_q + 3'd1;
    end
  end

endmodule
