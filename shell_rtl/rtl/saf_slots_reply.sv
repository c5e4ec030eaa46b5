// Makes, keeps and sends the answers of the command slots: DONE (seven beats) and KILLED (one).
//
// Data flow: `start_i` (one cycle) with what the answer is: of a stored one the beats come from the slot's record; a new
// one is put together here and, with `keep_i`, written to the record on the way; `speak_i` low only writes. The time that
// the kernel took lies in the record already. All inputs hold until `done_o`.
// Latency: two cycles a beat. Back-pressure: holds. Reset: idle. Whom it goes to is saf_tx's to know.

`include "saf_assert.svh"

module saf_slots_reply
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic start_i,
    output logic done_o,
    input logic killed_i,
    input logic stored_i,
    input logic keep_i,
    input logic timed_i,
    input logic pushed_i,
    input logic [15:0] status_i,
    input logic [7:0] state_i,
    input logic [31:0] epoch_i,
    input logic [20:0] push_bytes_i,
    input logic [31:0] push_blocks_i,
    input logic [255:0] push_digest_i,
    input logic [31:0] object_i,
    input logic [31:0] index_i,
    input logic session_open_i,

    output logic ram_rd_o,
    output logic ram_wr_o,
    output logic [4:0] ram_word_o,
    output logic [63:0] ram_data_o,
    input logic [63:0] ram_data_i,

    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o
);

  typedef enum logic [1:0] {
    StIdle,
    StFetch,
    StBeat
  } state_e;

  state_e state_q;
  logic [2:0] beat_q;
  logic speak_q, taken;
  logic [63:0] made;

  always_comb begin
    made = '0;
    case (beat_q)
      3'd0: made = killed_i ? {status_i, 48'd0} : {status_i, state_i, 8'd0, epoch_i};
      3'd1: if (timed_i) made = ram_data_i;
      3'd2: if (pushed_i) made = {11'd0, push_bytes_i, push_blocks_i};
      3'd3: if (pushed_i) made = push_digest_i[255:192];
      3'd4: if (pushed_i) made = push_digest_i[191:128];
      3'd5: if (pushed_i) made = push_digest_i[127:64];
      default: if (pushed_i) made = push_digest_i[63:0];
    endcase
  end

  assign taken = state_q == StBeat && (!speak_q || msg_ready_i);
  assign done_o = taken && msg_last_o;
  assign ram_rd_o = state_q == StFetch;
  assign ram_wr_o = taken && keep_i;
  assign ram_word_o = ram_rd_o && !stored_i ? SlotTime : SlotAsk + 5'(beat_q);
  assign ram_data_o = made;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      beat_q <= '0;
      speak_q <= 1'b0;
    end else begin
      case (state_q)
        StIdle:
        if (start_i) begin
          state_q <= StFetch;
          beat_q <= '0;
          speak_q <= session_open_i;
        end
        StFetch: state_q <= StBeat;
        default:
        if (taken) begin
          beat_q <= beat_q + 3'd1;
          state_q <= msg_last_o ? StIdle : StFetch;
        end
      endcase
    end
  end

  assign msg_valid_o = state_q == StBeat && speak_q;
  assign msg_data_o = stored_i ? ram_data_i : made;
  assign msg_last_o = killed_i || beat_q == 3'd6;
  always_comb begin
    msg_meta_o = '0;
    msg_meta_o.opcode = killed_i ? saf_pkg::OpcodeKilled : saf_pkg::OpcodeDone;
    msg_meta_o.etype = EtResult;
    msg_meta_o.object = object_i;
    msg_meta_o.index = index_i;
    msg_meta_o.length = killed_i ? 16'(saf_pkg::AnswerBytes) : 16'(saf_pkg::DoneBytes);
    msg_meta_o.sealed = 1'b1;
  end

  `SAF_STABLE(AssertStable, msg_valid_o, msg_ready_i, {msg_meta_o, msg_data_o, msg_last_o}, clk_i, rst_ni)

endmodule
