// Leaf jobs: from their clients to two lanes (saf_leaf_dispatch, saf_leaf_lane), and the order in which they are reported:
// that in which each client gave them. Latency, reset and back-pressure: see the two.

`include "saf_assert.svh"

module saf_leaf
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,

    // clients
    input logic [1:0] job_valid_i,
    output logic [1:0] job_ready_o,
    input leaf_job_t [1:0] job_i,
    output logic [1:0] job_done_o,

    // DDR, a read client a lane
    output logic [1:0] rd_valid_o,
    input logic [1:0] rd_ready_i,
    output logic [1:0][AddrBits-1:0] rd_addr_o,
    output logic [1:0][31:0] rd_bytes_o,
    input logic [1:0] rd_dvalid_i,
    output logic [1:0] rd_dready_o,
    input logic [1:0] rd_dlast_i,

    // initial chaining value of a job
    output logic init_valid_o,
    input logic init_ready_i,
    output leaf_job_t init_job_o,
    output logic init_lane_o,

    // message words and engine, by lane
    output logic [1:0] wr_valid_o,
    input logic [1:0] wr_ready_i,
    output logic [1:0][3:0] wr_bytes_o,
    output logic [1:0][3:0] wr_addr_o,
    output logic [1:0] block_valid_o,
    output hash_block_t [1:0] block_o,
    input logic [1:0] take_i,
    input logic [1:0] release_i,
    input logic [1:0] fin_i,
    input logic fin_last_i,

    // digests, by lane
    output logic [1:0] store_o,
    output logic [1:0][AddrBits-1:0] store_addr_o,
    input logic [1:0] stored_i,
    output logic [1:0] report_o,
    input logic [1:0] reported_i
);

  leaf_job_t job;
  logic job_client;
  logic [1:0] free, start, client;

  saf_leaf_dispatch u_dispatch (
      .clk_i,
      .rst_ni,
      .job_valid_i,
      .job_ready_o,
      .job_i,
      .init_valid_o,
      .init_ready_i,
      .rd_valid_o,
      .rd_ready_i,
      .job_o(job),
      .lane_o(init_lane_o),
      .client_o(job_client),
      .lane_free_i(free),
      .lane_start_o(start)
  );

  assign init_job_o = job;
  assign rd_addr_o = {2{job.addr}};
  assign rd_bytes_o = {2{11'd0, job.bytes}};

  for (genvar l = 0; l < 2; l++) begin : gen_lane
    saf_leaf_lane #(
        .Lane(1'(l))
    ) u_lane (
        .clk_i,
        .rst_ni,
        .free_o(free[l]),
        .start_i(start[l]),
        .job_i(job),
        .client_i(job_client),
        .after_i(!free[1-l] && client[1-l] == job_client && !reported_i[1-l]),
        .client_o(client[l]),
        .data_valid_i(rd_dvalid_i[l]),
        .data_ready_o(rd_dready_o[l]),
        .wr_valid_o(wr_valid_o[l]),
        .wr_ready_i(wr_ready_i[l]),
        .wr_bytes_o(wr_bytes_o[l]),
        .wr_addr_o(wr_addr_o[l]),
        .block_valid_o(block_valid_o[l]),
        .block_o(block_o[l]),
        .take_i(take_i[l]),
        .release_i(release_i[l]),
        .fin_i(fin_i[l]),
        .fin_last_i,
        .store_o(store_o[l]),
        .store_addr_o(store_addr_o[l]),
        .stored_i(stored_i[l]),
        .report_o(report_o[l]),
        .reported_i(reported_i[l]),
        .other_reported_i(reported_i[1-l])
    );

    // lengths are counted; the end that the reader marks must agree
    `SAF_ASSERT(end_agrees, !(rd_dvalid_i[l] && rd_dready_o[l]) || rd_dlast_i[l] == u_lane.u_feed.ends)
  end

  logic unused;
  assign unused = &{1'b0, rd_dlast_i};

  always_comb begin
    job_done_o = '0;
    for (int unsigned l = 0; l < 2; l++) if (reported_i[l]) job_done_o[client[l]] = 1'b1;
  end

endmodule
