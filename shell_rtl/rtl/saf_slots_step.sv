// The steps of the command slots' sequencer: what it is at, with which slot, at which word.
//
// Data flow: what is due, what the request, the bus and the reply say -> the next state. Before a launch the commands
// are walked through in the order of their coming: while one that came before uses the same kernel, the launch waits.
// Latency: one cycle a step. Reset: idle. Back-pressure: of messages and of the bus: the state stays.

module saf_slots_step
  import saf_shell_pkg::*;
#(
    localparam int unsigned Slots = saf_pkg::CommandSlots
) (
    input logic clk_i,
    input logic rst_ni,
    // verilator lint_off UNUSEDSIGNAL
    input slots_due_t due_i,
    input slots_ask_t ask_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic [2:0] ask_slot_i,
    input logic [2:0] scan_slot_i,
    input slots_state_e scan_goes_i,
    input logic [2:0] push_slot_i,
    input logic finish_i,
    input logic refuse_i,
    input slots_kill_e kill_by_i,
    input logic cmd_done_i,
    input logic cmd_error_i,
    input logic kernel_done_i,
    input logic reply_done_i,
    input logic reply_killed_i,
    input logic [KernelBits-1:0] row_kernel_i,
    input logic [Slots-1:0] queued_i,
    input logic [Slots-1:0] launched_i,
    input logic [Slots-1:0][2:0] order_i,
    output slots_state_e state_o,
    output logic [2:0] slot_o,
    output logic [7:0] count_o,
    output logic [2:0] walk_slot_o,
    output logic launches_o
);

  localparam logic [7:0] AskWords = 8'd7;

  slots_state_e state_q, ends_all;
  logic [2:0] slot_q;
  logic [7:0] count_q;
  logic mask_loaded_q;
  logic [KernelBits-1:0] launch_kernel_q;

  // the commands that came before the one to launch: is there one for the same kernel?
  logic [2:0] walk_slot;
  logic walk_ends, walk_waits;
  assign walk_slot = order_i[count_q[2:0]];
  assign walk_ends = walk_slot == slot_q;
  assign walk_waits = (queued_i[walk_slot] || launched_i[walk_slot]) && row_kernel_i == launch_kernel_q;

  assign ends_all = launched_i != '0 ? SqKillReset : SqKillNext;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= SqIdle;
      slot_q <= '0;
      count_q <= '0;
      mask_loaded_q <= 1'b0;
      launch_kernel_q <= '0;
    end else begin
      case (state_q)
        SqIdle: begin
          count_q <= '0;
          mask_loaded_q <= 1'b0;
          if (due_i.reset) state_q <= SqReset;
          if (due_i.kill) state_q <= ends_all;
          if (due_i.ask) begin
            slot_q <= ask_slot_i;
            state_q <= SqInfo;
          end
          if (due_i.read) state_q <= SqRegister;
          if (due_i.pushed) slot_q <= push_slot_i;
          if (due_i.scan) begin
            slot_q <= scan_slot_i;
            state_q <= scan_goes_i;
          end
        end

        SqReset: if (cmd_done_i) state_q <= SqIdle;
        SqKillReset: if (cmd_done_i) state_q <= SqKillNext;

        // -- KILL and RUN
        SqInfo: begin
          if (!ask_i.is_kill && !ask_i.bad_slot) count_q <= -AskWords;
          if (refuse_i) state_q <= SqReply;
          else if (ask_i.is_kill) state_q <= ends_all;
          else state_q <= ask_i.empty ? SqCopyAddr : SqRomHead;
        end
        SqRomHead: if (cmd_done_i) state_q <= SqRomKernel;
        SqRomKernel: if (cmd_done_i) state_q <= SqCopyAddr;
        SqRomMask:
        if (cmd_done_i) begin
          mask_loaded_q <= 1'b1;
          state_q <= SqCopyAddr;
        end
        SqCopyAddr:
        if (!mask_loaded_q && !count_q[7] && count_q[5:0] == '0) state_q <= SqRomMask;
        else state_q <= SqCopy;
        SqCopy: begin
          mask_loaded_q <= 1'b0;
          count_q <= ask_i.copied ? '0 : count_q + 8'd1;
          state_q <= ask_i.copied ? SqRecord : SqCopyAddr;
        end
        SqRecord: begin
          count_q <= count_q + 8'd1;
          if (count_q[1]) state_q <= SqIdle;
        end

        // -- the end of a command
        SqFinishFetch: state_q <= SqFinish;
        SqFinish: state_q <= SqReply;
        SqReply:
        if (reply_done_i) state_q <= kill_by_i == KillNone || reply_killed_i ? SqIdle : SqKillNext;

        // -- several ends at once
        SqKillNext:
        if (count_q[3]) begin
          state_q <= refuse_i ? SqReply : SqIdle;
        end else begin
          slot_q <= count_q[2:0];
          count_q <= count_q + 8'd1;
        end

        // -- a kernel that may be done
        SqPollFetch: state_q <= SqPoll;
        SqPoll:
        if (cmd_done_i) begin
          if (cmd_error_i) state_q <= SqKillReset;
          else state_q <= kernel_done_i ? SqAck : SqIdle;
        end
        SqAck: if (cmd_done_i) state_q <= SqStampFetch;
        SqStampFetch: state_q <= SqStamp;
        SqStamp: state_q <= SqEnded;
        SqEnded: state_q <= SqIdle;

        SqDeadlineFetch: state_q <= SqDeadline;
        SqDeadline: state_q <= SqIdle;

        SqLaunchFetch: state_q <= SqLaunchTake;
        SqLaunchTake: begin
          launch_kernel_q <= row_kernel_i;
          state_q <= SqWalkFetch;
        end
        SqWalkFetch: state_q <= SqWalk;
        SqWalk: begin
          count_q <= count_q + 8'd1;
          state_q <= SqWalkFetch;
          if (walk_ends) state_q <= SqLaunch;
          else if (walk_waits) state_q <= SqIdle;
        end
        SqLaunch: if (cmd_done_i) state_q <= SqIdle;

        SqPushFetch: state_q <= SqPushTake;
        SqPushTake: begin
          count_q <= count_q + 8'd1;
          state_q <= count_q[2] ? SqIdle : SqPushFetch;
        end

        default: if (cmd_done_i) state_q <= SqIdle;  // SqRegister
      endcase

      if (finish_i) state_q <= SqFinishFetch;
    end
  end

  assign state_o = state_q;
  assign slot_o = slot_q;
  assign count_o = count_q;
  assign walk_slot_o = walk_slot;
  assign launches_o = state_q == SqWalk && walk_ends;

endmodule
