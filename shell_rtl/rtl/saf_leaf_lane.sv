// The leaf jobs' side of one lane: a job's bytes come from DDR, are cut into blocks (saf_hash_feed), and when the engine is
// done with them, the digest of a leaf is stored (store_*: saf_hash_out), then the job is reported (report_*), in the order
// of its client's jobs: not before the other lane's where that is older (after_i).
//
// One job at a time, from start_i (when free_o) to reported_i. A leaf has 1,024 blocks of 42 cycles; what waiting for the
// store costs between two of them is under 1 %. Reset: free.

`include "saf_assert.svh"

module saf_leaf_lane
  import saf_shell_pkg::*;
#(
    parameter bit Lane = 1'b0
) (
    input logic clk_i,
    input logic rst_ni,

    output logic free_o,
    input logic start_i,
    input leaf_job_t job_i,
    input logic client_i,
    input logic after_i,  // the other lane has an older job of that client
    output logic client_o,

    input logic data_valid_i,
    output logic data_ready_o,

    // message words
    output logic wr_valid_o,
    input logic wr_ready_i,
    output logic [3:0] wr_bytes_o,
    output logic [3:0] wr_addr_o,

    // engine
    output logic block_valid_o,
    output hash_block_t block_o,
    input logic take_i,
    input logic release_i,
    input logic fin_i,
    input logic fin_last_i,

    // digest: store it, then report it
    output logic store_o,
    output logic [AddrBits-1:0] store_addr_o,
    input logic stored_i,
    output logic report_o,
    input logic reported_i,
    input logic other_reported_i
);

  typedef enum logic [1:0] {
    StFree,
    StHash,
    StStore,
    StReport
  } state_e;

  state_e state_q;
  logic root_q, last_node_q, client_q, after_q;
  logic [AddrBits-1:5] store_addr_q;
  logic key_req, wr_key;
  logic [1:0] key_beat;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StFree;
      root_q <= 1'b0;
      last_node_q <= 1'b0;
      client_q <= 1'b0;
      after_q <= 1'b0;
      store_addr_q <= '0;
    end else begin
      if (other_reported_i) after_q <= 1'b0;
      case (state_q)
        StFree:
        if (start_i) begin
          state_q <= StHash;
          root_q <= job_i.root;
          last_node_q <= job_i.root || job_i.last;
          client_q <= client_i;
          after_q <= after_i;
          store_addr_q <= job_i.store_addr[AddrBits-1:5];
        end
        StHash: if (fin_i && fin_last_i) state_q <= root_q ? StReport : StStore;
        StStore: if (stored_i) state_q <= StReport;
        default: if (reported_i) state_q <= StFree;
      endcase
    end
  end

  assign free_o = state_q == StFree;
  assign client_o = client_q;
  assign store_o = state_q == StStore;
  assign store_addr_o = {store_addr_q, 5'd0};
  assign report_o = state_q == StReport && !after_q;

  saf_hash_feed #(
      .BytesBits(20),
      .NumberBits(13),
      .Keys(1'b0)
  ) u_feed (
      .clk_i,
      .rst_ni,
      .start_i,
      .bytes_i(job_i.bytes[19:0]),
      .key_block_i(1'b0),
      .key_done_i(1'b0),
      .key_req_o(key_req),
      .key_beat_o(key_beat),
      .key_valid_i(1'b0),
      .data_valid_i,
      .data_ready_o,
      .wr_valid_o,
      .wr_ready_i,
      .wr_key_o(wr_key),
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

  assign block_o.last_node = last_node_q;
  assign block_o.src = {3'b000, Lane, 1'b1};
  assign block_o.dst = {3'b000, Lane, 1'b1};

  // a leaf lane has no key; node and address went elsewhere (saf_hash_init, the read command)
  logic unused;
  assign unused = &{1'b0, key_req, key_beat, wr_key, job_i};

  `SAF_ASSERT(start_when_free, !start_i || free_o)

endmodule
