// What the sequencer of the command slots does to the command RAM and asks of the kernel host, by its state.
//
// Combinational: addresses and data of the RAM's two ports, and the kernel host's command.

module saf_slots_words
  import saf_shell_pkg::*;
(
    input slots_state_e state_i,
    input logic [2:0] slot_i,
    input logic [7:0] count_i,  // of what is copied, scanned, recorded
    input logic accepted_i,  // in SqInfo: the command is new
    input logic [31:0] index_i,
    input logic [15:0] kernel_i,
    input logic large_i,  // its arguments lie in the shared part
    input logic [10:0] bytes_i,
    input logic [31:0] deadline_ms_i,
    input logic [63:0] fr_data_i,
    // verilator lint_off UNUSEDSIGNAL
    input logic [63:0] time_us_i,
    input logic [63:0] time_ns_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic [31:0] segment_i,  // of the latest launch
    input logic [8:0] rolereg_addr_i,
    input logic cmd_done_i,
    // verilator lint_off UNUSEDSIGNAL
    input logic [63:0] cmd_data_i,
    // verilator lint_on UNUSEDSIGNAL
    output logic ram_rd_o,
    output logic [8:0] ram_addr_o,
    // verilator lint_off UNUSEDSIGNAL
    input logic [63:0] ram_data_i,
    // verilator lint_on UNUSEDSIGNAL
    output logic ram_wr_o,
    output logic [8:0] ram_waddr_o,
    output logic [63:0] ram_wdata_o,
    output logic late_o,  // in SqDeadline: it has come
    output logic cmd_valid_o,
    output kernel_cmd_e cmd_o,
    output logic [15:0] cmd_addr_o,
    output logic [31:0] cmd_segment_o
);

  localparam int unsigned StampBits = 48;  // nine years of microseconds, three days of nanoseconds
  localparam logic [7:0] AskWords = 8'd7;
  localparam logic [15:0] RomAddr = 16'h2000, CraAddr = 16'h1000;
  // the ROM's words of kernel k lie at 0x2020 + 64 k
  localparam logic [9:0] RomKernels = 10'h080;

  logic [StampBits-1:0] now_us, now_ns;
  logic [8:0] copy_addr;
  logic [6:0] copy_at;
  logic [9:0] rom_kernel;

  assign now_us = time_us_i[StampBits-1:0];
  assign now_ns = time_ns_i[StampBits-1:0];
  assign late_o = now_us >= ram_data_i[StampBits-1:0];

  assign copy_at = 7'(count_i - AskWords);
  always_comb begin
    if (count_i < AskWords) copy_addr = {1'b0, slot_i, SlotAsk + count_i[4:0]};
    else if (large_i) copy_addr = {2'b10, copy_at};
    else copy_addr = {1'b0, slot_i, 1'b0, copy_at[3:0]};
  end

  always_comb begin
    ram_rd_o = 1'b0;
    ram_addr_o = {1'b0, slot_i, SlotLaunch};
    case (state_i)
      SqScanFetch: {ram_rd_o, ram_addr_o} = {1'b1, 1'b0, count_i[2:0], SlotLaunch};
      SqFinishFetch: {ram_rd_o, ram_addr_o[4:0]} = {1'b1, SlotCommand};
      SqPollFetch, SqLaunchFetch: ram_rd_o = 1'b1;
      SqStampFetch: {ram_rd_o, ram_addr_o[4:0]} = {1'b1, SlotTime};
      SqStamp: {ram_rd_o, ram_addr_o[4:0]} = {1'b1, SlotAsk};
      SqDeadlineFetch: {ram_rd_o, ram_addr_o[4:0]} = {1'b1, SlotDeadline};
      SqPushFetch: {ram_rd_o, ram_addr_o[4:0]} = {1'b1, SlotAsk + 5'd1 + count_i[4:0]};
      default: ;
    endcase

    ram_wr_o = 1'b0;
    ram_waddr_o = {1'b0, slot_i, SlotTime};
    ram_wdata_o = '0;
    case (state_i)
      SqInfo: {ram_wr_o, ram_waddr_o[4:0], ram_wdata_o} = {accepted_i, SlotCommand, 32'd0, index_i};
      SqRomKernel: begin
        ram_wr_o = cmd_done_i;
        ram_waddr_o[4:0] = SlotLaunch;
        ram_wdata_o = {large_i, bytes_i, 4'd0, kernel_i, cmd_data_i[31:0]};
      end
      SqCopy: {ram_wr_o, ram_waddr_o, ram_wdata_o} = {1'b1, copy_addr, fr_data_i};
      SqRecord: begin
        ram_wr_o = 1'b1;
        if (count_i[0]) begin
          ram_waddr_o[4:0] = SlotDeadline;
          ram_wdata_o = 64'(now_us + StampBits'(us_of(deadline_ms_i)));
        end
      end
      SqLaunch: {ram_wr_o, ram_wdata_o} = {cmd_done_i, 64'(now_ns)};
      SqStamp: {ram_wr_o, ram_wdata_o} = {1'b1, 64'(now_ns - ram_data_i[StampBits-1:0])};
      default: ;
    endcase
  end

  assign rom_kernel = RomKernels + 10'(kernel_i[KernelBits-1:0]);

  always_comb begin
    cmd_valid_o = 1'b0;
    cmd_o = KernelRom;
    cmd_addr_o = CraAddr;
    cmd_segment_o = segment_i;
    case (state_i)
      SqRomHead: {cmd_valid_o, cmd_addr_o} = {1'b1, RomAddr};
      SqRomKernel: {cmd_valid_o, cmd_addr_o} = {1'b1, rom_kernel, 6'h20};
      SqRomMask: {cmd_valid_o, cmd_addr_o} = {1'b1, rom_kernel, count_i[6] ? 6'h30 : 6'h28};
      SqPoll: {cmd_valid_o, cmd_o, cmd_segment_o} = {1'b1, KernelRegister, ram_data_i[31:0]};
      SqAck: {cmd_valid_o, cmd_o, cmd_segment_o} = {1'b1, KernelAck, ram_data_i[31:0]};
      SqLaunch: {cmd_valid_o, cmd_o} = {1'b1, KernelLaunch};
      SqRegister: {cmd_valid_o, cmd_o, cmd_addr_o} = {1'b1, KernelRegister, 4'h1, rolereg_addr_i, 3'd0};
      SqReset, SqKillReset: {cmd_valid_o, cmd_o} = {1'b1, KernelReset};
      default: ;
    endcase
  end

endmodule
