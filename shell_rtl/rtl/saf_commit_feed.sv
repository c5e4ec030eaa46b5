// Moves a staged image from DDR to the PR controller: one read command, its data into saf_pr_feed.
//
// Data flow: `start_i` with slot and length -> read client -> saf_pr_feed -> saf_pr_mux -> PR IP. `fed_all_o`: the controller
// took every word. `done_o`/`status_o`: its verdict. `stop_i` (may come at any time, also when all is over) gives up what
// is under way; `idle_o` tells that the next image may begin. `fed_words_o` holds until `clear_i`.
// Latency: DDR's. Back-pressure: through the PR FIFO to the reader. Reset: both clock domains together.

module saf_commit_feed
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic start_i,
    input logic stop_i,
    input logic clear_i,
    input logic [1:0] slot_i,
    input logic [27:0] length_i,
    output logic idle_o,
    output logic done_o,
    output logic [2:0] status_o,
    output logic fed_all_o,
    output logic [25:0] fed_words_o,  // of 32 bits

    output logic rd_valid_o,
    input logic rd_ready_i,
    output logic [AddrBits-1:0] rd_addr_o,
    output logic [31:0] rd_bytes_o,
    input logic rd_dvalid_i,
    output logic rd_dready_o,
    input logic [63:0] rd_data_i,
    input logic rd_dlast_i,
    output logic rd_abort_o,

    input logic pr_clk_i,
    input logic pr_rst_ni,
    output logic pr_start_o,
    output logic pr_valid_o,
    output logic [31:0] pr_data_o,
    input logic pr_ready_i,
    input logic [2:0] pr_status_i,
    output logic pr_reset_o,
    input logic pcie_pr_active_i,
    input logic pcie_pr_start_i,
    input logic pcie_pr_valid_i,
    input logic [31:0] pcie_pr_data_i,
    output logic pcie_pr_ready_o
);

  typedef enum logic [1:0] {
    StIdle,
    StAsk,
    StData,
    StAbort
  } state_e;

  state_e state_q;
  logic go_q, stop_q;
  // verilator lint_off UNUSEDSIGNAL
  logic [28:0] left;  // below zero while bytes are
  // verilator lint_on UNUSEDSIGNAL
  logic feed_busy, feed_ready;

  // 28 bits hold any image slot: ImageSlotBytes is 224 MiB
  assign left = {1'b0, fed_words_o, 2'd0} - {1'b0, length_i};
  assign fed_all_o = !left[28];
  assign idle_o = state_q == StIdle && !feed_busy && rd_ready_i;

  assign rd_valid_o = state_q == StAsk;
  assign rd_addr_o = StagingBase + ImageSlotBytes * AddrBits'(slot_i);
  assign rd_bytes_o = {4'd0, length_i};
  // one cycle: the reader is ready again when what was under way has come and gone
  assign rd_abort_o = state_q == StData && stop_q && !(rd_dvalid_i && rd_dready_o && rd_dlast_i);
  assign rd_dready_o = state_q == StAbort || (state_q == StData && feed_ready);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      go_q <= 1'b0;
      stop_q <= 1'b0;
    end else begin
      // the read command once offered is taken before it is given up
      stop_q <= (stop_i || done_o || stop_q) && state_q != StIdle && state_q != StAbort;
      if (stop_i) go_q <= 1'b0;
      else if (start_i) go_q <= 1'b1;
      case (state_q)
        StIdle: if (start_i) state_q <= StAsk;
        StAsk: if (rd_ready_i) state_q <= StData;
        StData:
        if (rd_dvalid_i && rd_dready_o && rd_dlast_i) state_q <= StIdle;
        else if (stop_q) state_q <= StAbort;
        default: if (rd_ready_i) state_q <= StIdle;
      endcase
    end
  end

  logic pr_req, pr_grant, eth_start, eth_valid, eth_ready;
  logic [31:0] eth_data;

  saf_pr_feed u_feed (
      .clk_i,
      .rst_ni,
      .go_i(go_q),
      .busy_o(feed_busy),
      .done_o,
      .status_o,
      .clear_i,
      .fed_words_o,
      .in_valid_i(state_q == StData && rd_dvalid_i),
      .in_ready_o(feed_ready),
      .in_data_i(rd_data_i),
      .in_half_i(rd_dlast_i && length_i[2:0] != 3'd0 && length_i[2:0] <= 3'd4),
      .pr_clk_i,
      .pr_rst_ni,
      .pr_req_o(pr_req),
      .pr_grant_i(pr_grant),
      .pr_start_o(eth_start),
      .pr_valid_o(eth_valid),
      .pr_data_o(eth_data),
      .pr_ready_i(eth_ready),
      .pr_status_i,
      .pr_reset_o
  );

  saf_pr_mux u_mux (
      .pr_clk_i,
      .pr_rst_ni,
      .eth_req_i(pr_req),
      .eth_grant_o(pr_grant),
      .eth_start_i(eth_start),
      .eth_valid_i(eth_valid),
      .eth_data_i(eth_data),
      .eth_ready_o(eth_ready),
      .pcie_active_i(pcie_pr_active_i),
      .pcie_start_i(pcie_pr_start_i),
      .pcie_valid_i(pcie_pr_valid_i),
      .pcie_data_i(pcie_pr_data_i),
      .pcie_ready_o(pcie_pr_ready_o),
      .pr_start_o,
      .pr_valid_o,
      .pr_data_o,
      .pr_ready_i
  );

endmodule
