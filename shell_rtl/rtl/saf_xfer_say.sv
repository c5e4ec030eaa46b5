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
  logic [7:0] beat_q, last_beat;
  logic [63:0] data_q, head, bitmap;
  logic [31:0] credit;
  logic [6:0] map_word;
  logic is_map, is_digest, full, unused;

  // beats: 2 of READY, 4 and the bitmap's of NACK, 6 of VERDICT
  always_comb begin
    case (say_i.opcode)
      saf_pkg::OpcodeReady: last_beat = 8'(saf_pkg::ReadyBytes / 8 - 1);
      saf_pkg::OpcodeNack: last_beat = 8'(saf_pkg::NackBytes / 8 - 1) + say_i.bits[13:6] + 8'(|say_i.bits[5:0]);
      saf_pkg::OpcodeVerdict: last_beat = 8'(saf_pkg::VerdictBytes / 8 - 1);
      default: last_beat = 8'((saf_pkg::AnswerBytes - 1) / 8);
    endcase
  end

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
    head = '0;
    case (beat_q[1:0])
      2'd0: begin
        head[63:48] = {10'd0, say_i.status};
        if (full) begin
          head[47:40] = {5'd0, say_i.state};
          if (say_i.opcode == saf_pkg::OpcodeReady) head[39:32] = {6'd0, say_i.ctx};
          head[31:0] = say_i.received;
        end
      end
      2'd1:
      if (full) begin
        head[63:32] = say_i.opcode == saf_pkg::OpcodeVerdict ? {18'd0, say_i.leaves} : credit;
        head[17:0] = say_i.missing;
      end
      2'd2: if (full) head = {14'd0, say_i.lowest, 16'd0, say_i.sections};
      default: if (full) head = {say_i.first_block, 18'd0, say_i.bits};
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
  assign msg_data_o = data_q;
  assign msg_last_o = beat_q == last_beat;
  assign done_o = state_q == StPut && msg_ready_i && msg_last_o;
  assign unused = ^{say_i.first_block, say_i.digest[1:0]};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      beat_q <= '0;
      data_q <= '0;
    end else begin
      case (state_q)
        StIdle:
        if (start_i) begin
          beat_q <= '0;
          state_q <= StAsk;
        end
        StAsk: state_q <= StTake;
        StTake:
        if (!is_map || bm_valid_i) begin
          data_q <= head;
          if (is_map) data_q <= bitmap;
          else if (is_digest) data_q <= !say_i.with_digest ? '0 : say_i.found ? found_data_i : st_data_i;
          state_q <= StPut;
        end
        default:
        if (msg_ready_i) begin
          beat_q <= beat_q + 8'd1;
          state_q <= msg_last_o ? StIdle : StAsk;
        end
      endcase
    end
  end

endmodule
