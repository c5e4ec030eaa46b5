// Kernel commands: RUN at most once in eight slots, KILL, deadlines, pushes, and the host of the role's kernel interface.
//
// Data flow: handler (RUN, KILL) -> saf_slots_ctl -> saf_kernel_host -> role; ends come back by interrupt or poll -> reply,
// kept and sent by saf_slots_reply. Only one command at a time may have arguments of more
// than 128 bytes; a second such command meanwhile is told busy.
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
    // verilator lint_off UNUSEDSIGNAL
    input logic [63:0] time_us_i,  // deadlines are in nanoseconds too
    // verilator lint_on UNUSEDSIGNAL
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

  localparam int unsigned StampBits = 54;

  slot_e [7:0] slots;
  slots_state_e state;
  logic [2:0] slot;
  logic [7:0] count;
  // verilator lint_off UNUSEDSIGNAL
  slots_ask_t ask;
  // verilator lint_on UNUSEDSIGNAL
  logic late, host_idle, rolereg_blocked;
  logic [31:0] segment, ram_data;
  logic [StampBits-1:0] stamp, kernel_ns_q;

  logic row_wr, status_wr;
  logic [3:0] row_wr_addr, row_addr;
  logic [5:0] status;
  slot_row_t row, row_wdata;

  logic host_arg;
  logic [7:0] host_word;

  logic cmd_valid, cmd_done, cmd_error, irq;
  kernel_cmd_e cmd;
  logic [15:0] cmd_addr;
  logic [31:0] cmd_segment;
  logic [63:0] cmd_data;

  logic reply_done;
  slots_reply_t reply;

  // push: bit 0 of RUN's flags; segment: when the ROM's words of the kernel have come
  assign row_wdata = {req_i.object, req_i.index, pay_i[448], ask.is_large, ask.bytes, ask.kernel[KernelBits-1:0],
      cmd_data[31:0]};

  saf_slots_rows u_rows (
      .clk_i,
      .wr_i(row_wr),
      .wr_addr_i(row_wr_addr),
      .wr_row_i(row_wdata),
      .rd_addr_i(row_addr),
      .row_o(row),
      .status_wr_i(status_wr),
      .slot_i(slot),
      .status_i(status),
      .slots_i(slots),
      .running_i(slots_running_o),
      .slot_addr_i,
      .slot_data_o
  );

  saf_slots_ram u_ram (
      .clk_i,
      .copy_i(state == SqCopy),
      .count_i(count),
      .slot_i(slot),
      .large_i(ask.is_large),
      .fr_data_i,
      .arg_i(state == SqLaunch && host_arg),
      .shared_i(row.shared),
      // a push is in the payload's 32-bit words 3 to 7
      .word_i(state == SqLaunch ? host_word : 8'd5 + {5'd0, count[2:0]}),
      .data_o(ram_data)
  );

  saf_slots_time u_time (
      .clk_i,
      .now_ns_i(time_ns_i),
      .slot_i(slot),
      .given_ms_i(pay_i[447:416]),
      .give_i(state == SqRecord && count[1:0] == 2'd0),
      .clear_i(state == SqRecord && count[0]),
      .stamp_i((state == SqRecord && count[1]) || state == SqStamp || (state == SqLaunch && cmd_done)),
      .deadline_i(state == SqRecord || state == SqDeadlineFetch),
      .time_o(stamp),
      .late_o(late)
  );

  // what is not timed shows zeros: the flops' own synchronous clear
  always_ff @(posedge clk_i) begin
    if (state != SqReply) kernel_ns_q <= state == SqFinish && reply.timed ? stamp : '0;
  end

  saf_slots_ask u_ask (
      .state_i(state),
      .kernel_i(ask.kernel),
      .second_mask_i(count[6]),
      .row_segment_i(row.segment),
      .segment_i(segment),
      .rolereg_addr_i,
      .rolereg_blocked_i(rolereg_blocked),
      .cmd_valid_o(cmd_valid),
      .cmd_o(cmd),
      .cmd_addr_o(cmd_addr),
      .cmd_segment_o(cmd_segment)
  );

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
      .row_wr_o(row_wr),
      .row_wr_addr_o(row_wr_addr),
      .row_addr_o(row_addr),
      .row_i(row),
      .status_wr_o(status_wr),
      .status_o(status),
      .state_o(state),
      .slot_o(slot),
      .count_o(count),
      .ask_o(ask),
      .ram_data_i(ram_data),
      .late_i(late),
      .segment_o(segment),
      .rolereg_blocked_o(rolereg_blocked),
      .cmd_done_i(cmd_done),
      .cmd_error_i(cmd_error),
      .cmd_data_i(cmd_data),
      .irq_i(irq),
      .reply_o(reply),
      .reply_done_i(reply_done),
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
      .start_i(reply.start),
      .done_o(reply_done),
      .killed_i(reply.killed),
      .stored_i(reply.stored),
      .keep_i(reply.keep),
      .pushed_i(reply.pushed),
      .slot_i(slot),
      .status_i(reply.status),
      .state_i(reply.state),
      .epoch_i(role_i.epoch),
      .kernel_ns_i(kernel_ns_q),
      .push_bytes_i(push_bytes_o),
      .push_blocks_i,
      .push_digest_i,
      .object_i(row.object),
      .index_i(row.index),
      .session_open_i(session_i.open),
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
      .cmd_bytes_i(row.bytes),
      .cmd_done_o(cmd_done),
      .cmd_error_o(cmd_error),
      .cmd_data_o(cmd_data),
      .irq_o(irq),
      .idle_o(host_idle),
      .ram_arg_o(host_arg),
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

  assign bus_idle_o = state == SqIdle && host_idle;

endmodule
