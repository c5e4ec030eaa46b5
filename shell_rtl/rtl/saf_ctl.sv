// Sequencer of control frames: takes one at a time from saf_rx, checks it, hands it to who carries it out, drops it.
//
// Order of checks as on the virtual card: SOLICIT; suite; GROUP; destination; SESSION_OPEN (saf_session goes on); session
// open; source; session number; then, with the frame walking through the hash engine once, tag; replay window. What
// passes renews the lease and goes to one handler. Fields are caught as the frame passes: the first 64 payload bytes in
// pay_o, of a GROUP's member its object, index, epoch and sequence, so that it looks as if it had come alone.
//
// Latency under suite 0: 19 cycles from cf_valid_i to h_valid_o; under suite 1 it is the hash engine's and 10 more.
// Reset: idle. Back-pressure: a frame stays in saf_rx until its handler is done.

module saf_ctl (
  input  logic                                 clk_i,
  input  logic                                 rst_ni,
  input  logic                                 suite_i,  // the card's suite
  input  logic                                 booted_i,
  // control frames of saf_rx
  input  logic                                 cf_valid_i,
  input  saf_shell_pkg::ctl_req_t              cf_req_i,
  output logic                          [10:0] cf_rd_addr_o,
  input  logic                          [63:0] cf_rd_data_i,
  output logic                                 cf_pop_o,
  // handlers
  output logic                          [ 3:0] h_valid_o,
  input  logic                          [ 3:0] h_done_i,
  input  logic                    [3:0][10:0] fr_addr_i,
  output saf_shell_pkg::ctl_req_t              req_o,
  output logic                         [511:0] pay_o,
  // counted drops, and who believes in another session
  output logic                                 drop_o,
  output logic                          [ 4:0] reason_o,
  output logic                                 stranger_o,
  // walking over the frame, and its tag
  output logic                                 stream_start_o,
  output logic                          [10:0] stream_last_o,
  output logic                          [10:0] stream_jump_at_o,
  output logic                          [10:0] stream_jump_to_o,
  output logic                          [13:0] stream_bytes_o,  // under the tag
  input  logic                                 stream_active_i,
  input  logic                          [10:0] stream_addr_i,
  input  logic                                 beat_i,
  input  logic                          [10:0] pos_i,
  input  logic                                 stream_done_i,
  input  logic                                 tag_ok_i,
  // replay window, asked with req_o.sequence_
  input  logic                                 fresh_i,
  input  logic                                 window_busy_i,
  output logic                                 commit_o,
  // session
  input  logic                                 open_i,
  input  logic                          [31:0] session_i,
  input  logic                                 from_host_i,
  output logic                                 session_valid_o,  // SESSION_OPEN, SESSION_CLOSE, KEEPALIVE
  input  logic                                 session_done_i,
  input  logic                          [10:0] session_addr_i,
  output logic                                 renew_o,
  input  logic                                 expired_i,
  output logic                                 expire_o,
  // discovery
  output logic                                 first_o,  // a frame is looked at
  output logic                                 solicit_valid_o,
  input  logic                                 solicit_ready_i,
  input  logic                                 solicit_refused_i
);

  localparam logic [10:0] PayloadBeat = 11'(saf_pkg::HeaderBytes / 8);
  // under a GROUP's tag: the member's fields without the tag
  localparam logic [10:0] MemberBeats = 11'((saf_pkg::GroupMemberBytes - saf_pkg::TagBytes) / 8);
  localparam logic [10:0] SequenceBeat = PayloadBeat - 11'd1;
  localparam logic [10:0] NameBeat = PayloadBeat - 11'd2;
  localparam logic [10:0] BodyBeat = PayloadBeat + 11'd1;  // of a GROUP

  typedef enum logic [3:0] {
    StIdle,
    StCheck,
    StSolicit,
    StGroup,
    StMember,
    StStart,
    StLoad,
    StWindow,
    StName,
    StPad,
    StHandle,
    StPop,
    StGap
  } state_e;

  state_e state_q, state_d;
  logic member_q;  // this is a GROUP's member
  logic [31:0] object_q, name;
  logic [63:0] sequence_q;
  logic [511:0] pay_q;  // shifted in from the right, always eight beats
  logic [3:0] pay_left_q;  // beats that are still to come
  logic inside_q;  // the beats that pass are payload
  logic is_open, is_last;

  assign is_open = cf_req_i.opcode == saf_pkg::OpcodeSessionOpen;

  // ---- GROUP

  logic group_start, group_done, group_found, group_drop, is_run;
  logic [4:0] group_reason;
  logic [15:0] body_bytes;
  logic [10:0] member, group_addr;

  // last beat of the payload; of a GROUP, also while it is looked at, of the body
  logic in_group;
  logic [15:0] pay_bytes;
  logic [16:0] pay_end;
  logic [10:0] pay_last;
  assign in_group = member_q || state_q == StGroup;
  assign pay_bytes = in_group ? body_bytes : cf_req_i.length;
  assign pay_end = {1'b0, pay_bytes} + 17'd7 + 17'(saf_pkg::HeaderBytes) - (in_group ? 17'd0 : 17'd8);
  assign pay_last = pay_end[13:3];
  logic unused;
  assign unused = ^pay_end[2:0];

  saf_ctl_group u_group (
    .clk_i,
    .rst_ni,
    .start_i(group_start),
    .etype_i(cf_req_i.etype),
    .length_i(cf_req_i.length),
    .session_i,
    .done_o(group_done),
    .found_o(group_found),
    .drop_o(group_drop),
    .reason_o(group_reason),
    .is_run_o(is_run),
    .body_bytes_o(body_bytes),
    .body_end_i(pay_end[16:3]),
    .member_o(member),
    .rd_addr_o(group_addr),
    .rd_data_i(cf_rd_data_i[63:32])
  );

  // ---- who is to carry it out

  logic [3:0] handler;
  always_comb begin
    handler = 4'b0000;
    case (req_o.opcode)
      saf_pkg::OpcodeXferOpen, saf_pkg::OpcodePoll, saf_pkg::OpcodeClose, saf_pkg::OpcodeInvalidate,
          saf_pkg::OpcodeAbort: handler = 4'b0001;
      saf_pkg::OpcodeCommit: handler = 4'b0010;
      saf_pkg::OpcodeRun, saf_pkg::OpcodeKill: handler = 4'b0100;
      saf_pkg::OpcodeRead: handler = 4'b1000;
      default: ;
    endcase
  end
  assign h_valid_o = state_q == StHandle ? handler : 4'b0000;
  assign session_valid_o = state_q == StHandle && handler == '0;

  // ---- order of checks

  always_comb begin
    state_d = state_q;
    drop_o = 1'b0;
    reason_o = 5'(saf_pkg::DropReasonWrongSession);
    stranger_o = 1'b0;
    group_start = 1'b0;
    commit_o = 1'b0;
    renew_o = 1'b0;
    expire_o = 1'b0;
    first_o = 1'b0;
    case (state_q)
      StIdle:
      if (expired_i) begin
        expire_o = 1'b1;
        state_d = StGap;
      end else if (cf_valid_i && booted_i) begin
        first_o = 1'b1;
        state_d = StCheck;
      end
      StCheck: begin
        state_d = StPop;
        if (cf_req_i.opcode == saf_pkg::OpcodeSolicit) begin
          state_d = StSolicit;
        end else if (cf_req_i.suite != {3'd0, suite_i}) begin
          drop_o = 1'b1;
          reason_o = 5'(saf_pkg::DropReasonBadSuite);
        end else if (cf_req_i.opcode == saf_pkg::OpcodeGroup) begin
          group_start = open_i;
          if (open_i) state_d = StGroup;
        end else if (cf_req_i.bcast) begin
          drop_o = 1'b1;  // control frames are unicast
          reason_o = 5'(saf_pkg::DropReasonBadParameter);
        end else if (is_open) begin
          state_d = StStart;
        end else if (open_i && !from_host_i) begin
          drop_o = 1'b1;
          reason_o = 5'(saf_pkg::DropReasonWrongSource);
          stranger_o = 1'b1;
        end else if (!open_i || cf_req_i.session != session_i) begin
          drop_o = 1'b1;
          stranger_o = 1'b1;
        end else begin
          state_d = StStart;
        end
      end
      StSolicit:
      if (solicit_ready_i) begin
        drop_o = solicit_refused_i;
        reason_o = 5'(saf_pkg::DropReasonRateLimited);
        state_d = StPop;
      end
      StGroup:
      if (group_done) begin
        state_d = StPop;
        drop_o = group_drop;
        reason_o = group_reason;
        if (group_found) begin
          if (!from_host_i) begin
            drop_o = 1'b1;
            reason_o = 5'(saf_pkg::DropReasonWrongSource);
          end else begin
            state_d = StMember;
          end
        end
      end
      StMember: state_d = StStart;
      StStart: state_d = StLoad;
      StLoad:
      if (stream_done_i) begin
        if (!suite_i || is_open) begin
          renew_o = !is_open;
          state_d = StName;
        end else if (!tag_ok_i) begin
          drop_o = 1'b1;
          reason_o = 5'(saf_pkg::DropReasonBadTag);
          state_d = StPop;
        end else begin
          state_d = StWindow;
        end
      end
      StWindow:
      if (!window_busy_i) begin
        if (fresh_i) begin
          commit_o = 1'b1;
          renew_o = 1'b1;
          state_d = StName;
        end else begin
          drop_o = 1'b1;
          reason_o = 5'(saf_pkg::DropReasonReplayed);
          state_d = StPop;
        end
      end
      StName: state_d = StPad;
      StPad: if (pay_left_q == '0) state_d = StHandle;
      StHandle: if (|(h_valid_o & h_done_i) || (session_valid_o && session_done_i)) state_d = StPop;
      StPop: state_d = StGap;
      default: state_d = StIdle;
    endcase
  end

  assign cf_pop_o = state_q == StPop;
  assign solicit_valid_o = state_q == StSolicit;

  // ---- the walk over the frame

  assign is_last = pos_i == stream_last_o;  // of a GROUP: its member's sequence
  assign stream_start_o = state_q == StStart;
  assign stream_jump_at_o = member_q ? pay_last : '1;
  assign stream_jump_to_o = member;
  always_comb begin
    stream_last_o = pay_last;
    // a member's fields come behind the body
    stream_bytes_o = {pay_last + (member_q ? 11'd1 + MemberBeats : 11'd1), 3'd0};
    if (member_q) begin
      stream_last_o = member + 11'd2;
    end else if ((!suite_i || is_open) && (|cf_req_i.length[15:7] || (cf_req_i.length[6] && |cf_req_i.length[5:0]))) begin
      stream_last_o = PayloadBeat + 11'd7;  // without a tag nobody needs the rest
    end
  end

  // beat of the first 64 payload bytes, and how much of the eighth beat is payload
  logic [10:0] first_beat;
  logic pay_shift;
  logic [7:0] pay_zero;  // bytes
  logic [31:0] pay_high;
  logic caught;
  assign first_beat = member_q ? BodyBeat : PayloadBeat;
  assign caught = beat_i && state_q == StLoad && inside_q && pay_left_q != '0;
  assign pay_shift = caught || (state_q == StPad && pay_left_q != '0);
  always_comb begin
    // a tail alone may end inside a beat, and none before the eighth
    for (int unsigned b = 0; b < 8; b++) begin
      pay_zero[b] = state_q == StPad || (pay_left_q == 4'd1 && pay_bytes < 16'd64 && 3'(b) >= pay_bytes[2:0]);
    end
    pay_high = cf_rd_data_i[63:32];
    // the member's role epoch takes the place of the body's
    if (member_q && pay_left_q == (is_run ? 4'd8 : 4'd4)) pay_high = sequence_q[31:0];
  end

  always_ff @(posedge clk_i) begin
    if (pay_shift) begin
      pay_q[511:64] <= pay_q[447:0];
      for (int unsigned b = 0; b < 4; b++) begin
        pay_q[63-8*b-:8] <= pay_zero[b] ? '0 : pay_high[31-8*b-:8];
        pay_q[31-8*b-:8] <= pay_zero[b+4] ? '0 : cf_rd_data_i[31-8*b-:8];
      end
    end
    // its low half keeps the member's role epoch until the body has passed
    if (state_q == StMember || (beat_i && (member_q ? is_last : pos_i == SequenceBeat))) sequence_q <= cf_rd_data_i;
    if (state_q == StName) object_q <= name;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      member_q <= 1'b0;
      pay_left_q <= '0;
      inside_q <= 1'b0;
    end else begin
      state_q <= state_d;
      if (state_q == StCheck) begin
        member_q <= 1'b0;
      end else if (group_found) begin
        member_q <= 1'b1;
      end

      if (state_q == StCheck) inside_q <= 1'b0;
      else if (beat_i && pos_i == pay_last) inside_q <= 1'b0;
      else if (beat_i && pos_i == (member_q ? BodyBeat : PayloadBeat) - 11'd1) inside_q <= 1'b1;

      if (state_q == StCheck) begin
        pay_left_q <= 4'd8;
      end else if (pay_shift) begin
        pay_left_q <= pay_left_q - 4'd1;
      end
    end
  end

  // object and index lie in one beat, of a member in the second half of one and the first of the next: both are kept
  // and read back, the object in StName, then the index for as long as the handler is at it
  localparam int unsigned NameRows = saf_shell_pkg::BlockRamBits / 64;
  localparam int unsigned NameBits = $clog2(NameRows);
  logic asks_index, second;
  assign asks_index = state_q == StName || state_q == StPad || state_q == StHandle;
  assign second = state_q == StMember;

  saf_ram_2clk_narrow #(
    .Width(64),
    .Depth(NameRows),
    .Parts(2)
  ) u_names (
    .wr_clk_i(clk_i),
    .wr_en_i(group_found || second || (beat_i && !member_q && pos_i == NameBeat)),
    .wr_addr_i(NameBits'(second)),
    .wr_data_i(cf_rd_data_i),
    .rd_clk_i(clk_i),
    .rd_en_i(1'b1),
    .rd_addr_i({NameBits'(asks_index && member_q), asks_index == member_q}),
    .rd_data_o(name)
  );

  assign pay_o = pay_q;
  always_comb begin
    req_o = cf_req_i;
    req_o.session = session_i;  // what is handed on is the session's
    req_o.sequence_ = sequence_q;
    req_o.object = object_q;
    req_o.index = name;
    if (member_q) begin
      req_o.opcode = is_run ? saf_pkg::OpcodeRun : saf_pkg::OpcodeCommit;
      req_o.length = pay_bytes;
    end
  end

  // ---- who reads the frame

  logic [10:0] fr_addr;
  always_comb begin
    fr_addr = '0;
    for (int unsigned h = 0; h < 4; h++) if (handler[h]) fr_addr |= fr_addr_i[h];
    cf_rd_addr_o = PayloadBeat;
    if (stream_active_i) cf_rd_addr_o = stream_addr_i;
    else if (state_q == StGroup) cf_rd_addr_o = group_addr;
    else if (session_valid_o) cf_rd_addr_o = session_addr_i;
    else if (state_q == StHandle) cf_rd_addr_o = first_beat + fr_addr;
  end

endmodule
