// What the control unit says: HELLO, OPENED (in force, or a refusal), ALIVE, CLOSED; and the memory of who opened the session.
//
// Data flow: all that messages are made of lies in the words of one wide row (saf_ctl_row). Words from elsewhere (the frame, the
// tables of other units, the OPENED in force) are caught in registers that are cleared when it is not their turn, and
// or-ed to it. OPENED is kept as it is sent, to be sent again; its words are also the owner, the generation and the host
// nonce that a new SESSION_OPEN is compared with.
//
// match_i, reply_i (levels, until match_done_o or reply_done_o, pulses) and start_i (a pulse, when idle_o) start something;
// what the match found holds. While hold_i is up no HELLO starts; once held_o is up too, hello_word_o is HELLO's word
// borrow_addr_i of the cycle before (those that never change, and who asks for a session).
// Latency: match 26 cycles; first word 4 cycles from the start, after a division of 48 cycles in HELLO and refusals;
// a word every four cycles in OPENED, every two in the others. Reset: idle; the row and what is kept are used only after
// they were written (booted_i, has_owner_i). Back-pressure: a word holds until it is taken.

module saf_ctl_say (
  input  logic                             clk_i,
  input  logic                             rst_ni,
  input  saf_shell_pkg::cfg_t              cfg_i,
  input  logic                             booted_i,
  // compare SESSION_OPEN's payload with who opened the session
  input  logic                             match_i,
  output logic                             match_done_o,
  output logic                             match_boot_o,  // nonce of the card
  output logic                             match_owner_o,
  output logic                             match_nonce_o,
  output logic                             match_equal_o,  // generation
  output logic                             match_newer_o,
  output logic                      [10:0] ask_addr_o,
  input  logic                      [63:0] ask_data_i,
  // say something of the session's
  input  logic                             reply_i,
  input  logic                             reply_build_i,  // else from store
  input  saf_shell_pkg::ctl_reply_e        reply_kind_i,
  output logic                             reply_done_o,
  output logic                             msg_valid_o,
  input  logic                             msg_ready_i,
  output logic                      [63:0] msg_data_o,
  output logic                             msg_last_o,
  // say HELLO
  input  logic                             start_i,
  output logic                             idle_o,
  output logic                             said_o,
  input  logic                             hold_i,
  output logic                             held_o,
  input  logic                      [ 5:0] borrow_addr_i,
  input  logic                      [47:0] host_mac_i,
  output logic                      [63:0] hello_word_o,
  output logic                             hello_valid_o,
  input  logic                             hello_ready_i,
  // what the messages are made of
  input  logic                      [47:0] time_us_i,
  input  logic                      [29:0] left_us_i,  // of the lease
  input  logic                             left_valid_i,  // else nothing is left
  input  logic                     [127:0] boot_nonce_i,
  input  saf_shell_pkg::role_view_t        role_i,
  input  logic                             session_open_i,
  input  logic                      [31:0] session_i,
  input  logic                      [15:0] status_i,
  input  logic                             kept_i,
  input  logic                             has_owner_i,
  input  logic                      [31:0] lease_ms_i,
  input  logic                      [31:0] challenge_i,
  input  logic                      [15:0] forgotten_i,
  input  logic                      [31:0] hello_tag_i,  // zero in a refusal
  input  logic                      [31:0] last_transfer_i,
  input  logic                      [31:0] last_commit_i,
  input  logic                      [31:0] last_kill_i,
  input  logic                      [ 7:0] slots_running_i,
  input  logic                      [63:0] rx_frames_i,
  input  logic                      [63:0] rx_dropped_i,
  output logic                      [ 2:0] slot_addr_o,
  input  logic                      [63:0] slot_data_i,
  output logic                      [ 4:0] info_addr_o,
  input  logic                      [63:0] info_data_i
);

  import saf_shell_pkg::ReplyOpened, saf_shell_pkg::ReplyRefused, saf_shell_pkg::ReplyAlive;

  localparam int unsigned DivBits = 48;

  // words of OPENED
  localparam logic [5:0] WordBoot = 6'd1;  // the card's nonce, two words
  localparam logic [5:0] WordNonce = 6'd3;  // the host's, two words
  localparam logic [5:0] WordOwner = 6'd5;
  localparam logic [5:0] WordGeneration = 6'd6;
  localparam logic [5:0] WordSlots = 6'd15;
  localparam logic [5:0] WordInfo = 6'd23;
  localparam logic [5:0] OpenedLast = 6'(saf_pkg::OpenedBytes / 8 - 1);
  localparam logic [5:0] AliveLast = 6'(saf_pkg::AliveBytes / 8 - 1);
  localparam logic [5:0] HelloLast = 6'(saf_pkg::HelloBytes / 8 - 1);

  typedef enum logic [2:0] {
    StIdle,
    StDivide,
    StWrite,
    StMatch,
    StWalk
  } state_e;

  state_e state_q;
  logic hello_q, booted_q;
  logic [5:0] word_q, left_q, last;
  logic [1:0] phase_q, phase_first;  // a word is there in phase 3; tables answer two cycles after their address
  logic is_opened, is_refused, is_long, shows_all, there, fire;
  logic boot_q, nonce_q, owner_q, equal_q, newer_q;

  assign is_opened = !hello_q && reply_kind_i == ReplyOpened;
  assign is_refused = !hello_q && reply_kind_i == ReplyRefused;
  assign is_long = is_opened || is_refused;
  // what another owner left here is not the asker's concern
  assign shows_all = !(is_refused && status_i == saf_pkg::StatusBusy);
  always_comb begin
    last = '0;
    if (hello_q) last = HelloLast;
    else if (is_long) last = OpenedLast;
    else if (reply_kind_i == ReplyAlive) last = AliveLast;
  end

  logic [31:0] ms;

  saf_ctl_ms #(
    .Bits(DivBits)
  ) u_ms (
    .clk_i,
    .load_i(state_q == StIdle),
    .value_i(reply_i ? DivBits'(left_us_i) : time_us_i),
    .zero_i(reply_i && !left_valid_i),
    .divide_i(state_q == StDivide),
    .ms_o(ms)
  );

  // ---- the row

  saf_ctl_row u_row (
    .clk_i,
    .wr_en_i(state_q == StWrite || (state_q == StIdle && match_i) || (booted_i && !booted_q)),
    .borrow_i(state_q == StIdle),
    .borrow_addr_i,
    .hello_i(hello_q),
    .alive_i(state_q == StWalk && reply_kind_i == ReplyAlive),
    .opened_i(state_q == StMatch || (is_long && reply_build_i)),
    .in_force_i(is_opened),
    .shows_all_i(shows_all),
    .word_i(word_q),
    .cfg_i,
    .host_mac_i,
    .ms_i(ms),
    .boot_nonce_i,
    .role_i,
    .session_open_i,
    .session_i,
    .status_i,
    .kept_i,
    .lease_ms_i,
    .challenge_i,
    .forgotten_i,
    .hello_tag_i,
    .last_transfer_i,
    .last_commit_i,
    .last_kill_i,
    .slots_running_i,
    .rx_frames_i,
    .rx_dropped_i,
    .word_o(hello_word_o)
  );

  // ---- words from elsewhere

  logic [63:0] kept, ask_q, kept_q, slot_q, info_q;
  logic use_ask, use_kept, use_slot, use_info, builds;

  saf_ram_1r1w #(
    .Width(64),
    .Depth(saf_pkg::OpenedBytes / 8)
  ) u_opened (
    .clk_i,
    .wr_en_i(fire && is_opened && reply_build_i),
    .wr_addr_i(word_q),
    .wr_data_i(msg_data_o),
    .rd_en_i(1'b1),
    .rd_addr_i(word_q),
    .rd_data_o(kept)
  );

  assign builds = state_q == StWalk && is_long && reply_build_i;
  assign use_ask = builds && word_q >= WordNonce && word_q <= (is_opened ? WordGeneration : WordOwner - 6'd1);
  assign use_kept = state_q == StMatch ? word_q >= WordNonce :
      is_long && (!reply_build_i || (is_refused && has_owner_i && (word_q == WordOwner || word_q == WordGeneration)));
  assign use_slot = builds && shows_all && word_q >= WordSlots && word_q < WordInfo;
  assign use_info = builds && shows_all && word_q >= WordInfo;

  // payload of SESSION_OPEN: owner, generation, host's nonce, card's nonce; in OPENED the other way round
  logic [2:0] nth;
  assign nth = 3'(word_q - WordBoot);
  assign ask_addr_o = 11'(saf_pkg::HeaderBytes / 8) + {8'd0, 2'd2 - nth[2:1], nth[0]};
  assign slot_addr_o = 3'(word_q - WordSlots);
  assign info_addr_o = 5'(word_q - WordInfo);

  always_ff @(posedge clk_i) begin
    if (!there) begin
      ask_q <= use_ask ? ask_data_i : '0;
      kept_q <= use_kept ? kept : '0;
      slot_q <= use_slot ? slot_data_i : '0;
      info_q <= use_info ? info_data_i : '0;
    end
  end

  // ---- the message

  assign there = phase_q == 2'd3;
  assign msg_data_o = hello_word_o | ask_q | kept_q | slot_q | info_q;
  assign msg_last_o = word_q == last;
  assign msg_valid_o = state_q == StWalk && there && !hello_q;
  assign hello_valid_o = state_q == StWalk && there && hello_q;
  assign fire = state_q == StWalk && there && (hello_q ? hello_ready_i : msg_ready_i);
  assign reply_done_o = fire && msg_last_o && !hello_q;
  assign said_o = fire && msg_last_o && hello_q;
  assign idle_o = state_q == StIdle && !hold_i && !reply_i && !match_i;
  assign held_o = state_q == StIdle;
  assign phase_first = state_q == StMatch || is_long ? 2'd0 : 2'd2;

  // ---- sequence

  logic is_equal, is_newer;
  assign is_equal = ask_data_i == msg_data_o;
  assign is_newer = ask_data_i > kept_q;
  assign match_done_o = state_q == StMatch && there && word_q == WordGeneration;
  assign match_boot_o = boot_q;
  assign match_owner_o = owner_q;
  assign match_nonce_o = nonce_q;
  assign match_equal_o = equal_q;
  assign match_newer_o = newer_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      hello_q <= 1'b0;
      booted_q <= 1'b0;
      word_q <= '0;
      phase_q <= '0;
      left_q <= '0;
      boot_q <= 1'b0;
      nonce_q <= 1'b0;
      owner_q <= 1'b0;
      equal_q <= 1'b0;
      newer_q <= 1'b0;
    end else begin
      booted_q <= booted_i;
      left_q <= left_q - 6'd1;
      case (state_q)
        StIdle: begin
          hello_q <= start_i;
          word_q <= '0;
          left_q <= 6'(DivBits);
          phase_q <= '0;
          if (match_i) begin
            state_q <= StMatch;
            word_q <= WordBoot;
          end else if (reply_i) begin
            state_q <= reply_kind_i == ReplyRefused ? StDivide : StWrite;
          end else if (start_i) begin
            state_q <= StDivide;
          end
        end
        StDivide: if (left_q == 6'd1) state_q <= StWrite;
        StWrite: begin
          state_q <= StWalk;
          phase_q <= phase_first;
        end
        StMatch: begin
          phase_q <= phase_q + 2'd1;
          if (there) begin
            word_q <= word_q + 6'd1;
            case (word_q)
              WordBoot: boot_q <= is_equal;
              WordBoot + 6'd1: boot_q <= boot_q && is_equal;
              WordNonce: nonce_q <= is_equal;
              WordNonce + 6'd1: nonce_q <= nonce_q && is_equal;
              WordOwner: owner_q <= is_equal;
              default: begin
                equal_q <= is_equal;
                newer_q <= is_newer;
                state_q <= StIdle;
              end
            endcase
          end
        end
        default: begin
          if (!there) phase_q <= phase_q + 2'd1;
          if (fire) begin
            word_q <= word_q + 6'd1;
            phase_q <= phase_first;
            if (msg_last_o) state_q <= StIdle;
          end
        end
      endcase
    end
  end

endmodule
