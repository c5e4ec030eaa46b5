// What is known of the transfer that a control frame is about, and what the answer to it says.
//
// saf_xfer_handle gives the strobes: found_i (a transfer was looked for: nothing but unknown_transfer can be said yet),
// refuse_i (another status), shape_i and rest_i (what is kept of the transfer is there), act_i (xfer_ctl_t is on st_data_i), count_i (saf_bulk's
// counters anew), begun_i (a new transfer, or none any more), torn_i (INVALIDATE).
// say_o holds until the next strobe. Latency: one cycle. Reset: nothing is known.

module saf_xfer_answer
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic found_i,
    input logic refuse_i,
    input logic [5:0] refuse_status_i,
    input logic shape_i,
    input logic rest_i,
    input logic act_i,
    input logic count_i,
    input logic begun_i,
    input xfer_state_t begun_state_i,
    input logic torn_i,
    // the transfer
    input logic past_i,
    input logic [4:0] which_i,
    input logic [1:0] ctx_i,
    input xfer_state_t state_i,
    input logic hashed_i,
    input logic [63:0] st_data_i,
    input xfer_shape_t shape_data_i,
    input xfer_past_t past_data_i,
    input logic [LeafBits-1:0] leaves_done_i,
    input logic [17:0] q_missing_i,
    input logic [17:0] q_lowest_i,
    input logic [31:0] q_received_i,
    input logic [15:0] q_sections_i,
    // the frame
    input logic tell_i,  // none: a VERDICT that nobody asked for
    input logic leaves_i,  // none: a question for leaf digests
    input logic session_open_i,
    input logic [7:0] opcode_i,
    input logic [31:0] index_i,
    input logic [63:0] pay_i,
    // what follows from them, with act_i
    output xfer_next_e next_o,
    output logic closing_o,
    output xfer_say_t say_o,
    output logic [31:0] say_object_o,  // of a VERDICT that nobody asked for
    output logic [31:0] say_index_o
);

  logic blank_q, verdict, unused;
  logic [5:0] status_q, status;
  xfer_state_t state_q;
  logic [31:0] received_q, object_q, index_q;
  logic [17:0] missing_q, lowest_q, blocks_q;
  logic [15:0] sections_q;
  logic [13:0] bits_q;
  logic sections, bits, in_last, none_missing;
  logic [LeafBits-1:0] leaves_q;
  xfer_ctl_t ctl;

  assign ctl = st_data_i;
  assign unused = ^{shape_data_i, past_data_i};
  assign verdict = tell_i || opcode_i == saf_pkg::OpcodeClose;
  assign say_object_o = object_q;
  assign say_index_o = index_q;

  saf_xfer_act u_act (
      .tell_i,
      .leaves_i,
      .session_open_i,
      .opcode_i,
      .index_i,
      .pay_i,
      .past_i,
      .state_i(state_q),
      .hashed_i,
      .repair_id_i(ctl.index),
      .blocks_i(blocks_q),
      .missing_i(missing_q),
      .sections_i(sections_q),
      .status_o(status),
      .next_o,
      .closing_o,
      .sections_o(sections),
      .bits_o(bits),
      .in_last_o(in_last)
  );

  always_comb begin
    say_o = '0;
    say_o.opcode = tell_i ? saf_pkg::OpcodeVerdict : saf_pkg::opcode_answer(opcode_i);
    say_o.status = status_q;
    say_o.blank = blank_q;
    say_o.state = state_q;
    say_o.ctx = ctx_i;
    say_o.received = received_q;
    say_o.missing = missing_q;
    say_o.lowest = lowest_q;
    say_o.sections = sections_q;
    say_o.first_block = pay_i[63:32];
    say_o.bits = bits_q;
    say_o.leaves = leaves_q;
    say_o.with_digest = !blank_q && (state_q == XsVerified || state_q == XsBad);
    say_o.found = state_q == XsBad;
    say_o.digest = past_i ? xfer_past_word(which_i, XferRecDigest[2:0]) : xfer_context_word(ctx_i, XferRecDigest);
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      blank_q <= 1'b0;
      status_q <= '0;
      state_q <= '0;
      received_q <= '0;
      object_q <= '0;
      index_q <= '0;
      lowest_q <= '0;
      blocks_q <= '0;
      leaves_q <= '0;
    end else begin
      if (found_i) begin
        blank_q <= 1'b1;
        status_q <= 6'(saf_pkg::StatusUnknownTransfer);
      end
      if (refuse_i) status_q <= refuse_status_i;
      if (shape_i) begin
        blocks_q <= past_i ? past_data_i.blocks : shape_data_i.blocks;
        leaves_q <= past_i ? past_data_i.leaves : shape_data_i.leaves;
      end
      if (rest_i || count_i) begin
        // a message has one of these: blocks received, leaves done, blocks missing
        received_q <= past_i ? past_data_i.received : q_received_i;
        if (verdict) received_q <= {18'd0, past_i ? (past_data_i.hashed ? leaves_q : '0) : leaves_done_i};
        else if (opcode_i == saf_pkg::OpcodeInvalidate) received_q <= past_i ? '0 : {14'd0, q_missing_i};
      end
      if (rest_i) begin
        lowest_q <= past_i ? blocks_q : q_lowest_i;
        state_q <= past_i ? XsVerified : state_i;
      end
      if (act_i) begin
        blank_q <= 1'b0;
        object_q <= ctl.id;
        index_q <= ctl.index;
        status_q <= status;
      end
      if (begun_i) begin
        blank_q <= 1'b0;
        status_q <= 6'(saf_pkg::StatusOk);
        state_q <= begun_state_i;
      end
      if (torn_i) state_q <= XsReceiving;
    end
  end

  // cleared by the flops' own synchronous clear; without meaning before they are loaded or cleared
  // of a transfer that is being hashed, or was, nothing is missing
  assign none_missing = past_i || tell_i || leaves_i;
  always_ff @(posedge clk_i) begin
    if (rest_i || count_i) begin
      if (none_missing) missing_q <= '0;
      else missing_q <= q_missing_i;
    end
    if ((rest_i && past_i) || (act_i && !sections)) sections_q <= '0;
    else if (rest_i) sections_q <= q_sections_i;
    if (found_i || (act_i && !(bits && in_last))) bits_q[12:0] <= '0;
    else if (act_i) bits_q[12:0] <= blocks_q[12:0];
    if (found_i || act_i) bits_q[13] <= !found_i && bits && !in_last;
  end

endmodule
