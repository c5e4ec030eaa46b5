// Builds and sends HELLO; lends its words and its divider to whoever opens a session.
//
// start_i with the receiver's address (held until done_o): divides the uptime to milliseconds (48 cycles), then 19 words.
// While hold_i is up nothing is started, and once held_o follows, hello_word_o is the word borrow_addr_i, and
// div_start_i divides div_value_i by 1000 (div_done_o; the result stays on div_ms_o).
// Latency: 50 cycles to the first word. Reset: idle. Back-pressure: msg_ready_i; a word is registered, so it holds.

module saf_discovery_hello (
  input  logic                                     clk_i,
  input  logic                                     rst_ni,
  input  saf_shell_pkg::cfg_t                      cfg_i,
  input  logic                             [127:0] boot_nonce_i,
  input  logic                              [ 7:0] card_state_i,
  input  logic                              [ 7:0] pr_status_i,
  input  logic                              [31:0] epoch_i,
  input  logic                             [255:0] image_digest_i,
  input  logic                                     session_open_i,
  input  logic                              [31:0] challenge_i,
  input  logic                              [47:0] time_us_i,
  input  logic                                     start_i,
  output logic                                     idle_o,
  output logic                                     done_o,
  // lending
  input  logic                                     hold_i,
  output logic                                     held_o,
  input  logic                              [ 4:0] borrow_addr_i,
  output logic                              [63:0] hello_word_o,
  input  logic                                     div_start_i,
  input  logic       [saf_shell_pkg::TimeBits-1:0] div_value_i,
  output logic                                     div_done_o,
  output logic                              [31:0] div_ms_o,
  // the message
  output logic                                     msg_valid_o,
  input  logic                                     msg_ready_i,
  output logic                              [63:0] msg_data_o,
  output logic                                     msg_last_o
);

  localparam logic [4:0] HelloLast = 5'(saf_pkg::HelloBytes / 8 - 1);
  localparam logic [31:0] CapabilityPush = 32'd1;
  localparam logic [31:0] CapabilityGroup = 32'd2;
  localparam int unsigned CapabilityEmulatedBit = 3;
  localparam int unsigned DivBits = 48;

  typedef enum logic [1:0] {
    StIdle,
    StDivide,
    StFill,
    StSend
  } state_e;

  state_e state_q;
  logic [4:0] word_q;
  logic [63:0] data_q;

  // ---- divider by 1000: a bit a cycle, remainder in rem_q, quotient shifted into the dividend

  logic [DivBits-1:0] value_q;
  logic [9:0] rem_q;
  logic [5:0] left_q;
  logic [10:0] trial;
  logic divides;
  assign trial = {rem_q, value_q[DivBits-1]};
  assign divides = trial >= 11'd1000;
  assign div_done_o = left_q == 6'd1;
  assign div_ms_o = value_q[31:0];

  // parts of the configuration that HELLO does not show
  logic unused;
  assign unused = ^{cfg_i.key, cfg_i.ethertypes};

  // ---- words

  logic [4:0] addr;
  logic [31:0] capabilities;
  assign addr = held_o ? borrow_addr_i : word_q;
  assign capabilities = CapabilityPush | CapabilityGroup | (32'(cfg_i.emulated) << CapabilityEmulatedBit);
  always_comb begin
    hello_word_o = image_digest_i[63:0];
    case (addr)
      5'd0: hello_word_o = cfg_i.serial[127:64];
      5'd1: hello_word_o = cfg_i.serial[63:0];
      5'd2: hello_word_o = {cfg_i.mac0, cfg_i.mac1[47:32]};
      5'd3: hello_word_o = {cfg_i.mac1[31:0], 16'(saf_pkg::VendorId), 16'(saf_pkg::ProductId)};
      5'd4: hello_word_o = boot_nonce_i[127:64];
      5'd5: hello_word_o = boot_nonce_i[63:0];
      5'd6: hello_word_o = {saf_shell_pkg::ShellVersion, cfg_i.pr_compat_id};
      5'd7:
      hello_word_o = {
        cfg_i.mtu, 7'd0, cfg_i.key_valid, 8'(saf_pkg::DdrContexts), saf_pkg::ImageMaxBlocks
      };
      5'd8:
      hello_word_o = {
        saf_pkg::DdrMaxBlocks,
        8'(saf_pkg::ImageSlots),
        8'(saf_pkg::CommandSlots),
        8'(saf_shell_pkg::PrWidthBits),
        8'(saf_shell_pkg::PrClockMhz)
      };
      5'd9: hello_word_o = 64'(saf_shell_pkg::RoleBytes);
      5'd10: hello_word_o = 64'(saf_shell_pkg::ImageSlotBytes);
      5'd11: hello_word_o = {32'd0, cfg_i.receive_rate};
      5'd12: hello_word_o = {cfg_i.window_blocks, capabilities};
      5'd13: hello_word_o = {card_state_i, pr_status_i, 7'd0, session_open_i, 8'd0, epoch_i};
      5'd14: hello_word_o = {challenge_i, value_q[31:0]};
      5'd15: hello_word_o = image_digest_i[255:192];
      5'd16: hello_word_o = image_digest_i[191:128];
      5'd17: hello_word_o = image_digest_i[127:64];
      default: ;
    endcase
  end

  assign idle_o = state_q == StIdle && !hold_i;
  assign held_o = state_q == StIdle && hold_i;
  assign msg_valid_o = state_q == StSend;
  assign msg_data_o = data_q;
  assign msg_last_o = word_q == HelloLast + 5'd1;
  assign done_o = msg_valid_o && msg_ready_i && msg_last_o;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      word_q <= '0;
      data_q <= '0;
      value_q <= '0;
      rem_q <= '0;
      left_q <= '0;
    end else begin
      if (left_q != '0) begin
        value_q <= {value_q[DivBits-2:0], divides};
        rem_q <= divides ? 10'(trial - 11'd1000) : trial[9:0];
        left_q <= left_q - 6'd1;
      end
      if (state_q == StFill || (msg_valid_o && msg_ready_i)) begin
        data_q <= hello_word_o;  // word_q is one ahead of it while it is sent
        word_q <= word_q + 5'd1;
      end
      case (state_q)
        StIdle: begin
          word_q <= '0;
          if (hold_i ? div_start_i : start_i) begin
            value_q <= hold_i ? DivBits'(div_value_i) : time_us_i;
            rem_q <= '0;
            left_q <= 6'(DivBits);
          end
          if (!hold_i && start_i) state_q <= StDivide;
        end
        StDivide: if (div_done_o) state_q <= StFill;
        StFill: state_q <= StSend;
        default: if (done_o) state_q <= StIdle;
      endcase
    end
  end

endmodule
