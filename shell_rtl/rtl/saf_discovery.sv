// When the card says HELLO, and to whom: on the first frame after link-up (when that is a SOLICIT, the answer to it serves);
// as answer to SOLICIT at a random time within what it asks for; to whoever believes in a session that is not in force;
// every second while no session is open. Answers share one rate limit. Also makes the boot nonce, from four words of
// rnd_i after reset.
//
// Time may jump: each timer is a time and a flag, and what is due is done. solicit_valid_i waits for solicit_ready_o (a
// random time takes 26 cycles); solicit_refused_o is valid with both. stranger_i and data_stranger_i are pulses.
// Latency: first frame to HELLO's first word 52 cycles. Reset: link down, nothing said. Back-pressure: of the message.

module saf_discovery (
  input  logic                                     clk_i,
  input  logic                                     rst_ni,
  input  logic                              [31:0] rnd_i,
  input  logic       [saf_shell_pkg::TimeBits-1:0] now_i,
  input  logic                                     link_up_i,
  output logic                                     booted_o,
  output logic                             [127:0] boot_nonce_o,
  // frames
  input  logic                                     seen_i,
  input  logic                                     first_i,
  input  logic                                     first_solicit_i,
  input  logic                                     solicit_valid_i,
  output logic                                     solicit_ready_o,
  output logic                                     solicit_refused_o,
  input  logic                              [47:0] src_i,
  input  logic                              [15:0] spread_ms_i,
  input  logic                                     stranger_i,
  input  logic                                     data_stranger_i,
  input  logic                              [47:0] data_stranger_mac_i,
  // session
  input  logic                                     session_open_i,
  input  logic                                     opened_i,
  input  logic                                     ended_i,
  // HELLO
  output logic                                     say_o,
  output logic                              [47:0] say_dst_o,
  input  logic                                     idle_i,
  input  logic                                     said_i
);

  localparam int unsigned TimeBits = saf_shell_pkg::TimeBits;
  localparam int unsigned SpanBits = 26;  // 65,535 ms
  localparam logic [47:0] Broadcast = '1;
  localparam logic [TimeBits-1:0] HelloUs = TimeBits'(saf_pkg::HelloMs * 1000);
  localparam logic [TimeBits-1:0] GuardUs = TimeBits'(saf_pkg::SolicitGuardMs * 1000);

  typedef enum logic [1:0] {
    ToAll,
    ToAsker,
    ToStranger
  } target_e;

  // ---- boot nonce

  logic [127:0] nonce_q;
  logic [2:0] boot_q;
  assign booted_o = boot_q[2];
  assign boot_nonce_o = nonce_q;

  // ---- a random time within a span: span × random, the random number drawn a bit a cycle, lowest first

  logic [SpanBits-1:0] span_q, drawn_q, drawn_d;
  logic [4:0] draw_q;  // bits left
  logic draws_hello_q;
  logic drawn;
  assign drawn_d = SpanBits'(({1'b0, drawn_q} + (rnd_i[0] ? {1'b0, span_q} : '0)) >> 1);
  assign drawn = draw_q == 5'd1;

  // ---- timers

  logic link_q, await_q, first_q, hello_q, asked_q, armed_q, guard_q, stranger_q;
  logic [TimeBits-1:0] hello_at_q, answer_at_q, guard_until_q;
  logic [47:0] asker_q, stranger_mac_q;
  logic busy_q;  // HELLO is being said
  target_e target_q, target;

  logic is_up, can_say, solicit_taken, stranger_taken, answers, repeats;
  logic [47:0] stranger_mac;
  assign is_up = link_up_i && !link_q;
  assign can_say = booted_o && link_q && idle_i && !busy_q;

  assign solicit_ready_o = draw_q == '0 && booted_o;
  assign solicit_refused_o = asked_q ? asker_q == src_i : guard_q || (busy_q && target_q == ToAsker);
  assign solicit_taken = solicit_valid_i && solicit_ready_o && !solicit_refused_o && link_q;

  assign stranger_mac = stranger_i ? src_i : data_stranger_mac_i;
  assign stranger_taken = (stranger_i || data_stranger_i) && !stranger_mac[40] && !guard_q && !stranger_q &&
      !(busy_q && target_q == ToStranger) && link_q;

  always_comb begin
    target = ToAll;
    say_o = 1'b0;
    answers = 1'b0;
    repeats = 1'b0;
    if (can_say) begin
      if (first_q) begin
        say_o = 1'b1;
      end else if (armed_q && saf_shell_pkg::is_due(now_i, answer_at_q)) begin
        say_o = 1'b1;
        target = ToAsker;
        answers = 1'b1;
      end else if (stranger_q) begin
        say_o = 1'b1;
        target = ToStranger;
      end else if (hello_q && !session_open_i && saf_shell_pkg::is_due(now_i, hello_at_q)) begin
        say_o = 1'b1;
        repeats = 1'b1;
      end
    end
  end
  assign say_dst_o = target_q == ToAsker ? asker_q : target_q == ToStranger ? stranger_mac_q : Broadcast;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      nonce_q <= '0;
      boot_q <= '0;
      span_q <= '0;
      drawn_q <= '0;
      draw_q <= '0;
      draws_hello_q <= 1'b0;
      link_q <= 1'b0;
      await_q <= 1'b0;
      first_q <= 1'b0;
      hello_q <= 1'b0;
      asked_q <= 1'b0;
      armed_q <= 1'b0;
      guard_q <= 1'b0;
      stranger_q <= 1'b0;
      hello_at_q <= '0;
      answer_at_q <= '0;
      guard_until_q <= '0;
      asker_q <= '0;
      stranger_mac_q <= '0;
      busy_q <= 1'b0;
      target_q <= ToAll;
    end else begin
      if (!booted_o) begin
        nonce_q <= {nonce_q[95:0], rnd_i};
        boot_q <= boot_q + 3'd1;
      end

      if (draw_q != '0) begin
        drawn_q <= drawn_d;
        draw_q <= draw_q - 5'd1;
      end
      if (drawn && draws_hello_q) begin
        hello_q <= 1'b1;
        hello_at_q <= now_i + TimeBits'(drawn_d);
      end
      if (drawn && !draws_hello_q) begin
        armed_q <= 1'b1;
        answer_at_q <= now_i + TimeBits'(drawn_d);
      end
      if (solicit_taken) begin
        if (asked_q) begin
          asker_q <= Broadcast;  // a second asker while an answer is due: it goes to all
        end else begin
          asked_q <= 1'b1;
          asker_q <= src_i;
          span_q <= {spread_ms_i, 10'd0} - {6'd0, spread_ms_i, 4'd0} - {7'd0, spread_ms_i, 3'd0};  // × 1000
          drawn_q <= '0;
          draw_q <= 5'(SpanBits);
          draws_hello_q <= 1'b0;
        end
      end

      if (guard_q && saf_shell_pkg::is_due(now_i, guard_until_q)) guard_q <= 1'b0;
      if (stranger_taken) begin
        stranger_q <= 1'b1;
        stranger_mac_q <= stranger_mac;
      end
      if (stranger_taken || answers) begin
        guard_q <= 1'b1;
        guard_until_q <= now_i + GuardUs;
      end

      if (say_o) begin
        busy_q <= 1'b1;
        target_q <= target;
        if (first_q) first_q <= 1'b0;
        else if (answers) {asked_q, armed_q} <= 2'b00;
        else if (repeats) hello_at_q <= now_i + HelloUs;
        else stranger_q <= 1'b0;
      end
      if (said_i) busy_q <= 1'b0;

      if (await_q && (seen_i || first_i)) begin
        await_q <= 1'b0;
        if (!(first_i && first_solicit_i)) first_q <= 1'b1;
      end
      if (opened_i) hello_q <= 1'b0;
      if (ended_i) begin
        hello_q <= 1'b1;
        hello_at_q <= now_i;
      end

      link_q <= link_up_i;
      if (is_up) begin
        await_q <= 1'b1;
        span_q <= SpanBits'(HelloUs);
        drawn_q <= '0;
        draw_q <= 5'(SpanBits);
        draws_hello_q <= 1'b1;
      end else if (!link_up_i) begin
        {await_q, first_q, hello_q, asked_q, armed_q, stranger_q} <= '0;
        draw_q <= '0;
      end
    end
  end

endmodule
