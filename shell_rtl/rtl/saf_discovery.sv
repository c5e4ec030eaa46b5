// When the card says HELLO, and to whom: on the first frame after link-up (when that is a SOLICIT, the answer to it serves);
// as answer to SOLICIT at a random time within what it asks for; to whoever believes in a session that is not in force;
// every second while no session is open. Answers share one rate limit. Also makes the boot nonce, from four words of
// rnd_i after reset.
//
// Time may jump: each timer is a flag and a time in a RAM, and what is due is done. One adder sets the timers, one
// comparator looks at them in turn, so that what is due is seen a few cycles later. solicit_valid_i waits for
// solicit_ready_o; solicit_refused_o is valid with both. stranger_i and data_stranger_i are pulses.
// Latency: first frame to HELLO's first word 54 cycles. Reset: link down, nothing said. Back-pressure: of the message.

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
  localparam logic [SpanBits-1:0] HelloUs = SpanBits'(saf_pkg::HelloMs * 1000);
  localparam logic [SpanBits-1:0] GuardUs = SpanBits'(saf_pkg::SolicitGuardMs * 1000);

  // whom HELLO goes to, by the place of the address
  typedef enum logic [1:0] {
    ToAll,
    ToAsker,
    ToStranger
  } target_e;

  // timers, by their address
  localparam int unsigned Hello = 0, Answer = 1, Guard = 2;

  // ---- boot nonce

  logic [127:0] nonce_q;
  logic [2:0] boot_q;
  assign booted_o = boot_q[2];
  assign boot_nonce_o = nonce_q;

  // ---- timers

  logic link_q, await_q, first_q, hello_q, asked_q, to_all_q, armed_q, guard_q, stranger_q;
  logic [2:0] set_q, due_q;  // timers to be set, and those whose time has come
  logic draws_q, repeats_q;  // HELLO's is to be set to a random time, to the next second; else to now
  logic [SpanBits-1:0] span_q, drawn_q, addend;
  logic spanned_q;  // drawn_q is of span_q
  logic [2*SpanBits-1:0] product;
  logic [TimeBits-1:0] sum, at, gone;
  logic [1:0] set_at, look_q, seen_q;
  logic sets, sets_q;

  assign product = (2*SpanBits)'(span_q) * (2*SpanBits)'(rnd_i[SpanBits-1:0]);
  assign sets = set_q[Guard] || (set_q != '0 && spanned_q);
  always_comb begin
    addend = '0;
    set_at = 2'(Answer);
    if (set_q[Guard]) begin
      set_at = 2'(Guard);
      addend = GuardUs;
    end else if (set_q[Hello]) begin
      set_at = 2'(Hello);
      addend = draws_q ? drawn_q : repeats_q ? HelloUs : '0;
    end else begin
      addend = drawn_q;
    end
  end
  assign sum = now_i + TimeBits'(addend);
  assign gone = now_i - at;

  saf_ram_few #(
    .Width(TimeBits)
  ) u_timers (
    .clk_i,
    .wr_en_i(sets),
    .wr_addr_i(set_at),
    .wr_data_i(sum),
    .rd_en_i(1'b1),
    .rd_addr_i(look_q),
    .rd_data_o(at)
  );

  // ---- what is due

  logic busy_q, quiet_q;  // HELLO is being said; it is not, and was not in the cycle before
  target_e target_q, target;

  logic is_up, can_say, solicit_taken, stranger_taken, answers, repeats, guards;
  logic [47:0] mac, dst;
  logic [2:0] comes;
  logic unused;
  assign unused = ^{rnd_i[31:SpanBits], product[SpanBits-1:0], gone[TimeBits-2:0]};
  assign comes = due_q & ~set_q;
  assign is_up = link_up_i && !link_q;
  assign can_say = booted_o && link_q && idle_i && !busy_q;

  // while nothing is said the asker's address is there
  assign solicit_ready_o = set_q == '0 && booted_o && quiet_q && !busy_q && !data_stranger_i;
  assign solicit_refused_o = asked_q ? !to_all_q && dst == src_i : guard_q;
  assign solicit_taken = solicit_valid_i && solicit_ready_o && !solicit_refused_o && link_q;

  assign mac = data_stranger_i && !stranger_i ? data_stranger_mac_i : src_i;
  assign stranger_taken = (stranger_i || data_stranger_i) && !mac[40] && !guard_q && !stranger_q &&
      !(busy_q && target_q == ToStranger) && link_q;
  assign guards = stranger_taken || answers;

  always_comb begin
    target = ToAll;
    say_o = 1'b0;
    answers = 1'b0;
    repeats = 1'b0;
    if (can_say) begin
      if (first_q) begin
        say_o = 1'b1;
      end else if (armed_q && comes[Answer]) begin
        say_o = 1'b1;
        target = to_all_q ? ToAll : ToAsker;
        answers = 1'b1;
      end else if (stranger_q) begin
        say_o = 1'b1;
        target = ToStranger;
      end else if (hello_q && !session_open_i && comes[Hello]) begin
        say_o = 1'b1;
        repeats = 1'b1;
      end
    end
  end
  assign say_dst_o = dst;

  saf_ram_few #(
    .Width(48)
  ) u_dst (
    .clk_i,
    .wr_en_i(solicit_taken || stranger_taken || !booted_o),
    .wr_addr_i(!booted_o ? ToAll : solicit_taken ? ToAsker : ToStranger),
    .wr_data_i(mac | {48{!booted_o}}),
    .rd_en_i(1'b1),
    .rd_addr_i(busy_q ? target_q : ToAsker),
    .rd_data_o(dst)
  );

  always_ff @(posedge clk_i) begin
    drawn_q <= spanned_q ? drawn_q : product[2*SpanBits-1:SpanBits];
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      nonce_q <= '0;
      boot_q <= '0;
      span_q <= '0;
      spanned_q <= 1'b0;
      set_q <= '0;
      due_q <= '0;
      draws_q <= 1'b0;
      repeats_q <= 1'b0;
      look_q <= '0;
      seen_q <= '0;
      sets_q <= 1'b0;
      link_q <= 1'b0;
      await_q <= 1'b0;
      first_q <= 1'b0;
      hello_q <= 1'b0;
      asked_q <= 1'b0;
      to_all_q <= 1'b0;
      armed_q <= 1'b0;
      guard_q <= 1'b0;
      stranger_q <= 1'b0;
      busy_q <= 1'b0;
      quiet_q <= 1'b0;
      target_q <= ToAll;
    end else begin
      if (!booted_o) begin
        nonce_q <= {nonce_q[95:0], rnd_i};
        boot_q <= boot_q + 3'd1;
      end

      // a timer that is set meanwhile is not looked at
      look_q <= look_q == 2'(Guard) ? '0 : look_q + 2'd1;
      seen_q <= look_q;
      sets_q <= sets;
      spanned_q <= 1'b1;
      for (int unsigned t = 0; t < 3; t++) begin
        if (sets && set_at == 2'(t)) begin
          set_q[t] <= 1'b0;
          due_q[t] <= 1'b0;
        end else if (seen_q == 2'(t) && !sets && !sets_q) begin
          due_q[t] <= !gone[TimeBits-1];
        end
      end

      if (solicit_taken) begin
        if (asked_q) begin
          to_all_q <= 1'b1;  // a second asker while an answer is due
        end else begin
          asked_q <= 1'b1;
          armed_q <= 1'b1;
          to_all_q <= 1'b0;
          span_q <= SpanBits'(saf_shell_pkg::us_of(32'(spread_ms_i)));
          spanned_q <= 1'b0;
          set_q[Answer] <= 1'b1;
        end
      end

      if (guard_q && comes[Guard]) guard_q <= 1'b0;
      if (stranger_taken) stranger_q <= 1'b1;
      if (guards) begin
        guard_q <= 1'b1;
        set_q[Guard] <= 1'b1;
      end

      if (say_o) begin
        busy_q <= 1'b1;
        target_q <= target;
        if (first_q) first_q <= 1'b0;
        else if (answers) {asked_q, armed_q} <= 2'b00;
        else if (!repeats) stranger_q <= 1'b0;
      end
      if (said_i) busy_q <= 1'b0;
      quiet_q <= !busy_q;

      if (await_q && (seen_i || first_i)) begin
        await_q <= 1'b0;
        if (!(first_i && first_solicit_i)) first_q <= 1'b1;
      end
      if (opened_i) hello_q <= 1'b0;
      if (repeats || ended_i) begin
        set_q[Hello] <= 1'b1;
        draws_q <= 1'b0;
        repeats_q <= !ended_i;
      end
      if (ended_i) hello_q <= 1'b1;

      link_q <= link_up_i;
      if (is_up) begin
        await_q <= 1'b1;
        hello_q <= 1'b1;
        span_q <= HelloUs;
        spanned_q <= 1'b0;
        draws_q <= 1'b1;
        set_q[Hello] <= 1'b1;
      end else if (!link_up_i) begin
        {await_q, first_q, hello_q, asked_q, armed_q, stranger_q} <= '0;
      end
    end
  end

endmodule
