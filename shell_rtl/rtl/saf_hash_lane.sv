// The hash clients' side of one lane: takes a request, has its message cut into blocks (saf_hash_feed), knows where chaining
// values lie, and remembers the ones behind key blocks.
//
// Nearly all keyed hashes of a lane are of one kind (Person, DigestBytes). For these the chaining value behind the key block
// depends on the key alone: it is kept, one for each key slot, and the key block is hashed once for each key. Storing a key
// forgets the one kept.
// Places of chaining values (saf_crypto's RAM): {0, lane, 0} of the message, {1, lane, key} behind a key block.
//
// Latency: the first block can start in the cycle after its last beat was taken. Reset: idle, nothing kept.
// Back-pressure: one request at a time, begun by start_i while free_o. The caller writes the initial chaining value to its
// place in that cycle.

module saf_hash_lane
  import saf_shell_pkg::*;
#(
    parameter bit Lane = 1'b0,
    parameter logic [63:0] Person = saf_pkg::PersonFrameTag,
    parameter logic [5:0] DigestBytes = 6'(saf_pkg::TagBytes)
) (
    input logic clk_i,
    input logic rst_ni,

    output logic free_o,
    input logic start_i,
    input hash_req_t req_i,
    input logic data_valid_i,
    output logic data_ready_o,

    // key slots
    output logic key_req_o,
    output logic [2:0] key_index_o,
    output logic [1:0] key_beat_o,
    input logic key_valid_i,
    input logic key_changed_i,
    input logic [2:0] key_changed_index_i,

    // message words
    output logic wr_valid_o,
    input logic wr_ready_i,
    output logic wr_key_o,
    output logic [3:0] wr_bytes_o,
    output logic [3:0] wr_addr_o,

    // engine
    output logic block_valid_o,
    output hash_block_t block_o,
    input logic take_i,
    input logic release_i,
    input logic fin_i,  // a block of this message is done
    input logic fin_last_i,
    input logic fin_kept_i,  // its chaining value is one to be kept

    output logic done_o,
    output logic store_o,
    output logic [2:0] store_index_o
);

  localparam logic [4:0] Own = {3'b000, Lane, 1'b0};

  logic busy_q, keep_q, stale_q, store_q;
  logic [2:0] key_index_q, store_index_q;
  logic [7:0] kept_q;
  logic keep, known;

  assign free_o = !busy_q;
  assign keep = req_i.keyed && req_i.person == Person && req_i.digest_bytes == DigestBytes;
  assign known = keep && kept_q[req_i.key_index] && req_i.bytes != '0;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      keep_q <= 1'b0;
      stale_q <= 1'b0;
      store_q <= 1'b0;
      key_index_q <= '0;
      store_index_q <= '0;
      kept_q <= '0;
    end else begin
      if (fin_i && fin_kept_i && !stale_q) kept_q[key_index_q] <= 1'b1;
      if (fin_i && fin_last_i) busy_q <= 1'b0;
      if (start_i) begin
        busy_q <= 1'b1;
        keep_q <= keep;
        stale_q <= 1'b0;
        store_q <= req_i.store;
        key_index_q <= req_i.key_index;
        store_index_q <= req_i.store_index;
      end
      if (key_changed_i) begin
        kept_q[key_changed_index_i] <= 1'b0;
        if (key_changed_index_i == key_index_q) stale_q <= 1'b1;
      end
    end
  end

  saf_hash_feed #(
      .BytesBits(14),
      .NumberBits(9),
      .Keys(1'b1)
  ) u_feed (
      .clk_i,
      .rst_ni,
      .start_i,
      .bytes_i(req_i.bytes),
      .key_block_i(req_i.keyed && !known),
      .key_done_i(known),
      .key_req_o,
      .key_beat_o,
      .key_valid_i,
      .data_valid_i,
      .data_ready_o,
      .wr_valid_o,
      .wr_ready_i,
      .wr_key_o,
      .wr_bytes_o,
      .wr_addr_o,
      .block_valid_o,
      .block_buffer_o(block_o.buffer),
      .block_last_o(block_o.last),
      .block_number_o(block_o.number),
      .block_tail_o(block_o.tail),
      .block_partial_o(block_o.partial),
      .take_i,
      .release_i
  );

  assign block_o.last_node = 1'b0;
  assign block_o.src = keep_q && block_o.number == 14'd1 ? {1'b1, Lane, key_index_q} : Own;
  assign block_o.dst = keep_q && block_o.number == 14'd0 && !block_o.last ? {1'b1, Lane, key_index_q} : Own;
  assign key_index_o = key_index_q;

  assign done_o = fin_i && fin_last_i;
  assign store_o = done_o && store_q;
  assign store_index_o = store_index_q;

endmodule
