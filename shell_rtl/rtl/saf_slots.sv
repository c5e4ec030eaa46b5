// Kernel commands: RUN at most once in eight slots, KILL, deadlines, pushes, and the host of the role's kernel interface.
//
// Data flow: handler (RUN, KILL) -> saf_slots_ctl -> saf_kernel_host -> role; ends come back by interrupt or poll -> reply,
// kept in the command RAM, sent by saf_slots_reply. The RAM: 32 words a slot (arguments up to 128 bytes, payload or reply,
// times), then 1 KiB that one command with more arguments may use; a second such command meanwhile is told busy.
// Latency, reset, back-pressure: see saf_slots_ctl. Constraints: krn_* in krn_clk_i, all else in clk_i.

module saf_slots
  import saf_shell_pkg::*;
#(
    parameter int unsigned BusTimeoutCycles = 1024
) (
    input logic clk_i,
    input logic rst_ni,
    input logic krn_clk_i,
    input logic krn_rst_ni,
    input session_view_t session_i,
    // verilator lint_off UNUSEDSIGNAL
    input logic session_end_i,  // ends are said at once or not at all: nothing waits for a session
    // verilator lint_on UNUSEDSIGNAL
    input logic forget_i,
    output logic forget_busy_o,
    input logic [63:0] time_us_i,
    input logic [63:0] time_ns_i,
    input ctl_req_t req_i,
    input logic [511:0] pay_i,
    input logic h_valid_i,
    output logic h_done_o,
    output logic [10:0] fr_addr_o,
    input logic [63:0] fr_data_i,
    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o,

    output logic [7:0] slots_running_o,
    output logic [31:0] last_kill_o,
    input logic kill_all_i,
    output logic kill_done_o,
    input logic commit_active_i,
    input logic freeze_i,
    output logic bus_idle_o,
    input role_view_t role_i,
    input logic role_changed_i,
    input logic role_fault_i,
    output logic command_count_o,
    input logic [2:0] slot_addr_i,
    output logic [63:0] slot_data_o,

    output logic push_valid_o,
    input logic push_done_i,
    output logic [31:0] push_read_o,
    output logic [AddrBits-1:0] push_addr_o,
    output logic [20:0] push_bytes_o,
    output logic [15:0] push_block_o,
    input logic [31:0] push_blocks_i,
    input logic [255:0] push_digest_i,
    input logic rolereg_valid_i,
    input logic [8:0] rolereg_addr_i,
    output logic rolereg_done_o,
    output logic [63:0] rolereg_data_o,

    output logic [15:0] krn_address_o,
    output logic krn_read_o,
    output logic krn_write_o,
    output logic [63:0] krn_writedata_o,
    output logic [7:0] krn_byteenable_o,
    input logic krn_waitrequest_i,
    input logic [63:0] krn_readdata_i,
    input logic krn_readdatavalid_i,
    input logic krn_irq_i,
    output logic krn_reset_o
);

  slot_e [7:0] slots;
  logic [2:0] slot;
  logic ctl_idle, host_idle;

  // ---- command RAM: sequencer, kernel host and reply take turns

  logic ctl_rd, ctl_wr, host_rd, reply_rd, reply_wr, use_host, use_reply, use_shared;
  logic [8:0] ctl_addr, ctl_waddr, host_addr;
  logic [63:0] ctl_wdata, reply_wdata, ram_data;
  logic [4:0] reply_word;
  // verilator lint_off UNUSEDSIGNAL
  logic [7:0] host_word, host_argument;
  // verilator lint_on UNUSEDSIGNAL
  logic ram_rd;
  logic [8:0] ram_addr;

  assign host_argument = host_word - 8'd7;
  always_comb begin
    if (host_word < 8'd7) host_addr = {1'b0, slot, SlotAsk + host_word[4:0]};
    else if (use_shared) host_addr = {2'b10, host_argument[6:0]};
    else host_addr = {1'b0, slot, 1'b0, host_argument[3:0]};
    ram_rd = ctl_rd;
    ram_addr = ctl_addr;
    if (use_host) begin
      ram_rd = host_rd;
      ram_addr = host_addr;
    end else if (use_reply) begin
      ram_rd = reply_rd;
      ram_addr = {1'b0, slot, reply_word};
    end
  end

  saf_ram_1r1w #(
      .Width(64),
      .Depth(384)
  ) u_ram (
      .clk_i,
      .wr_en_i(use_reply ? reply_wr : ctl_wr),
      .wr_addr_i(use_reply ? {1'b0, slot, reply_word} : ctl_waddr),
      .wr_data_i(use_reply ? reply_wdata : ctl_wdata),
      .rd_en_i(ram_rd),
      .rd_addr_i(ram_addr),
      .rd_data_o(ram_data)
  );

  // ---- newest command and status of each slot: for RUN, and for OPENED when no handler is at work

  logic info_wr;
  logic [31:0] info_command, table_command;
  logic [5:0] info_status, table_status;
  logic [2:0] info_addr, table_slot_q;

  assign info_addr = h_valid_i ? req_i.object[2:0] : slot_addr_i;

  saf_ram_1r1w #(
      .Width(38),
      .Depth(8)
  ) u_info (
      .clk_i,
      .wr_en_i(info_wr),
      .wr_addr_i(slot),
      .wr_data_i({info_command, info_status}),
      .rd_en_i(1'b1),
      .rd_addr_i(info_addr),
      .rd_data_o({table_command, table_status})
  );

  saf_pkg::slot_info_t info_d, info_q;
  always_comb begin
    info_d = '0;
    if (slots[table_slot_q] != SlotIdle) begin
      info_d.command = table_command;
      info_d.state = slots_running_o[table_slot_q] ? saf_pkg::SlotStateRunning : saf_pkg::SlotStateDone;
      info_d.status = {10'd0, table_status};
    end
  end
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      table_slot_q <= '0;
      info_q <= '0;
    end else begin
      table_slot_q <= info_addr;
      info_q <= info_d;
    end
  end
  assign slot_data_o = info_q;

  // ---- the parts

  logic cmd_valid, cmd_done, cmd_error, irq;
  kernel_cmd_e cmd;
  logic [15:0] cmd_addr;
  logic [31:0] cmd_segment;
  logic [10:0] cmd_bytes;
  logic [63:0] cmd_data;
  logic reply_start, reply_done, reply_killed, reply_stored, reply_keep, reply_timed, reply_pushed;
  logic [15:0] reply_status;
  logic [7:0] reply_state;
  logic [31:0] reply_object, reply_index;

  saf_slots_ctl u_ctl (
      .clk_i,
      .rst_ni,
      .req_i,
      .pay_i,
      .h_valid_i,
      .h_done_o,
      .fr_addr_o,
      .fr_data_i,
      .session_i,
      .role_i,
      .time_us_i,
      .time_ns_i,
      .forget_i,
      .forget_busy_o,
      .commit_active_i,
      .freeze_i,
      .role_changed_i,
      .role_fault_i,
      .kill_all_i,
      .kill_done_o,
      .running_o(slots_running_o),
      .slots_o(slots),
      .last_kill_o,
      .command_count_o,
      .idle_o(ctl_idle),
      .info_command_i(table_command),
      .info_wr_o(info_wr),
      .info_command_o(info_command),
      .info_status_o(info_status),
      .slot_o(slot),
      .ram_rd_o(ctl_rd),
      .ram_addr_o(ctl_addr),
      .ram_data_i(ram_data),
      .ram_wr_o(ctl_wr),
      .ram_waddr_o(ctl_waddr),
      .ram_wdata_o(ctl_wdata),
      .ram_host_o(use_host),
      .ram_reply_o(use_reply),
      .ram_shared_o(use_shared),
      .cmd_valid_o(cmd_valid),
      .cmd_o(cmd),
      .cmd_addr_o(cmd_addr),
      .cmd_segment_o(cmd_segment),
      .cmd_bytes_o(cmd_bytes),
      .cmd_done_i(cmd_done),
      .cmd_error_i(cmd_error),
      .cmd_data_i(cmd_data),
      .irq_i(irq),
      .reply_start_o(reply_start),
      .reply_done_i(reply_done),
      .reply_killed_o(reply_killed),
      .reply_stored_o(reply_stored),
      .reply_keep_o(reply_keep),
      .reply_timed_o(reply_timed),
      .reply_pushed_o(reply_pushed),
      .reply_status_o(reply_status),
      .reply_state_o(reply_state),
      .reply_object_o(reply_object),
      .reply_index_o(reply_index),
      .push_valid_o,
      .push_done_i,
      .push_read_o,
      .push_addr_o,
      .push_bytes_o,
      .push_block_o,
      .rolereg_valid_i,
      .rolereg_addr_i,
      .rolereg_done_o,
      .rolereg_data_o
  );

  saf_slots_reply u_reply (
      .clk_i,
      .rst_ni,
      .start_i(reply_start),
      .done_o(reply_done),
      .killed_i(reply_killed),
      .stored_i(reply_stored),
      .keep_i(reply_keep),
      .timed_i(reply_timed),
      .pushed_i(reply_pushed),
      .status_i(reply_status),
      .state_i(reply_state),
      .epoch_i(role_i.epoch),
      .push_bytes_i(push_bytes_o),
      .push_blocks_i,
      .push_digest_i,
      .object_i(reply_object),
      .index_i(reply_index),
      .session_open_i(session_i.open),
      .ram_rd_o(reply_rd),
      .ram_wr_o(reply_wr),
      .ram_word_o(reply_word),
      .ram_data_o(reply_wdata),
      .ram_data_i(ram_data),
      .msg_valid_o,
      .msg_ready_i,
      .msg_meta_o,
      .msg_data_o,
      .msg_last_o
  );

  saf_kernel_host #(
      .TimeoutCycles(BusTimeoutCycles)
  ) u_host (
      .clk_i,
      .rst_ni,
      .cmd_valid_i(cmd_valid),
      .cmd_i(cmd),
      .cmd_addr_i(cmd_addr),
      .cmd_segment_i(cmd_segment),
      .cmd_bytes_i(cmd_bytes),
      .cmd_done_o(cmd_done),
      .cmd_error_o(cmd_error),
      .cmd_data_o(cmd_data),
      .irq_o(irq),
      .idle_o(host_idle),
      .ram_rd_o(host_rd),
      .ram_word_o(host_word),
      .ram_data_i(ram_data),
      .krn_clk_i,
      .krn_rst_ni,
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

  assign bus_idle_o = ctl_idle && host_idle;

endmodule
