// Sends COMMITTED: seven beats out of what the commit unit knows.
//
// Data flow: `send_i` (one cycle, with all inputs; role_i and phase_i must then hold until done_o) -> message. Each beat is
// put into the output register when the one before it was taken, so that counters may go on meanwhile. Whom it goes to is
// saf_tx's to know.
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
    input logic [15:0] status_i,
    input logic [7:0] phase_i,
    // verilator lint_off UNUSEDSIGNAL
    input role_view_t role_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic [27:0] fed_bytes_i,
    input logic [31:0] elapsed_us_i,
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
  logic [63:0] beat_data_q;
  logic [63:0] beat_data_d;

  assign digest_word_o = beat_q[1:0] + 2'(valid_q && msg_ready_i) - 2'd2;
  always_comb begin
    case (beat_q)
      3'd0: beat_data_d = {36'd0, fed_bytes_i};
      3'd1: beat_data_d = {elapsed_us_i, 32'd0};
      default: beat_data_d = role_i.has_role ? digest_i : '0;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
      beat_q <= '0;
      beat_data_q <= '0;
    end else if (send_i) begin
      valid_q <= 1'b1;
      beat_q <= '0;
      beat_data_q <= {status_i, phase_i, role_i.pr_status, role_i.epoch};
    end else if (valid_q && msg_ready_i) begin
      valid_q <= !msg_last_o;
      beat_q <= beat_q + 3'd1;
      beat_data_q <= beat_data_d;
    end
  end

  assign msg_valid_o = valid_q;
  assign msg_data_o = beat_data_q;
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
