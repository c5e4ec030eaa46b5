// What a control frame means for the transfer that was found: status, and what has to happen before the answer.
//
// Combinational; the record's fields are those that saf_xfer_handle has read. XFER_OPEN of a known transfer changes
// nothing; of a new one it never comes here.

module saf_xfer_act
  import saf_shell_pkg::*;
(
    input logic tell_i,  // a VERDICT that nobody asked for
    input logic leaves_i,  // a question for leaf digests
    input logic session_open_i,
    input logic [7:0] opcode_i,
    input logic [31:0] index_i,
    input logic [63:0] pay_i,  // first word
    input logic past_i,
    input xfer_state_t state_i,
    input logic hashed_i,
    input logic [31:0] repair_id_i,
    input logic [17:0] blocks_i,
    input logic [17:0] missing_i,
    input logic [15:0] sections_i,
    output logic [5:0] status_o,
    output xfer_next_e next_o,
    output logic closing_o,  // the outcome is to be told when it is there
    output logic sections_o,  // POLL: of its answer, the sections are those of the transfer, else none;
    output logic bits_o,  // so many blocks of the section are in the bitmap: all, or if it is
    output logic in_last_o  // the last section, those that it has; else none
);

  logic [31:0] first, count;
  logic [18:0] range_end;
  // verilator lint_off UNUSEDSIGNAL
  logic [19:0] room;  // behind the range; below zero when it does not fit
  // verilator lint_on UNUSEDSIGNAL
  logic [32:0] newer;  // index less repair id
  logic in_section, in_last, range_ok;

  assign first = pay_i[63:32];
  assign count = pay_i[31:0];

  // POLL
  assign in_last = first[17:13] == blocks_i[17:13];
  assign in_section = first[31:18] == '0 && first[12:0] == '0
      && (first[17:13] < blocks_i[17:13] || (in_last && blocks_i[12:0] != '0));
  assign sections_o = in_section && missing_i != '0;
  assign bits_o = sections_o && sections_i[first[16:13]];
  assign in_last_o = in_last;

  // INVALIDATE
  assign range_end = {1'b0, first[17:0]} + {1'b0, count[17:0]};
  assign room = {2'd0, blocks_i} - {1'b0, range_end};
  assign range_ok = count != '0 && first[31:18] == '0 && count[31:18] == '0 && !room[19];

  assign newer = {1'b0, index_i} - {1'b0, repair_id_i};

  always_comb begin
    status_o = 6'(saf_pkg::StatusOk);
    next_o = XnSay;
    closing_o = 1'b0;
    if (leaves_i) begin
      next_o = XnLeaves;
      if (!hashed_i || (state_i != XsVerified && state_i != XsBad)) status_o = 6'(saf_pkg::StatusBadState);
    end else if (tell_i || opcode_i == saf_pkg::OpcodeClose) begin
      case (state_i)
        XsVerified: status_o = 6'(saf_pkg::StatusOk);
        XsBad: status_o = 6'(saf_pkg::StatusDigestMismatch);
        XsVerifying: status_o = 6'(saf_pkg::StatusRunning);
        default: status_o = 6'(saf_pkg::StatusBadState);
      endcase
      closing_o = !tell_i && state_i == XsVerifying;
      if (tell_i && !session_open_i) next_o = XnIdle;
      else if (state_i == XsReceiving && missing_i == '0) next_o = XnFence;
    end else if (opcode_i == saf_pkg::OpcodePoll) begin
      if (!in_section) status_o = 6'(saf_pkg::StatusBadRange);
    end else if (opcode_i == saf_pkg::OpcodeInvalidate) begin
      if (index_i == '0 || newer[32]) status_o = 6'(saf_pkg::StatusStale);
      else if (newer[31:0] != '0) begin
        if (state_i == XsVerified) status_o = 6'(saf_pkg::StatusBadState);
        else if (!range_ok) status_o = 6'(saf_pkg::StatusBadRange);
        else next_o = XnTear;
      end
    end else if (opcode_i == saf_pkg::OpcodeAbort && !past_i) next_o = state_i == XsVerified ? XnLeave : XnAbort;
  end

endmodule
