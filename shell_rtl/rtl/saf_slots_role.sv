// What the command slots remember of the role: that its kernels are owed a reset, and what its registers read as.
//
// Data flow: the bus's answers and the sequencer's states -> `reset_o` (a bus that failed, a deadline, another role or owner);
// a register is read from the segment of the latest launch, what failed or was not allowed reads as zeros, and the done bit
// stays to be seen although it was acknowledged.
// Latency: one cycle; a register as long as the bus. Reset: nothing owed. Back-pressure: none.

module saf_slots_role
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input slots_state_e state_i,
    // verilator lint_off UNUSEDSIGNAL
    input slots_due_t due_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic changed_i,  // another role
    input logic has_role_i,
    input logic freeze_i,
    input logic late_i,  // in SqDeadline: the command of the slot, which was
    input logic launched_i,
    input logic fault_i,  // in SqEnded: out of range
    input logic launches_i,
    input logic [31:0] launch_segment_i,
    input logic cmd_done_i,
    input logic cmd_error_i,
    input logic [63:0] cmd_data_i,
    output logic reset_o,
    output logic [31:0] segment_o,  // of the latest launch
    output logic blocked_o,
    input logic [8:0] rolereg_addr_i,
    output logic rolereg_done_o,
    output logic [63:0] rolereg_data_o
);

  localparam int unsigned CsrDoneBit = 1;

  logic reset_q, done_q, segment_known_q, blocked_q;
  logic [31:0] segment_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      reset_q <= 1'b0;
      done_q <= 1'b0;
      segment_known_q <= 1'b0;
      blocked_q <= 1'b0;
    end else begin
      if (due_i.read) blocked_q <= freeze_i || !has_role_i;
      case (state_i)
        SqReset, SqKillReset: if (cmd_done_i) reset_q <= 1'b0;
        SqRomHead, SqRomKernel, SqRomMask, SqRegister: if (cmd_done_i && cmd_error_i) reset_q <= 1'b1;
        SqDeadline: if (late_i && launched_i) reset_q <= 1'b1;
        SqEnded: if (!fault_i) done_q <= 1'b1;
        default: ;
      endcase
      if (launches_i) segment_known_q <= 1'b1;
      if (due_i.forget || changed_i) begin
        reset_q <= 1'b1;
        done_q <= 1'b0;
        segment_known_q <= 1'b0;
      end
    end
  end

  // cleared by the flops' own synchronous clear, after a reset too
  always_ff @(posedge clk_i) begin
    if (launches_i) segment_q <= launch_segment_i;
    else if (!segment_known_q) segment_q <= '0;
  end

  assign rolereg_done_o = state_i == SqRegister && cmd_done_i;
  always_comb begin
    rolereg_data_o = bytes_swapped(cmd_data_i);
    if (rolereg_addr_i == '0 && !blocked_q && !cmd_error_i) rolereg_data_o[56+CsrDoneBit] |= done_q;
  end

  assign reset_o = reset_q;
  assign segment_o = segment_q;
  assign blocked_o = blocked_q;

endmodule
