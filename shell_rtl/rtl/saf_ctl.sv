// Sequencer of control frames: takes one at a time from saf_rx, checks it, hands it to who carries it out, drops it.
//
// Order of checks as on the virtual card: SOLICIT; suite; GROUP; destination; SESSION_OPEN (saf_session goes on); session
// open; source; session number; then, with the frame walking through the hash engine once, tag; replay window. What
// passes renews the lease and goes to one handler. Fields are caught as the frame passes (saf_ctl_catch).
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
  logic is_open, pay_full, carried;

  assign is_open = cf_req_i.opcode == saf_pkg::OpcodeSessionOpen;

  // ---- GROUP

  logic group_start, group_done, group_found, group_drop, is_run;
  logic [4:0] group_reason;
  logic [15:0] body_bytes;
  logic [13:0] body_end;
  logic [10:0] group_addr;

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
    .body_end_i(body_end),
    .member_o(stream_jump_to_o),
    .rd_addr_o(group_addr),
    .rd_data_i(cf_rd_data_i[63:32])
  );

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
      StPad: if (pay_full) state_d = StHandle;
      StHandle: if (carried) state_d = StPop;
      StPop: state_d = StGap;
      default: state_d = StIdle;
    endcase
  end

  assign cf_pop_o = state_q == StPop;
  assign solicit_valid_o = state_q == StSolicit;

  // ---- the walk over the frame

  logic [15:0] pay_bytes;
  logic [10:0] first_beat;

  saf_ctl_bounds u_bounds (
    .length_i(cf_req_i.length),
    .tagged_i(suite_i && !is_open),
    .in_group_i(member_q || state_q == StGroup),
    .member_i(member_q),
    .body_bytes_i(body_bytes),
    .member_beat_i(stream_jump_to_o),
    .pay_bytes_o(pay_bytes),
    .body_end_o(body_end),
    .last_o(stream_last_o),
    .jump_at_o(stream_jump_at_o),
    .first_beat_o(first_beat),
    .bytes_o(stream_bytes_o)
  );
  assign stream_start_o = state_q == StStart;

  saf_ctl_catch u_catch (
    .clk_i,
    .rst_ni,
    .cf_req_i,
    .session_i,
    .rd_data_i(cf_rd_data_i),
    .member_i(member_q),
    .is_run_i(is_run),
    .first_i(state_q == StCheck),
    .name_first_i(group_found),
    .name_second_i(state_q == StMember),
    .load_i(state_q == StLoad),
    .name_i(state_q == StName),
    .pad_i(state_q == StPad),
    .handle_i(state_q == StHandle),
    .beat_i,
    .pos_i,
    .is_last_i(pos_i == stream_last_o),
    .first_beat_i(first_beat),
    .pay_last_i(body_end[10:0]),
    .pay_bytes_i(pay_bytes),
    .full_o(pay_full),
    .pay_o,
    .req_o
  );

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      member_q <= 1'b0;
    end else begin
      state_q <= state_d;
      if (state_q == StCheck) member_q <= 1'b0;
      else if (group_found) member_q <= 1'b1;
    end
  end

  // ---- who is to carry it out, and who reads the frame

  logic [10:0] hand_addr;

  saf_ctl_hand u_hand (
    .opcode_i(req_o.opcode),
    .valid_i(state_q == StHandle),
    .first_beat_i(first_beat),
    .h_valid_o,
    .h_done_i,
    .fr_addr_i,
    .session_valid_o,
    .session_done_i,
    .session_addr_i,
    .done_o(carried),
    .addr_o(hand_addr)
  );

  always_comb begin
    cf_rd_addr_o = hand_addr;
    if (stream_active_i) cf_rd_addr_o = stream_addr_i;
    else if (state_q == StGroup) cf_rd_addr_o = group_addr;
  end

endmodule
