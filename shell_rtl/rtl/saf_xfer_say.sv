// Puts a message of the transfers together: READY, NACK with its bitmap, VERDICT, INVALIDATED, ABORTED.
//
// start_i (pulse) with say_i, which holds until done_o (pulse, when the last beat was taken). Digest words come from the
// record RAM (st_*, data in the next cycle), bitmap words from saf_bulk, one request at a time.
// Latency: three cycles a beat, some ten for each 64 bits of bitmap. Reset: idle. Back-pressure: msg_ready_i.

module saf_xfer_say
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic start_i,
    input xfer_say_t say_i,
    input logic [31:0] window_blocks_i,
    output logic [15:0] length_o,
    output logic done_o,
    output logic st_rd_o,
    output xfer_addr_t st_addr_o,
    input logic [63:0] st_data_i,
    output logic [1:0] found_word_o,  // of the root found, likewise
    input logic [63:0] found_data_i,
    output logic bm_rd_valid_o,
    output logic [10:0] bm_word_o,
    input logic bm_valid_i,
    input logic [63:0] bm_data_i,
    output logic msg_valid_o,
    input logic msg_ready_i,
    output logic [63:0] msg_data_o,
    output logic msg_last_o
);

  typedef enum logic [1:0] {
    StIdle,
    StAsk,
    StTake,
    StPut
  } state_e;

  state_e state_q;
  logic [7:0] beat_q;
  logic [63:0] head, bitmap, head_q, map_q, announced_q, found_q;
  logic [31:0] credit;
  logic [6:0] map_word;
  logic [7:0] beats;
  logic [11:0] still;  // below zero while bytes are left
  logic is_map, is_digest, full, take, unused;

  always_comb begin
    case (say_i.opcode)
      saf_pkg::OpcodeReady: length_o = 16'(saf_pkg::ReadyBytes);
      saf_pkg::OpcodeNack: length_o = 16'(saf_pkg::NackBytes) + 16'(say_i.bits[13:3]) + 16'(|say_i.bits[2:0]);
      saf_pkg::OpcodeVerdict: length_o = 16'(saf_pkg::VerdictBytes);
      default: length_o = 16'(saf_pkg::AnswerBytes);
    endcase
  end

  // ---------------------------------------------------------------- beats that come from say_i

  assign credit = say_i.received + window_blocks_i;
  assign full = say_i.opcode != saf_pkg::OpcodeAborted && !say_i.blank;

  always_comb begin
    case (beat_q[1:0])
      2'd0: begin
        head = {10'd0, say_i.status, 5'd0, say_i.state, 8'd0, say_i.received};
        if (say_i.opcode == saf_pkg::OpcodeReady) head[33:32] = say_i.ctx;
      end
      2'd1: head = {say_i.opcode == saf_pkg::OpcodeVerdict ? {18'd0, say_i.leaves} : credit, 14'd0, say_i.missing};
      2'd2: head = {14'd0, say_i.lowest, 16'd0, say_i.sections};
      default: head = {say_i.first_block, 18'd0, say_i.bits};
    endcase
  end

  // ---------------------------------------------------------------- beats from elsewhere

  assign is_map = say_i.opcode == saf_pkg::OpcodeNack && beat_q >= 8'd4;
  assign is_digest = say_i.opcode == saf_pkg::OpcodeVerdict && beat_q >= 8'd2;
  assign st_rd_o = state_q == StAsk && is_digest;
  assign found_word_o = beat_q[1:0] ^ 2'd2;  // the digest begins with beat 2
  assign st_addr_o = {say_i.digest[8:2], found_word_o};
  assign bm_rd_valid_o = state_q == StAsk && is_map;
  assign map_word = {beat_q[6:2] - 5'd1, beat_q[1:0]};
  assign bm_word_o = {say_i.first_block[16:13], map_word};  // a section's first block
  // bit 0 of the first byte is the section's first block
  always_comb for (int i = 0; i < 8; i++) bitmap[8*(7-i)+:8] = bm_data_i[8*i+:8];

  assign msg_valid_o = state_q == StPut;
  assign msg_data_o = head_q | map_q | announced_q | found_q;
  assign beats = beat_q + 8'd1;
  assign still = {1'b0, beats, 3'd0} - {1'b0, length_o[10:0]};
  assign msg_last_o = !still[11];
  assign done_o = state_q == StPut && msg_ready_i && msg_last_o;
  assign unused = ^{say_i.first_block, say_i.digest[1:0], still};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      beat_q <= '0;
    end else begin
      case (state_q)
        StIdle:
        if (start_i) begin
          beat_q <= '0;
          state_q <= StAsk;
        end
        StAsk: state_q <= StTake;
        StTake:
        if (!is_map || bm_valid_i) state_q <= StPut;
        default:
        if (msg_ready_i) begin
          beat_q <= beats;
          state_q <= msg_last_o ? StIdle : StAsk;
        end
      endcase
    end
  end

  // Each source has flops of its own, cleared by their own clear when it has nothing to say: an OR of four takes less than a
  // choice among them.
  assign take = state_q == StTake && (!is_map || bm_valid_i);
  always_ff @(posedge clk_i) begin
    if ((!full && beat_q != '0) || is_map || is_digest) head_q[63:48] <= '0;
    else head_q[63:48] <= head[63:48];
    if (!full || is_map || is_digest) head_q[47:0] <= '0;
    else head_q[47:0] <= head[47:0];
    if (take && !is_map) map_q <= '0;
    else if (take) map_q <= bitmap;
    if (take && !(is_digest && say_i.with_digest && !say_i.found)) announced_q <= '0;
    else if (take) announced_q <= st_data_i;
    if (take && !(is_digest && say_i.with_digest && say_i.found)) found_q <= '0;
    else if (take) found_q <= found_data_i;
  end

endmodule
