// Makes frames of messages (header, sequence number, tag), and lets whole data frames pass between them.
//
// Data flow: one message at a time, port 0 first → header from its meta, then its payload, to out_*; under suite 1 the same
// beats go to the hash client, whose digest's first 16 bytes follow as the tag. Data frames (tf_*) pass when no message
// waits; what one unit sends in order leaves in order.
// Latency: message to its first beat three cycles; the tag takes what the hash takes. Reset: whatever was under way is lost.
// Back-pressure: out_ready_i stalls all; the two beats of a tag are written without asking (the ring keeps room for them).
// Sequence: frames of the session count up from what seq_load_i set; a message may bring a number and a key of its own.

`include "saf_assert.svh"

module saf_tx_build
  import saf_shell_pkg::*;
#(
    parameter int unsigned NumMsg = 6
) (
    input logic clk_i,
    input logic rst_ni,
    // verilator lint_off UNUSEDSIGNAL
    input cfg_t cfg_i,  // address, EtherTypes, suite
    input session_view_t session_i,  // key bank
    // verilator lint_on UNUSEDSIGNAL
    input logic link_up_i,
    input logic seq_load_i,
    input logic [63:0] seq_load_value_i,
    input logic [NumMsg-1:0] msg_valid_i,
    output logic [NumMsg-1:0] msg_ready_o,
    input msg_meta_t [NumMsg-1:0] msg_meta_i,
    input logic [NumMsg-1:0][63:0] msg_data_i,
    input logic [NumMsg-1:0] msg_last_i,
    output logic hash_valid_o,
    input logic hash_ready_i,
    output hash_req_t hash_req_o,
    output logic hash_dvalid_o,
    input logic hash_dready_i,
    output logic [63:0] hash_data_o,
    output logic hash_dlast_o,
    input logic hash_done_i,
    input logic [127:0] hash_tag_i,  // first 16 bytes of the digest
    input logic tf_valid_i,
    output logic tf_ready_o,
    input logic [63:0] tf_data_i,
    input logic tf_last_i,
    input logic [3:0] tf_bytes_i,
    output logic out_valid_o,
    input logic out_ready_i,
    output logic [63:0] out_data_o,
    output logic out_last_o,
    output logic [2:0] out_empty_o,
    output logic out_keep_o,
    output logic tx_count_o
);

  typedef enum logic [2:0] {
    StIdle,
    StAsk,  // for the hash engine
    StHead,
    StBody,
    StWait,  // for the digest; its first half is written at once
    StTag,
    StFrame
  } state_e;

  state_e state_q, state_d;
  logic [NumMsg-1:0] grant_q, grant_d;
  logic [2:0] head_q;
  logic [63:0] sequence_q, tag_low_q;

  // ---------------------------------------------------------------- the message in hand

  msg_meta_t meta;
  logic [63:0] body;
  logic body_valid, body_last, with_tag;
  logic [15:0] ethertype;
  logic [63:0] head;

  always_comb begin
    meta = '0;
    body = '0;
    for (int unsigned i = 0; i < NumMsg; i++) begin
      meta |= msg_meta_i[i] & {$bits(msg_meta_t) {grant_q[i]}};
      body |= msg_data_i[i] & {64{grant_q[i]}};
    end
  end

  assign body_valid = |(msg_valid_i & grant_q);
  assign body_last = |(msg_last_i & grant_q);
  assign with_tag = meta.sealed && cfg_i.key_valid;

  always_comb begin
    ethertype = '0;
    for (int unsigned i = 0; i < 7; i++) begin
      if (meta.etype == etype_e'(3'(i))) ethertype = cfg_i.ethertypes[i];
    end
  end

  always_comb begin
    case (head_q)
      3'd0: head = {meta.dst, cfg_i.mac0[47:32]};
      3'd1:
      head = {cfg_i.mac0[31:0], ethertype, 4'(saf_pkg::ProtocolVersion),
              with_tag ? saf_pkg::SuiteBlake2s : saf_pkg::SuiteNone, meta.opcode};
      3'd2: head = {meta.session, meta.length, 16'h0000};
      3'd3: head = {meta.object, meta.index};
      default: head = !meta.sealed ? '0 : meta.own_sequence ? meta.sequence_ : sequence_q;
    endcase
  end

  // ---------------------------------------------------------------- one frame after the other

  logic sendable, moves;  // a beat of header or payload is there; it goes to the ring and to the hash in this cycle

  assign sendable = state_q == StHead || (state_q == StBody && body_valid);
  assign moves = sendable && out_ready_i && (!with_tag || hash_dready_i);

  always_comb begin
    grant_d = '0;
    for (int i = int'(NumMsg) - 1; i >= 0; i--) begin
      if (msg_valid_i[i]) begin
        grant_d = '0;
        grant_d[i] = 1'b1;
      end
    end
  end

  always_comb begin
    state_d = state_q;
    case (state_q)
      StIdle:
      if (|msg_valid_i) state_d = StAsk;
      else if (tf_valid_i) state_d = StFrame;
      StAsk: if (!with_tag || hash_ready_i) state_d = StHead;
      StHead: if (moves && head_q == 3'd4) state_d = StBody;
      StBody: if (moves && body_last) state_d = with_tag ? StWait : StIdle;
      StWait: if (hash_done_i) state_d = StTag;
      StTag: state_d = StIdle;
      StFrame: if (tf_valid_i && out_ready_i && tf_last_i) state_d = StIdle;
      default: state_d = StIdle;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      grant_q <= '0;
      head_q <= '0;
      sequence_q <= '0;
      tag_low_q <= '0;
    end else begin
      state_q <= state_d;
      if (state_q == StIdle) grant_q <= grant_d;
      if (state_q == StHead && moves) head_q <= head_q == 3'd4 ? '0 : head_q + 1'b1;
      if (seq_load_i) sequence_q <= seq_load_value_i;
      else if (state_q == StAsk && state_d == StHead && meta.sealed && !meta.own_sequence)
        sequence_q <= sequence_q + 64'd1;
      if (state_q == StWait && hash_done_i) tag_low_q <= hash_tag_i[63:0];
    end
  end

  // ---------------------------------------------------------------- outputs

  logic [63:0] content;

  assign content = state_q == StHead ? head : body;

  assign hash_valid_o = state_q == StAsk && with_tag;
  assign hash_dvalid_o = sendable && with_tag && out_ready_i;
  assign hash_data_o = content;
  assign hash_dlast_o = state_q == StBody && body_last;

  always_comb begin
    hash_req_o = '0;
    hash_req_o.keyed = 1'b1;
    hash_req_o.key_index = meta.own_sequence ? meta.key_index : key_of(session_i.key_bank, 1'b1);
    hash_req_o.person = saf_pkg::PersonFrameTag;
    hash_req_o.bytes = 14'(saf_pkg::HeaderBytes) + padded8(14'(meta.length));
    hash_req_o.digest_bytes = 6'(saf_pkg::TagBytes);
  end

  assign msg_ready_o = grant_q & {NumMsg{state_q == StBody && moves}};
  assign tf_ready_o = state_q == StFrame && out_ready_i;

  always_comb begin
    out_valid_o = moves;
    out_data_o = content;
    out_last_o = state_q == StBody && body_last && !with_tag;
    out_empty_o = '0;
    case (state_q)
      StWait: begin
        out_valid_o = hash_done_i;
        out_data_o = hash_tag_i[127:64];
      end
      StTag: begin
        out_valid_o = 1'b1;
        out_data_o = tag_low_q;
        out_last_o = 1'b1;
      end
      StFrame: begin
        out_valid_o = tf_valid_i && out_ready_i;
        out_data_o = tf_data_i;
        out_last_o = tf_last_i;
        // of 1 to 8 bytes
        out_empty_o = tf_last_i ? 3'(4'd8 - tf_bytes_i) : '0;
      end
      default: ;
    endcase
  end

  assign out_keep_o = link_up_i;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) tx_count_o <= 1'b0;
    else tx_count_o <= out_valid_o && out_last_o && link_up_i;
  end

  for (genvar i = 0; i < NumMsg; i++) begin : gen_msg
    `SAF_STABLE(AssertStable, msg_valid_i[i], msg_ready_o[i], ({msg_meta_i[i], msg_data_i[i], msg_last_i[i]}), clk_i,
                rst_ni)
  end
  `SAF_STABLE(AssertFrameStable, tf_valid_i, tf_ready_o, ({tf_data_i, tf_last_i}), clk_i, rst_ni)
  `SAF_STABLE(AssertHashStable, hash_dvalid_o, hash_dready_i, ({hash_data_o, hash_dlast_o}), clk_i, rst_ni)
  `SAF_STABLE(AssertAskStable, hash_valid_o, hash_ready_i, hash_req_o, clk_i, rst_ni)
  `SAF_ASSERT(AssertBytes, !(tf_valid_i && tf_last_i) || (tf_bytes_i >= 4'd1 && tf_bytes_i <= 4'd8))

endmodule
