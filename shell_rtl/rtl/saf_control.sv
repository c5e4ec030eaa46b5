// Control unit: discovery, session, and the order in which every control frame is checked before it reaches its handler.
//
// Data flow: saf_rx → saf_ctl (checks; saf_ctl_stream walks frames through the hash engine for their tags; saf_ctl_group
// finds this card's member in a GROUP; saf_replay is the window) → handlers outside, or saf_session (SESSION_OPEN, SESSION_CLOSE,
// KEEPALIVE). saf_discovery says when HELLO is due. saf_ctl_say says HELLO and the session's answers.
//
// One frame at a time; a handler is done when its answer was taken, so answers keep the order of the requests.
// Latency: a frame without tag reaches its handler 19 cycles after cf_valid_i, a tagged one when its tag is there.
// Reset: no session, no owner, a new boot nonce from rnd_i. Back-pressure: frames wait in saf_rx.

module saf_control (
  input  logic                                clk_i,
  input  logic                                rst_ni,
  input  saf_shell_pkg::cfg_t                 cfg_i,
  input  logic                                link_up_i,
  input  logic                         [63:0] time_us_i,
  input  logic                         [31:0] rnd_i,
  input  logic                                cf_valid_i,
  input  saf_shell_pkg::ctl_req_t             cf_req_i,
  output logic                         [10:0] cf_rd_addr_o,
  input  logic                         [63:0] cf_rd_data_i,
  output logic                                cf_pop_o,
  input  logic                                seen_i,
  input  logic                                stranger_valid_i,
  input  logic                         [47:0] stranger_mac_i,
  output logic                         [ 3:0] h_valid_o,
  input  logic                         [ 3:0] h_done_i,
  input  logic                   [3:0][10:0] fr_addr_i,
  output logic                         [63:0] fr_data_o,
  output saf_shell_pkg::ctl_req_t             req_o,
  output logic                        [511:0] pay_o,
  output logic                                msg_valid_o,
  input  logic                                msg_ready_i,
  output saf_shell_pkg::msg_meta_t            msg_meta_o,
  output logic                         [63:0] msg_data_o,
  output logic                                msg_last_o,
  output logic                                hello_valid_o,
  input  logic                                hello_ready_i,
  output saf_shell_pkg::msg_meta_t            hello_meta_o,
  output logic                         [63:0] hello_data_o,
  output logic                                hello_last_o,
  output logic                                hash_valid_o,
  input  logic                                hash_ready_i,
  output saf_shell_pkg::hash_req_t            hash_req_o,
  output logic                                hash_dvalid_o,
  input  logic                                hash_dready_i,
  output logic                         [63:0] hash_data_o,
  output logic                                hash_dlast_o,
  input  logic                                hash_done_i,
  input  logic                        [255:0] hash_digest_i,
  output logic                                drop_valid_o,
  output logic                         [ 4:0] drop_reason_o,
  input  saf_shell_pkg::role_view_t           role_i,
  input  logic                         [ 7:0] slots_running_i,
  input  logic                         [63:0] rx_frames_i,
  input  logic                         [63:0] rx_dropped_i,
  output logic                         [ 4:0] info_addr_o,
  input  logic                         [63:0] info_data_i,
  output logic                         [ 2:0] slot_addr_o,
  input  logic                         [63:0] slot_data_i,
  input  logic                         [31:0] last_transfer_i,
  input  logic                         [31:0] last_commit_i,
  input  logic                         [31:0] last_kill_i,
  output saf_shell_pkg::session_view_t        session_o,
  output logic                                session_end_o,
  output logic                                forget_o,
  input  logic                                forget_busy_i,
  output logic                                scrub_start_o,
  output logic                         [31:0] session_count_o,
  output logic                                seq_load_o,
  output logic                         [63:0] seq_load_value_o
);

  localparam int unsigned TimeBits = saf_shell_pkg::TimeBits;

  logic suite;
  logic [TimeBits-1:0] now;
  assign suite = cfg_i.key_valid;
  assign now = time_us_i[TimeBits-1:0];

  // parts of inputs that nobody here looks at
  logic unused;
  assign unused = ^{time_us_i[63:48], hash_digest_i[127:0]};

  // ---- order of checks

  logic booted, is_session, is_session_done, renew, expired, expire;
  logic ctl_drop, ctl_stranger, ctl_commit, ses_drop, ses_stranger, ses_commit, ses_load;
  logic [4:0] ctl_reason, ses_reason;
  logic first, solicit_valid, solicit_ready, solicit_refused;
  logic [10:0] ask_addr;

  logic ctl_start, ses_start, stream_active, beat, stream_done, tag_ok;
  logic [10:0] ctl_last, ses_last, jump_at, jump_to, stream_addr, pos;
  logic [13:0] ctl_bytes;
  saf_shell_pkg::ctl_source_e ses_source;
  saf_shell_pkg::hash_req_t ctl_hash, ses_hash;
  logic from_host, fresh, window_busy, sequence_zero;
  logic [63:0] hello_word;

  assign from_host = cf_req_i.src == session_o.host;

  saf_ctl u_ctl (
    .clk_i,
    .rst_ni,
    .suite_i(suite),
    .booted_i(booted),
    .cf_valid_i,
    .cf_req_i,
    .cf_rd_addr_o,
    .cf_rd_data_i,
    .cf_pop_o,
    .h_valid_o,
    .h_done_i,
    .fr_addr_i,
    .req_o,
    .pay_o,
    .drop_o(ctl_drop),
    .reason_o(ctl_reason),
    .stranger_o(ctl_stranger),
    .stream_start_o(ctl_start),
    .stream_last_o(ctl_last),
    .stream_jump_at_o(jump_at),
    .stream_jump_to_o(jump_to),
    .stream_bytes_o(ctl_bytes),
    .stream_active_i(stream_active),
    .stream_addr_i(stream_addr),
    .beat_i(beat),
    .pos_i(pos),
    .stream_done_i(stream_done),
    .tag_ok_i(tag_ok),
    .fresh_i(fresh),
    .window_busy_i(window_busy),
    .commit_o(ctl_commit),
    .open_i(session_o.open),
    .session_i(session_o.id),
    .from_host_i(from_host),
    .session_valid_o(is_session),
    .session_done_i(is_session_done),
    .session_addr_i(ask_addr),
    .renew_o(renew),
    .expired_i(expired),
    .expire_o(expire),
    .first_o(first),
    .solicit_valid_o(solicit_valid),
    .solicit_ready_i(solicit_ready),
    .solicit_refused_i(solicit_refused)
  );
  assign fr_data_o = cf_rd_data_i;
  assign drop_valid_o = ctl_drop || ses_drop;
  assign drop_reason_o = ctl_drop ? ctl_reason : ses_reason;

  always_comb begin
    ctl_hash = '0;
    ctl_hash.keyed = 1'b1;
    ctl_hash.key_index = saf_shell_pkg::key_of(session_o.key_bank, 1'b0);
    ctl_hash.person = saf_pkg::PersonFrameTag;
    ctl_hash.bytes = ctl_bytes;
    ctl_hash.digest_bytes = 6'(saf_pkg::TagBytes);
  end

  saf_ctl_stream u_stream (
    .clk_i,
    .rst_ni,
    .start_i(ctl_start || ses_start),
    .source_i(is_session ? ses_source : saf_shell_pkg::SrcFrame),
    // SESSION_OPEN's tag is checked later, with the keys it asks for
    .hashed_i(is_session || (suite && cf_req_i.opcode != saf_pkg::OpcodeSessionOpen)),
    .req_i(is_session ? ses_hash : ctl_hash),
    .last_i(is_session ? ses_last : ctl_last),
    .jump_at_i(jump_at),
    .jump_to_i(jump_to),
    .active_o(stream_active),
    .beat_o(beat),
    .pos_o(pos),
    .done_o(stream_done),
    .tag_ok_o(tag_ok),
    .rd_addr_o(stream_addr),
    .rd_data_i(cf_rd_data_i),
    .hello_word_i(hello_word),
    .hash_valid_o,
    .hash_ready_i,
    .hash_req_o,
    .hash_dvalid_o,
    .hash_dready_i,
    .hash_data_o,
    .hash_dlast_o,
    .hash_done_i,
    .hash_tag_i(hash_digest_i[255:128])
  );

  saf_replay u_replay (
    .clk_i,
    .rst_ni,
    .sequence_i(req_o.sequence_),
    .fresh_o(fresh),
    .busy_o(window_busy),
    .commit_i(ctl_commit || ses_commit),
    .load_i(ses_load),
    .empty_i(!suite),
    .zero_o(sequence_zero)
  );

  // ---- session

  logic hold, held, opened, ended, left_valid;
  logic [29:0] left_us;
  logic [127:0] boot_nonce;
  logic match, match_done, match_boot, match_owner, match_nonce, match_equal, match_newer;
  logic reply, reply_build, reply_done, kept, has_owner, ready;
  saf_shell_pkg::ctl_reply_e reply_kind;
  logic [15:0] status, forgotten;
  logic [31:0] hello_tag, challenge, lease_ms;
  logic [63:0] own_sequence;

  saf_session u_session (
    .clk_i,
    .rst_ni,
    .suite_i(suite),
    .mtu_i(cfg_i.mtu),
    .now_i(now),
    .rnd_i,
    .valid_i(is_session),
    .done_o(is_session_done),
    .opcode_i(cf_req_i.opcode),
    .src_i(cf_req_i.src),
    .from_host_i(from_host),
    .session_i(cf_req_i.session),
    .sequence_i(cf_req_i.sequence_),
    .sequence_zero_i(sequence_zero),
    .keep_lease_i(pay_o[511:480]),
    .ask_challenge_i(pay_o[127:96]),
    .ask_lease_i(pay_o[95:64]),
    .ask_takeover_i(pay_o[32]),
    .ask_mtu_i(pay_o[31:16]),
    .renew_i(renew),
    .expired_o(expired),
    .expire_i(expire),
    .drop_o(ses_drop),
    .reason_o(ses_reason),
    .stranger_o(ses_stranger),
    .fresh_i(fresh),
    .window_busy_i(window_busy),
    .commit_o(ses_commit),
    .load_o(ses_load),
    .stream_start_o(ses_start),
    .stream_source_o(ses_source),
    .stream_last_o(ses_last),
    .stream_req_o(ses_hash),
    .stream_done_i(stream_done),
    .tag_ok_i(tag_ok),
    .digest_i(hash_digest_i[255:224]),
    .booted_i(ready),
    .hold_o(hold),
    .held_i(held),
    .opened_o(opened),
    .ended_o(ended),
    .match_o(match),
    .match_done_i(match_done),
    .match_boot_i(match_boot),
    .match_owner_i(match_owner),
    .match_nonce_i(match_nonce),
    .match_equal_i(match_equal),
    .match_newer_i(match_newer),
    .reply_o(reply),
    .reply_build_o(reply_build),
    .reply_kind_o(reply_kind),
    .reply_done_i(reply_done),
    .status_o(status),
    .kept_o(kept),
    .hello_tag_o(hello_tag),
    .session_o,
    .session_end_o,
    .forget_o,
    .forget_busy_i,
    .session_count_o,
    .forgotten_o(forgotten),
    .has_owner_o(has_owner),
    .challenge_o(challenge),
    .lease_ms_o(lease_ms),
    .left_us_o(left_us),
    .left_valid_o(left_valid),
    .own_sequence_o(own_sequence),
    .seq_load_o,
    .seq_load_value_o
  );
  assign scrub_start_o = forget_o;
  assign booted = challenge != '0;

  always_comb begin
    msg_meta_o = '0;
    msg_meta_o.opcode = saf_pkg::OpcodeOpened;
    msg_meta_o.length = 16'(saf_pkg::OpenedBytes);
    msg_meta_o.etype = saf_shell_pkg::EtResult;
    msg_meta_o.dst = cf_req_i.src;
    msg_meta_o.session = session_o.id;
    msg_meta_o.object = cf_req_i.object;
    msg_meta_o.index = cf_req_i.index;
    msg_meta_o.sealed = 1'b1;
    msg_meta_o.sequence_ = own_sequence;
    msg_meta_o.key_index = saf_shell_pkg::key_of(!session_o.key_bank, 1'b1);
    case (reply_kind)
      saf_shell_pkg::ReplyRefused: begin
        msg_meta_o.session = '0;
        msg_meta_o.own_sequence = 1'b1;
      end
      saf_shell_pkg::ReplyAlive: begin
        msg_meta_o.opcode = saf_pkg::OpcodeAlive;
        msg_meta_o.length = 16'(saf_pkg::AliveBytes);
      end
      saf_shell_pkg::ReplyClosed: begin
        msg_meta_o.opcode = saf_pkg::OpcodeClosed;
        msg_meta_o.length = 16'(saf_pkg::AnswerBytes);
      end
      default: ;
    endcase
  end

  // ---- discovery

  logic say, hello_idle, said;
  logic [47:0] say_dst;

  saf_discovery u_discovery (
    .clk_i,
    .rst_ni,
    .rnd_i,
    .now_i(now),
    .link_up_i,
    .booted_o(ready),
    .boot_nonce_o(boot_nonce),
    .seen_i,
    .first_i(first),
    .first_solicit_i(cf_req_i.opcode == saf_pkg::OpcodeSolicit),
    .solicit_valid_i(solicit_valid),
    .solicit_ready_o(solicit_ready),
    .solicit_refused_o(solicit_refused),
    .src_i(cf_req_i.src),
    .spread_ms_i(cf_rd_data_i[63:48]),
    .stranger_i(ctl_stranger || ses_stranger),
    .data_stranger_i(stranger_valid_i),
    .data_stranger_mac_i(stranger_mac_i),
    .session_open_i(session_o.open),
    .opened_i(opened),
    .ended_i(ended),
    .say_o(say),
    .say_dst_o(say_dst),
    .idle_i(hello_idle),
    .said_i(said)
  );

  saf_ctl_say u_say (
    .clk_i,
    .rst_ni,
    .cfg_i,
    .booted_i(ready),
    .match_i(match),
    .match_done_o(match_done),
    .match_boot_o(match_boot),
    .match_owner_o(match_owner),
    .match_nonce_o(match_nonce),
    .match_equal_o(match_equal),
    .match_newer_o(match_newer),
    .ask_addr_o(ask_addr),
    .ask_data_i(cf_rd_data_i),
    .reply_i(reply),
    .reply_build_i(reply_build),
    .reply_kind_i(reply_kind),
    .reply_done_o(reply_done),
    .msg_valid_o,
    .msg_ready_i,
    .msg_data_o,
    .msg_last_o,
    .start_i(say),
    .idle_o(hello_idle),
    .said_o(said),
    .hold_i(hold),
    .held_o(held),
    .borrow_addr_i(ses_source == saf_shell_pkg::SrcKeys ? {3'b100, stream_addr[2:0]} : {1'b0, stream_addr[4:0]}),
    .host_mac_i(cf_req_i.src),
    .hello_word_o(hello_word),
    .hello_valid_o,
    .hello_ready_i,
    .time_us_i(time_us_i[47:0]),
    .left_us_i(left_us),
    .left_valid_i(left_valid),
    .boot_nonce_i(boot_nonce),
    .role_i,
    .session_open_i(session_o.open),
    .session_i(session_o.id),
    .status_i(status),
    .kept_i(kept),
    .has_owner_i(has_owner),
    .lease_ms_i(lease_ms),
    .challenge_i(challenge),
    .forgotten_i(forgotten),
    .hello_tag_i(hello_tag),
    .last_transfer_i,
    .last_commit_i,
    .last_kill_i,
    .slots_running_i,
    .rx_frames_i,
    .rx_dropped_i,
    .slot_addr_o,
    .slot_data_i,
    .info_addr_o,
    .info_data_i
  );
  assign hello_data_o = msg_data_o;
  assign hello_last_o = msg_last_o;

  always_comb begin
    hello_meta_o = '0;
    hello_meta_o.opcode = saf_pkg::OpcodeHello;
    hello_meta_o.etype = saf_shell_pkg::EtDiscovery;
    hello_meta_o.dst = say_dst;
    hello_meta_o.length = 16'(saf_pkg::HelloBytes);
  end

endmodule
