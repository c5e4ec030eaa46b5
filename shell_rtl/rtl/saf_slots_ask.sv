// What the sequencer of the command slots asks of the kernel host, by its state. Combinational.

module saf_slots_ask
  import saf_shell_pkg::*;
(
    input slots_state_e state_i,
    // verilator lint_off UNUSEDSIGNAL
    input logic [15:0] kernel_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic second_mask_i,
    input logic [31:0] row_segment_i,
    input logic [31:0] segment_i,  // of the latest launch
    input logic [8:0] rolereg_addr_i,
    input logic rolereg_blocked_i,
    output logic cmd_valid_o,
    output kernel_cmd_e cmd_o,
    output logic [15:0] cmd_addr_o,
    output logic [31:0] cmd_segment_o
);

  localparam logic [15:0] RomAddr = 16'h2000, CraAddr = 16'h1000;
  // the ROM's words of kernel k lie at 0x2020 + 64 k
  localparam logic [9:0] RomKernels = 10'h080;

  logic [9:0] rom_kernel;
  assign rom_kernel = RomKernels + 10'(kernel_i[KernelBits-1:0]);
  assign cmd_segment_o = state_i == SqRegister ? segment_i : row_segment_i;

  always_comb begin
    cmd_valid_o = 1'b1;
    cmd_o = KernelRom;
    cmd_addr_o = CraAddr;
    case (state_i)
      SqRomHead: cmd_addr_o = RomAddr;
      SqRomKernel: cmd_addr_o = {rom_kernel, 6'h20};
      SqRomMask: cmd_addr_o = {rom_kernel, second_mask_i ? 6'h30 : 6'h28};
      SqPoll: cmd_o = KernelRegister;
      SqAck: cmd_o = KernelAck;
      SqLaunch: cmd_o = KernelLaunch;
      SqRegister: begin
        cmd_o = rolereg_blocked_i ? KernelNothing : KernelRegister;
        cmd_addr_o = {4'h1, rolereg_addr_i, 3'd0};
      end
      SqReset, SqKillReset: cmd_o = KernelReset;
      default: cmd_valid_o = 1'b0;
    endcase
  end

endmodule
