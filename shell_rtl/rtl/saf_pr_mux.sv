// Who may use the PR controller: PCIe by default, Ethernet while the PCIe channel is idle.
//
// Data flow: one of two hosts' start and stream goes to the controller; ready comes back to that one alone. Ethernet asks
// (eth_req_i) and is granted when PCIe is not active; it keeps the controller until it stops asking, so neither can cut
// into the other's image. `pcie_active_i` is asynchronous: without a PCIe clock it must be low (a pull-down in the
// adapter), and then nothing here waits for anything of PCIe. The other PCIe signals are in pr_clk_i already.
// Latency: the stream passes without a register; a grant takes three clocks. Reset: PCIe has the controller, as idle.
// Back-pressure: ready of whoever is not connected is low. Constraints: pcie_active_i is a false path into saf_sync.

`include "saf_assert.svh"

module saf_pr_mux (
    input logic pr_clk_i,
    input logic pr_rst_ni,
    input logic eth_req_i,
    output logic eth_grant_o,
    input logic eth_start_i,
    input logic eth_valid_i,
    input logic [31:0] eth_data_i,
    output logic eth_ready_o,
    input logic pcie_active_i,
    input logic pcie_start_i,
    input logic pcie_valid_i,
    input logic [31:0] pcie_data_i,
    output logic pcie_ready_o,
    output logic pr_start_o,
    output logic pr_valid_o,
    output logic [31:0] pr_data_o,
    input logic pr_ready_i
);

  logic pcie_active, eth_q;

  saf_sync u_active (
      .clk_i(pr_clk_i),
      .rst_ni(pr_rst_ni),
      .d_i(pcie_active_i),
      .q_o(pcie_active)
  );

  always_ff @(posedge pr_clk_i or negedge pr_rst_ni) begin
    if (!pr_rst_ni) eth_q <= 1'b0;
    else eth_q <= eth_req_i && (eth_q || !pcie_active);
  end

  assign eth_grant_o = eth_q;
  assign pr_start_o = eth_q ? eth_start_i : pcie_active && pcie_start_i;
  assign pr_valid_o = eth_q ? eth_valid_i : pcie_active && pcie_valid_i;
  assign pr_data_o = eth_q ? eth_data_i : pcie_data_i;
  assign eth_ready_o = eth_q && pr_ready_i;
  assign pcie_ready_o = !eth_q && pcie_active && pr_ready_i;

  `SAF_ASSERT_CLK(AssertOneHost, !(eth_ready_o && pcie_ready_o), pr_clk_i, pr_rst_ni)

endmodule
