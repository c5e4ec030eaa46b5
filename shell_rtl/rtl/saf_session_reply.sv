// What the session says: OPENED (in force, or a refusal), ALIVE, CLOSED; and the memory of who opened it.
//
// A RAM of two banks holds words of 64 bits. Bank 0: OPENED of the session, as it was sent and is sent again; its words are
// also the owner, the generation and the host nonce that a new SESSION_OPEN is compared with. Bank 1: a refusal, or one
// of the short answers. An answer is built in its bank, a word every four cycles, from the tables of other units, and
// then streamed out.
//
// match_start_i: compares the frame's fields with bank 0 (match_done_o, 16 cycles later; results hold).
// reply_start_i: builds (or not: reply_build_i) and sends; reply_done_o when the last word was taken.
// Latency: 220 cycles for OPENED, 16 for ALIVE, 4 for CLOSED, then a word a cycle. Reset: idle; RAM contents are used
// only after they were written (has_owner_i). Back-pressure: msg_ready_i.

module saf_session_reply (
  input  logic                                     clk_i,
  input  logic                                     rst_ni,
  input  logic                                     match_start_i,
  output logic                                     match_done_o,
  output logic                                     match_owner_o,
  output logic                                     match_nonce_o,
  output logic                                     match_equal_o,  // generation
  output logic                                     match_newer_o,
  input  logic                                     reply_start_i,
  input  logic                                     reply_build_i,
  input  saf_shell_pkg::ctl_reply_e                reply_kind_i,
  output logic                                     reply_done_o,
  // SESSION_OPEN's payload in the frame
  output logic                              [10:0] ask_addr_o,
  input  logic                              [63:0] ask_data_i,
  // what the answers are made of
  input  logic                              [15:0] status_i,
  input  logic                                     kept_i,
  input  logic                                     has_owner_i,
  input  logic                              [31:0] session_i,
  input  logic                             [127:0] boot_nonce_i,
  input  logic                              [31:0] lease_ms_i,  // of the session
  input  logic                              [31:0] lease_left_ms_i,  // for refusals
  input  logic                              [31:0] challenge_i,
  input  logic                              [15:0] forgotten_i,
  input  logic                              [31:0] hello_tag_i,
  input  logic                              [31:0] last_transfer_i,
  input  logic                              [31:0] last_commit_i,
  input  logic                              [31:0] last_kill_i,
  input  logic                              [ 7:0] card_state_i,
  input  logic                              [ 7:0] pr_status_i,
  input  logic                              [31:0] epoch_i,
  input  logic                             [255:0] image_digest_i,
  input  logic                              [ 7:0] slots_running_i,
  input  logic                              [63:0] rx_frames_i,
  input  logic                              [63:0] rx_dropped_i,
  output logic                              [ 2:0] slot_addr_o,
  input  logic                              [63:0] slot_data_i,
  output logic                              [ 4:0] info_addr_o,
  input  logic                              [63:0] info_data_i,
  // the answer
  output logic                                     msg_valid_o,
  input  logic                                     msg_ready_i,
  output logic                              [63:0] msg_data_o,
  output logic                                     msg_last_o
);

  // words of OPENED
  localparam logic [5:0] WordNonce = 6'd3;  // host nonce, two words
  localparam logic [5:0] WordOwner = 6'd5;
  localparam logic [5:0] WordGeneration = 6'd6;
  localparam logic [5:0] WordDigest = 6'd11;
  localparam logic [5:0] WordSlots = 6'd15;
  localparam logic [5:0] WordInfo = 6'd23;
  localparam logic [5:0] OpenedLast = 6'(saf_pkg::OpenedBytes / 8 - 1);
  // the short answers lie behind it
  localparam logic [5:0] AliveFirst = 6'd56;
  localparam logic [5:0] AliveLast = 6'd59;
  localparam logic [5:0] ClosedWord = 6'd60;

  typedef enum logic [2:0] {
    StIdle,
    StMatch,
    StBuild,
    StLoad,
    StPlay
  } state_e;

  state_e state_q;
  logic [5:0] word_q, first, last;
  logic [1:0] phase_q;  // tables answer two cycles after their address
  logic is_opened, is_refused, shows_all, fire;
  logic nonce_q, owner_q, equal_q, newer_q;

  assign is_opened = reply_kind_i == saf_shell_pkg::ReplyOpened;
  assign is_refused = reply_kind_i == saf_shell_pkg::ReplyRefused;
  // what another owner left here is not the asker's concern
  assign shows_all = !(is_refused && status_i == saf_pkg::StatusBusy);
  always_comb begin
    first = '0;
    last = OpenedLast;
    if (reply_kind_i == saf_shell_pkg::ReplyAlive) begin
      first = AliveFirst;
      last = AliveLast;
    end else if (reply_kind_i == saf_shell_pkg::ReplyClosed) begin
      first = ClosedWord;
      last = ClosedWord;
    end
  end

  // ---- RAM

  logic [6:0] rd_addr;
  logic [63:0] kept, word;
  logic built;
  assign built = state_q == StBuild && phase_q == 2'd3;
  assign fire = state_q == StPlay && msg_ready_i;
  always_comb begin
    rd_addr = {1'b0, word_q};
    if (state_q == StLoad || state_q == StPlay) rd_addr = {!is_opened, fire ? word_q + 6'd1 : word_q};
  end

  saf_ram_1r1w #(
    .Width(64),
    .Depth(128)
  ) u_ram (
    .clk_i,
    .wr_en_i(built),
    .wr_addr_i({!is_opened, word_q}),
    .wr_data_i(word),
    .rd_en_i(1'b1),
    .rd_addr_i(rd_addr),
    .rd_data_o(kept)
  );

  assign msg_valid_o = state_q == StPlay;
  assign msg_data_o = kept;
  assign msg_last_o = word_q == last;
  assign reply_done_o = fire && msg_last_o;

  // ---- sources

  // payload of SESSION_OPEN: owner, generation, host nonce; in OPENED the nonce comes first
  always_comb begin
    ask_addr_o = 11'(saf_pkg::HeaderBytes / 8);
    case (word_q)
      WordNonce: ask_addr_o = ask_addr_o + 11'd2;
      WordNonce + 6'd1: ask_addr_o = ask_addr_o + 11'd3;
      WordGeneration: ask_addr_o = ask_addr_o + 11'd1;
      default: ;
    endcase
  end
  assign slot_addr_o = 3'(word_q - WordSlots);
  assign info_addr_o = 5'(word_q - WordInfo);

  always_comb begin
    word = '0;
    case (word_q)
      6'd0: word = {status_i, 15'd0, is_opened && kept_i, is_opened ? session_i : 32'd0};
      6'd1: word = boot_nonce_i[127:64];
      6'd2: word = boot_nonce_i[63:0];
      WordNonce, WordNonce + 6'd1: word = ask_data_i;
      WordOwner, WordGeneration: word = is_opened ? ask_data_i : has_owner_i ? kept : '0;
      6'd7: word = {is_opened ? lease_ms_i : lease_left_ms_i, challenge_i};
      6'd8: word = {epoch_i, shows_all ? last_transfer_i : 32'd0};
      6'd9: if (shows_all) word = {last_commit_i, last_kill_i};
      6'd10: word = {card_state_i, pr_status_i, forgotten_i, is_opened ? hello_tag_i : 32'd0};
      WordDigest: word = image_digest_i[255:192];
      WordDigest + 6'd1: word = image_digest_i[191:128];
      WordDigest + 6'd2: word = image_digest_i[127:64];
      WordDigest + 6'd3: word = image_digest_i[63:0];
      AliveFirst: word = {saf_pkg::StatusOk, card_state_i, pr_status_i, epoch_i};
      AliveFirst + 6'd1: word = {lease_ms_i, slots_running_i, 24'd0};
      AliveFirst + 6'd2: word = rx_frames_i;
      AliveLast: word = rx_dropped_i;
      ClosedWord: word = {saf_pkg::StatusOk, 48'd0};
      default: if (shows_all) word = word_q < WordInfo ? slot_data_i : info_data_i;
    endcase
  end

  // ---- sequence

  logic is_equal, is_newer;
  assign is_equal = ask_data_i == kept;
  assign is_newer = ask_data_i > kept;
  assign match_done_o = state_q == StMatch && word_q == WordGeneration + 6'd1;
  assign match_owner_o = owner_q;
  assign match_nonce_o = nonce_q;
  assign match_equal_o = equal_q;
  assign match_newer_o = newer_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      word_q <= '0;
      phase_q <= '0;
      nonce_q <= 1'b0;
      owner_q <= 1'b0;
      equal_q <= 1'b0;
      newer_q <= 1'b0;
    end else begin
      phase_q <= phase_q + 2'd1;
      case (state_q)
        StIdle: begin
          phase_q <= '0;
          if (match_start_i) begin
            state_q <= StMatch;
            word_q <= WordNonce;
            nonce_q <= 1'b1;
          end else if (reply_start_i) begin
            state_q <= reply_build_i ? StBuild : StLoad;
            word_q <= first;
          end
        end
        StMatch:
        if (match_done_o) begin
          state_q <= StIdle;
        end else if (phase_q == 2'd3) begin
          word_q <= word_q + 6'd1;
          case (word_q)
            WordOwner: owner_q <= is_equal;
            WordGeneration: begin
              equal_q <= is_equal;
              newer_q <= is_newer;
            end
            default: nonce_q <= nonce_q && is_equal;
          endcase
        end
        StBuild:
        if (built) begin
          word_q <= word_q + 6'd1;
          if (word_q == last) begin
            state_q <= StLoad;
            word_q <= first;
          end
        end
        StLoad: state_q <= StPlay;
        default:
        if (fire) begin
          word_q <= word_q + 6'd1;
          if (msg_last_o) state_q <= StIdle;
        end
      endcase
    end
  end

endmodule
