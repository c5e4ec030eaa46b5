// Finds in a GROUP frame the member that is this card's session.
//
// start_i (a pulse, beat 5 being asked for already): reads the group's head, checks inner opcode, EtherType and sizes, then
// looks at one member every two cycles. done_o (a pulse) comes with drop_o and reason_o, or with found_o, or with
// neither: a GROUP of others. With found_o the member's first beat is being read, in the next cycle its second. The fields of
// the head and member_o (beat of the member found) hold until the next start.
// Reset: idle. No back-pressure; at most 5 + 2 × 255 cycles.

module saf_ctl_group (
  input  logic                         clk_i,
  input  logic                         rst_ni,
  input  logic                         start_i,
  input  saf_shell_pkg::etype_e        etype_i,
  input  logic                  [15:0] length_i,
  input  logic                  [31:0] session_i,
  output logic                         done_o,
  output logic                         found_o,
  output logic                         drop_o,
  output logic                  [ 4:0] reason_o,
  output logic                         is_run_o,  // else COMMIT
  output logic                  [15:0] body_bytes_o,
  input  logic                  [13:0] body_end_i,  // its last beat, made from body_bytes_o
  output logic                  [10:0] member_o,  // beat
  output logic                  [10:0] rd_addr_o,
  input  logic                  [31:0] rd_data_i  // first half of the beat
);

  localparam logic [10:0] HeadBeat = 11'(saf_pkg::HeaderBytes / 8);
  localparam logic [10:0] MemberBeats = 11'(saf_pkg::GroupMemberBytes / 8);

  typedef enum logic [2:0] {
    StIdle,
    StHead,
    StCheck,
    StAsk,
    StLook
  } state_e;

  state_e state_q;
  logic [7:0] opcode_q, left_q;
  logic [15:0] body_q;
  logic [10:0] member_q;

  logic is_run, is_commit, fits;
  logic [13:0] wanted;  // beats
  assign is_run = opcode_q == saf_pkg::OpcodeRun;
  assign is_commit = opcode_q == saf_pkg::OpcodeCommit;
  // the multiplication takes a DSP block; a member is a whole number of beats, as head and header are
  assign wanted = body_end_i + 14'((saf_pkg::GroupBytes - saf_pkg::HeaderBytes) / 8) + 14'(left_q) * 14'(MemberBeats);
  assign fits = wanted == {1'b0, length_i[15:3]} && length_i[2:0] == '0
      && (is_run ? body_q >= 16'(saf_pkg::RunBytes) : body_q == 16'(saf_pkg::CommitBytes));

  always_comb begin
    drop_o = 1'b0;
    reason_o = 5'(saf_pkg::DropReasonBadParameter);
    if (state_q == StCheck) begin
      if (!is_run && !is_commit) begin
        drop_o = 1'b1;
      end else if (etype_i != (is_run ? saf_shell_pkg::EtControl : saf_shell_pkg::EtImage)) begin
        drop_o = 1'b1;
        reason_o = 5'(saf_pkg::DropReasonWrongEthertype);
      end else if (!fits) begin
        drop_o = 1'b1;
        reason_o = 5'(saf_pkg::DropReasonLyingLength);
      end
    end
  end

  assign found_o = state_q == StLook && rd_data_i == session_i;
  assign done_o = drop_o || found_o || (state_q == StAsk && left_q == '0);
  assign is_run_o = is_run;
  assign body_bytes_o = body_q;
  assign member_o = member_q;
  // on to its second beat, from there to the next one's first, or back when it is the one
  logic [10:0] step;
  assign step = {{8{found_o}}, found_o || state_q == StLook, found_o, found_o || state_q == StAsk};
  always_comb begin
    rd_addr_o = HeadBeat;
    if (state_q == StAsk || state_q == StLook) rd_addr_o = member_q;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      opcode_q <= '0;
      left_q <= '0;
      body_q <= '0;
      member_q <= '0;
    end else begin
      if (state_q == StCheck) member_q <= body_end_i[10:0] + 11'd1;
      else if (state_q == StAsk || state_q == StLook) member_q <= member_q + step;
      case (state_q)
        StIdle: if (start_i) state_q <= StHead;
        StHead: begin
          opcode_q <= rd_data_i[31:24];
          left_q <= rd_data_i[23:16];
          body_q <= rd_data_i[15:0];
          state_q <= StCheck;
        end
        StCheck: begin
          state_q <= drop_o ? StIdle : StAsk;
        end
        StAsk: state_q <= left_q == '0 ? StIdle : StLook;
        default: begin
          if (found_o) begin
            state_q <= StIdle;
          end else begin
            state_q <= StAsk;
            left_q <= left_q - 8'd1;
          end
        end
      endcase
    end
  end

endmodule
