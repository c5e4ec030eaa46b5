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
    output logic [15:0] sections_o,
    output logic [13:0] bits_o
);

  logic [31:0] first, count;
  logic [18:0] range_end;
  logic in_section, in_last, range_ok;

  assign first = pay_i[63:32];
  assign count = pay_i[31:0];

  // POLL
  assign in_last = first[17:13] == blocks_i[17:13];
  assign in_section = first[31:18] == '0 && first[12:0] == '0
      && (first[17:13] < blocks_i[17:13] || (in_last && blocks_i[12:0] != '0));
  always_comb begin
    sections_o = '0;
    bits_o = '0;
    if (in_section && missing_i != '0) begin
      sections_o = sections_i;
      if (sections_i[first[16:13]])
        bits_o = in_last ? {1'b0, blocks_i[12:0]} : 14'(saf_pkg::SectionBlocks);
    end
  end

  // INVALIDATE
  assign range_end = {1'b0, first[17:0]} + {1'b0, count[17:0]};
  assign range_ok = count != '0 && first[31:18] == '0 && count[31:18] == '0 && !({1'b0, blocks_i} < range_end);

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
      if (index_i == '0 || index_i < repair_id_i) status_o = 6'(saf_pkg::StatusStale);
      else if (index_i != repair_id_i) begin
        if (state_i == XsVerified) status_o = 6'(saf_pkg::StatusBadState);
        else if (!range_ok) status_o = 6'(saf_pkg::StatusBadRange);
        else next_o = XnTear;
      end
    end else if (opcode_i == saf_pkg::OpcodeAbort && !past_i) next_o = state_i == XsVerified ? XnLeave : XnAbort;
  end

endmodule
