// Makes, keeps and sends the answers of the command slots: DONE (seven beats) and KILLED (one).
//
// Data flow: `start_i` (one cycle) with what the answer is. A new one is written as one wide row (the slot's with
// `keep_i`, else a place of its own), then sent from there; a stored one is only sent. The last word of a row is KILLED,
// and the zeros that DONE has where nothing was pushed. Without a session nothing is sent. All inputs hold until `done_o`.
// Latency: four cycles to the first beat, then one a beat. Back-pressure: holds. Reset: idle. Whom it goes to is
// saf_tx's to know.

`include "saf_assert.svh"

module saf_slots_reply
  import saf_shell_pkg::*;
#(
    localparam int unsigned StampBits = 54
) (
    input logic clk_i,
    input logic rst_ni,
    input logic start_i,
    output logic done_o,
    input logic killed_i,
    input logic stored_i,
    input logic keep_i,
    input logic pushed_i,
    input logic [2:0] slot_i,
    input logic [5:0] status_i,
    input logic [7:0] state_i,
    input logic [31:0] epoch_i,
    input logic [StampBits-1:0] kernel_ns_i,
    input logic [20:0] push_bytes_i,
    input logic [31:0] push_blocks_i,
    input logic [255:0] push_digest_i,
    input logic [31:0] object_i,
    input logic [31:0] index_i,
    input logic session_open_i,

    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o
);

  localparam int unsigned Rows = saf_pkg::CommandSlots + 1;
  // words of a row: seven of DONE, whose second also says (bit 63) whether something was pushed, and
  localparam logic [2:0] WordTime = 3'd1, WordKilled = 3'd7;

  typedef enum logic [2:0] {
    StIdle,
    StWrite,
    StFetch,
    StLook,
    StBeat
  } state_e;

  state_e state_q;
  logic [2:0] beat_q, next, part;
  logic last, taken, scratch, pushed_q;
  logic [7:0][63:0] row;
  logic [3:0] address;
  logic [63:0] word;

  assign last = killed_i || beat_q == 3'd6;
  assign taken = state_q == StBeat && msg_ready_i;
  assign done_o = (taken && last) || (state_q == StFetch && !session_open_i);
  assign scratch = !keep_i && !stored_i;
  assign address = {scratch, slot_i & ~{3{scratch}}};
  assign next = beat_q + 3'(taken);
  always_comb begin
    part = next;
    if (state_q == StFetch) part = WordTime;
    else if (killed_i || (!pushed_q && next[2:1] != '0)) part = WordKilled;
  end

  always_comb begin
    row[0] = {10'd0, status_i, state_i, 8'd0, epoch_i};
    row[1] = {pushed_i, {63 - StampBits{1'b0}}, kernel_ns_i};
    row[2] = {11'd0, push_bytes_i, push_blocks_i};
    row[3] = push_digest_i[255:192];
    row[4] = push_digest_i[191:128];
    row[5] = push_digest_i[127:64];
    row[6] = push_digest_i[63:0];
    row[7] = {10'd0, killed_i ? status_i : 6'd0, 48'd0};
  end

  saf_ram_2clk_narrow #(
      .Width(512),
      .Depth(Rows),
      .Parts(8)
  ) u_rows (
      .wr_clk_i(clk_i),
      .wr_en_i(state_q == StWrite),
      .wr_addr_i(address),
      .wr_data_i(row),
      .rd_clk_i(clk_i),
      .rd_en_i(1'b1),
      .rd_addr_i({address, part}),
      .rd_data_o(word)
  );

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      beat_q <= '0;
      pushed_q <= 1'b0;
    end else begin
      if (state_q == StLook) pushed_q <= word[63];
      case (state_q)
        StIdle: begin
          beat_q <= '0;
          if (start_i) state_q <= !stored_i ? StWrite : StFetch;
        end
        StWrite: state_q <= StFetch;
        StFetch: state_q <= session_open_i ? StLook : StIdle;
        StLook: state_q <= StBeat;
        default:
        if (taken) begin
          beat_q <= next;
          if (last) state_q <= StIdle;
        end
      endcase
    end
  end

  assign msg_valid_o = state_q == StBeat;
  assign msg_data_o = {word[63] && beat_q != WordTime, word[62:0]};
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
