// The shell's BLAKE2s unit: tags, keys and the hash tree's digests (suite 1; safhost/wire/auth.py and digest.py).
//
//   ctl, tx --> saf_hash_lane 0 \                                           / done + digest
//   guard ----> saf_hash_lane 1 --> saf_hash_words --> saf_blake2s (2 lanes) --> RAM of chaining values --> saf_hash_out
//   DDR 0, 1 -> saf_leaf ------/                                                                     --> DDR, keys, jobs
//
// Hash requests of ctl and tx (tx first: older work) share lane 0, guard has lane 1; they go before the lane's leaf at every
// block's border. Jobs take whichever lane has none (saf_leaf), and are reported in order for each client.
// Chaining values between blocks lie in a RAM of 32 digests: {0, lane, leaf}, and behind key blocks {1, lane, key}.
//
// Latency of a hash request: 10 cycles from the acceptance to the first block of data that comes without gaps, 42 a block, 1
// to hash_done_o: 95 to 96 cycles for a tag over two blocks whose key was used before (42 more for the first one).
// Throughput: 128 bytes in 42 cycles with two jobs. Reset: all is forgotten. Back-pressure: see the parts.

`include "saf_assert.svh"

module saf_crypto
  import saf_shell_pkg::*;
#(
    parameter int unsigned NumHash = 3,
    parameter int unsigned NumJob = 2
) (
    input logic clk_i,
    input logic rst_ni,
    input cfg_t cfg_i,

    input logic [NumHash-1:0] hash_valid_i,
    output logic [NumHash-1:0] hash_ready_o,
    input hash_req_t [NumHash-1:0] hash_req_i,
    input logic [NumHash-1:0] hash_dvalid_i,
    output logic [NumHash-1:0] hash_dready_o,
    input logic [NumHash-1:0][63:0] hash_data_i,
    input logic [NumHash-1:0] hash_dlast_i,
    output logic [NumHash-1:0] hash_done_o,
    output logic [255:0] hash_digest_o,

    input logic [NumJob-1:0] job_valid_i,
    output logic [NumJob-1:0] job_ready_o,
    input leaf_job_t [NumJob-1:0] job_i,
    output logic [NumJob-1:0] job_done_o,
    output logic [255:0] job_digest_o,

    output logic [1:0] rd_valid_o,
    input logic [1:0] rd_ready_i,
    output logic [1:0][AddrBits-1:0] rd_addr_o,
    output logic [1:0][31:0] rd_bytes_o,
    input logic [1:0] rd_dvalid_i,
    output logic [1:0] rd_dready_o,
    input logic [1:0][63:0] rd_data_i,
    input logic [1:0] rd_dlast_i,
    output logic [1:0] rd_abort_o,

    output logic wr_valid_o,
    input logic wr_ready_i,
    output logic [AddrBits-1:0] wr_addr_o,
    output logic [15:0] wr_bytes_o,
    output logic [63:0] wr_data_o,
    output logic wr_last_o,
    input logic wr_done_i
);

  if (NumHash != 3 || NumJob != 2) begin : gen_bad_clients
    $error("saf_crypto: made for hash clients ctl, tx, guard and two job clients");
  end

  localparam int unsigned Ctl = 0, Tx = 1, Guard = 2;

  // Feeds, in order of priority at the write port of the message buffers: hash lanes, then leaf lanes
  logic [3:0] feed_valid, feed_ready;
  logic [3:0][3:0] feed_bytes, feed_addr;
  logic [1:0] feed_key;

  // ------------------------------------------------------------------ engine

  logic [1:0][1:0] block_valid, take, release_;
  hash_block_t [1:0][1:0] block;
  logic fin, fin_lane, fin_leaf, fin_last, engine_rd;
  logic [4:0] fin_dst, engine_rd_addr;
  logic [7:0][31:0] h, h_init, h_rd_data;
  logic word_valid;
  logic [5:0] word_addr;
  logic [63:0] word_data;

  saf_blake2s u_engine (
      .clk_i,
      .rst_ni,
      .wr_valid_i(word_valid),
      .wr_addr_i(word_addr),
      .wr_data_i(word_data),
      .block_valid_i(block_valid),
      .block_i(block),
      .take_o(take),
      .release_o(release_),
      .h_rd_en_o(engine_rd),
      .h_rd_addr_o(engine_rd_addr),
      .h_rd_data_i(h_rd_data),
      .fin_o(fin),
      .fin_lane_o(fin_lane),
      .fin_leaf_o(fin_leaf),
      .fin_last_o(fin_last),
      .fin_dst_o(fin_dst),
      .h_o(h)
  );

  // ------------------------------------------------------------------ hash clients

  logic [1:0] lane_free, lane_start, lane_dvalid, lane_dready, lane_done, key_store;
  logic [1:0] key_req, key_beat_valid;
  logic [1:0][2:0] key_index, key_store_index;
  logic [1:0][1:0] key_beat;
  logic [63:0] key_data;
  logic tx_q, tx;  // lane 0 serves tx, not ctl
  hash_req_t [1:0] req;
  logic storing, key_write, key_first;
  logic [2:0] key_write_index;
  logic [1:0] key_write_beat;
  logic start0, start1, open0, open1;
  logic init_job, init_job_ready;

  assign tx = hash_valid_i[Tx];
  // an initial chaining value is written when the engine writes none, of one request or job a cycle
  assign open0 = lane_free[0] && !fin && !storing;
  assign open1 = lane_free[1] && !fin && !storing && !start0;
  assign start0 = open0 && (hash_valid_i[Tx] || hash_valid_i[Ctl]);
  assign start1 = open1 && hash_valid_i[Guard];
  assign lane_start = {start1, start0};
  assign req = {hash_req_i[Guard], tx ? hash_req_i[Tx] : hash_req_i[Ctl]};
  assign lane_dvalid = {hash_dvalid_i[Guard], tx_q ? hash_dvalid_i[Tx] : hash_dvalid_i[Ctl]};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) tx_q <= 1'b0;
    else if (start0) tx_q <= tx;
  end

  always_comb begin
    hash_ready_o[Ctl] = open0 && !tx;
    hash_ready_o[Tx] = open0 && tx;
    hash_ready_o[Guard] = open1;
    hash_dready_o[Ctl] = lane_dready[0] && !tx_q;
    hash_dready_o[Tx] = lane_dready[0] && tx_q;
    hash_dready_o[Guard] = lane_dready[1];
    hash_done_o[Ctl] = lane_done[0] && !tx_q;
    hash_done_o[Tx] = lane_done[0] && tx_q;
    hash_done_o[Guard] = lane_done[1];
  end

  for (genvar l = 0; l < 2; l++) begin : gen_hash
    saf_hash_lane #(
        .Lane(1'(l)),
        .Person(l == 0 ? saf_pkg::PersonFrameTag : saf_pkg::PersonGuardTag),
        .DigestBytes(l == 0 ? 6'(saf_pkg::TagBytes) : 6'(saf_pkg::GuardBytes))
    ) u_lane (
        .clk_i,
        .rst_ni,
        .free_o(lane_free[l]),
        .start_i(lane_start[l]),
        .req_i(req[l]),
        .data_valid_i(lane_dvalid[l]),
        .data_ready_o(lane_dready[l]),
        .key_req_o(key_req[l]),
        .key_index_o(key_index[l]),
        .key_beat_o(key_beat[l]),
        .key_valid_i(key_beat_valid[l]),
        .key_changed_i(key_first),
        .key_changed_index_i(key_write_index),
        .wr_valid_o(feed_valid[l]),
        .wr_ready_i(feed_ready[l]),
        .wr_key_o(feed_key[l]),
        .wr_bytes_o(feed_bytes[l]),
        .wr_addr_o(feed_addr[l]),
        .block_valid_o(block_valid[l][0]),
        .block_o(block[l][0]),
        .take_i(take[l][0]),
        .release_i(release_[l][0]),
        .fin_i(fin && !fin_leaf && fin_lane == 1'(l)),
        .fin_last_i(fin_last),
        .fin_kept_i(fin_dst[4]),
        .done_o(lane_done[l]),
        .store_o(key_store[l]),
        .store_index_o(key_store_index[l])
    );
  end

  assign hash_digest_o = digest_of(h);

  saf_keys u_keys (
      .clk_i,
      .rst_ni,
      .card_key_i(cfg_i.key),
      .rd_req_i(key_req),
      .rd_index_i(key_index),
      .rd_beat_i(key_beat),
      .rd_valid_o(key_beat_valid),
      .rd_data_o(key_data),
      .wr_valid_i(key_write),
      .wr_index_i(key_write_index),
      .wr_beat_i(key_write_beat),
      .wr_data_i(wr_data_o)
  );

  // ------------------------------------------------------------------ leaf jobs

  leaf_job_t job;
  logic job_lane;
  logic [1:0] leaf_store, leaf_stored, leaf_report, leaf_reported;
  logic [1:0][AddrBits-1:0] leaf_addr;

  saf_leaf u_leaf (
      .clk_i,
      .rst_ni,
      .job_valid_i,
      .job_ready_o,
      .job_i,
      .job_done_o,
      .rd_valid_o,
      .rd_ready_i,
      .rd_addr_o,
      .rd_bytes_o,
      .rd_dvalid_i,
      .rd_dready_o,
      .rd_dlast_i,
      .init_valid_o(init_job),
      .init_ready_i(init_job_ready),
      .init_job_o(job),
      .init_lane_o(job_lane),
      .wr_valid_o(feed_valid[3:2]),
      .wr_ready_i(feed_ready[3:2]),
      .wr_bytes_o(feed_bytes[3:2]),
      .wr_addr_o(feed_addr[3:2]),
      .block_valid_o({block_valid[1][1], block_valid[0][1]}),
      .block_o({block[1][1], block[0][1]}),
      .take_i({take[1][1], take[0][1]}),
      .release_i({release_[1][1], release_[0][1]}),
      .fin_i({fin && fin_leaf && fin_lane, fin && fin_leaf && !fin_lane}),
      .fin_last_i(fin_last),
      .store_o(leaf_store),
      .store_addr_o(leaf_addr),
      .stored_i(leaf_stored),
      .report_o(leaf_report),
      .reported_i(leaf_reported)
  );

  assign rd_abort_o = '0;

  // ------------------------------------------------------------------ message words

  saf_hash_words u_words (
      .clk_i,
      .rst_ni,
      .feed_valid_i(feed_valid),
      .feed_ready_o(feed_ready),
      .feed_key_i(feed_key),
      .feed_bytes_i(feed_bytes),
      .feed_addr_i(feed_addr),
      .data_i({rd_data_i, hash_data_i[Guard], tx_q ? hash_data_i[Tx] : hash_data_i[Ctl]}),
      .key_data_i(key_data),
      .valid_o(word_valid),
      .addr_o(word_addr),
      .data_o(word_data)
  );

  // ------------------------------------------------------------------ chaining values

  logic out_rd;
  logic [4:0] out_rd_addr, init_addr;

  assign init_job_ready = !fin && !start0 && !start1;

  always_comb begin
    init_addr = {3'b000, job_lane, 1'b1};
    if (start1) init_addr = 5'b00010;
    if (start0) init_addr = 5'b00000;
  end

  saf_hash_init u_init (
      .tree_i(init_addr[0]),
      .req_i(req[init_addr[1]]),
      .job_i(job),
      .h_o(h_init)
  );

  saf_ram_1r1w #(
      .Width(256),
      .Depth(32)
  ) u_values (
      .clk_i,
      .wr_en_i(fin || start0 || start1 || init_job),
      .wr_addr_i(fin ? fin_dst : init_addr),
      .wr_data_i(fin ? h : h_init),
      .rd_en_i(engine_rd || out_rd),
      .rd_addr_i(engine_rd ? engine_rd_addr : out_rd_addr),
      .rd_data_o(h_rd_data)
  );

  saf_hash_out u_out (
      .clk_i,
      .rst_ni,
      .key_store_i(key_store),
      .key_index_i(key_store_index),
      .storing_o(storing),
      .key_valid_o(key_write),
      .key_first_o(key_first),
      .key_index_o(key_write_index),
      .key_beat_o(key_write_beat),
      .data_o(wr_data_o),
      .leaf_store_i(leaf_store),
      .leaf_addr_i(leaf_addr),
      .leaf_stored_o(leaf_stored),
      .report_i(leaf_report),
      .reported_o(leaf_reported),
      .report_digest_o(job_digest_o),
      .rd_req_o(out_rd),
      .rd_grant_i(!engine_rd),
      .rd_addr_o(out_rd_addr),
      .rd_data_i(h_rd_data),
      .wr_valid_o,
      .wr_ready_i,
      .wr_addr_o,
      .wr_last_o,
      .wr_done_i
  );

  assign wr_bytes_o = 16'(saf_pkg::DigestBytes);

  // lengths are counted; the ends that streams mark must agree
  logic [1:0] lane_dlast;
  assign lane_dlast = {hash_dlast_i[Guard], tx_q ? hash_dlast_i[Tx] : hash_dlast_i[Ctl]};

  for (genvar l = 0; l < 2; l++) begin : gen_end
    `SAF_ASSERT(agrees, !(lane_dvalid[l] && lane_dready[l]) || lane_dlast[l] == gen_hash[l].u_lane.u_feed.ends)
  end

  // of the configuration only the key matters here
  logic unused;
  assign unused = &{1'b0, cfg_i, lane_dlast};

endmodule
