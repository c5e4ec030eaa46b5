// Proof obligations of the PR multiplexer: the controller belongs to one host at a time, and neither cuts into the other's
// image. `pcie_active_i` comes when it likes; nothing is assumed of anybody.

module saf_pr_mux_formal (
    input logic clk_i,
    input logic eth_req,
    input logic eth_start,
    input logic eth_valid,
    input logic [31:0] eth_data,
    input logic pcie_active,
    input logic pcie_start,
    input logic pcie_valid,
    input logic [31:0] pcie_data,
    input logic pr_ready
);

  logic rst_n_q = 1'b0;
  always_ff @(posedge clk_i) rst_n_q <= 1'b1;

  logic grant, eth_ready, pcie_ready, pr_start, pr_valid;
  logic [31:0] pr_data;

  saf_pr_mux u_mux (
      .pr_clk_i(clk_i),
      .pr_rst_ni(rst_n_q),
      .eth_req_i(eth_req),
      .eth_grant_o(grant),
      .eth_start_i(eth_start),
      .eth_valid_i(eth_valid),
      .eth_data_i(eth_data),
      .eth_ready_o(eth_ready),
      .pcie_active_i(pcie_active),
      .pcie_start_i(pcie_start),
      .pcie_valid_i(pcie_valid),
      .pcie_data_i(pcie_data),
      .pcie_ready_o(pcie_ready),
      .pr_start_o(pr_start),
      .pr_valid_o(pr_valid),
      .pr_data_o(pr_data),
      .pr_ready_i(pr_ready)
  );

  // the past, as the multiplexer may know it: PCIe's level two cycles ago
  logic grant_q = 1'b0, req_q = 1'b0, active1_q = 1'b0, active2_q = 1'b0, active3_q = 1'b0;
  always_ff @(posedge clk_i) begin
    if (rst_n_q) begin
      grant_q <= grant;
      req_q <= eth_req;
      active1_q <= pcie_active;
      active2_q <= active1_q;
      active3_q <= active2_q;
    end
  end

  always_comb begin
    if (rst_n_q) begin
      assert (u_mux.u_active.meta_q == active1_q && u_mux.u_active.sync_q == active2_q);
      // a grant begins only while PCIe is idle, is asked for, and lasts until Ethernet stops asking
      if (grant && !grant_q) assert (req_q && !active3_q);
      if (grant_q && req_q) assert (grant);
      if (grant) assert (req_q);
      if (req_q && !active3_q) assert (grant);
      // one host: what the controller takes, its host sees taken; the other's stands still
      assert (!(eth_ready && pcie_ready));
      if (grant) begin
        assert (pr_start == eth_start && pr_valid == eth_valid && pr_data == eth_data);
        assert (eth_ready == pr_ready && !pcie_ready);
      end else begin
        assert (!eth_ready);
        assert (pr_start == (active2_q && pcie_start) && pr_valid == (active2_q && pcie_valid));
        assert (!pr_valid || pr_data == pcie_data);
        assert (pcie_ready == (active2_q && pr_ready));
      end
    end
  end

endmodule
