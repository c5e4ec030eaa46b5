// Hands a control frame that passed all checks to who carries it out, and the frame's words to that one.
//
// Data flow: opcode -> one of four handlers (transfers, commit, kernel commands, READ), else the session; a handler counts
// beats from the payload, the session from the frame's start. Combinational. Back-pressure: valid until done.

module saf_ctl_hand (
  input  logic      [ 7:0] opcode_i,
  input  logic             valid_i,
  input  logic      [10:0] first_beat_i,
  output logic      [ 3:0] h_valid_o,
  input  logic      [ 3:0] h_done_i,
  input  logic [3:0][10:0] fr_addr_i,
  output logic             session_valid_o,
  input  logic             session_done_i,
  input  logic      [10:0] session_addr_i,
  output logic             done_o,
  output logic      [10:0] addr_o  // while nobody is at it: of the payload
);

  localparam logic [10:0] PayloadBeat = 11'(saf_pkg::HeaderBytes / 8);

  logic [3:0] handler;
  logic [10:0] fr_addr;
  always_comb begin
    handler = 4'b0000;
    case (opcode_i)
      saf_pkg::OpcodeXferOpen, saf_pkg::OpcodePoll, saf_pkg::OpcodeClose, saf_pkg::OpcodeInvalidate,
          saf_pkg::OpcodeAbort: handler = 4'b0001;
      saf_pkg::OpcodeCommit: handler = 4'b0010;
      saf_pkg::OpcodeRun, saf_pkg::OpcodeKill: handler = 4'b0100;
      saf_pkg::OpcodeRead: handler = 4'b1000;
      default: ;
    endcase
  end
  assign h_valid_o = valid_i ? handler : 4'b0000;
  assign session_valid_o = valid_i && handler == '0;
  assign done_o = |(h_valid_o & h_done_i) || (session_valid_o && session_done_i);

  always_comb begin
    fr_addr = '0;
    for (int unsigned h = 0; h < 4; h++) if (handler[h]) fr_addr |= fr_addr_i[h];
    addr_o = PayloadBeat;
    if (session_valid_o) addr_o = session_addr_i;
    else if (valid_i) addr_o = first_beat_i + fr_addr;
  end

endmodule
