// Guard of a GUARDED block: the first of two passes over its frame.
//
// Purpose: keyed BLAKE2s over frame bytes 14 to 31 and the block (auth.guard_tag), compared with frame bytes 32 to 39.
// Data flow: start_i (held until done_o) → hash request → frame beats 1, 2, 3, 5 and following, moved by two bytes, to the
// hash client → beat 4 is read and kept by the frame RAM's output register → done_o with ok_o when the digest comes.
// Latency: one beat a cycle, then the engine's time. Reset: idle. Back-pressure: hash_dready_i stalls reading.
// Constraints: the frame is the oldest unfinished one and nobody else reads the frame RAM meanwhile.

`include "saf_assert.svh"

module saf_bulk_guard
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic start_i,
    input logic [FrameBytesBits-1:0] bytes_i,  // of the block
    input logic keyed_i,
    input logic [2:0] key_index_i,
    output logic done_o,
    output logic ok_o,
    output logic rd_en_o,
    output logic [BeatBits-1:0] rd_addr_o,
    input logic [63:0] rd_data_i,
    output logic hash_valid_o,
    input logic hash_ready_i,
    output hash_req_t hash_req_o,
    output logic hash_dvalid_o,
    input logic hash_dready_i,
    output logic [63:0] hash_data_o,
    output logic hash_dlast_o,
    input logic hash_done_i,
    input logic [255:0] hash_digest_i
);

  localparam int unsigned HeadBytes = 18;  // frame bytes 14 to 31
  localparam logic [BeatBits-1:0] FirstBeat = 1;
  localparam logic [BeatBits-1:0] LastHeadBeat = 3;
  localparam logic [BeatBits-1:0] TagBeat = 4;
  localparam logic [BeatBits-1:0] BlockBeat = 5;

  typedef enum logic [2:0] {
    StIdle,
    StPrime,
    StStream,
    StTag,
    StWait
  } state_e;

  state_e state_q;
  logic have_q, last_q;
  logic [15:0] carry_q;
  logic [BeatBits-1:0] beat_q, final_beat;
  logic [FrameBytesBits-1:0] hashed_bytes;
  logic taken;

  assign hashed_bytes = bytes_i + FrameBytesBits'(HeadBytes);
  // hashed beat k ends in frame beat k + 3 (from the third on; beat 4 is left out)
  assign final_beat = BeatBits'((hashed_bytes + FrameBytesBits'(7)) >> 3) + BeatBits'(2);

  assign hash_valid_o = start_i && state_q == StIdle;
  assign hash_req_o = '{
          keyed: keyed_i,
          key_index: key_index_i,
          person: saf_pkg::PersonGuardTag,
          bytes: hashed_bytes,
          digest_bytes: 6'(saf_pkg::GuardBytes),
          default: '0
      };

  assign taken = hash_dvalid_o && hash_dready_i;
  assign hash_dvalid_o = state_q == StStream && have_q;
  assign hash_dlast_o = last_q;

  // what follows the hashed bytes in the last beat is padding of the frame: the engine looks at no more than hashed_bytes
  assign hash_data_o = {carry_q, rd_data_i[63:16]};

  assign rd_addr_o = state_q == StTag ? TagBeat : beat_q;
  assign rd_en_o = state_q == StPrime || state_q == StTag || (state_q == StStream && !last_q && (!have_q || taken));

  assign done_o = state_q == StWait && hash_done_i;
  assign ok_o = hash_digest_i[255:192] == rd_data_i;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      have_q <= 1'b0;
      last_q <= 1'b0;
      carry_q <= '0;
      beat_q <= FirstBeat;
    end else begin
      case (state_q)
        StIdle: begin
          beat_q <= FirstBeat;
          have_q <= 1'b0;
          last_q <= 1'b0;
          if (start_i && hash_ready_i) state_q <= StPrime;
        end
        StPrime: begin
          // beat 1 is read; only its last two bytes are hashed, so it goes to the carry when beat 2 is read
          beat_q <= beat_q + 1'b1;
          state_q <= StStream;
        end
        StStream: begin
          if (rd_en_o) begin
            have_q <= 1'b1;
            last_q <= beat_q == final_beat;
            carry_q <= rd_data_i[15:0];
            beat_q <= beat_q == LastHeadBeat ? BlockBeat : beat_q + 1'b1;
          end else if (taken) begin
            state_q <= StTag;
          end
        end
        StTag: state_q <= StWait;
        StWait: if (hash_done_i) state_q <= StIdle;
        default: state_q <= StIdle;
      endcase
    end
  end

  `SAF_STABLE(AssertRequestStable, hash_valid_o, hash_ready_i, hash_req_o, clk_i, rst_ni)
  `SAF_STABLE(AssertDataStable, hash_dvalid_o, hash_dready_i, {hash_data_o, hash_dlast_o}, clk_i, rst_ni)
  `SAF_ASSERT(AssertHeld, state_q == StIdle || start_i)

  // the digest is longer than the tag
  logic unused_digest;
  assign unused_digest = ^hash_digest_i[191:0];

endmodule
