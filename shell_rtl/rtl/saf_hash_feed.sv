// Cuts a message into BLAKE2s blocks: writes its beats, a key block in front of them and zeros behind them into two message
// buffers of the engine, and says which blocks lie there.
//
// Data flow: start_i (when idle_o) begins a message; beats of its data (data_*), of its key (key_*: valid in the cycle after
// key_req_o) and zeros are offered to the shared write port (wr_*), one a cycle at most. A complete block is offered to the
// engine (block_*), which takes it (take_i) and frees its buffer when it is done (release_i).
// A message of no bytes is one block of zeros, or the key block alone.
// Reset: idle, both buffers free. Back-pressure: data_ready_o is low while both buffers are full or the port is not granted.

`include "saf_assert.svh"

module saf_hash_feed #(
    parameter int unsigned BytesBits = 14,
    parameter int unsigned NumberBits = 9,
    parameter bit Keys = 1'b1
) (
    input logic clk_i,
    input logic rst_ni,

    input logic start_i,
    input logic [BytesBits-1:0] bytes_i,
    input logic key_block_i,  // write the key block first
    input logic key_done_i,  // a key block counts, but its chaining value is known

    output logic key_req_o,
    output logic [1:0] key_beat_o,
    input logic key_valid_i,
    input logic data_valid_i,
    output logic data_ready_o,

    output logic wr_valid_o,
    input logic wr_ready_i,
    output logic wr_key_o,  // the beat is the key's
    output logic [3:0] wr_bytes_o,  // bytes of the beat that count, the others are zero
    output logic [3:0] wr_addr_o,  // buffer, pair

    output logic block_valid_o,
    output logic block_buffer_o,
    output logic block_last_o,
    output logic [13:0] block_number_o,
    output logic [5:0] block_tail_o,
    output logic block_partial_o,
    input logic take_i,
    input logic release_i
);

  logic loading_q, key_q, partial_q, first_key_q;
  logic [BytesBits-1:0] left_q;
  logic [5:0] tail_q;
  logic [2:0] beat_q;
  logic fill_q, take_q;  // buffers: to be written, to be taken next
  logic [1:0] full_q, last_q;
  logic [NumberBits-1:0] number_q;

  logic can, key_beat, data_beat, fire, ends, block_ends;

  assign can = loading_q && !full_q[fill_q];
  assign key_beat = Keys && key_q && !beat_q[2];
  assign data_beat = !key_q && left_q != '0;
  assign ends = left_q <= BytesBits'(8);  // no data behind this beat
  assign key_req_o = can && key_beat && !key_valid_i;
  assign key_beat_o = beat_q[1:0];
  assign wr_valid_o = can && (!key_beat || key_valid_i) && (!data_beat || data_valid_i);
  assign wr_key_o = key_beat;
  assign wr_addr_o = {fill_q, beat_q};
  assign data_ready_o = can && data_beat && wr_ready_i;
  assign fire = wr_valid_o && wr_ready_i;
  assign block_ends = fire && beat_q == 3'd7;

  always_comb begin
    wr_bytes_o = 4'd0;
    if (key_beat) wr_bytes_o = 4'd8;
    else if (data_beat) wr_bytes_o = ends ? 4'(left_q) : 4'd8;
  end

  assign block_valid_o = full_q[take_q];
  assign block_buffer_o = take_q;
  assign block_last_o = last_q[take_q];
  assign block_number_o = 14'(number_q);
  assign block_tail_o = tail_q;
  assign block_partial_o = partial_q && !(first_key_q && number_q == '0);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      loading_q <= 1'b0;
      key_q <= 1'b0;
      first_key_q <= 1'b0;
      partial_q <= 1'b0;
      left_q <= '0;
      tail_q <= '0;
      beat_q <= '0;
      fill_q <= 1'b0;
      take_q <= 1'b0;
      full_q <= '0;
      last_q <= '0;
      number_q <= '0;
    end else begin
      if (release_i) full_q[!take_q] <= 1'b0;
      if (take_i) begin
        take_q <= !take_q;
        number_q <= number_q + NumberBits'(1);
      end
      if (fire) begin
        beat_q <= beat_q + 3'd1;
        if (data_beat) left_q <= ends ? '0 : left_q - BytesBits'(8);
      end
      if (block_ends) begin
        full_q[fill_q] <= 1'b1;
        last_q[fill_q] <= key_q ? left_q == '0 : ends;
        fill_q <= !fill_q;
        key_q <= 1'b0;
        if (key_q ? left_q == '0 : ends) loading_q <= 1'b0;
      end
      if (start_i) begin
        loading_q <= 1'b1;
        key_q <= Keys && key_block_i;
        first_key_q <= Keys && key_block_i;
        left_q <= bytes_i;
        tail_q <= bytes_i[5:0];
        partial_q <= bytes_i[5:0] != '0 || bytes_i == '0;
        number_q <= NumberBits'(Keys && key_done_i);
      end
    end
  end

  `SAF_ASSERT(start_while_idle, !start_i || (!loading_q && full_q == '0))
  `SAF_ASSERT(take_what_is_there, !take_i || block_valid_o)
  `SAF_ASSERT(release_what_was_taken, !release_i || full_q[!take_q])

endmodule
