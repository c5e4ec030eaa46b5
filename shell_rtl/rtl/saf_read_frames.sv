// Result DATA frames of one READ or push, paced.
//
// Data flow: start_i (pulse; the other inputs hold until done_o) → one command to the read client for all bytes that are to be
// sent → frames: five beats of header as DataEncoder makes it, then the block as it comes.
// Pace: frame i does not begin before the start plus i × gap_ns_i; frames that are late follow each other at once.
// Stop: between two frames; what was prefetched is dropped. Mute (a push without a session): blocks are counted, not sent.
// Latency: first beat three cycles after start_i. Reset: idle. Back-pressure: tf_ready_i holds a beat.

`include "saf_assert.svh"

module saf_read_frames
  import saf_shell_pkg::*;
#(
    parameter int unsigned PaceBits = 38  // of time: two minutes either way
) (
    input logic clk_i,
    input logic rst_ni,
    input logic [47:0] mac_i,
    input logic [15:0] ethertype_i,
    input logic [47:0] host_i,
    input logic [31:0] session_i,
    input logic [PaceBits-1:0] time_ns_i,

    input logic start_i,
    input logic stop_i,
    input logic mute_i,
    output logic done_o,
    output logic [15:0] sent_o,  // blocks
    input logic [AddrBits-1:0] addr_i,  // of the first byte that is sent
    input logic [20:0] bytes_i,  // that are sent
    input logic [13:0] first_i,  // block
    input logic to_end_i,  // they reach the object's end
    input logic [7:0] block_i,  // block size in units of 64 bytes
    input logic [31:0] gap_ns_i,
    input logic [31:0] object_i,

    output logic tf_valid_o,
    input logic tf_ready_i,
    output logic [63:0] tf_data_o,
    output logic tf_last_o,
    output logic [3:0] tf_bytes_o,

    output logic rd_valid_o,
    input logic rd_ready_i,
    output logic [AddrBits-1:0] rd_addr_o,
    output logic [31:0] rd_bytes_o,
    input logic rd_dvalid_i,
    output logic rd_dready_o,
    input logic [63:0] rd_data_i,
    input logic rd_dlast_i,
    output logic rd_abort_o
);

  localparam logic [2:0] LastHead = 3'd4;

  typedef enum logic [2:0] {
    StIdle,
    StCommand,
    StPace,
    StHead,
    StData,
    StAbort,
    StMute
  } state_e;

  state_e state_q;
  logic [20:0] left_q;
  logic over_q;  // all were taken
  logic [14:0] sent_q;  // blocks
  logic [13:0] index;  // block
  logic [PaceBits-1:0] due_q;
  logic [2:0] head_q;  // beat of the header
  logic [10:0] beat_q;  // of the block, from 1 on
  logic [15:0] rest;  // behind this block, in units of 64 bytes
  logic [13:0] size;
  // verilator lint_off UNUSEDSIGNAL
  logic [14:0] still;  // below zero while more than this beat is left
  // verilator lint_on UNUSEDSIGNAL
  logic [PaceBits-1:0] late;
  logic is_final, block_taken;

  assign rest = {1'b0, left_q[20:6]} - {8'd0, block_i};
  assign is_final = rest[15] || {rest[14:0], left_q[5:0]} == '0;
  assign size = is_final ? left_q[13:0] : {block_i, 6'd0};
  assign late = time_ns_i - due_q;
  assign done_o = state_q == StIdle;
  assign sent_o = {1'b0, sent_q};
  assign index = first_i + sent_q[13:0];
  assign block_taken = state_q == StMute || (state_q == StData && tf_valid_o && tf_ready_i && tf_last_o);

  assign rd_valid_o = state_q == StCommand && !stop_i && !mute_i;
  assign rd_addr_o = addr_i;
  assign rd_bytes_o = {11'd0, left_q};
  assign rd_abort_o = state_q == StPace && (stop_i || mute_i) && !over_q;
  assign rd_dready_o = state_q == StData && tf_ready_i;

  assign tf_valid_o = state_q == StHead || (state_q == StData && rd_dvalid_i);
  assign still = {1'b0, beat_q, 3'd0} - {1'b0, size};
  assign tf_last_o = state_q == StData && !still[14];
  assign tf_bytes_o = tf_last_o && size[2:0] != '0 ? {1'b0, size[2:0]} : 4'd8;

  always_comb begin
    tf_data_o = rd_data_i;
    if (state_q == StHead) begin
      case (head_q)
        3'd0: tf_data_o = {host_i, mac_i[47:32]};
        3'd1:
        tf_data_o = {
          mac_i[31:0], ethertype_i, 4'(saf_pkg::ProtocolVersion), 4'd0, saf_pkg::OpcodeData
        };
        3'd2:
        tf_data_o = {session_i, 2'd0, size, 14'd0, (is_final && to_end_i), 1'b0};
        3'd3: tf_data_o = {object_i, 18'd0, index};
        default: tf_data_o = '0;
      endcase
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      over_q <= 1'b0;
      head_q <= '0;
    end else begin
      if (block_taken && is_final) over_q <= 1'b1;
      case (state_q)
        StIdle: begin
          over_q <= 1'b0;
          if (start_i) state_q <= StCommand;
        end
        StCommand: begin
          if (stop_i) state_q <= StIdle;
          else if (mute_i) state_q <= StMute;
          else if (rd_ready_i) state_q <= StPace;
        end
        StPace: begin
          head_q <= '0;
          if (over_q) state_q <= StIdle;
          else if (stop_i || mute_i) state_q <= StAbort;
          else if (!late[PaceBits-1]) state_q <= StHead;
        end
        StHead: begin
          if (tf_ready_i) begin
            head_q <= head_q + 3'd1;
            if (head_q == LastHead) state_q <= StData;
          end
        end
        StData: if (block_taken) state_q <= StPace;
        StAbort: state_q <= stop_i ? StIdle : StMute;
        default: if (is_final) state_q <= StIdle;
      endcase
    end
  end

  // none of these means anything before it is loaded or cleared, each with one enable or the flops' own clear
  always_ff @(posedge clk_i) begin
    if (state_q == StIdle || block_taken) due_q <= state_q == StIdle ? time_ns_i : due_q + PaceBits'(gap_ns_i);
    if (state_q == StIdle || block_taken) left_q[20:6] <= state_q == StIdle ? bytes_i[20:6] : rest[14:0];
    if (state_q == StIdle) left_q[5:0] <= bytes_i[5:0];
    if (state_q == StIdle && start_i) sent_q <= '0;
    else if (block_taken) sent_q <= sent_q + 15'd1;
    if (state_q == StPace) beat_q <= '0;
    else if (tf_ready_i && (state_q == StData ? rd_dvalid_i : head_q == LastHead)) beat_q <= beat_q + 11'd1;
  end

  `SAF_ASSERT(AssertLast, !(state_q == StData && rd_dvalid_i && rd_dready_o)
              || rd_dlast_i == (tf_last_o && is_final))
  `SAF_STABLE(AssertStable, tf_valid_o, tf_ready_i, {tf_last_o, tf_bytes_o}, clk_i, rst_ni)

endmodule
