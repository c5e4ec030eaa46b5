// Makes frames of messages (header, sequence number, tag), and lets whole data frames pass between them.
//
// Data flow: one message at a time, port 0 first → header from its meta, then its payload, to out_*; under suite 1 the same
// beats go to the hash client, whose digest's first 16 bytes follow as the tag. Data frames (tf_*) pass when no message
// waits; what one unit sends in order leaves in order.
// Latency: message to its first beat three cycles; the tag takes what the hash takes. Reset: whatever was under way is lost.
// Back-pressure: out_ready_i stalls all; the two beats of a tag are written without asking (the ring keeps room for them).
// Ports: 0 to NumMsg - 3 are units that answer the session's host: always sealed, dst and session are the session's, sequence
// numbers count up from what seq_load_i set, the first one; these fields of their meta are not looked at. NumMsg - 2 is the
// session's unit: it gives dst and session, always sealed, and may bring a number and a key of its own. NumMsg - 1 is
// discovery: HELLO only.
// A session that replaces another changes session_i while answers of the old one may still wait here: the view of it
// follows only when one of the last two ports gets its turn, which is when no answer waits (a session begins with OPENED).

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
    input session_view_t session_i,  // host, id, key bank
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

  localparam int unsigned GrantWidth = $clog2(NumMsg);

  if (NumMsg < 3) begin : gen_bad_ports
    $error("saf_tx_build: at least 3 ports");
  end

  state_e state_q, state_d;
  logic [GrantWidth-1:0] grant_q, grant_d;
  logic [2:0] head_q;
  logic [63:0] sequence_q, tag_low_q;

  // ---------------------------------------------------------------- the message in hand
  // A port is narrowed to the 64 bits of the beat in turn, then one port is chosen. What choosing among whole metas would
  // take is the largest part of this module, so only what can differ is looked at (see the header).

  localparam int unsigned Answers = NumMsg - 2, PortSession = NumMsg - 2, PortHello = NumMsg - 1;
  localparam int unsigned AnswerBits = Answers > 1 ? $clog2(Answers) : 1;
  localparam int unsigned Leaves = 2 ** AnswerBits;


  logic [63:0] fixed, number, names, payload, content;
  logic [15:0] length;
  logic [7:0] opcode;
  logic [2:0] etype;
  logic body_valid, body_last, answers, sealed, own_sequence, with_tag;
  logic [15:0] ethertype;
  logic [47:0] host_q, dst;
  logic [31:0] session_q, session;
  logic bank_q;

  // an explicit tree of two-way choices: what a mapper makes of an index is larger
  for (genvar i = 1; i < 2 * Leaves; i++) begin : gen_tree
    logic [154:0] node;
    if (i >= Leaves + Answers) begin : gen_none
      assign node = '0;
    end else if (i >= Leaves) begin : gen_leaf
      localparam int unsigned Port = i - Leaves;
      assign node = {
        msg_meta_i[Port].opcode, msg_meta_i[Port].etype, msg_meta_i[Port].length, msg_meta_i[Port].object,
        msg_meta_i[Port].index, msg_data_i[Port]
      };
    end else begin : gen_node
      // its children are 2i and 2i + 1; the root looks at the highest bit of the port's number
      assign node = grant_q[AnswerBits-$clog2(i+1)] ? gen_tree[2*i+1].node : gen_tree[2*i].node;
    end
  end

  logic hello;
  assign hello = grant_q == GrantWidth'(PortHello);

  always_comb begin
    {opcode, etype, length, names, payload} = gen_tree[1].node;
    dst = host_q;
    session = session_q;
    if (!answers) begin
      opcode = hello ? saf_pkg::OpcodeHello : msg_meta_i[PortSession].opcode;
      etype = hello ? EtDiscovery : msg_meta_i[PortSession].etype;
      length = hello ? 16'(saf_pkg::HelloBytes) : msg_meta_i[PortSession].length;
      names = hello ? '0 : {msg_meta_i[PortSession].object, msg_meta_i[PortSession].index};
      payload = hello ? msg_data_i[PortHello] : msg_data_i[PortSession];
      dst = hello ? msg_meta_i[PortHello].dst : msg_meta_i[PortSession].dst;
      session = hello ? '0 : msg_meta_i[PortSession].session;
    end
  end

  assign body_valid = msg_valid_i[grant_q];
  assign body_last = msg_last_i[grant_q];
  assign answers = grant_q < GrantWidth'(PortSession);
  assign sealed = grant_q != GrantWidth'(PortHello);
  assign own_sequence = grant_q == GrantWidth'(PortSession) && msg_meta_i[PortSession].own_sequence;
  assign number = !sealed ? '0 : own_sequence ? msg_meta_i[PortSession].sequence_ : sequence_q;
  assign with_tag = sealed && cfg_i.key_valid;

  always_comb begin
    ethertype = '0;
    for (int unsigned i = 0; i < 7; i++) begin
      if (etype == 3'(i)) ethertype = cfg_i.ethertypes[i];
    end
  end

  // five beats of header, then the payload
  always_comb begin
    case (head_q)
      3'd0: fixed = {dst, cfg_i.mac0[47:32]};
      3'd1:
      fixed = {cfg_i.mac0[31:0], ethertype, 4'(saf_pkg::ProtocolVersion),
               with_tag ? saf_pkg::SuiteBlake2s : saf_pkg::SuiteNone, opcode};
      3'd2: fixed = {session, length, 16'd0};
      3'd3: fixed = names;
      default: fixed = number;
    endcase
    content = state_q == StBody ? payload : fixed;
  end

  // ---------------------------------------------------------------- one frame after the other

  logic sendable, moves;  // a beat of header or payload is there; it goes to the ring and to the hash in this cycle

  assign sendable = state_q == StHead || (state_q == StBody && body_valid);
  assign moves = sendable && out_ready_i && (!with_tag || hash_dready_i);

  always_comb begin
    grant_d = '0;
    for (int i = int'(NumMsg) - 1; i >= 0; i--) begin
      if (msg_valid_i[i]) grant_d = GrantWidth'(i);
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
      host_q <= '0;
      session_q <= '0;
      bank_q <= 1'b0;
      head_q <= '0;
      sequence_q <= '0;
      tag_low_q <= '0;
    end else begin
      state_q <= state_d;
      if (state_q == StIdle) grant_q <= grant_d;
      if (state_q == StIdle && grant_d >= GrantWidth'(PortSession)) begin
        host_q <= session_i.host;
        session_q <= session_i.id;
        bank_q <= session_i.key_bank;
      end
      if (state_q == StHead && moves) head_q <= head_q == 3'd4 ? '0 : head_q + 1'b1;
      if (seq_load_i) sequence_q <= seq_load_value_i;
      else if (state_q == StBody && state_d != StBody && sealed && !own_sequence)
        sequence_q <= sequence_q + 64'd1;
      if (state_q == StWait && hash_done_i) tag_low_q <= hash_tag_i[63:0];
    end
  end

  // ---------------------------------------------------------------- outputs

  assign hash_valid_o = state_q == StAsk && with_tag;
  assign hash_dvalid_o = sendable && with_tag && out_ready_i;
  assign hash_data_o = content;
  assign hash_dlast_o = state_q == StBody && body_last;

  always_comb begin
    hash_req_o = '0;
    hash_req_o.keyed = 1'b1;
    hash_req_o.key_index = own_sequence ? msg_meta_i[PortSession].key_index : key_of(bank_q, 1'b1);
    hash_req_o.person = saf_pkg::PersonFrameTag;
    hash_req_o.bytes = 14'(saf_pkg::HeaderBytes) + padded8(length[13:0]);
    hash_req_o.digest_bytes = 6'(saf_pkg::TagBytes);
  end

  always_comb begin
    msg_ready_o = '0;
    msg_ready_o[grant_q] = state_q == StBody && moves;
  end

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
  `SAF_ASSERT(AssertHello, !msg_valid_i[PortHello] || msg_meta_i[PortHello].length == 16'(saf_pkg::HelloBytes))
  `SAF_STABLE(AssertFrameStable, tf_valid_i, tf_ready_o, ({tf_data_i, tf_last_i}), clk_i, rst_ni)
  `SAF_STABLE(AssertHashStable, hash_dvalid_o, hash_dready_i, ({hash_data_o, hash_dlast_o}), clk_i, rst_ni)
  `SAF_STABLE(AssertAskStable, hash_valid_o, hash_ready_i, hash_req_o, clk_i, rst_ni)
  `SAF_ASSERT(AssertBytes, !(tf_valid_i && tf_last_i) || (tf_bytes_i >= 4'd1 && tf_bytes_i <= 4'd8))

endmodule
