// The SAF shell on a Bittware 385A (Arria 10 GX1150): saf_shell_core between Intel's 10G MAC (64-bit Avalon-ST, legacy
// option), one EMIF (512-bit Avalon-MM), the Arria 10 PR IP and the OpenCL kernel interface. Avalon names live here alone.
//
// Clocks: mac_clk (156.25 MHz, of the MAC), emif_clk (user clock of the EMIF), pr_clk (at most 100 MHz), kernel_clk.
// Reset: reset_n is asynchronous and any clock's; each domain leaves reset by a synchroniser of its own, and all of them
// wait for the entropy source and for cfg's hold bit. There is no PCIe clock and no PCIe reset here: pcie_pr_* are the PR
// controller's other user and may be tied to 0.

module saf_shell_385a
  import saf_shell_pkg::*;
#(
    parameter logic [127:0] Serial = '0,
    parameter logic [47:0] Mac0 = 48'h02_53_41_46_00_01,
    parameter logic [47:0] Mac1 = 48'h02_53_41_47_00_01,
    parameter logic [255:0] Key = '0,
    parameter bit KeyValid = 1'b0,
    parameter logic [15:0] Mtu = 16'd9000,
    parameter bit Hold = 1'b0
) (
    input logic reset_n,
    input logic mac_clk,
    input logic emif_clk,
    input logic pr_clk,
    input logic kernel_clk,

    // card configuration, Avalon-MM agent, mac_clk
    input logic [4:0] cfg_address,
    input logic cfg_read,
    input logic cfg_write,
    input logic [31:0] cfg_writedata,
    output logic [31:0] cfg_readdata,

    // LL 10G MAC, Avalon-ST, mac_clk. RX cannot be stalled.
    input logic mac_link_up,
    input logic avalon_st_rx_valid,
    input logic avalon_st_rx_startofpacket,
    input logic avalon_st_rx_endofpacket,
    input logic [2:0] avalon_st_rx_empty,
    input logic [5:0] avalon_st_rx_error,
    input logic [63:0] avalon_st_rx_data,
    output logic avalon_st_rx_ready,
    output logic avalon_st_tx_valid,
    output logic avalon_st_tx_startofpacket,
    output logic avalon_st_tx_endofpacket,
    output logic [2:0] avalon_st_tx_empty,
    output logic avalon_st_tx_error,
    output logic [63:0] avalon_st_tx_data,
    input logic avalon_st_tx_ready,
    output logic [1:0] avalon_st_pause_data,

    // EMIF, Avalon-MM, emif_clk
    input logic emif_cal_success,
    output logic amm_read,
    output logic amm_write,
    output logic [DdrWordBits-1:0] amm_address,
    output logic [6:0] amm_burstcount,
    output logic [511:0] amm_writedata,
    output logic [63:0] amm_byteenable,
    input logic amm_ready,
    input logic [511:0] amm_readdata,
    input logic amm_readdatavalid,

    // the role's memory host, Avalon-MM, emif_clk
    input logic kernel_mem_read,
    input logic kernel_mem_write,
    input logic [AddrBits-1:0] kernel_mem_address,
    input logic [4:0] kernel_mem_burstcount,
    input logic [511:0] kernel_mem_writedata,
    input logic [63:0] kernel_mem_byteenable,
    output logic kernel_mem_waitrequest,
    output logic [511:0] kernel_mem_readdata,
    output logic kernel_mem_readdatavalid,

    // Arria 10 PR IP, pr_clk
    output logic pr_nreset,
    output logic pr_start,
    output logic [31:0] pr_data,
    output logic pr_data_valid,
    input logic pr_data_ready,
    input logic [2:0] pr_status,
    output logic pr_region_freeze,
    input logic pr_region_frozen,
    input logic pcie_pr_active,
    input logic pcie_pr_start,
    input logic pcie_pr_valid,
    input logic [31:0] pcie_pr_data,
    output logic pcie_pr_ready,

    // OpenCL kernel interface, Avalon-MM host, kernel_clk
    output logic [15:0] kernel_cra_address,
    output logic kernel_cra_read,
    output logic kernel_cra_write,
    output logic [63:0] kernel_cra_writedata,
    output logic [7:0] kernel_cra_byteenable,
    input logic kernel_cra_waitrequest,
    input logic [63:0] kernel_cra_readdata,
    input logic kernel_cra_readdatavalid,
    input logic kernel_irq,
    output logic kernel_reset_n,

    output logic rx_overflow
);

  cfg_t cfg;
  logic mac_base_rst_n, entropy_good, hold, emif_up, run, run_q;
  logic mac_rst_n, emif_rst_n, pr_rst_n, kernel_rst_n;
  logic role_reset, krn_reset, role_reset_krn;
  logic [31:0] rnd;
  logic [63:0] time_us, time_ns;

  // ---- resets: what configures the shell starts first
  saf_reset_sync u_base_reset (
      .clk_i(mac_clk),
      .rst_ni(reset_n),
      .rst_no(mac_base_rst_n)
  );

  saf_385a_cfg #(
      .Serial(Serial),
      .Mac0(Mac0),
      .Mac1(Mac1),
      .Key(Key),
      .KeyValid(KeyValid),
      .Mtu(Mtu),
      .Hold(Hold)
  ) u_cfg (
      .clk_i(mac_clk),
      .rst_ni(mac_base_rst_n),
      .cfg_address_i(cfg_address),
      .cfg_read_i(cfg_read),
      .cfg_write_i(cfg_write),
      .cfg_writedata_i(cfg_writedata),
      .cfg_readdata_o(cfg_readdata),
      .cfg_o(cfg),
      .hold_o(hold)
  );

  saf_385a_entropy u_entropy (
      .clk_i(mac_clk),
      .rst_ni(mac_base_rst_n),
      .rnd_o(rnd),
      .good_o(entropy_good)
  );

  saf_sync u_emif_up (
      .clk_i(mac_clk),
      .rst_ni(mac_base_rst_n),
      .d_i(emif_cal_success),
      .q_o(emif_up)
  );

  // a registered signal, because it resets other domains asynchronously
  assign run = entropy_good && emif_up && !hold;
  always_ff @(posedge mac_clk or negedge mac_base_rst_n) begin
    if (!mac_base_rst_n) run_q <= 1'b0;
    else run_q <= run;
  end

  saf_reset_sync u_mac_reset (.clk_i(mac_clk), .rst_ni(run_q), .rst_no(mac_rst_n));
  saf_reset_sync u_emif_reset (.clk_i(emif_clk), .rst_ni(run_q), .rst_no(emif_rst_n));
  saf_reset_sync u_pr_reset (.clk_i(pr_clk), .rst_ni(run_q), .rst_no(pr_rst_n));
  saf_reset_sync u_kernel_reset (.clk_i(kernel_clk), .rst_ni(run_q), .rst_no(kernel_rst_n));

  saf_timebase u_timebase (
      .clk_i(mac_clk),
      .rst_ni(mac_rst_n),
      .time_us_o(time_us),
      .time_ns_o(time_ns)
  );

  // ---- the role's memory host
  logic role_valid, role_ready, role_write, role_rvalid;
  logic [AddrBits-1:0] role_addr;
  logic [DdrBits-1:0] role_data, role_rdata;
  logic [DdrBytes-1:0] role_be;

  saf_385a_role_bridge u_role_bridge (
      .clk_i(emif_clk),
      .rst_ni(emif_rst_n),
      .avm_read_i(kernel_mem_read),
      .avm_write_i(kernel_mem_write),
      .avm_address_i(kernel_mem_address),
      .avm_burstcount_i(kernel_mem_burstcount),
      .avm_writedata_i(kernel_mem_writedata),
      .avm_byteenable_i(kernel_mem_byteenable),
      .avm_waitrequest_o(kernel_mem_waitrequest),
      .avm_readdata_o(kernel_mem_readdata),
      .avm_readdatavalid_o(kernel_mem_readdatavalid),
      .role_valid_o(role_valid),
      .role_ready_i(role_ready),
      .role_write_o(role_write),
      .role_addr_o(role_addr),
      .role_data_o(role_data),
      .role_be_o(role_be),
      .role_rdata_i(role_rdata),
      .role_rvalid_i(role_rvalid)
  );

  // ---- the shell
  logic [4:0] ddr_burst;
  logic pr_reset;
  logic amm_waitrequest;
  assign amm_burstcount = {2'd0, ddr_burst};
  assign amm_waitrequest = !amm_ready;
  assign pr_nreset = pr_rst_n && !pr_reset;
  assign avalon_st_rx_ready = 1'b1;
  assign avalon_st_tx_error = 1'b0;
  assign avalon_st_pause_data = 2'd0;  // the receive path keeps up with the line: nobody is asked to pause

  saf_shell_core u_core (
      .clk_i(mac_clk),
      .rst_ni(mac_rst_n),
      .ddr_clk_i(emif_clk),
      .ddr_rst_ni(emif_rst_n),
      .pr_clk_i(pr_clk),
      .pr_rst_ni(pr_rst_n),
      .krn_clk_i(kernel_clk),
      .krn_rst_ni(kernel_rst_n),
      .cfg_i(cfg),
      .link_up_i(mac_link_up),
      .time_us_i(time_us),
      .time_ns_i(time_ns),
      .rnd_i(rnd),
      .mac_rx_valid_i(avalon_st_rx_valid),
      .mac_rx_sop_i(avalon_st_rx_startofpacket),
      .mac_rx_eop_i(avalon_st_rx_endofpacket),
      .mac_rx_error_i(|avalon_st_rx_error),
      .mac_rx_empty_i(avalon_st_rx_empty),
      .mac_rx_data_i(avalon_st_rx_data),
      .mac_tx_valid_o(avalon_st_tx_valid),
      .mac_tx_sop_o(avalon_st_tx_startofpacket),
      .mac_tx_eop_o(avalon_st_tx_endofpacket),
      .mac_tx_empty_o(avalon_st_tx_empty),
      .mac_tx_data_o(avalon_st_tx_data),
      .mac_tx_ready_i(avalon_st_tx_ready),
      .ddr_read_o(amm_read),
      .ddr_write_o(amm_write),
      .ddr_addr_o(amm_address),
      .ddr_burst_o(ddr_burst),
      .ddr_wdata_o(amm_writedata),
      .ddr_be_o(amm_byteenable),
      .ddr_waitrequest_i(amm_waitrequest),
      .ddr_rdata_i(amm_readdata),
      .ddr_rvalid_i(amm_readdatavalid),
      .role_valid_i(role_valid),
      .role_ready_o(role_ready),
      .role_write_i(role_write),
      .role_addr_i(role_addr),
      .role_data_i(role_data),
      .role_be_i(role_be),
      .role_rdata_o(role_rdata),
      .role_rvalid_o(role_rvalid),
      .role_freeze_o(pr_region_freeze),
      .role_frozen_i(pr_region_frozen),
      .role_reset_o(role_reset),
      .pr_reset_o(pr_reset),
      .pr_start_o(pr_start),
      .pr_valid_o(pr_data_valid),
      .pr_data_o(pr_data),
      .pr_ready_i(pr_data_ready),
      .pr_status_i(pr_status),
      .pcie_pr_active_i(pcie_pr_active),
      .pcie_pr_start_i(pcie_pr_start),
      .pcie_pr_valid_i(pcie_pr_valid),
      .pcie_pr_data_i(pcie_pr_data),
      .pcie_pr_ready_o(pcie_pr_ready),
      .krn_address_o(kernel_cra_address),
      .krn_read_o(kernel_cra_read),
      .krn_write_o(kernel_cra_write),
      .krn_writedata_o(kernel_cra_writedata),
      .krn_byteenable_o(kernel_cra_byteenable),
      .krn_waitrequest_i(kernel_cra_waitrequest),
      .krn_readdata_i(kernel_cra_readdata),
      .krn_readdatavalid_i(kernel_cra_readdatavalid),
      .krn_irq_i(kernel_irq),
      .krn_reset_o(krn_reset),
      .overflow_o(rx_overflow)
  );

  saf_sync u_role_reset (
      .clk_i(kernel_clk),
      .rst_ni(kernel_rst_n),
      .d_i(role_reset),
      .q_o(role_reset_krn)
  );
  assign kernel_reset_n = kernel_rst_n && !krn_reset && !role_reset_krn;

endmodule
