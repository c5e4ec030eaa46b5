// The session of the card: who holds the lease, and SESSION_OPEN, SESSION_CLOSE and KEEPALIVE.
//
// SESSION_OPEN, in this order: session field, boot nonce, keys (derived from the card's into the bank that is not in force),
// tag, sequence; the very OPEN that opened the session is answered again from store; else challenge, fields and owner
// are judged. What was accepted: another owner makes all units forget (forget_o, until forget_busy_i falls), then
// session number, keys and window are the new ones, OPENED is built and sent, and only then is the session open
// to all units, so that nothing leaves before OPENED. A refusal is sealed with the candidate's keys and the OPEN's
// own sequence number.
//
// valid_i holds until done_o (a pulse). Latency: KEEPALIVE 25 cycles; OPEN about 350 and four hashes.
// Reset: no session, no owner. Back-pressure: none but that of the answers.

module saf_session (
  input  logic                                     clk_i,
  input  logic                                     rst_ni,
  input  logic                                     suite_i,
  input  logic                              [15:0] mtu_i,
  input  logic       [saf_shell_pkg::TimeBits-1:0] now_i,
  input  logic                              [31:0] rnd_i,
  // from saf_ctl: one frame
  input  logic                                     valid_i,
  output logic                                     done_o,
  input  logic                              [ 7:0] opcode_i,
  input  logic                              [47:0] src_i,
  input  logic                                     from_host_i,  // that the session is with
  input  logic                              [31:0] session_i,
  input  logic                              [63:0] sequence_i,
  input  logic                                     sequence_zero_i,
  input  logic                              [31:0] keep_lease_i,  // fields of KEEPALIVE
  input  logic                              [31:0] ask_challenge_i,  // and of SESSION_OPEN
  input  logic                              [31:0] ask_lease_i,
  input  logic                                     ask_takeover_i,
  input  logic                              [15:0] ask_mtu_i,
  input  logic                                     renew_i,
  output logic                                     expired_o,
  input  logic                                     expire_i,
  output logic                                     drop_o,
  output logic                              [ 4:0] reason_o,
  output logic                                     stranger_o,
  // replay window
  input  logic                                     fresh_i,
  input  logic                                     window_busy_i,
  output logic                                     commit_o,
  output logic                                     load_o,
  // hashes
  output logic                                     stream_start_o,
  output saf_shell_pkg::ctl_source_e               stream_source_o,
  output logic                              [10:0] stream_last_o,
  output saf_shell_pkg::hash_req_t                 stream_req_o,
  input  logic                                     stream_done_i,
  input  logic                                     tag_ok_i,
  input  logic                              [31:0] digest_i,  // first four bytes
  // HELLO's words are lent while hold_o and held_i are up
  input  logic                                     booted_i,
  output logic                                     hold_o,
  input  logic                                     held_i,
  output logic                                     opened_o,
  output logic                                     ended_o,
  // answers
  output logic                                     match_o,  // with who opened the session
  input  logic                                     match_done_i,
  input  logic                                     match_boot_i,  // nonce of the card
  input  logic                                     match_owner_i,
  input  logic                                     match_nonce_i,
  input  logic                                     match_equal_i,  // generation
  input  logic                                     match_newer_i,
  output logic                                     reply_o,
  output logic                                     reply_build_o,  // else from store
  output saf_shell_pkg::ctl_reply_e                reply_kind_o,
  input  logic                                     reply_done_i,
  output logic                              [15:0] status_o,
  output logic                                     kept_o,
  output logic                              [31:0] hello_tag_o,
  // state
  output saf_shell_pkg::session_view_t             session_o,
  output logic                                     session_end_o,
  output logic                                     forget_o,
  input  logic                                     forget_busy_i,
  output logic                              [31:0] session_count_o,
  output logic                              [15:0] forgotten_o,
  output logic                                     has_owner_o,
  output logic                              [31:0] challenge_o,
  output logic                              [31:0] lease_ms_o,
  output logic                              [29:0] left_us_o,  // of the lease
  output logic                                     left_valid_o,  // else nothing is left
  output logic                              [63:0] own_sequence_o,
  output logic                                     seq_load_o,
  output logic                              [63:0] seq_load_value_o  // of the next sealed frame
);

  localparam logic [15:0] HostMtuMin = 16'd1500;

  typedef enum logic [3:0] {
    StIdle,
    StMatch,
    StNonce,
    StKeyH2c,
    StKeyC2h,
    StTag,
    StJudge,
    StForget,
    StForgetWait,
    StAdopt,
    StHold,
    StPrepare,
    StReply,
    StEnd,
    StDone
  } state_e;

  state_e state_q, state_d;
  logic start_q;  // the state was just entered
  logic booted_q, open_q, bank_q, has_owner_q, kept_q, build_q, chosen_q;
  logic [14:0] base_q;
  logic [31:0] count_q, challenge_q, hello_tag_q;
  logic [47:0] host_q;
  logic [15:0] block_limit_q, forgotten_q, status_q;
  saf_shell_pkg::ctl_reply_e kind_q;

  // ---- fields

  logic [15:0] host_mtu;
  logic is_keepalive;
  assign host_mtu = ask_mtu_i == '0 ? HostMtuMin : ask_mtu_i;
  assign is_keepalive = opcode_i == saf_pkg::OpcodeKeepalive;

  // answers to OPENs under one key count on from the OPEN's own number, so that no two of them share one
  logic [63:0] own_q;
  always_ff @(posedge clk_i) begin
    if (state_q == StNonce) begin
      own_q[63] <= sequence_i[63];
      own_q[0] <= (sequence_i[0] || sequence_zero_i) && !sequence_i[63];
    end
    if (state_q == StNonce && sequence_i[63]) own_q[62:1] <= '0;
    else if (state_q == StNonce) own_q[62:1] <= sequence_i[62:1];
  end
  assign own_sequence_o = own_q;
  assign seq_load_value_o = own_q;

  // ---- judgement (order of SessionUnit._judge)

  logic is_repeated;
  logic [15:0] judged;
  assign is_repeated = open_q && from_host_i && match_owner_i && match_equal_i && match_nonce_i;
  always_comb begin
    judged = saf_pkg::StatusOk;
    if (ask_challenge_i != challenge_q) judged = saf_pkg::StatusBadChallenge;
    else if (host_mtu < HostMtuMin) judged = saf_pkg::StatusBadParameter;
    else if (has_owner_q && match_owner_i) begin
      if (!match_newer_i && (!match_equal_i || open_q)) judged = saf_pkg::StatusStaleGeneration;
    end else if (has_owner_q && open_q && !ask_takeover_i) begin
      judged = saf_pkg::StatusBusy;
    end
  end

  // nobody can foretell it; never the one before (bit 0), never 0 (bit 1)
  logic renew_challenge;
  logic [31:0] new_challenge;
  assign new_challenge = {rnd_i[31:2], rnd_i[1] || rnd_i[31:2] == '0, !challenge_q[0]};

  logic renew;  // the lease

  saf_session_lease u_lease (
    .clk_i,
    .rst_ni,
    .now_i,
    .open_i(open_q),
    .is_keepalive_i(is_keepalive),
    .keep_lease_i,
    .ask_lease_i,
    .keep_i(state_q == StIdle && valid_i && is_keepalive),
    .adopt_i(state_q == StAdopt),
    .renew_i(renew),
    .expired_o,
    .lease_ms_o,
    .left_us_o,
    .left_valid_o
  );

  // ---- sequence

  always_comb begin
    state_d = state_q;
    drop_o = 1'b0;
    reason_o = 5'(saf_pkg::DropReasonWrongSession);
    stranger_o = 1'b0;
    commit_o = 1'b0;
    renew = renew_i;
    renew_challenge = booted_i && !booted_q;
    case (state_q)
      StIdle:
      if (valid_i) begin
        if (opcode_i == saf_pkg::OpcodeSessionOpen) state_d = StMatch;
        else state_d = StReply;
      end
      StMatch: if (match_done_i) state_d = StNonce;
      StNonce:
      if (session_i != '0 || !match_boot_i) begin
        drop_o = 1'b1;
        stranger_o = session_i == '0;
        state_d = StDone;
      end else begin
        if (!suite_i) state_d = StJudge;
        else if (held_i) state_d = StKeyH2c;
      end
      StKeyH2c: if (stream_done_i) state_d = StKeyC2h;
      StKeyC2h: if (stream_done_i) state_d = StTag;
      StTag:
      if (stream_done_i) begin
        state_d = StJudge;
        if (!tag_ok_i || sequence_zero_i) begin
          drop_o = 1'b1;
          reason_o = tag_ok_i ? 5'(saf_pkg::DropReasonReplayed) : 5'(saf_pkg::DropReasonBadTag);
          state_d = StDone;
        end
      end
      StJudge:
      if (is_repeated) begin
        if (suite_i && !window_busy_i && !fresh_i) begin
          drop_o = 1'b1;
          reason_o = 5'(saf_pkg::DropReasonReplayed);
          state_d = StDone;
        end else if (!suite_i || !window_busy_i) begin
          commit_o = suite_i;
          renew = 1'b1;
          state_d = StReply;
        end
      end else if (judged == saf_pkg::StatusOk) begin
        renew_challenge = 1'b1;
        state_d = has_owner_q && !match_owner_i ? StForget : StAdopt;
      end else begin
        // else a stranger could repeat this very OPEN when it would be accepted
        renew_challenge = judged != saf_pkg::StatusBadChallenge;
        state_d = StHold;
      end
      StForget: if (!start_q) state_d = StForgetWait;  // forget_busy_i rises a cycle after forget_o
      StForgetWait: if (!start_q && !forget_busy_i) state_d = StAdopt;
      StAdopt: state_d = StHold;
      StHold: if (held_i) state_d = chosen_q ? StPrepare : StReply;
      StPrepare: begin
        renew = start_q;
        if (stream_done_i) state_d = StReply;
      end
      StReply: begin
        renew = renew_i || (start_q && kind_q == saf_shell_pkg::ReplyAlive);
        if (reply_done_i) state_d = StEnd;
      end
      StEnd: state_d = StDone;
      default: state_d = StIdle;
    endcase
  end
  assign done_o = state_q == StDone;

  // ---- hashes

  assign stream_start_o = start_q && (state_q inside {StKeyH2c, StKeyC2h, StTag, StPrepare});

  saf_session_hash u_hash (
    .suite_i,
    .bank_i(bank_q),
    .keys_i(state_q == StKeyH2c || state_q == StKeyC2h),
    .key_c2h_i(state_q == StKeyC2h),
    .hello_i(state_q == StPrepare),
    .source_o(stream_source_o),
    .last_o(stream_last_o),
    .req_o(stream_req_o)
  );

  assign hold_o = state_q inside {StNonce, StKeyH2c, StKeyC2h} || state_q == StHold || state_q == StPrepare || (state_q == StReply && build_q);
  assign match_o = state_q == StMatch;
  assign reply_o = state_q == StReply;
  assign reply_build_o = build_q;
  assign reply_kind_o = kind_q;
  assign load_o = state_q == StAdopt;
  assign seq_load_o = state_q == StAdopt;
  assign opened_o = forget_o || state_q == StAdopt;  // ends the periodic HELLO
  assign forget_o = start_q && state_q == StForget;
  assign ended_o = expire_i || (state_q == StEnd && kind_q == saf_shell_pkg::ReplyClosed);
  // a session that another one follows ends too
  assign session_end_o = ended_o || forget_o || (state_q == StAdopt && open_q);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      start_q <= 1'b0;
      booted_q <= 1'b0;
      open_q <= 1'b0;
      bank_q <= 1'b0;
      has_owner_q <= 1'b0;
      kept_q <= 1'b0;
      build_q <= 1'b0;
      chosen_q <= 1'b0;
      count_q <= '0;
      challenge_q <= '0;
      host_q <= '0;
      block_limit_q <= '0;
      forgotten_q <= '0;
      status_q <= '0;
      kind_q <= saf_shell_pkg::ReplyOpened;
    end else begin
      state_q <= state_d;
      start_q <= state_d != state_q;
      booted_q <= booted_i;
      if (renew_challenge) challenge_q <= new_challenge;
      if (ended_o || forget_o) open_q <= 1'b0;

      case (state_q)
        StIdle: begin
          build_q <= 1'b1;
          status_q <= saf_pkg::StatusOk;
          kind_q <= is_keepalive ? saf_shell_pkg::ReplyAlive : saf_shell_pkg::ReplyClosed;
        end
        StJudge: begin
          build_q <= !is_repeated;
          status_q <= judged;
          chosen_q <= judged == saf_pkg::StatusOk;
          kept_q <= has_owner_q && match_owner_i;
          kind_q <= is_repeated || judged == saf_pkg::StatusOk ? saf_shell_pkg::ReplyOpened
                                                              : saf_shell_pkg::ReplyRefused;
        end
        StAdopt: begin
          open_q <= 1'b0;  // until OPENED is on its way
          bank_q <= !bank_q;
          has_owner_q <= 1'b1;
          host_q <= src_i;
          count_q <= count_q + 32'd1;
          block_limit_q <= ((host_mtu < mtu_i ? host_mtu : mtu_i) - 16'd26) & ~16'd63;
        end
        StEnd: if (kind_q == saf_shell_pkg::ReplyOpened) open_q <= 1'b1;
        default: ;
      endcase
      if (forget_o) forgotten_q <= forgotten_q + 16'd1;
    end
  end

  // refusals show none
  always_ff @(posedge clk_i) begin
    if (booted_i && !booted_q) base_q <= rnd_i[14:0];
    if (state_q == StJudge) hello_tag_q <= '0;
    else if (state_q == StPrepare) hello_tag_q <= digest_i;  // the last one counts
  end

  assign session_o.open = open_q;
  // never 0, and another one for 65,536 sessions
  assign session_o.id = {1'b1, base_q, count_q[15:0]};
  assign session_o.host = host_q;
  assign session_o.block_limit = block_limit_q;
  assign session_o.key_bank = bank_q;
  assign session_count_o = count_q;
  assign forgotten_o = forgotten_q;
  assign has_owner_o = has_owner_q;
  assign challenge_o = challenge_q;
  assign status_o = status_q;
  assign kept_o = kept_q;
  assign hello_tag_o = hello_tag_q;

endmodule
