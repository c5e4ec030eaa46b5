// Sends COMMITTED: seven beats out of what the commit unit knows.
//
// Data flow: `send_i` (one cycle, with all inputs; role_i and phase_i must then hold until done_o) -> message. Each beat is
// put into output registers when the one before it was taken, so that counters may go on meanwhile: one for each source, that
// clears itself in another's beat, because an OR takes less than a choice. Whom it goes to is saf_tx's to know.
// Latency: one cycle to the first beat. Back-pressure: holds. Reset: nothing pending.

`include "saf_assert.svh"

module saf_commit_reply
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic send_i,
    output logic done_o,
    input logic [31:0] object_i,
    input logic [31:0] index_i,
    input logic [5:0] status_i,
    input logic [7:0] phase_i,
    // verilator lint_off UNUSEDSIGNAL
    input role_view_t role_i,
    // verilator lint_on UNUSEDSIGNAL
    // these are looked at with their beats
    input logic with_fed_i,
    input logic fed_all_i,
    input logic [25:0] fed_words_i,
    input logic [27:0] length_i,
    input logic stored_i,  // the time until the end, else until now
    input logic [31:0] passed_us_i,
    input logic passed_full_i,
    input logic [31:0] stored_us_i,
    input logic stored_full_i,
    output logic [1:0] digest_word_o,
    input logic [63:0] digest_i,  // that word, in the next cycle
    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o
);

  logic [2:0] beat_q;
  logic valid_q;
  logic next, fed_next, time_next, digest_next;
  logic [53:0] head_q;
  logic [25:0] words_q;
  logic [27:0] length_q;
  logic [31:0] passed_q, stored_q;
  logic full_q;
  logic [63:0] digest_q;

  assign digest_word_o = beat_q[1:0] + 2'(valid_q && msg_ready_i) - 2'd2;
  assign next = send_i || (valid_q && msg_ready_i);
  // what the beat after this one says
  assign fed_next = !send_i && beat_q == 3'd0;
  assign time_next = !send_i && beat_q == 3'd1;
  assign digest_next = !send_i && beat_q >= 3'd2;

  always_ff @(posedge clk_i) begin
    if (next) begin
      if (!send_i) head_q <= '0;
      else head_q <= {status_i, phase_i, role_i.pr_status, role_i.epoch};
      if (!fed_next || !with_fed_i || fed_all_i) words_q <= '0;
      else words_q <= fed_words_i;
      if (!fed_next || !with_fed_i || !fed_all_i) length_q <= '0;
      else length_q <= length_i;
      if (!time_next || stored_i) passed_q <= '0;
      else passed_q <= passed_us_i;
      if (!time_next || !stored_i) stored_q <= '0;
      else stored_q <= stored_us_i;
      full_q <= time_next && (stored_i ? stored_full_i : passed_full_i);
      if (!digest_next || !role_i.has_role) digest_q <= '0;
      else digest_q <= digest_i;
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
      beat_q <= '0;
    end else if (send_i) begin
      valid_q <= 1'b1;
      beat_q <= '0;
    end else if (valid_q && msg_ready_i) begin
      valid_q <= !msg_last_o;
      beat_q <= beat_q + 3'd1;
    end
  end

  assign msg_valid_o = valid_q;
  assign msg_data_o = {10'd0, head_q} | {36'd0, words_q, 2'd0} | {36'd0, length_q} | digest_q
      | {passed_q | stored_q | {32{full_q}}, 32'd0};
  assign msg_last_o = beat_q == 3'd6;
  assign done_o = valid_q && msg_ready_i && msg_last_o;
  always_comb begin
    msg_meta_o = '0;
    msg_meta_o.opcode = saf_pkg::OpcodeCommitted;
    msg_meta_o.etype = EtImageAnswer;
    msg_meta_o.object = object_i;
    msg_meta_o.index = index_i;
    msg_meta_o.length = 16'(saf_pkg::CommittedBytes);
    msg_meta_o.sealed = 1'b1;
  end

  `SAF_STABLE(AssertStable, msg_valid_o, msg_ready_i, {msg_meta_o, msg_data_o, msg_last_o}, clk_i, rst_ni)

endmodule
