// Core-clock half of the readers: four clients prefetch through one response buffer, in rows of their own.
//
// Data flow: a client's command goes into two small memories (what to ask for, what to serve), one entry a client → bursts, one
// client at a time, as long as eight of its rows are free (ask_*, to the DDR clock) → rows come back in the order asked for,
// so a count of them (rows_read_i) says whose they are → a step a cycle, for one client: a 64-bit word out of the buffer, put
// together with the rest of the word before it → a small FIFO a client. saf_ddr_fetch keeps each client's accounts.
// All clients share that word a cycle (1.25 GB/s at 156.25 MHz): the highest first (the PR controller must not starve), result
// frames (Background) last, as hashing limits a READ, not sending it.
// Latency: command to first beat 9 core cycles, the DDR's and two crossings; then a beat a cycle. A range that begins within
// a word takes one step more.
// Reset: nothing under way; the DDR half is reset too. Back-pressure: a client that does not take its beats holds up itself.

`include "saf_assert.svh"

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

    // response buffer: client, row and word in it; the word the cycle after, its first byte in bits 63:56
    output logic buf_re_o,
    output logic [9:0] buf_addr_o,
    input logic [63:0] buf_data_i
);

  localparam int unsigned Places = 8;
  localparam int unsigned LengthBits = 28;  // bytes of one command: below 256 MiB
  localparam int unsigned GroupBits = LengthBits - 8;

  // what a command fixes
  typedef struct packed {
    logic [GroupBits-1:0] group;  // low bits of the number of its last burst's eight rows
    logic [2:0] row;  // low bits of the last row
  } ask_end_t;

  typedef struct packed {
    logic [2:0] lane;  // of the last row, the last word
    logic extra;  // one step more than words
    logic [2:0] back;  // bytes by which beats are moved towards the end of a word
    logic [2:0] tail;  // bytes of the last beat, 0 is eight
  } serve_end_t;

  // where it is
  typedef struct packed {
    logic [7:0] at;  // row and word
    logic first;  // the next step only keeps a word
  } serve_state_t;

  logic [DdrWordBits-1:0] ask_mem[NumRd];  // next row
  ask_end_t ask_end_mem[NumRd];
  serve_state_t serve_mem[NumRd];
  serve_end_t serve_end_mem[NumRd];

  logic [NumRd-1:0] idle, starts, want, asks, arrives, offers, serves, pops, drains, fifo_valid, last_rows, dries;

  // ---- commands
  logic start;
  logic [1:0] start_client;
  logic [AddrBits-1:0] addr;
  logic [LengthBits-1:0] bytes;
  logic [2:0] tail_room;

  always_comb begin
    start_client = '0;
    starts = '0;
    rd_ready_o = '0;
    for (int unsigned i = 0; i < NumRd; i++) begin
      rd_ready_o[i] = idle[i] && starts == '0;
      if (rd_valid_i[i] && rd_ready_o[i]) begin
        start_client = 2'(i);
        starts[i] = 1'b1;
      end
    end
  end
  assign start = starts != '0;
  assign addr = rd_addr_i[start_client];
  assign bytes = rd_bytes_i[start_client][LengthBits-1:0];
  assign tail_room = 3'd0 - bytes[2:0];  // bytes of the last beat that are not asked for

  // ---- bursts: a client is chosen in one cycle, its burst sent in the next
  logic ask_valid_q, ask_sent, ask_last, order_ready;
  logic [1:0] ask_client_q, ask_client_d;
  logic [DdrWordBits-1:0] ask_addr;
  ask_end_t ask_end;

  always_comb begin
    ask_client_d = '0;
    for (int unsigned i = 0; i < NumRd; i++) if (want[i]) ask_client_d = 2'(i);
  end
  assign ask_addr = ask_mem[ask_client_q];
  assign ask_end = ask_end_mem[ask_client_q];
  assign ask_last = ask_addr[3+:GroupBits] == ask_end.group;
  assign ask_valid_o = ask_valid_q && want[ask_client_q] && order_ready && !start;
  assign ask_sent = ask_valid_o && ask_ready_i;
  assign ask_o = '{
          client: ask_client_q,
          row: ask_addr[4:0],
          addr: ask_addr,
          count: (ask_last ? ask_end.row : 3'd7) - ask_addr[2:0]
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

  // where the last byte lies
  logic [GroupBits-1:0] end_group;
  logic [2:0] end_row, end_lane, unused_end;
  assign {end_group, end_row, end_lane, unused_end} = {1'b0, bytes} + addr[LengthBits:0] - (LengthBits + 1)'(1);

  always_ff @(posedge clk_i) begin
    if (start) ask_mem[start_client] <= addr[AddrBits-1:6];
    else if (ask_sent) ask_mem[ask_client_q] <= {ask_addr[DdrWordBits-1:3] + 1'b1, 3'd0};
  end
  always_ff @(posedge clk_i) begin
    if (start) ask_end_mem[start_client] <= '{group: end_group, row: end_row};
  end

  // ---- whose rows arrive
  logic row_new;
  logic [1:0] order_client;

  saf_ddr_order u_order (
      .clk_i,
      .rst_ni,
      .asked_i(ask_sent),
      .ready_o(order_ready),
      .client_i(ask_o.client),
      .count_i(ask_o.count),
      .rows_read_i,
      .row_o(row_new),
      .client_o(order_client)
  );

  // ---- a step a cycle
  logic [1:0] serve_client;
  serve_state_t serve_state;
  serve_end_t serve_end;
  logic serve, serve_last, serve_reads, serve_row, next_dry, word_last;

  always_comb begin
    serve_client = 2'(Background);
    for (int unsigned i = 0; i < NumRd; i++) if (i != Background && offers[i]) serve_client = 2'(i);
  end
  assign serve = |offers && !start;
  assign serve_state = serve_mem[serve_client];
  assign serve_end = serve_end_mem[serve_client];
  assign serve_reads = !dries[serve_client];
  assign word_last = last_rows[serve_client] && serve_state.at[2:0] == serve_end.lane;
  assign serve_last = word_last ? !serve_end.extra : !serve_reads;
  assign serve_row = serve_reads && (serve_state.at[2:0] == 3'd7 || word_last);
  assign next_dry = word_last && serve_end.extra;
  assign buf_re_o = serve;
  assign buf_addr_o = {serve_client, serve_state.at};

  always_ff @(posedge clk_i) begin
    if (start) serve_mem[start_client] <= '{at: addr[10:3], first: addr[2:0] != '0};
    else if (serve) serve_mem[serve_client] <= '{at: serve_state.at + 8'd1, first: 1'b0};
  end
  always_ff @(posedge clk_i) begin
    if (start) begin
      serve_end_mem[start_client] <= '{
          lane: end_lane,
          extra: addr[2:0] != '0 && tail_room >= addr[2:0],
          back: 3'd0 - addr[2:0],
          tail: bytes[2:0]
      };
    end
  end

  logic word_q, beat_q, last_q;
  logic [1:0] client_q;
  logic [2:0] back_q, tail_q;
  logic [55:0] kept_mem[NumRd];  // of each client's word before
  logic [63:0] shifted, masked;

  saf_byte_shift u_shift (
      .data_i({kept_mem[client_q], buf_data_i}),
      .shift_i(back_q),
      .data_o(shifted)
  );
  always_comb begin
    // behind the last byte: zeros
    for (int unsigned i = 0; i < 8; i++) begin
      masked[8*(7-i)+:8] = tail_q == 3'd0 || 3'(i) < tail_q ? shifted[8*(7-i)+:8] : 8'd0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (word_q) kept_mem[client_q] <= buf_data_i[55:0];
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      word_q <= 1'b0;
      beat_q <= 1'b0;
      last_q <= 1'b0;
      client_q <= '0;
      back_q <= '0;
      tail_q <= '0;
    end else begin
      word_q <= serve && serve_reads;
      beat_q <= serve && !serve_state.first;
      last_q <= serve_last;
      client_q <= serve_client;
      back_q <= serve_end.back;
      tail_q <= serve_last ? serve_end.tail : 3'd0;
    end
  end

  // ---- the clients
  for (genvar i = 0; i < int'(NumRd); i++) begin : gen_client
    logic unused_ready;
    logic [$clog2(Places+1)-1:0] unused_count;

    assign asks[i] = ask_sent && ask_client_q == 2'(i);
    assign arrives[i] = row_new && order_client == 2'(i);
    assign serves[i] = serve && serve_client == 2'(i);
    assign rd_dvalid_o[i] = fifo_valid[i] && !drains[i];
    assign pops[i] = fifo_valid[i] && (rd_dready_i[i] || drains[i]);

    saf_ddr_fetch #(
        .Places(Places)
    ) u_fetch (
        .clk_i,
        .rst_ni,
        .start_i(starts[i]),
        .abort_i(rd_abort_i[i]),
        .idle_o(idle[i]),
        .drain_o(drains[i]),
        .ask_o(want[i]),
        .asked_i(asks[i]),
        .asked_rows_i({1'b0, ask_o.count} + 4'd1),
        .asked_last_i(ask_last),
        .arrived_i(arrives[i]),
        .serve_o(offers[i]),
        .served_i(serves[i]),
        .last_row_o(last_rows[i]),
        .dry_o(dries[i]),
        .served_row_i(serve_row),
        .served_beat_i(!serve_state.first),
        .served_last_i(serve_last),
        .next_dry_i(next_dry),
        .popped_i(pops[i])
    );

    saf_fifo_sync #(
        .Width(65),
        .Depth(Places),
        .Block(1'b1)
    ) u_beats (
        .clk_i,
        .rst_ni,
        .wr_valid_i(beat_q && client_q == 2'(i)),
        .wr_ready_o(unused_ready),  // places are counted by saf_ddr_fetch
        .wr_data_i({last_q, masked}),
        .rd_valid_o(fifo_valid[i]),
        .rd_ready_i(rd_dready_i[i] || drains[i]),
        .rd_data_o({rd_dlast_o[i], rd_data_o[i]}),
        .count_o(unused_count)
    );
    `SAF_ASSERT(AssertRange, !starts[i] || (rd_bytes_i[i] != '0 && rd_bytes_i[i][31:LengthBits] == '0))
  end

endmodule
