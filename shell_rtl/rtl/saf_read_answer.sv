// READ_DONE: the message at the end of a READ, or in its place.
//
// Data flow: start_i (held until done_o) with its fields → six beats of payload. A message none of whose beats was taken is
// withdrawn when the session ends; done_o comes all the same.
// Latency: one cycle. Reset: no message. Back-pressure: the transmitter's; the fields must hold meanwhile.

module saf_read_answer
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic open_i,  // session
    input logic [31:0] session_i,
    input logic [47:0] host_i,
    input logic session_end_i,

    input logic start_i,
    output logic done_o,
    input logic [15:0] status_i,
    input logic [31:0] object_i,
    input logic [31:0] index_i,
    input logic [31:0] length_i,
    input logic [15:0] sent_i,  // frames
    output logic [1:0] digest_word_o,  // 0: the last eight bytes
    input logic [63:0] digest_data_i,  // the cycle after; taken with status ok alone

    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o
);

  localparam logic [2:0] LastBeat = 3'd5;

  logic valid_q, done_q, withdraw;
  logic [2:0] beat_q, beat_d;

  assign withdraw = session_end_i && beat_q == '0 && !(valid_q && msg_ready_i);
  assign msg_valid_o = valid_q;
  assign msg_last_o = beat_q == LastBeat;
  assign done_o = done_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
      done_q <= 1'b0;
      beat_q <= '0;
    end else begin
      done_q <= 1'b0;
      if (!valid_q) begin
        valid_q <= start_i && !done_q && open_i && !session_end_i;
        done_q <= start_i && !done_q && (!open_i || session_end_i);
      end else if (withdraw || (msg_ready_i && msg_last_o)) begin
        valid_q <= 1'b0;
        done_q <= 1'b1;
      end
      beat_q <= beat_d;
    end
  end

  always_comb begin
    beat_d = beat_q;
    if (valid_q && (withdraw || msg_ready_i)) beat_d = withdraw || msg_last_o ? '0 : beat_q + 3'd1;
  end

  // beats 2 to 5 are words 3 to 0 of the digest
  logic with_digest;
  assign digest_word_o = {beat_d[1], !beat_d[0]};
  assign with_digest = beat_q >= 3'd2 && status_i == saf_pkg::StatusOk;
  assign msg_data_o = (digest_data_i & {64{with_digest}}) | ({status_i, 16'd0, length_i} & {64{beat_q == 3'd0}})
      | ({16'd0, sent_i, 32'd0} & {64{beat_q == 3'd1}});

  assign msg_meta_o = '{
          opcode: saf_pkg::OpcodeReadDone,
          etype: EtResult,
          dst: host_i,
          session: session_i,
          object: object_i,
          index: index_i,
          length: 16'(saf_pkg::ReadDoneBytes),
          sealed: 1'b1,
          own_sequence: 1'b0,
          sequence_: '0,
          key_index: '0
      };

endmodule
