// What the sequencer of the command slots has to know of the control frame that is before it: RUN or KILL, new or repeated, and
// in each state of taking a RUN whether it ends here, and how.
//
// Data flow: request, payload, the kernel host's answers, by `state_i`. Checks in the reference's order: epoch and push, role,
// kernel, number of arguments, work sizes, addresses among the arguments.
// Latency: combinational, but for what is remembered of the payload as it is copied, and for whose the arguments are that lie
// where only one command's can. Reset: nothing remembered. Back-pressure: none.

`include "saf_assert.svh"

module saf_slots_request
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input slots_state_e state_i,
    input logic [7:0] count_i,  // words copied: -7 to -1 the payload, from 0 arguments
    // verilator lint_off UNUSEDSIGNAL
    input ctl_req_t req_i,
    input logic [511:0] pay_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic [63:0] fr_data_i,
    input logic [15:0] block_limit_i,
    input logic [31:0] epoch_i,
    input logic has_role_i,
    input logic commit_active_i,
    input logic kill_known_i,
    input logic forget_i,
    input logic [2:0] slot_i,
    input logic slot_known_i,
    input logic [7:0] running_i,
    input logic row_shared_i,
    input logic [31:0] newest_i,  // of the slot, or KILL's
    input logic cmd_done_i,
    input logic cmd_error_i,
    input logic [63:0] cmd_data_i,
    output slots_ask_t ask_o,
    output logic [7:0] from_word_o
);

  localparam int unsigned PrivateBit = 7;  // 2^7 bytes of arguments: what a slot's own record holds
  localparam logic [31:0] RomMagic = 32'h5341_4652;
  localparam int unsigned MaxBit = $clog2(saf_pkg::ArgumentMaxBytes);
  localparam int unsigned RoleBit = 30;  // RoleBytes is a multiple of 2^RoleBit (saf_slots_judge checks)
  localparam logic [7:0] AskWords = 8'd7;

  logic [15:0] ask_status, ask_bytes;
  logic ask_push, ask_empty, ask_big, ask_deadline, sizes_bad;
  logic [15:0] kernel;
  logic is_kill, known, older, same;
  logic [7:0] from_word, last_word;
  logic fits, in_range, has_kernel, ends, slot_runs, shared_busy_q;
  logic [2:0] shared_slot_q;
  // verilator lint_off UNUSEDSIGNAL
  logic [63:0] argument;
  // verilator lint_on UNUSEDSIGNAL

  saf_slots_judge u_judge (
      .pay_i,
      .length_i(req_i.length),
      .block_limit_i(block_limit_i),
      .epoch_i(epoch_i),
      .status_o(ask_status),
      .push_o(ask_push),
      .empty_o(ask_empty),
      .bytes_o(ask_bytes)
  );

  saf_slots_sizes u_sizes (
      .clk_i,
      .rst_ni,
      .valid_i(state_i == SqCopy && count_i[7]),
      .word_i(from_word[2:0]),
      .data_i(fr_data_i),
      .work_dim_i(pay_i[271:264]),
      .bad_o(sizes_bad),
      .deadline_o(ask_deadline)
  );

  assign kernel = pay_i[479:464];
  assign is_kill = req_i.opcode == saf_pkg::OpcodeKill;
  assign slot_runs = running_i[slot_i];
  // what the slot, or KILL, saw last; nothing is 0
  assign known = is_kill ? kill_known_i : slot_known_i;
  assign older = known ? req_i.index < newest_i : req_i.index == '0;
  assign same = known && req_i.index == newest_i;
  assign ask_big = !ask_empty && (|ask_bytes[15:PrivateBit+1] || (ask_bytes[PrivateBit] && |ask_bytes[PrivateBit-1:0]));
  assign from_word = count_i + AskWords;
  assign last_word = ask_empty ? AskWords - 8'd1 : 8'((req_i.length - 16'd1) >> 3);
  // of the limits in the role's ROM, bits above ArgumentMaxBytes only say that they are higher
  assign fits = cmd_data_i[47:33+MaxBit] == '0 && ask_bytes[MaxBit:0] >= cmd_data_i[32+:MaxBit+1]
      && (cmd_data_i[63:49+MaxBit] != '0 || ask_bytes[MaxBit:0] <= cmd_data_i[48+:MaxBit+1])
      && (ask_bytes[15:MaxBit] == '0 || (ask_bytes[15:MaxBit] == 1 && ask_bytes[MaxBit-1:0] == '0));
  assign argument = bytes_swapped(fr_data_i);
  assign in_range = argument[63:AddrBits] == '0 && argument[AddrBits-1:RoleBit] < RoleBytes[AddrBits-1:RoleBit];

  slots_run_e run;
  logic bad_slot;
  assign bad_slot = req_i.object >= saf_pkg::CommandSlots;
  always_comb begin
    run = RunNew;
    if (older) run = RunStale;
    else if (same) run = slot_runs ? RunRunning : RunStored;
    else if (slot_runs || commit_active_i || (ask_big && shared_busy_q)) run = RunBusy;
  end
  assign has_kernel = cmd_data_i[63:32] == RomMagic && kernel[15:KernelBits] == '0
      && (|cmd_data_i[31:KernelBits] || cmd_data_i[KernelBits-1:0] > kernel[KernelBits-1:0]);

  // verilator lint_off UNUSEDSIGNAL
  logic [15:0] status;  // six bits hold any
  // verilator lint_on UNUSEDSIGNAL
  always_comb begin
    ends = 1'b0;
    status = saf_pkg::StatusOk;
    case (state_i)
      SqInfo:
      if (!is_kill && !bad_slot && run == RunNew) begin
        if (ask_status != saf_pkg::StatusOk) {ends, status} = {1'b1, ask_status};
        else if (ask_empty) ends = !ask_push;
        else if (!has_role_i) {ends, status} = {1'b1, saf_pkg::StatusNoRole};
      end
      SqRomHead:
      if (cmd_done_i) begin
        if (cmd_error_i) {ends, status} = {1'b1, saf_pkg::StatusRoleFault};
        else if (!has_kernel) {ends, status} = {1'b1, saf_pkg::StatusUnknownKernel};
      end
      SqRomKernel:
      if (cmd_done_i) begin
        if (cmd_error_i) {ends, status} = {1'b1, saf_pkg::StatusRoleFault};
        else if (!fits) {ends, status} = {1'b1, saf_pkg::StatusBadArguments};
      end
      SqRomMask: if (cmd_done_i && cmd_error_i) {ends, status} = {1'b1, saf_pkg::StatusRoleFault};
      SqCopy:
      if (count_i == '1 && !ask_empty && sizes_bad) {ends, status} = {1'b1, saf_pkg::StatusBadParameter};
      else if (!count_i[7] && cmd_data_i[count_i[5:0]] && !in_range)  // the mask is the bus's latest answer
        {ends, status} = {1'b1, saf_pkg::StatusBadRange};
      default: ;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      shared_busy_q <= 1'b0;
      shared_slot_q <= '0;
    end else begin
      if (state_i == SqRecord && count_i[1] && ask_big) begin
        shared_busy_q <= 1'b1;
        shared_slot_q <= slot_i;
      end
      if (forget_i || (state_i == SqFinish && shared_slot_q == slot_i)
          || (state_i == SqLaunch && cmd_done_i && row_shared_i)) begin
        shared_busy_q <= 1'b0;
      end
    end
  end

  assign from_word_o = from_word;
  always_comb begin
    ask_o.is_kill = is_kill;
    ask_o.bad_slot = bad_slot;
    ask_o.older = older;
    ask_o.same = same;
    ask_o.run = run;
    ask_o.bad_epoch = ask_status == saf_pkg::StatusBadEpoch;
    ask_o.empty = ask_empty;
    ask_o.is_large = ask_big;
    ask_o.deadline = ask_deadline;
    ask_o.copied = from_word == last_word;
    ask_o.ends = ends;
    ask_o.status = status[5:0];
    ask_o.kernel = kernel;
    ask_o.bytes = ask_bytes[10:0];
  end

  // what the bus relies on
  `SAF_ASSERT(AssertSharedUsed,
              !shared_busy_q || running_i[shared_slot_q])

endmodule
