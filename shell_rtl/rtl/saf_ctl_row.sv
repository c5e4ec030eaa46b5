// The words that messages of the control unit are made of: one wide row, written at once when a message begins and read word by
// word (mixed-width block RAM: choosing costs no logic).
//
// Data flow: state of card, session, role -> row -> word_o, a cycle after what names it: a word of HELLO, ALIVE or OPENED, or,
// while no message is made, of the row itself (borrow_addr_i: what HELLO's digest and session keys are made of).
// Latency: one cycle. Reset: none: the row is used only after it was written. Back-pressure: none.

module saf_ctl_row (
  input  logic                       clk_i,
  input  logic                       wr_en_i,
  // which word
  input  logic                       borrow_i,
  input  logic                [ 5:0] borrow_addr_i,
  input  logic                       hello_i,
  input  logic                       alive_i,
  input  logic                       opened_i,  // and a refusal
  input  logic                       in_force_i,  // OPENED is no refusal
  input  logic                       shows_all_i,
  input  logic                [ 5:0] word_i,
  // what the messages are made of
  input  saf_shell_pkg::cfg_t        cfg_i,
  input  logic                [47:0] host_mac_i,
  input  logic                [31:0] ms_i,  // since the start, or left of the lease
  input  logic               [127:0] boot_nonce_i,
  input  saf_shell_pkg::role_view_t  role_i,
  input  logic                       session_open_i,
  input  logic                [31:0] session_i,
  input  logic                [15:0] status_i,
  input  logic                       kept_i,
  input  logic                [31:0] lease_ms_i,
  input  logic                [31:0] challenge_i,
  input  logic                [15:0] forgotten_i,
  input  logic                [31:0] hello_tag_i,  // zero in a refusal
  input  logic                [31:0] last_transfer_i,
  input  logic                [31:0] last_commit_i,
  input  logic                [31:0] last_kill_i,
  input  logic                [ 7:0] slots_running_i,
  input  logic                [63:0] rx_frames_i,
  input  logic                [63:0] rx_dropped_i,
  output logic                [63:0] word_o
);

  localparam logic [31:0] CapabilityPush = 32'd1;
  localparam logic [31:0] CapabilityGroup = 32'd2;
  localparam int unsigned CapabilityEmulatedBit = 3;
  localparam logic [5:0] WordBoot = 6'd1;  // OPENED's: the card's nonce, two words

  // words of the row: 0 to 18 are HELLO
  localparam int unsigned RowWords = 40;
  localparam logic [4:0] RowNonce = 5'd4;
  localparam logic [4:0] RowDigest = 5'd15;
  localparam logic [4:0] RowOpened = 5'd19;  // OPENED's word 0, as all words up to RowZero
  localparam logic [4:0] RowLease = 5'd20;  // words 7 to 10
  localparam logic [4:0] RowRefused = 5'd24;  // word 0 of a refusal
  localparam logic [4:0] RowLeft = 5'd25;  // its word 7
  localparam logic [4:0] RowBusy = 5'd26;  // word 8 for who is not the owner
  localparam logic [4:0] RowZero = 5'd27;
  localparam logic [4:0] RowAlive = 5'd28;
  // what session keys are made of beside SESSION_OPEN's payload: MAC addresses, where saf_ctl_stream looks for them
  localparam logic [5:0] RowMac = 6'd35;

  // parts of the configuration that HELLO does not show, and of the role
  logic unused;
  assign unused = ^{cfg_i.key, cfg_i.ethertypes, role_i.has_role};

  logic [31:0] capabilities;
  logic [15:0] states;
  logic [RowWords-1:0][63:0] row;
  logic [5:0] row_addr;
  assign capabilities = CapabilityPush | CapabilityGroup | (32'(cfg_i.emulated) << CapabilityEmulatedBit);
  assign states = {role_i.card_state, role_i.pr_status};
  always_comb begin
    row = '0;
    row[0] = cfg_i.serial[127:64];
    row[1] = cfg_i.serial[63:0];
    row[2] = {cfg_i.mac0, cfg_i.mac1[47:32]};
    row[3] = {cfg_i.mac1[31:0], 16'(saf_pkg::VendorId), 16'(saf_pkg::ProductId)};
    row[4] = boot_nonce_i[127:64];
    row[5] = boot_nonce_i[63:0];
    row[6] = {saf_shell_pkg::ShellVersion, cfg_i.pr_compat_id};
    row[7] = {cfg_i.mtu, 7'd0, cfg_i.key_valid, 8'(saf_pkg::DdrContexts), saf_pkg::ImageMaxBlocks};
    row[8] = {
      saf_pkg::DdrMaxBlocks,
      8'(saf_pkg::ImageSlots),
      8'(saf_pkg::CommandSlots),
      8'(saf_shell_pkg::PrWidthBits),
      8'(saf_shell_pkg::PrClockMhz)
    };
    row[9] = 64'(saf_shell_pkg::RoleBytes);
    row[10] = 64'(saf_shell_pkg::ImageSlotBytes);
    row[11] = {32'd0, cfg_i.receive_rate};
    row[12] = {cfg_i.window_blocks, capabilities};
    row[13] = {states, 7'd0, session_open_i, 8'd0, role_i.epoch};
    row[14] = {challenge_i, ms_i};
    row[15] = role_i.image_digest[255:192];
    row[16] = role_i.image_digest[191:128];
    row[17] = role_i.image_digest[127:64];
    row[18] = role_i.image_digest[63:0];
    row[RowOpened] = {status_i, 15'd0, kept_i, session_i};
    row[RowLease] = {lease_ms_i, challenge_i};
    row[RowLease+5'd1] = {role_i.epoch, last_transfer_i};
    row[RowLease+5'd2] = {last_commit_i, last_kill_i};
    row[RowLease+5'd3] = {states, forgotten_i, hello_tag_i};
    row[RowRefused] = {status_i, 48'd0};
    row[RowLeft] = {ms_i, challenge_i};
    row[RowBusy] = {role_i.epoch, 32'd0};
    row[RowZero] = '0;  // StatusOk: CLOSED's word too
    row[RowAlive] = {saf_pkg::StatusOk, states, role_i.epoch};
    row[RowAlive+5'd1] = {lease_ms_i, slots_running_i, 24'd0};
    row[RowAlive+5'd2] = rx_frames_i;
    row[RowAlive+5'd3] = rx_dropped_i;
    row[RowMac] = {host_mac_i, cfg_i.mac0[47:32]};
    row[RowMac+6'd1] = {cfg_i.mac0[31:0], 32'd0};
  end

  always_comb begin
    row_addr = {1'b0, RowZero};
    if (borrow_i) begin
      row_addr = borrow_addr_i;
    end else if (hello_i) begin
      row_addr = {1'b0, word_i[4:0]};
    end else if (alive_i) begin
      row_addr = {1'b0, RowAlive[4:2], word_i[1:0]};
    end else if (opened_i) begin
      case (word_i)
        6'd0: row_addr[4:0] = in_force_i ? RowOpened : RowRefused;
        WordBoot, WordBoot + 6'd1: row_addr[4:0] = RowNonce + 5'(word_i - WordBoot);
        6'd7: row_addr[4:0] = in_force_i ? RowLease : RowLeft;
        6'd8: row_addr[4:0] = shows_all_i ? RowLease + 5'd1 : RowBusy;
        6'd9: if (shows_all_i) row_addr[4:0] = RowLease + 5'd2;
        6'd10: row_addr[4:0] = RowLease + 5'd3;
        6'd11, 6'd12, 6'd13, 6'd14: row_addr[4:0] = RowDigest + 5'(word_i - 6'd11);
        default: ;
      endcase
    end
  end

  saf_ram_2clk_narrow #(
    .Width(64 * RowWords),
    .Depth(1),
    .Parts(RowWords)
  ) u_words (
    .wr_clk_i(clk_i),
    .wr_en_i,
    .wr_addr_i(1'b0),
    .wr_data_i(row),
    .rd_clk_i(clk_i),
    .rd_en_i(1'b1),
    .rd_addr_i({1'b0, row_addr}),
    .rd_data_o(word_o)
  );

endmodule
