// The shell with models of all that surrounds it, for a card that is simulated and driven from C (saf_cosim.cpp).
//
// The simulator drives clocks, time, randomness and the MAC's two streams; memory, kernels and the verdict on an image
// come through DPI (see the models). With SAF_ONE_CLOCK all domains run on clk_i, for speed; else each on its own clock.
// Also for speed, the side that answers and sends then has a clock of its own: ctl_clk_i is clk_i without the pulses in which
// it would do nothing. It needs them when ctl_wake_o says so and some time after, and now and then for its timers.
// Latency, back-pressure: the core's. Reset: rst_ni, released in each domain by its own synchroniser.

module saf_cosim_top
  import saf_shell_pkg::*;
(
    input logic clk_i,
`ifdef SAF_ONE_CLOCK
    input logic ctl_clk_i,
    output logic ctl_wake_o,
`else
    input logic ddr_clk_i,
    input logic pr_clk_i,
    input logic krn_clk_i,
`endif
    input logic rst_ni,

    input logic [63:0] context_i,  // the simulator's card: handed back in every DPI call
    input logic [127:0] serial_i,
    input logic [47:0] mac0_i,
    input logic [47:0] mac1_i,
    input logic key_valid_i,
    input logic [255:0] key_i,
    input logic [15:0] mtu_i,
    input logic [31:0] receive_rate_i,
    input logic [31:0] window_blocks_i,
    input logic [31:0] compat_id_i,
    input logic [6:0][15:0] ethertypes_i,

    input logic link_up_i,
    input logic [63:0] time_ns_i,
    input logic [63:0] time_us_i,
    input logic [31:0] rnd_i,

    input logic mac_rx_valid_i,
    input logic mac_rx_sop_i,
    input logic mac_rx_eop_i,
    input logic mac_rx_error_i,
    input logic [2:0] mac_rx_empty_i,
    input logic [63:0] mac_rx_data_i,
    output logic mac_tx_valid_o,
    output logic mac_tx_sop_o,
    output logic mac_tx_eop_o,
    output logic [2:0] mac_tx_empty_o,
    output logic [63:0] mac_tx_data_o,
    input logic mac_tx_ready_i,
    output logic mac_tx_ready_o,  // as the shell sees it

    // faults and events of the models
    input logic ddr_slow_i,
    input logic freeze_hang_i,  // the PR region never says that it is isolated
    input logic pr_hang_i,
    input logic [2:0] pr_verdict_i,
    input logic krn_hang_i,
    input logic krn_irq_i,
    input logic role_valid_i,  // an access of the role without effect: address alone (dirty map, clamp)
    output logic role_ready_o,
    input logic role_write_i,
    input logic [AddrBits-1:0] role_addr_i,

    // what whoever looks into the card sees
    output logic busy_o,  // a model has work: the clock must not stop
    output logic session_open_o,
    output logic [31:0] session_o,
    output logic [31:0] session_count_o,
    output logic [31:0] pr_count_o,
    output logic [31:0] role_epoch_o,
    output logic [7:0] card_state_o,
    output logic [7:0] pr_status_o,
    output logic has_role_o,
    output logic [255:0] image_digest_o,
    output logic [7:0] slots_running_o,
    output logic commit_active_o,
    output logic role_freeze_o,
    output logic scrub_busy_o,
    output logic [31:0] rx_frames_o,
    output logic [31:0] tx_frames_o,
    output logic [31:0] data_blocks_o,
    output logic [31:0] commands_o,
    output logic [31:0] overflows_o
);

  import "DPI-C" function void saf_dpi_drop(
    input longint unsigned card,
    input int unsigned reason
  );

`ifdef SAF_ONE_CLOCK
  logic ddr_clk_i, pr_clk_i, krn_clk_i;
  assign ddr_clk_i = clk_i;
  assign pr_clk_i  = ctl_clk_i;
  assign krn_clk_i = ctl_clk_i;
`endif

  logic core_rst_n, ddr_rst_n, pr_rst_n, krn_rst_n;

  saf_reset_sync u_rst_core (
      .clk_i,
      .rst_ni,
      .rst_no(core_rst_n)
  );
`ifdef SAF_ONE_CLOCK
  assign ddr_rst_n = core_rst_n;
  assign pr_rst_n  = core_rst_n;
  assign krn_rst_n = core_rst_n;
`else
  saf_reset_sync u_rst_ddr (
      .clk_i(ddr_clk_i),
      .rst_ni,
      .rst_no(ddr_rst_n)
  );
  saf_reset_sync u_rst_pr (
      .clk_i(pr_clk_i),
      .rst_ni,
      .rst_no(pr_rst_n)
  );
  saf_reset_sync u_rst_krn (
      .clk_i(krn_clk_i),
      .rst_ni,
      .rst_no(krn_rst_n)
  );
`endif

  // Inputs are registered, so that no logic hangs on a port: the simulator would evaluate it twice a cycle.
  cfg_t cfg, cfg_q;
  always_ff @(posedge clk_i) if (!rst_ni) cfg_q <= cfg;

  logic link_up_q, tx_ready_q, rx_valid_q, rx_sop_q, rx_eop_q, rx_error_q;
  logic [2:0] rx_empty_q;
  logic [63:0] rx_data_q, time_ns_q, time_us_q;
  logic [31:0] rnd_q;
  always_ff @(posedge clk_i or negedge core_rst_n) begin
    if (!core_rst_n) begin
      link_up_q <= 1'b0;
      tx_ready_q <= 1'b0;
      rx_valid_q <= 1'b0;
      rx_sop_q <= 1'b0;
      rx_eop_q <= 1'b0;
      rx_error_q <= 1'b0;
      rx_empty_q <= '0;
      rx_data_q <= '0;
      time_ns_q <= '0;
      time_us_q <= '0;
    end else begin
      link_up_q <= link_up_i;
      tx_ready_q <= mac_tx_ready_i;
      rx_valid_q <= mac_rx_valid_i;
      rx_sop_q <= mac_rx_sop_i;
      rx_eop_q <= mac_rx_eop_i;
      rx_error_q <= mac_rx_error_i;
      rx_empty_q <= mac_rx_empty_i;
      rx_data_q <= mac_rx_data_i;
      time_ns_q <= time_ns_i;
      time_us_q <= time_us_i;
    end
  end
  always_ff @(posedge clk_i) rnd_q <= rnd_i;  // unpredictable from the first cycle on
  assign mac_tx_ready_o = tx_ready_q;

  logic ddr_slow_q, role_valid_q, role_write_q, role_ready, krn_hang_q, krn_irq_q, freeze_hang_q;
  logic [AddrBits-1:0] role_addr_q;
  assign role_ready_o = !role_valid_q || role_ready;
  always_ff @(posedge ddr_clk_i or negedge ddr_rst_n) begin
    if (!ddr_rst_n) begin
      ddr_slow_q <= 1'b0;
      role_valid_q <= 1'b0;
      role_write_q <= 1'b0;
      role_addr_q <= '0;
    end else begin
      ddr_slow_q <= ddr_slow_i;
      if (role_ready_o) begin
        role_valid_q <= role_valid_i;
        role_write_q <= role_write_i;
        role_addr_q <= role_addr_i;
      end
    end
  end
  always_ff @(posedge krn_clk_i or negedge krn_rst_n) begin
    if (!krn_rst_n) {krn_hang_q, krn_irq_q, freeze_hang_q} <= '0;
    else {krn_hang_q, krn_irq_q, freeze_hang_q} <= {krn_hang_i, krn_irq_i, freeze_hang_i};
  end

  always_comb begin
    cfg = '0;
    cfg.serial = serial_i;
    cfg.mac0 = mac0_i;
    cfg.mac1 = mac1_i;
    cfg.key_valid = key_valid_i;
    cfg.key = key_i;
    cfg.mtu = mtu_i;
    cfg.receive_rate = receive_rate_i;
    cfg.window_blocks = window_blocks_i;
    cfg.emulated = 1'b1;
    cfg.pr_compat_id = compat_id_i;
    cfg.ethertypes = ethertypes_i;
  end

  logic ddr_read, ddr_write, ddr_waitrequest, ddr_rvalid, ddr_busy;
  logic [DdrWordBits-1:0] ddr_addr;
  logic [4:0] ddr_burst;
  logic [DdrBits-1:0] ddr_wdata, ddr_rdata;
  logic [DdrBytes-1:0] ddr_be;
  logic pr_start, pr_valid, pr_ready, pr_busy;
  logic [31:0] pr_data;
  logic [2:0] pr_status;
  logic [15:0] krn_address;
  logic krn_read, krn_write, krn_waitrequest, krn_readdatavalid, krn_reset, krn_busy;
  logic [63:0] krn_writedata, krn_readdata;
  logic [7:0] krn_byteenable;
  logic role_reset, pr_reset, overflow, pcie_pr_ready, role_rvalid;
  logic [DdrBits-1:0] role_rdata;

  saf_shell_core u_core (
      .clk_i,
      .rst_ni(core_rst_n),
`ifdef SAF_ONE_CLOCK
      .ctl_clk_i,
`endif
      .ddr_clk_i,
      .ddr_rst_ni(ddr_rst_n),
      .pr_clk_i,
      .pr_rst_ni(pr_rst_n),
      .krn_clk_i,
      .krn_rst_ni(krn_rst_n),
      .cfg_i(cfg_q),
      .link_up_i(link_up_q),
      .time_us_i(time_us_q),
      .time_ns_i(time_ns_q),
      .rnd_i(rnd_q),
      .mac_rx_valid_i(rx_valid_q),
      .mac_rx_sop_i(rx_sop_q),
      .mac_rx_eop_i(rx_eop_q),
      .mac_rx_error_i(rx_error_q),
      .mac_rx_empty_i(rx_empty_q),
      .mac_rx_data_i(rx_data_q),
      .mac_tx_valid_o,
      .mac_tx_sop_o,
      .mac_tx_eop_o,
      .mac_tx_empty_o,
      .mac_tx_data_o,
      .mac_tx_ready_i(tx_ready_q),
      .ddr_read_o(ddr_read),
      .ddr_write_o(ddr_write),
      .ddr_addr_o(ddr_addr),
      .ddr_burst_o(ddr_burst),
      .ddr_wdata_o(ddr_wdata),
      .ddr_be_o(ddr_be),
      .ddr_waitrequest_i(ddr_waitrequest),
      .ddr_rdata_i(ddr_rdata),
      .ddr_rvalid_i(ddr_rvalid),
      .role_valid_i(role_valid_q),
      .role_ready_o(role_ready),
      .role_write_i(role_write_q),
      .role_addr_i(role_addr_q),
      .role_data_i('0),
      .role_be_i('0),
      .role_rdata_o(role_rdata),
      .role_rvalid_o(role_rvalid),
      .role_freeze_o,
      .role_frozen_i(role_freeze_o && !freeze_hang_q),
      .role_reset_o(role_reset),
      .pr_start_o(pr_start),
      .pr_valid_o(pr_valid),
      .pr_data_o(pr_data),
      .pr_ready_i(pr_ready),
      .pr_status_i(pr_status),
      .pr_reset_o(pr_reset),
      .pcie_pr_active_i(1'b0),
      .pcie_pr_start_i(1'b0),
      .pcie_pr_valid_i(1'b0),
      .pcie_pr_data_i('0),
      .pcie_pr_ready_o(pcie_pr_ready),
      .krn_address_o(krn_address),
      .krn_read_o(krn_read),
      .krn_write_o(krn_write),
      .krn_writedata_o(krn_writedata),
      .krn_byteenable_o(krn_byteenable),
      .krn_waitrequest_i(krn_waitrequest),
      .krn_readdata_i(krn_readdata),
      .krn_readdatavalid_i(krn_readdatavalid),
      .krn_irq_i(krn_irq_q),
      .krn_reset_o(krn_reset),
      .overflow_o(overflow)
  );

  saf_ddr_model u_ddr (
      .clk_i(ddr_clk_i),
      .rst_ni(ddr_rst_n),
      .context_i,
      .slow_i(ddr_slow_q),
      .read_i(ddr_read),
      .write_i(ddr_write),
      .addr_i(ddr_addr),
      .burst_i(ddr_burst),
      .wdata_i(ddr_wdata),
      .be_i(ddr_be),
      .waitrequest_o(ddr_waitrequest),
      .rdata_o(ddr_rdata),
      .rvalid_o(ddr_rvalid),
      .busy_o(ddr_busy)
  );

  saf_pr_model u_pr (
      .clk_i(pr_clk_i),
      .rst_ni(pr_rst_n),
      .context_i,
      .compat_id_i(cfg_q.pr_compat_id),
      .hang_i(pr_hang_i),
      .verdict_i(pr_verdict_i),
      .reset_i(pr_reset),
      .start_i(pr_start),
      .valid_i(pr_valid),
      .data_i(pr_data),
      .ready_o(pr_ready),
      .status_o(pr_status),
      .busy_o(pr_busy)
  );

  saf_kernel_model u_kernel (
      .clk_i(krn_clk_i),
      .rst_ni(krn_rst_n),
      .context_i,
      .hang_i(krn_hang_q),
      .address_i(krn_address),
      .read_i(krn_read),
      .write_i(krn_write),
      .writedata_i(krn_writedata),
      .byteenable_i(krn_byteenable),
      .waitrequest_o(krn_waitrequest),
      .readdata_o(krn_readdata),
      .readdatavalid_o(krn_readdatavalid),
      .reset_i(krn_reset || role_reset),
      .busy_o(krn_busy)
  );

  // ---------------------------------------------------------------- views

  logic unused;
  assign unused = &{1'b0, pcie_pr_ready, role_rdata, role_rvalid, u_core.session, u_core.role};

`ifdef SAF_ONE_CLOCK
  // Everything that asks something of that side, or comes from it and is more than a level: it may only sleep while all of
  // this is low, so that no pulse is missed and none stays.
  logic seen_q;  // a frame since the link came up: further ones mean nothing to it
  always_ff @(posedge clk_i or negedge core_rst_n) begin
    if (!core_rst_n) seen_q <= 1'b0;
    else seen_q <= link_up_q && (seen_q || u_core.seen);
  end
  assign ctl_wake_o = !link_up_q || !u_core.session.open || (u_core.seen && !seen_q) || u_core.stranger_valid
      || u_core.cf_valid || u_core.h_valid != '0 || u_core.msg_valid != '0 || u_core.tf_valid || mac_tx_valid_o
      || u_core.hash_valid[1:0] != '0 || u_core.hash_done[1:0] != '0 || u_core.rd_valid[3:2] != '0
      || u_core.rd_dvalid[3:2] != '0 || u_core.rd_abort[3:2] != '0 || u_core.wr_valid[2] || u_core.wr_done[2]
      || u_core.job_valid[1] || u_core.job_done[1] || u_core.img_valid || u_core.leafq_valid || u_core.push_valid
      || u_core.rolereg_valid || u_core.used_valid || u_core.session_end || u_core.forget || u_core.forget_busy_xfer
      || u_core.scrub_start || u_core.scrub_busy || u_core.role_fault || u_core.drop_valid[1] || u_core.tx_count
      || u_core.command_count || u_core.commit_active || u_core.slots_running != '0 || pr_busy || krn_busy;
`endif

  // Digests under way, which nothing outside shows
  logic [2:0] hashing_q;  // a client of saf_crypto each
  logic [2:0] leaves_q;
  always_ff @(posedge clk_i or negedge core_rst_n) begin
    if (!core_rst_n) begin
      hashing_q <= '0;
      leaves_q <= '0;
    end else begin
      hashing_q <= (hashing_q | u_core.hash_valid) & ~u_core.hash_done;
      leaves_q <= leaves_q + 3'(u_core.job_valid[0] && u_core.job_ready[0]) + 3'(u_core.job_valid[1] && u_core.job_ready[1])
          - 3'(u_core.job_done[0]) - 3'(u_core.job_done[1]);
    end
  end

  assign busy_o = ddr_busy || pr_busy || krn_busy || u_core.scrub_busy || mac_tx_valid_o || hashing_q != '0
      || leaves_q != '0 || u_core.msg_valid != '0 || u_core.h_valid != '0 || u_core.cf_valid || u_core.df_valid;
  assign session_open_o = u_core.session.open;
  assign session_o = u_core.session.id;
  assign session_count_o = u_core.session_count;
  assign pr_count_o = u_core.pr_count;
  assign role_epoch_o = u_core.role.epoch;
  assign card_state_o = u_core.role.card_state;
  assign pr_status_o = u_core.role.pr_status;
  assign has_role_o = u_core.role.has_role;
  assign image_digest_o = u_core.role.image_digest;
  assign slots_running_o = u_core.slots_running;
  assign commit_active_o = u_core.commit_active;
  assign scrub_busy_o = u_core.scrub_busy;

  always_ff @(posedge clk_i or negedge core_rst_n) begin
    if (!core_rst_n) begin
      rx_frames_o <= '0;
      tx_frames_o <= '0;
      data_blocks_o <= '0;
      commands_o <= '0;
      overflows_o <= '0;
    end else begin
      rx_frames_o <= rx_frames_o + 32'(u_core.rx_count);
      tx_frames_o <= tx_frames_o + 32'(u_core.tx_count);
      data_blocks_o <= data_blocks_o + 32'(u_core.block_count);
      commands_o <= commands_o + 32'(u_core.command_count);
      overflows_o <= overflows_o + 32'(overflow);
      for (int unsigned i = 0; i < u_core.NumDrop; i++)
        if (u_core.drop_valid[i]) saf_dpi_drop(context_i, 32'(u_core.drop_reason[i]));
    end
  end

endmodule
