// saf_rx_parse beside a shadow of the frame and the reference's verdict on it; for saf_rx_fields_formal and saf_rx_judge_formal.
//
// `agrees_o`: the design's registers of the header's fields are what the shadow says they must be. What the design derives
// from them in the next cycle is not looked at here: it follows from two cycles in which they agree. `right_o`: what the
// design says of a frame that ends (keep, drop and why, or not for us) is what the reference says.
//
// The reference (`judge`) is written after wire/codec.py (Codec.parse, _group_data) and lab/card.py (VirtualCard._control),
// in their order and from the frame's bytes; what it shares with the design is the opcodes' table in the generated package.
// MAC, link and configuration are free; the configuration stays as it is. The shadow keeps the header as it passed and the
// number of bytes. Assumed: an MTU of at most 9,004 bytes (what the RAMs are made for), EtherTypes that are no VLAN tags'.

module saf_rx_shadow
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic link_up, valid, sop, eop, error,
    input logic [2:0] empty,
    input logic [63:0] data,
    input logic [47:0] any_mac,
    input logic [15:0] any_mtu,
    input logic [6:0][15:0] any_ethertypes,
    output logic agrees_o,
    output logic right_o
);

  localparam int unsigned BytesBits = 20;
  localparam logic [BeatBits-1:0] LastBeat = 11'd1152;  // where the design's count of beats stays
  localparam logic [15:0] MaxMtu = 16'd9004;
  logic rst_n_q = 1'b0;
  logic [47:0] mac_q;
  logic [15:0] mtu_q;
  logic [6:0][15:0] ethertypes_q;
  cfg_t cfg;

  always_ff @(posedge clk_i) begin
    rst_n_q <= 1'b1;
    if (!rst_n_q) begin
      mac_q <= any_mac;
      mtu_q <= any_mtu;
      ethertypes_q <= any_ethertypes;
    end
  end

  always_comb begin
    cfg = '0;
    cfg.mac0 = mac_q;
    cfg.mtu = mtu_q;
    cfg.ethertypes = ethertypes_q;
  end

  logic beat_valid, frame_end, take_data, take_ctl, drop, is_data, bcast, suite;
  logic [BeatBits-1:0] beat_index;
  logic [63:0] beat_data;
  logic [4:0] reason;
  etype_e etype;
  logic [7:0] opcode;
  logic [FrameBytesBits-1:0] size;

  saf_rx_parse u_parse (
      .clk_i,
      .rst_ni(rst_n_q),
      .cfg_i(cfg),
      .link_up_i(link_up),
      .mac_rx_valid_i(valid),
      .mac_rx_sop_i(sop),
      .mac_rx_eop_i(eop),
      .mac_rx_error_i(error),
      .mac_rx_empty_i(empty),
      .mac_rx_data_i(data),
      .beat_valid_o(beat_valid),
      .beat_index_o(beat_index),
      .beat_data_o(beat_data),
      .end_o(frame_end),
      .take_data_o(take_data),
      .take_ctl_o(take_ctl),
      .drop_o(drop),
      .drop_reason_o(reason),
      .is_data_o(is_data),
      .etype_o(etype),
      .bcast_o(bcast),
      .suite_o(suite),
      .opcode_o(opcode),
      .size_o(size)
  );

  // ---------------------------------------------------------------- shadow: the frame as it passed

  // number of an EtherType in the configuration; EtNone: none of ours
  function automatic logic [2:0] number(input logic [15:0] value, input logic [6:0][15:0] all);
    number = 3'd7;
    for (int unsigned i = 0; i < 7; i++) if (all[i] == value) number = 3'(i);
  endfunction

  function automatic logic [15:0] canonical(input logic [2:0] n);
    case (n)
      3'd0: return saf_pkg::EthertypeDiscovery;
      3'd1: return saf_pkg::EthertypeImage;
      3'd2: return saf_pkg::EthertypeImageAnswer;
      3'd3: return saf_pkg::EthertypeInput;
      3'd4: return saf_pkg::EthertypeInputAnswer;
      3'd5: return saf_pkg::EthertypeControl;
      3'd6: return saf_pkg::EthertypeResult;
      default: return 16'h0000;
    endcase
  endfunction

  // fields, by the bytes they lie in (beat 0: 0 to 7, beat 1: 8 to 15, beat 2: 16 to 23)
  typedef struct packed {
    logic own;
    logic all;
    logic group_source;
    logic [2:0] ethertype;  // its number in the configuration
    logic is_tpid;
    logic [3:0] version;
    logic [3:0] kind;
    logic [7:0] code;
    logic [2:0] inner;  // number of the EtherType behind a VLAN tag
    logic [15:0] length;
  } header_t;

  logic begun_q = 1'b0;  // a frame began since reset
  logic open_q = 1'b0, ends_q = 1'b0;
  logic [BeatBits-1:0] at_q;  // number of its latest beat; stays at 2047, behind any MTU
  logic [2:0] empty_q;
  logic [BytesBits-1:0] bytes;
  header_t head_q;
  logic take;
  logic [BeatBits-1:0] at;

  assign take = valid && link_up && (sop || open_q);
  assign at = sop ? '0 : at_q == '1 ? at_q : at_q + 1'b1;
  assign bytes = (BytesBits'(at_q) << 3) + 20'd8 - BytesBits'(empty_q);

  always_ff @(posedge clk_i) begin
    if (rst_n_q) begin
      if (!link_up) open_q <= 1'b0;
      else if (take) open_q <= !eop;
      ends_q <= take && eop && !error;
      if (take) begin
        begun_q <= 1'b1;
        at_q <= at;
        empty_q <= empty;
        if (at == 11'd0) begin
          head_q.own <= data[63:16] == mac_q;
          head_q.all <= data[63:16] == 48'hFFFF_FFFF_FFFF;
          head_q.group_source <= data[8];
        end
        if (at == 11'd1) begin
          head_q.ethertype <= number(u_parse.type_word, ethertypes_q);
          head_q.is_tpid <= data[31:16] == 16'h8100 || data[31:16] == 16'h88A8;
          head_q.version <= data[15:12];
          head_q.kind <= data[11:8];
          head_q.code <= data[7:0];
        end
        if (at == 11'd2) begin
          head_q.inner <= number(u_parse.type_word, ethertypes_q);
          head_q.length <= data[31:16];
        end
      end
    end
  end

  // ---------------------------------------------------------------- the reference

  typedef struct packed {
    logic counts;  // of our EtherTypes
    logic data;
    logic keep;
    logic drop;
    logic [4:0] reason;
  } verdict_t;

  function automatic verdict_t judge(
      input header_t head, input logic [BytesBits-1:0] bytes, input logic [15:0] mtu);
    logic [15:0] fixed;
    logic tagged_vlan, ours;
    logic [BytesBits-1:0] wanted;

    tagged_vlan = head.is_tpid && bytes >= 20'd18 && head.inner != 3'd7;
    ours = bytes >= 20'd14 && head.ethertype != 3'd7;

    judge = '0;
    judge.counts = ours || tagged_vlan;
    judge.data = bytes >= 20'd40 && head.code == saf_pkg::OpcodeData;
    judge.drop = 1'b1;

    if (!head.own && !head.all) begin
      judge.drop = 1'b0;
    end else if (tagged_vlan) begin
      judge.reason = 5'(saf_pkg::DropReasonVlan);
    end else if (bytes < 20'd40) begin
      judge.reason = 5'(saf_pkg::DropReasonTruncated);
    end else if (bytes > BytesBits'(mtu) + 20'd14) begin
      judge.reason = 5'(saf_pkg::DropReasonOversized);
    end else if (head.version != 4'd1) begin
      judge.reason = 5'(saf_pkg::DropReasonBadVersion);
    end else if (judge.data) begin
      if (head.kind != 4'd0) judge.reason = 5'(saf_pkg::DropReasonBadSuite);
      else if (BytesBits'(head.length) + 20'd40 > bytes) judge.reason = 5'(saf_pkg::DropReasonTruncated);
      else begin
        judge.keep = 1'b1;
        judge.drop = 1'b0;
      end
    end else begin
      fixed = saf_pkg::opcode_payload_bytes(head.code);
      // header, payload padded to eight bytes, tag
      wanted = BytesBits'(head.length);
      if (wanted[2:0] != 3'd0) wanted = {wanted[BytesBits-1:3] + 1'b1, 3'd0};
      wanted = wanted + 20'd40;
      if (head.kind == 4'd1 && saf_pkg::opcode_tagged(head.code)) wanted = wanted + 20'd16;

      if (head.kind > 4'd1) judge.reason = 5'(saf_pkg::DropReasonBadSuite);
      else if (!saf_pkg::opcode_from_host(head.code) && !saf_pkg::opcode_from_card(head.code)) begin
        judge.reason = 5'(saf_pkg::DropReasonUnknownOpcode);
      end else if (saf_pkg::opcode_from_card(head.code)) begin
        judge.reason = 5'(saf_pkg::DropReasonWrongDirection);
        if (head.all && head.code == saf_pkg::OpcodeHello) judge.drop = 1'b0;
      end else if (!saf_pkg::opcode_on_ethertype(head.code, canonical(head.ethertype))) begin
        judge.reason = 5'(saf_pkg::DropReasonWrongEthertype);
      end else if (head.length < fixed || (head.length != fixed && !saf_pkg::opcode_has_tail(head.code))) begin
        judge.reason = 5'(saf_pkg::DropReasonLyingLength);
      end else if (bytes < wanted) judge.reason = 5'(saf_pkg::DropReasonTruncated);
      else if (bytes > wanted && bytes > 20'd60) judge.reason = 5'(saf_pkg::DropReasonLyingLength);
      else if (head.group_source) judge.reason = 5'(saf_pkg::DropReasonWrongSource);
      else begin
        judge.keep = 1'b1;
        judge.drop = 1'b0;
      end
    end
  endfunction
  verdict_t said;
  assign said = judge(head_q, bytes, mtu_q);

  // ---------------------------------------------------------------- the verdict

  always_comb begin
    right_o = 1'b1;
    if (rst_n_q) begin
      right_o &= (frame_end == (ends_q && said.counts));
      right_o &= (take_data == (frame_end && said.keep && said.data));
      right_o &= (take_ctl == (frame_end && said.keep && !said.data));
      if (frame_end) begin
        right_o &= (drop == said.drop);
        if (drop) right_o &= (reason == said.reason);
        right_o &= (is_data == said.data);
        right_o &= (bcast == head_q.all);
      end
      if (take_data || take_ctl) begin
        right_o &= (BytesBits'(size) == bytes && suite == head_q.kind[0] && opcode == head_q.code);
        right_o &= (3'(etype) == head_q.ethertype);
        right_o &= (beat_valid && beat_index == at_q);
      end
    end
  end

  // ---------------------------------------------------------------- the design's registers and the shadow

  always_comb begin
    agrees_o = 1'b1;
    assume (any_mtu <= MaxMtu);
    for (int unsigned i = 0; i < 7; i++) assume (any_ethertypes[i] != 16'h8100 && any_ethertypes[i] != 16'h88A8);
    if (!rst_n_q) agrees_o &= (!begun_q && !open_q && !ends_q);
    else begin
      agrees_o &= (mtu_q <= MaxMtu);
      for (int unsigned i = 0; i < 7; i++) begin
        agrees_o &= (ethertypes_q[i] != 16'h8100 && ethertypes_q[i] != 16'h88A8);
      end
      // the word that both look up is the one where an EtherType is, or the one behind a VLAN tag
      if (take && at == 11'd1) agrees_o &= (u_parse.type_word == data[31:16]);
      if (take && at == 11'd2) agrees_o &= (u_parse.type_word == data[63:48]);
      agrees_o &= (u_parse.in_frame_q == open_q);
      agrees_o &= (!open_q || begun_q);
      agrees_o &= (u_parse.last_q == ends_q);
      agrees_o &= (!ends_q || begun_q);
      if (!begun_q) agrees_o &= (!u_parse.beat_valid_q);
      if (begun_q) begin
        agrees_o &= (u_parse.index_q == (at_q > LastBeat ? LastBeat : at_q));
        agrees_o &= (u_parse.size_q == {u_parse.index_q + 1'b1, 3'd0} - FrameBytesBits'(empty_q));
        if (ends_q) agrees_o &= (u_parse.beat_valid_q == (at_q < LastBeat));
        agrees_o &= (u_parse.own_q == head_q.own);
        agrees_o &= (u_parse.bcast_q == head_q.all);
        agrees_o &= (u_parse.group_source_q == head_q.group_source);
        if (at_q == 11'd0) agrees_o &= (u_parse.etype_q == EtNone && !u_parse.tagged_vlan_q);
        if (at_q >= 11'd1) begin
          agrees_o &= (3'(u_parse.etype_q) == head_q.ethertype);
          agrees_o &= (u_parse.tagged_vlan_q == head_q.is_tpid);
          agrees_o &= (u_parse.version_ok_q == (head_q.version == 4'd1));
          agrees_o &= (u_parse.suite_q == head_q.kind);
          agrees_o &= (u_parse.opcode_q == head_q.code);
        end
        if (at_q < 11'd2) agrees_o &= (!u_parse.vlan_ours_q);
        else begin
          agrees_o &= (u_parse.length_q == head_q.length);
          agrees_o &= (u_parse.vlan_ours_q == (head_q.is_tpid && head_q.inner != 3'd7));
        end
      end
    end
  end

endmodule
