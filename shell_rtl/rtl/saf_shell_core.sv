// The SAF custom shell, without anything that belongs to one board.
//
// Data flow: MAC → saf_rx → DATA frames to saf_bulk → saf_ddr; control frames to saf_control, which checks them and hands
// them to the unit that carries them out (saf_xfer_ctl, saf_commit, saf_slots, saf_read). All units send their messages
// through saf_tx. saf_crypto makes tags, keys and tree digests for all of them.
//
// Clocks: clk (the MAC's, 156.25 MHz, all control), ddr_clk (DDR controller), pr_clk (at most 100 MHz, PR controller), krn_clk
// (kernel interface); unrelated to each other. Each has its own reset, asserted together and released synchronously by
// whoever instantiates the core. Nothing depends on a PCIe clock or reset: the card stands alone.
// Time and randomness come from outside: time_us/time_ns since reset, a new unpredictable word on rnd every cycle.

module saf_shell_core
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
`ifdef SAF_ONE_CLOCK
    input logic ctl_clk_i,  // clk_i without the pulses in which what answers and sends would do nothing (simulation for speed)
`endif
    input logic ddr_clk_i,
    input logic ddr_rst_ni,
    input logic pr_clk_i,
    input logic pr_rst_ni,
    input logic krn_clk_i,
    input logic krn_rst_ni,

    input cfg_t cfg_i,
    input logic link_up_i,
    input logic [63:0] time_us_i,
    input logic [63:0] time_ns_i,
    input logic [31:0] rnd_i,

    // MAC, core clock
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

    // DDR controller, ddr clock
    output logic ddr_read_o,
    output logic ddr_write_o,
    output logic [DdrWordBits-1:0] ddr_addr_o,
    output logic [4:0] ddr_burst_o,
    output logic [DdrBits-1:0] ddr_wdata_o,
    output logic [DdrBytes-1:0] ddr_be_o,
    input logic ddr_waitrequest_i,
    input logic [DdrBits-1:0] ddr_rdata_i,
    input logic ddr_rvalid_i,

    // memory host of the role, ddr clock
    input logic role_valid_i,
    output logic role_ready_o,
    input logic role_write_i,
    input logic [AddrBits-1:0] role_addr_i,
    input logic [DdrBits-1:0] role_data_i,
    input logic [DdrBytes-1:0] role_be_i,
    output logic [DdrBits-1:0] role_rdata_o,
    output logic role_rvalid_o,
    output logic role_freeze_o,  // core clock: the PR region shall be isolated
    input logic role_frozen_i,  // any clock: its freeze bridges are closed
    output logic role_reset_o,  // core clock

    // PR controller, pr clock, and whoever else may feed it
    output logic pr_reset_o,  // an image was given up in the middle: the controller's own reset
    output logic pr_start_o,
    output logic pr_valid_o,
    output logic [31:0] pr_data_o,
    input logic pr_ready_i,
    input logic [2:0] pr_status_i,
    input logic pcie_pr_active_i,  // any clock
    input logic pcie_pr_start_i,
    input logic pcie_pr_valid_i,
    input logic [31:0] pcie_pr_data_i,
    output logic pcie_pr_ready_o,

    // OpenCL kernel interface, krn clock
    output logic [15:0] krn_address_o,
    output logic krn_read_o,
    output logic krn_write_o,
    output logic [63:0] krn_writedata_o,
    output logic [7:0] krn_byteenable_o,
    input logic krn_waitrequest_i,
    input logic [63:0] krn_readdata_i,
    input logic krn_readdatavalid_i,
    input logic krn_irq_i,
    output logic krn_reset_o,

    output logic overflow_o  // a frame was lost because its buffer was full
);

  // Units that sleep while objects come in, and so need not be evaluated then.
  logic ctl_clk;
`ifdef SAF_ONE_CLOCK
  assign ctl_clk = ctl_clk_i;
`else
  assign ctl_clk = clk_i;
`endif

  localparam int unsigned NumMsg = 6;
  localparam int unsigned MsgXfer = 0, MsgCommit = 1, MsgSlots = 2, MsgRead = 3, MsgSession = 4, MsgHello = 5;
  localparam int unsigned NumHash = 3;
  localparam int unsigned HashCtl = 0, HashTx = 1, HashGuard = 2;
  localparam int unsigned NumDrop = 3;
  localparam int unsigned NumWr = 3;
  localparam int unsigned WrBulk = 0, WrLeaf = 1, WrRead = 2;
  localparam int unsigned NumRd = 4;
  localparam int unsigned RdRead = 2, RdPr = 3;
  localparam int unsigned NumJob = 2;
  localparam int unsigned JobXfer = 0, JobRead = 1;

  // views that many units look at
  session_view_t session;
  role_view_t role;
  logic session_end, forget, scrub_start, scrub_busy, commit_active, role_changed, role_fault;
  logic [1:0] commit_slot;
  logic [7:0] slots_running;
  logic forget_busy_xfer, forget_busy_commit, forget_busy_slots;
  logic [31:0] session_count, pr_count, last_transfer, last_commit, last_kill;
  logic [63:0] rx_frames, rx_dropped;

  // messages to the transmitter
  logic [NumMsg-1:0] msg_valid, msg_ready, msg_last;
  msg_meta_t [NumMsg-1:0] msg_meta;
  logic [NumMsg-1:0][63:0] msg_data;

  // clients of the crypto unit
  logic [NumHash-1:0] hash_valid, hash_ready, hash_dvalid, hash_dready, hash_dlast, hash_done;
  hash_req_t [NumHash-1:0] hash_req;
  logic [NumHash-1:0][63:0] hash_data;
  logic [255:0] hash_digest;
  logic [NumJob-1:0] job_valid, job_ready, job_done;
  leaf_job_t [NumJob-1:0] job;
  logic [255:0] job_digest;

  // clients of DDR
  logic [NumWr-1:0] wr_valid, wr_ready, wr_last, wr_done;
  logic [NumWr-1:0][AddrBits-1:0] wr_addr;
  logic [NumWr-1:0][15:0] wr_bytes;
  logic [NumWr-1:0][63:0] wr_data;
  logic [NumRd-1:0] rd_valid, rd_ready, rd_dvalid, rd_dready, rd_dlast, rd_abort;
  logic [NumRd-1:0][AddrBits-1:0] rd_addr;
  logic [NumRd-1:0][31:0] rd_bytes;
  logic [NumRd-1:0][63:0] rd_data;

  // counters' events
  logic [NumDrop-1:0] drop_valid;
  logic [NumDrop-1:0][4:0] drop_reason;
  logic rx_count, tx_count, block_count, command_count;

  // handlers of control frames: 0 transfers, 1 COMMIT, 2 RUN and KILL, 3 READ
  ctl_req_t req;
  logic [511:0] pay;
  logic [3:0] h_valid, h_done;
  logic [3:0][10:0] fr_addr;
  logic [63:0] fr_data;

  // ---------------------------------------------------------------- receive

  logic df_valid, df_ready, df_rd_en, df_done;
  data_desc_t df_desc;
  logic [10:0] df_rd_addr, cf_rd_addr;
  logic [63:0] df_rd_data, cf_rd_data;
  logic cf_valid, cf_pop, seen;
  ctl_req_t cf_req;

  saf_rx u_rx (
      .clk_i,
      .rst_ni,
      .cfg_i,
      .link_up_i,
      .mac_rx_valid_i,
      .mac_rx_sop_i,
      .mac_rx_eop_i,
      .mac_rx_error_i,
      .mac_rx_empty_i,
      .mac_rx_data_i,
      .df_valid_o(df_valid),
      .df_ready_i(df_ready),
      .df_desc_o(df_desc),
      .df_rd_en_i(df_rd_en),
      .df_rd_addr_i(df_rd_addr),
      .df_rd_data_o(df_rd_data),
      .df_done_i(df_done),
      .cf_valid_o(cf_valid),
      .cf_req_o(cf_req),
      .cf_rd_addr_i(cf_rd_addr),
      .cf_rd_data_o(cf_rd_data),
      .cf_pop_i(cf_pop),
      .rx_count_o(rx_count),
      .drop_valid_o(drop_valid[0]),
      .drop_reason_o(drop_reason[0]),
      .seen_o(seen),
      .overflow_o
  );

  // ---------------------------------------------------------------- control frames, sessions, discovery

  logic stranger_valid, seq_load;
  logic [47:0] stranger_mac;
  logic [63:0] seq_load_value;
  logic [4:0] info_addr;
  logic [63:0] info_data, slot_data;
  logic [2:0] slot_addr;

  saf_control u_control (
      .clk_i(ctl_clk),
      .rst_ni,
      .cfg_i,
      .link_up_i,
      .time_us_i,
      .rnd_i,
      .cf_valid_i(cf_valid),
      .cf_req_i(cf_req),
      .cf_rd_addr_o(cf_rd_addr),
      .cf_rd_data_i(cf_rd_data),
      .cf_pop_o(cf_pop),
      .seen_i(seen),
      .stranger_valid_i(stranger_valid),
      .stranger_mac_i(stranger_mac),
      .h_valid_o(h_valid),
      .h_done_i(h_done),
      .fr_addr_i(fr_addr),
      .fr_data_o(fr_data),
      .req_o(req),
      .pay_o(pay),
      .msg_valid_o(msg_valid[MsgSession]),
      .msg_ready_i(msg_ready[MsgSession]),
      .msg_meta_o(msg_meta[MsgSession]),
      .msg_data_o(msg_data[MsgSession]),
      .msg_last_o(msg_last[MsgSession]),
      .hello_valid_o(msg_valid[MsgHello]),
      .hello_ready_i(msg_ready[MsgHello]),
      .hello_meta_o(msg_meta[MsgHello]),
      .hello_data_o(msg_data[MsgHello]),
      .hello_last_o(msg_last[MsgHello]),
      .hash_valid_o(hash_valid[HashCtl]),
      .hash_ready_i(hash_ready[HashCtl]),
      .hash_req_o(hash_req[HashCtl]),
      .hash_dvalid_o(hash_dvalid[HashCtl]),
      .hash_dready_i(hash_dready[HashCtl]),
      .hash_data_o(hash_data[HashCtl]),
      .hash_dlast_o(hash_dlast[HashCtl]),
      .hash_done_i(hash_done[HashCtl]),
      .hash_digest_i(hash_digest),
      .drop_valid_o(drop_valid[1]),
      .drop_reason_o(drop_reason[1]),
      .role_i(role),
      .slots_running_i(slots_running),
      .rx_frames_i(rx_frames),
      .rx_dropped_i(rx_dropped),
      .info_addr_o(info_addr),
      .info_data_i(info_data),
      .slot_addr_o(slot_addr),
      .slot_data_i(slot_data),
      .last_transfer_i(last_transfer),
      .last_commit_i(last_commit),
      .last_kill_i(last_kill),
      .session_o(session),
      .session_end_o(session_end),
      .forget_o(forget),
      .forget_busy_i(forget_busy_xfer | forget_busy_commit | forget_busy_slots),
      .scrub_start_o(scrub_start),
      .session_count_o(session_count),
      .seq_load_o(seq_load),
      .seq_load_value_o(seq_load_value)
  );

  // ---------------------------------------------------------------- transfers

  logic [3:0] ctx_valid, ctx_rx, ctx_guarded;
  logic open_valid, open_done, open_complete, forget_valid, forget_done;
  logic [1:0] open_ctx, forget_ctx, q_ctx, bm_ctx;
  logic [31:0] open_id, open_group, q_received;
  etype_e open_etype;
  logic [AddrBits-1:0] open_base;
  logic [15:0] open_block_bytes, open_last_bytes, q_sections;
  logic [BlockBits-1:0] open_blocks, forget_first, forget_count, q_missing, q_lowest;
  logic q_settled, bm_rd_valid, bm_valid;
  logic [10:0] bm_word;
  logic [63:0] bm_data;

  saf_bulk u_bulk (
      .clk_i,
      .rst_ni,
      .cfg_i,
      .session_i(session),
      .df_valid_i(df_valid),
      .df_ready_o(df_ready),
      .df_desc_i(df_desc),
      .df_rd_en_o(df_rd_en),
      .df_rd_addr_o(df_rd_addr),
      .df_rd_data_i(df_rd_data),
      .df_done_o(df_done),
      .stranger_valid_o(stranger_valid),
      .stranger_mac_o(stranger_mac),
      .drop_valid_o(drop_valid[2]),
      .drop_reason_o(drop_reason[2]),
      .block_count_o(block_count),
      .hash_valid_o(hash_valid[HashGuard]),
      .hash_ready_i(hash_ready[HashGuard]),
      .hash_req_o(hash_req[HashGuard]),
      .hash_dvalid_o(hash_dvalid[HashGuard]),
      .hash_dready_i(hash_dready[HashGuard]),
      .hash_data_o(hash_data[HashGuard]),
      .hash_dlast_o(hash_dlast[HashGuard]),
      .hash_done_i(hash_done[HashGuard]),
      .hash_digest_i(hash_digest),
      .wr_valid_o(wr_valid[WrBulk]),
      .wr_ready_i(wr_ready[WrBulk]),
      .wr_addr_o(wr_addr[WrBulk]),
      .wr_bytes_o(wr_bytes[WrBulk]),
      .wr_data_o(wr_data[WrBulk]),
      .wr_last_o(wr_last[WrBulk]),
      .wr_done_i(wr_done[WrBulk]),
      .ctx_valid_i(ctx_valid),
      .ctx_rx_i(ctx_rx),
      .ctx_guarded_i(ctx_guarded),
      .open_valid_i(open_valid),
      .open_done_o(open_done),
      .open_ctx_i(open_ctx),
      .open_id_i(open_id),
      .open_group_i(open_group),
      .open_etype_i(open_etype),
      .open_base_i(open_base),
      .open_block_bytes_i(open_block_bytes),
      .open_blocks_i(open_blocks),
      .open_last_bytes_i(open_last_bytes),
      .open_complete_i(open_complete),
      .forget_valid_i(forget_valid),
      .forget_done_o(forget_done),
      .forget_ctx_i(forget_ctx),
      .forget_first_i(forget_first),
      .forget_count_i(forget_count),
      .q_ctx_i(q_ctx),
      .q_missing_o(q_missing),
      .q_lowest_o(q_lowest),
      .q_received_o(q_received),
      .q_sections_o(q_sections),
      .q_settled_o(q_settled),
      .bm_rd_valid_i(bm_rd_valid),
      .bm_ctx_i(bm_ctx),
      .bm_word_i(bm_word),
      .bm_valid_o(bm_valid),
      .bm_data_o(bm_data)
  );

  logic img_valid, img_done, img_found, img_verified, used_valid, leafq_valid, leafq_done;
  logic [1:0] img_word;
  logic [1:0] img_slot, used_slot;
  logic [AddrBits-1:0] img_length, leafq_addr;
  logic [31:0] used_epoch, leafq_id;
  logic [15:0] leafq_status;
  logic [20:0] leafq_bytes;

  saf_xfer_ctl u_xfer_ctl (
      .clk_i,
      .rst_ni,
      .cfg_i,
      .session_i(session),
      .session_end_i(session_end),
      .forget_i(forget),
      .forget_busy_o(forget_busy_xfer),
      .scrub_busy_i(scrub_busy),
      .req_i(req),
      .pay_i(pay),
      .h_valid_i(h_valid[0]),
      .h_done_o(h_done[0]),
      .fr_addr_o(fr_addr[0]),
      .fr_data_i(fr_data),
      .msg_valid_o(msg_valid[MsgXfer]),
      .msg_ready_i(msg_ready[MsgXfer]),
      .msg_meta_o(msg_meta[MsgXfer]),
      .msg_data_o(msg_data[MsgXfer]),
      .msg_last_o(msg_last[MsgXfer]),
      .ctx_valid_o(ctx_valid),
      .ctx_rx_o(ctx_rx),
      .ctx_guarded_o(ctx_guarded),
      .open_valid_o(open_valid),
      .open_done_i(open_done),
      .open_ctx_o(open_ctx),
      .open_id_o(open_id),
      .open_group_o(open_group),
      .open_etype_o(open_etype),
      .open_base_o(open_base),
      .open_block_bytes_o(open_block_bytes),
      .open_blocks_o(open_blocks),
      .open_last_bytes_o(open_last_bytes),
      .open_complete_o(open_complete),
      .forget_valid_o(forget_valid),
      .forget_done_i(forget_done),
      .forget_ctx_o(forget_ctx),
      .forget_first_o(forget_first),
      .forget_count_o(forget_count),
      .q_ctx_o(q_ctx),
      .q_missing_i(q_missing),
      .q_lowest_i(q_lowest),
      .q_received_i(q_received),
      .q_sections_i(q_sections),
      .q_settled_i(q_settled),
      .rx_pending_i(df_valid),
      .bm_rd_valid_o(bm_rd_valid),
      .bm_ctx_o(bm_ctx),
      .bm_word_o(bm_word),
      .bm_valid_i(bm_valid),
      .bm_data_i(bm_data),
      .job_valid_o(job_valid[JobXfer]),
      .job_ready_i(job_ready[JobXfer]),
      .job_o(job[JobXfer]),
      .job_done_i(job_done[JobXfer]),
      .job_digest_i(job_digest),
      .commit_active_i(commit_active),
      .commit_slot_i(commit_slot),
      .used_valid_i(used_valid),
      .used_slot_i(used_slot),
      .used_epoch_i(used_epoch),
      .img_valid_i(img_valid),
      .img_word_o(img_word),
      .img_done_o(img_done),
      .img_found_o(img_found),
      .img_verified_o(img_verified),
      .img_slot_o(img_slot),
      .img_length_o(img_length),
      .info_addr_i(info_addr),
      .info_data_o(info_data),
      .last_transfer_o(last_transfer),
      .leafq_valid_i(leafq_valid),
      .leafq_id_i(leafq_id),
      .leafq_done_o(leafq_done),
      .leafq_status_o(leafq_status),
      .leafq_addr_o(leafq_addr),
      .leafq_bytes_o(leafq_bytes)
  );

  // ---------------------------------------------------------------- reconfiguration

  logic kill_all, kill_done, role_block, role_idle, bus_idle;

  saf_commit u_commit (
      .clk_i(ctl_clk),
      .rst_ni,
      .pr_clk_i,
      .pr_rst_ni,
      .cfg_i,
      .session_i(session),
      .session_end_i(session_end),
      .forget_i(forget),
      .forget_busy_o(forget_busy_commit),
      .scrub_busy_i(scrub_busy),
      .time_us_i,
      .req_i(req),
      .pay_i(pay),
      .h_valid_i(h_valid[1]),
      .h_done_o(h_done[1]),
      .fr_addr_o(fr_addr[1]),
      .fr_data_i(fr_data),
      .msg_valid_o(msg_valid[MsgCommit]),
      .msg_ready_i(msg_ready[MsgCommit]),
      .msg_meta_o(msg_meta[MsgCommit]),
      .msg_data_o(msg_data[MsgCommit]),
      .msg_last_o(msg_last[MsgCommit]),
      .img_valid_o(img_valid),
      .img_word_i(img_word),
      .img_done_i(img_done),
      .img_found_i(img_found),
      .img_verified_i(img_verified),
      .img_slot_i(img_slot),
      .img_length_i(img_length),
      .used_valid_o(used_valid),
      .used_slot_o(used_slot),
      .used_epoch_o(used_epoch),
      .slots_running_i(slots_running),
      .kill_all_o(kill_all),
      .kill_done_i(kill_done),
      .freeze_o(role_freeze_o),
      .role_frozen_i,
      .bus_idle_i(bus_idle),
      .role_block_o(role_block),
      .role_idle_i(role_idle),
      .rd_valid_o(rd_valid[RdPr]),
      .rd_ready_i(rd_ready[RdPr]),
      .rd_addr_o(rd_addr[RdPr]),
      .rd_bytes_o(rd_bytes[RdPr]),
      .rd_dvalid_i(rd_dvalid[RdPr]),
      .rd_dready_o(rd_dready[RdPr]),
      .rd_data_i(rd_data[RdPr]),
      .rd_dlast_i(rd_dlast[RdPr]),
      .rd_abort_o(rd_abort[RdPr]),
      .pr_reset_o,
      .pr_start_o,
      .pr_valid_o,
      .pr_data_o,
      .pr_ready_i,
      .pr_status_i,
      .pcie_pr_active_i,
      .pcie_pr_start_i,
      .pcie_pr_valid_i,
      .pcie_pr_data_i,
      .pcie_pr_ready_o,
      .role_o(role),
      .commit_active_o(commit_active),
      .commit_slot_o(commit_slot),
      .pr_count_o(pr_count),
      .last_commit_o(last_commit),
      .role_reset_o,
      .role_changed_o(role_changed)
  );

  // ---------------------------------------------------------------- commands

  logic push_valid, push_done, rolereg_valid, rolereg_done;
  logic [31:0] push_read, push_blocks;
  logic [AddrBits-1:0] push_addr;
  logic [20:0] push_bytes;
  logic [15:0] push_block;
  logic [255:0] push_digest;
  logic [8:0] rolereg_addr;
  logic [63:0] rolereg_data;

  saf_slots u_slots (
      .clk_i(ctl_clk),
      .rst_ni,
      .krn_clk_i,
      .krn_rst_ni,
      .session_i(session),
      .session_end_i(session_end),
      .forget_i(forget),
      .forget_busy_o(forget_busy_slots),
      .time_us_i,
      .time_ns_i,
      .req_i(req),
      .pay_i(pay),
      .h_valid_i(h_valid[2]),
      .h_done_o(h_done[2]),
      .fr_addr_o(fr_addr[2]),
      .fr_data_i(fr_data),
      .msg_valid_o(msg_valid[MsgSlots]),
      .msg_ready_i(msg_ready[MsgSlots]),
      .msg_meta_o(msg_meta[MsgSlots]),
      .msg_data_o(msg_data[MsgSlots]),
      .msg_last_o(msg_last[MsgSlots]),
      .slots_running_o(slots_running),
      .last_kill_o(last_kill),
      .kill_all_i(kill_all),
      .kill_done_o(kill_done),
      .freeze_i(role_freeze_o),
      .bus_idle_o(bus_idle),
      .commit_active_i(commit_active),
      .role_i(role),
      .role_changed_i(role_changed),
      .role_fault_i(role_fault),
      .command_count_o(command_count),
      .slot_addr_i(slot_addr),
      .slot_data_o(slot_data),
      .push_valid_o(push_valid),
      .push_done_i(push_done),
      .push_read_o(push_read),
      .push_addr_o(push_addr),
      .push_bytes_o(push_bytes),
      .push_block_o(push_block),
      .push_blocks_i(push_blocks),
      .push_digest_i(push_digest),
      .rolereg_valid_i(rolereg_valid),
      .rolereg_addr_i(rolereg_addr),
      .rolereg_done_o(rolereg_done),
      .rolereg_data_o(rolereg_data),
      .krn_address_o,
      .krn_read_o,
      .krn_write_o,
      .krn_writedata_o,
      .krn_byteenable_o,
      .krn_waitrequest_i,
      .krn_readdata_i,
      .krn_readdatavalid_i,
      .krn_irq_i,
      .krn_reset_o
  );

  // ---------------------------------------------------------------- results

  logic tf_valid, tf_ready, tf_last;
  logic [63:0] tf_data, reg_data;
  logic [3:0] tf_bytes;
  logic [5:0] reg_addr;

  saf_read u_read (
      .clk_i(ctl_clk),
      .rst_ni,
      .cfg_i,
      .session_i(session),
      .session_end_i(session_end),
      .scrub_busy_i(scrub_busy),
      .time_ns_i,
      .role_i(role),
      .req_i(req),
      .pay_i(pay),
      .h_valid_i(h_valid[3]),
      .h_done_o(h_done[3]),
      .fr_addr_o(fr_addr[3]),
      .fr_data_i(fr_data),
      .msg_valid_o(msg_valid[MsgRead]),
      .msg_ready_i(msg_ready[MsgRead]),
      .msg_meta_o(msg_meta[MsgRead]),
      .msg_data_o(msg_data[MsgRead]),
      .msg_last_o(msg_last[MsgRead]),
      .tf_valid_o(tf_valid),
      .tf_ready_i(tf_ready),
      .tf_data_o(tf_data),
      .tf_last_o(tf_last),
      .tf_bytes_o(tf_bytes),
      .rd_valid_o(rd_valid[RdRead]),
      .rd_ready_i(rd_ready[RdRead]),
      .rd_addr_o(rd_addr[RdRead]),
      .rd_bytes_o(rd_bytes[RdRead]),
      .rd_dvalid_i(rd_dvalid[RdRead]),
      .rd_dready_o(rd_dready[RdRead]),
      .rd_data_i(rd_data[RdRead]),
      .rd_dlast_i(rd_dlast[RdRead]),
      .rd_abort_o(rd_abort[RdRead]),
      .wr_valid_o(wr_valid[WrRead]),
      .wr_ready_i(wr_ready[WrRead]),
      .wr_addr_o(wr_addr[WrRead]),
      .wr_bytes_o(wr_bytes[WrRead]),
      .wr_data_o(wr_data[WrRead]),
      .wr_last_o(wr_last[WrRead]),
      .wr_done_i(wr_done[WrRead]),
      .job_valid_o(job_valid[JobRead]),
      .job_ready_i(job_ready[JobRead]),
      .job_o(job[JobRead]),
      .job_done_i(job_done[JobRead]),
      .job_digest_i(job_digest),
      .reg_addr_o(reg_addr),
      .reg_data_i(reg_data),
      .rolereg_valid_o(rolereg_valid),
      .rolereg_addr_o(rolereg_addr),
      .rolereg_done_i(rolereg_done),
      .rolereg_data_i(rolereg_data),
      .leafq_valid_o(leafq_valid),
      .leafq_id_o(leafq_id),
      .leafq_done_i(leafq_done),
      .leafq_status_i(leafq_status),
      .leafq_addr_i(leafq_addr),
      .leafq_bytes_i(leafq_bytes),
      .push_valid_i(push_valid),
      .push_done_o(push_done),
      .push_read_i(push_read),
      .push_addr_i(push_addr),
      .push_bytes_i(push_bytes),
      .push_block_i(push_block),
      .push_blocks_o(push_blocks),
      .push_digest_o(push_digest)
  );

  // ---------------------------------------------------------------- what all share

  saf_crypto #(
      .NumHash(NumHash),
      .NumJob(NumJob)
  ) u_crypto (
      .clk_i,
      .rst_ni,
      .cfg_i,
      .hash_valid_i(hash_valid),
      .hash_ready_o(hash_ready),
      .hash_req_i(hash_req),
      .hash_dvalid_i(hash_dvalid),
      .hash_dready_o(hash_dready),
      .hash_data_i(hash_data),
      .hash_dlast_i(hash_dlast),
      .hash_done_o(hash_done),
      .hash_digest_o(hash_digest),
      .job_valid_i(job_valid),
      .job_ready_o(job_ready),
      .job_i(job),
      .job_done_o(job_done),
      .job_digest_o(job_digest),
      .rd_valid_o(rd_valid[1:0]),
      .rd_ready_i(rd_ready[1:0]),
      .rd_addr_o(rd_addr[1:0]),
      .rd_bytes_o(rd_bytes[1:0]),
      .rd_dvalid_i(rd_dvalid[1:0]),
      .rd_dready_o(rd_dready[1:0]),
      .rd_data_i(rd_data[1:0]),
      .rd_dlast_i(rd_dlast[1:0]),
      .rd_abort_o(rd_abort[1:0]),
      .wr_valid_o(wr_valid[WrLeaf]),
      .wr_ready_i(wr_ready[WrLeaf]),
      .wr_addr_o(wr_addr[WrLeaf]),
      .wr_bytes_o(wr_bytes[WrLeaf]),
      .wr_data_o(wr_data[WrLeaf]),
      .wr_last_o(wr_last[WrLeaf]),
      .wr_done_i(wr_done[WrLeaf])
  );

  saf_ddr #(
      .NumWr(NumWr),
      .NumRd(NumRd)
  ) u_ddr (
      .clk_i,
      .rst_ni,
      .ddr_clk_i,
      .ddr_rst_ni,
      .wr_valid_i(wr_valid),
      .wr_ready_o(wr_ready),
      .wr_addr_i(wr_addr),
      .wr_bytes_i(wr_bytes),
      .wr_data_i(wr_data),
      .wr_last_i(wr_last),
      .wr_done_o(wr_done),
      .rd_valid_i(rd_valid),
      .rd_ready_o(rd_ready),
      .rd_addr_i(rd_addr),
      .rd_bytes_i(rd_bytes),
      .rd_dvalid_o(rd_dvalid),
      .rd_dready_i(rd_dready),
      .rd_data_o(rd_data),
      .rd_dlast_o(rd_dlast),
      .rd_abort_i(rd_abort),
      .scrub_start_i(scrub_start),
      .scrub_busy_o(scrub_busy),
      .role_valid_i,
      .role_ready_o,
      .role_write_i,
      .role_addr_i,
      .role_data_i,
      .role_be_i,
      .role_rdata_o,
      .role_rvalid_o,
      .role_fault_o(role_fault),
      .role_block_i(role_block),
      .role_idle_o(role_idle),
      .ddr_read_o,
      .ddr_write_o,
      .ddr_addr_o,
      .ddr_burst_o,
      .ddr_wdata_o,
      .ddr_be_o,
      .ddr_waitrequest_i,
      .ddr_rdata_i,
      .ddr_rvalid_i
  );

  saf_tx #(
      .NumMsg(NumMsg)
  ) u_tx (
      .clk_i(ctl_clk),
      .rst_ni,
      .cfg_i,
      .link_up_i,
      .session_i(session),
      .seq_load_i(seq_load),
      .seq_load_value_i(seq_load_value),
      .msg_valid_i(msg_valid),
      .msg_ready_o(msg_ready),
      .msg_meta_i(msg_meta),
      .msg_data_i(msg_data),
      .msg_last_i(msg_last),
      .hash_valid_o(hash_valid[HashTx]),
      .hash_ready_i(hash_ready[HashTx]),
      .hash_req_o(hash_req[HashTx]),
      .hash_dvalid_o(hash_dvalid[HashTx]),
      .hash_dready_i(hash_dready[HashTx]),
      .hash_data_o(hash_data[HashTx]),
      .hash_dlast_o(hash_dlast[HashTx]),
      .hash_done_i(hash_done[HashTx]),
      .hash_digest_i(hash_digest),
      .tf_valid_i(tf_valid),
      .tf_ready_o(tf_ready),
      .tf_data_i(tf_data),
      .tf_last_i(tf_last),
      .tf_bytes_i(tf_bytes),
      .mac_tx_valid_o,
      .mac_tx_sop_o,
      .mac_tx_eop_o,
      .mac_tx_empty_o,
      .mac_tx_data_o,
      .mac_tx_ready_i,
      .tx_count_o(tx_count)
  );

  saf_stats #(
      .NumDrop(NumDrop)
  ) u_stats (
      .clk_i,
      .rst_ni,
      .cfg_i,
      .drop_valid_i(drop_valid),
      .drop_reason_i(drop_reason),
      .rx_count_i(rx_count),
      .tx_count_i(tx_count),
      .block_count_i(block_count),
      .command_count_i(command_count),
      .time_us_i,
      .role_i(role),
      .pr_count_i(pr_count),
      .session_count_i(session_count),
      .reg_addr_i(reg_addr),
      .reg_data_o(reg_data),
      .rx_frames_o(rx_frames),
      .rx_dropped_o(rx_dropped)
  );

endmodule
