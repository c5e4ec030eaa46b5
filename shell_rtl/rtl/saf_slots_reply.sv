// Makes, keeps and sends the answers of the command slots: DONE (seven beats) and KILLED (one).
//
// Data flow: `start_i` (one cycle) with what the answer is. A new one is written into the command RAM (the slot's record with
// `keep_i`, else a place of its own), then sent from there; a stored one is only sent. Digests of pushes have a RAM of their
// own, written in one go; one belongs to the record that tells of pushed bytes. The time that the kernel took lies in
// the record already. Without a session nothing is sent. All inputs hold until `done_o`.
// Latency: new ones nine cycles to the first beat, then one a beat. Back-pressure: holds. Reset: idle. Whom it goes to is
// saf_tx's to know.

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
    input logic [2:0] slot_i,
    input logic [5:0] status_i,
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
    output logic ram_scratch_o,
    output logic [2:0] ram_beat_o,
    output logic [63:0] ram_data_o,
    input logic [63:0] ram_data_i,

    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o
);

  localparam int unsigned DigestRows = 16;  // eight would do, and be LUT RAM

  typedef enum logic [1:0] {
    StIdle,
    StWrite,
    StFetch,
    StBeat
  } state_e;

  state_e state_q;
  logic [2:0] beat_q;
  logic last, taken, with_digest_q;
  logic [63:0] digest_word;

  assign last = killed_i || beat_q == 3'd6;
  assign taken = state_q == StBeat && msg_ready_i;
  assign done_o = (taken && last) || (state_q == StFetch && !session_open_i);
  assign ram_rd_o = state_q == StFetch || taken;
  assign ram_wr_o = state_q == StWrite && !(timed_i && beat_q == 3'd1);
  assign ram_scratch_o = !keep_i && !stored_i;
  assign ram_beat_o = beat_q + 3'(taken);
  always_comb begin
    case (beat_q)
      3'd0: ram_data_o = {10'd0, status_i, killed_i ? 48'd0 : {state_i, 8'd0, epoch_i}};
      3'd2: ram_data_o = pushed_i ? {11'd0, push_bytes_i, push_blocks_i} : '0;
      default: ram_data_o = '0;
    endcase
  end

  saf_ram_2clk_narrow #(
      .Width(256),
      .Depth(DigestRows),
      .Parts(4)
  ) u_digest (
      .wr_clk_i(clk_i),
      .wr_en_i(state_q == StWrite && pushed_i),
      .wr_addr_i({1'b0, slot_i}),
      .wr_data_i(push_digest_i),
      .rd_clk_i(clk_i),
      .rd_en_i(ram_rd_o),
      // word 0 is the last: beats 3, 4, 5, 6 are words 3, 2, 1, 0
      .rd_addr_i({1'b0, slot_i, 2'd2 - ram_beat_o[1:0]}),
      .rd_data_o(digest_word)
  );

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      beat_q <= '0;
      with_digest_q <= 1'b0;
    end else begin
      case (state_q)
        StIdle: begin
          beat_q <= '0;
          if (start_i) state_q <= !stored_i ? StWrite : StFetch;
        end
        StWrite: begin
          beat_q <= last ? '0 : beat_q + 3'd1;
          if (last) state_q <= StFetch;
        end
        StFetch: state_q <= session_open_i ? StBeat : StIdle;
        default:
        if (taken) begin
          beat_q <= beat_q + 3'd1;
          if (beat_q == 3'd2) with_digest_q <= |ram_data_i[52:32];
          if (last) state_q <= StIdle;
        end
      endcase
    end
  end

  assign msg_valid_o = state_q == StBeat;
  always_comb begin
    msg_data_o = ram_data_i;
    if (beat_q > 3'd2) msg_data_o = with_digest_q ? digest_word : '0;
  end
  assign msg_last_o = last;
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
