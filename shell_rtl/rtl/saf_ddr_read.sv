// Core-clock half of the readers: four clients prefetch through one response buffer, in rows of their own.
//
// Data flow: saf_ddr_fetch of each client → bursts in turn (the highest client first: the PR controller must not starve) →
// ask_* to the DDR clock; rows come back in the order asked for, so a count of them (rows_read_i) says whose they are → one beat a
// cycle is served from the buffer's eight lanes, at any byte: two neighbouring lanes are chosen and shifted → a small FIFO
// a client. All clients share that beat a cycle (1.25 GB/s at 156.25 MHz): the highest first, result frames (Background) last,
// as hashing limits a READ, not sending it.
// Latency: command to first beat 9 core cycles, the DDR's and two crossings; then a beat a cycle.
// Reset: nothing under way; the DDR half is reset too. Back-pressure: a client that does not take its beats holds up itself.

module saf_ddr_read
  import saf_shell_pkg::*;
#(
    parameter int unsigned NumRd = 4,
    parameter int unsigned Background = 2  // the client that gets what the others leave
) (
    input logic clk_i,
    input logic rst_ni,

    input logic [NumRd-1:0] rd_valid_i,
    output logic [NumRd-1:0] rd_ready_o,
    input logic [NumRd-1:0][AddrBits-1:0] rd_addr_i,
    input logic [NumRd-1:0][31:0] rd_bytes_i,
    output logic [NumRd-1:0] rd_dvalid_o,
    input logic [NumRd-1:0] rd_dready_i,
    output logic [NumRd-1:0][63:0] rd_data_o,
    output logic [NumRd-1:0] rd_dlast_o,
    input logic [NumRd-1:0] rd_abort_i,

    output logic ask_valid_o,
    input logic ask_ready_i,
    output mem_read_t ask_o,
    input logic [7:0] rows_read_i,  // rows in the buffer since reset, modulo 256

    // response buffer: address of each lane, its data the cycle after; first byte of a row in lane 0, bits 63:56
    output logic buf_re_o,
    output logic [7:0][6:0] buf_addr_o,
    input logic [7:0][63:0] buf_data_i
);

  localparam int unsigned Places = 8;

  logic [NumRd-1:0] want, asks, arrives, offers, serves, pops, drains, fifo_valid;
  logic [NumRd-1:0][4:0] ask_row;
  logic [NumRd-1:0][DdrWordBits-1:0] ask_addr;
  logic [NumRd-1:0][2:0] ask_count;
  logic [NumRd-1:0][10:0] serve_at;
  logic [NumRd-1:0][2:0] serve_bytes;
  logic [NumRd-1:0] serve_last;

  // ---- bursts: chosen in one cycle, sent in the next
  logic ask_valid_q, ask_sent, order_ready;
  logic [1:0] ask_client_q, ask_client_d;

  always_comb begin
    ask_client_d = '0;
    for (int unsigned i = 0; i < NumRd; i++) if (want[i]) ask_client_d = 2'(i);
  end
  assign ask_valid_o = ask_valid_q && want[ask_client_q] && order_ready;
  assign ask_sent = ask_valid_o && ask_ready_i;
  assign ask_o = '{
          client: ask_client_q,
          row: ask_row[ask_client_q],
          addr: ask_addr[ask_client_q],
          count: ask_count[ask_client_q]
      };

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      ask_valid_q <= 1'b0;
      ask_client_q <= '0;
    end else if (!ask_valid_q || ask_sent || !want[ask_client_q]) begin
      ask_valid_q <= |want && !ask_valid_q;
      ask_client_q <= ask_client_d;
    end
  end

  // ---- whose rows arrive
  logic order_valid, row_new;
  logic [1:0] order_client;
  logic [2:0] order_count, row_q;
  logic [7:0] rows_seen_q;
  logic [5:0] unused_order;

  assign row_new = order_valid && rows_seen_q != rows_read_i;

  saf_fifo_sync #(
      .Width(5),
      .Depth(32)
  ) u_order (
      .clk_i,
      .rst_ni,
      .wr_valid_i(ask_sent),
      .wr_ready_o(order_ready),
      .wr_data_i({ask_o.client, ask_o.count}),
      .rd_valid_o(order_valid),
      .rd_ready_i(row_new && row_q == order_count),
      .rd_data_o({order_client, order_count}),
      .count_o(unused_order)
  );

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      rows_seen_q <= '0;
      row_q <= '0;
    end else if (row_new) begin
      rows_seen_q <= rows_seen_q + 8'd1;
      row_q <= row_q == order_count ? 3'd0 : row_q + 3'd1;
    end
  end

  // ---- a beat a cycle
  logic [1:0] serve_client;
  logic [10:0] at;

  always_comb begin
    serve_client = 2'(Background);
    for (int unsigned i = 0; i < NumRd; i++) if (i != Background && offers[i]) serve_client = 2'(i);
  end
  assign at = serve_at[serve_client];
  assign buf_re_o = |offers;
  always_comb begin
    // only the lane behind lane 7 lies in the next row
    for (int unsigned lane = 0; lane < 8; lane++) buf_addr_o[lane] = {serve_client, at[10:6]};
    if (at[5:3] == 3'd7) buf_addr_o[0] = {serve_client, at[10:6] + 5'd1};
  end

  logic first_valid_q, first_last_q, second_valid_q, second_last_q;
  logic [1:0] first_client_q, second_client_q;
  logic [5:0] first_at_q;
  logic [2:0] first_bytes_q, second_bytes_q, second_shift_q;
  logic [63:0] low_q;
  logic [55:0] high_q;
  logic [63:0] shifted, masked;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      first_valid_q <= 1'b0;
      first_last_q <= 1'b0;
      first_client_q <= '0;
      first_at_q <= '0;
      first_bytes_q <= '0;
      second_valid_q <= 1'b0;
      second_last_q <= 1'b0;
      second_client_q <= '0;
      second_bytes_q <= '0;
      second_shift_q <= '0;
      low_q <= '0;
      high_q <= '0;
    end else begin
      first_valid_q <= |offers;
      first_last_q <= serve_last[serve_client];
      first_client_q <= serve_client;
      first_at_q <= at[5:0];
      first_bytes_q <= serve_bytes[serve_client];
      second_valid_q <= first_valid_q;
      second_last_q <= first_last_q;
      second_client_q <= first_client_q;
      second_bytes_q <= first_last_q ? first_bytes_q : 3'd0;
      second_shift_q <= first_at_q[2:0];
      low_q <= buf_data_i[first_at_q[5:3]];
      high_q <= buf_data_i[first_at_q[5:3]+3'd1][63:8];
    end
  end

  always_comb begin
    case (second_shift_q)
      3'd0: shifted = low_q;
      3'd1: shifted = {low_q[55:0], high_q[55:48]};
      3'd2: shifted = {low_q[47:0], high_q[55:40]};
      3'd3: shifted = {low_q[39:0], high_q[55:32]};
      3'd4: shifted = {low_q[31:0], high_q[55:24]};
      3'd5: shifted = {low_q[23:0], high_q[55:16]};
      3'd6: shifted = {low_q[15:0], high_q[55:8]};
      default: shifted = {low_q[7:0], high_q};
    endcase
    // behind the last byte: zeros
    for (int unsigned i = 0; i < 8; i++) begin
      masked[8*(7-i)+:8] = second_bytes_q == 3'd0 || 3'(i) < second_bytes_q ? shifted[8*(7-i)+:8] : 8'd0;
    end
  end

  // ---- the clients
  for (genvar i = 0; i < int'(NumRd); i++) begin : gen_client
    logic unused_ready;
    logic [$clog2(Places+1)-1:0] unused_count;

    assign asks[i] = ask_sent && ask_client_q == 2'(i);
    assign arrives[i] = row_new && order_client == 2'(i);
    assign serves[i] = |offers && serve_client == 2'(i);
    assign rd_dvalid_o[i] = fifo_valid[i] && !drains[i];
    assign pops[i] = fifo_valid[i] && (rd_dready_i[i] || drains[i]);

    saf_ddr_fetch #(
        .Places(Places)
    ) u_fetch (
        .clk_i,
        .rst_ni,
        .valid_i(rd_valid_i[i]),
        .ready_o(rd_ready_o[i]),
        .addr_i(rd_addr_i[i]),
        .bytes_i(rd_bytes_i[i]),
        .abort_i(rd_abort_i[i]),
        .drain_o(drains[i]),
        .ask_valid_o(want[i]),
        .ask_taken_i(asks[i]),
        .ask_row_o(ask_row[i]),
        .ask_addr_o(ask_addr[i]),
        .ask_count_o(ask_count[i]),
        .arrived_i(arrives[i]),
        .serve_valid_o(offers[i]),
        .serve_taken_i(serves[i]),
        .serve_at_o(serve_at[i]),
        .serve_bytes_o(serve_bytes[i]),
        .serve_last_o(serve_last[i]),
        .popped_i(pops[i])
    );

    saf_fifo_sync #(
        .Width(65),
        .Depth(Places)
    ) u_beats (
        .clk_i,
        .rst_ni,
        .wr_valid_i(second_valid_q && second_client_q == 2'(i)),
        .wr_ready_o(unused_ready),  // places are counted by saf_ddr_fetch
        .wr_data_i({second_last_q, masked}),
        .rd_valid_o(fifo_valid[i]),
        .rd_ready_i(rd_dready_i[i] || drains[i]),
        .rd_data_o({rd_dlast_o[i], rd_data_o[i]}),
        .count_o(unused_count)
    );
  end

endmodule
