// Looks at frames as they come from the MAC and says at their end what to do with them, in the order of checks of the
// reference (wire/codec.py: parse and _group_data, lab/card.py: _control).
//
// Data flow: MAC beats → one register → beat_* (to the frame RAMs); flags of the header are picked from the beats as they
// pass. With the last beat on beat_*, end_o and the verdict are valid: take_data_o or take_ctl_o (keep it), drop_o with its
// reason, or none (not for us). The verdict is a function of registers alone.
// Latency: one cycle; a frame may follow the one before it in the next cycle. Reset: no frame is open.
// Back-pressure: none, a MAC cannot be stalled. A frame is ended by the next one's first beat (and forgotten) when its own
// last beat is missing; beats outside a frame are ignored; while the link is down nothing is received.
// What is ignored altogether: other EtherTypes, frames too short to have one, frames with a bad checksum.

module saf_rx_parse
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    // verilator lint_off UNUSEDSIGNAL
    input cfg_t cfg_i,  // own address, MTU, EtherTypes
    // verilator lint_on UNUSEDSIGNAL
    input logic link_up_i,
    input logic mac_rx_valid_i,
    input logic mac_rx_sop_i,
    input logic mac_rx_eop_i,
    input logic mac_rx_error_i,
    input logic [2:0] mac_rx_empty_i,
    input logic [63:0] mac_rx_data_i,
    // what to store
    output logic beat_valid_o,
    output logic [BeatBits-1:0] beat_index_o,
    output logic [63:0] beat_data_o,
    // verdict, valid with end_o
    output logic end_o,  // a whole frame with one of our EtherTypes: to be counted
    output logic take_data_o,
    output logic take_ctl_o,
    output logic drop_o,
    output logic [4:0] drop_reason_o,
    output logic is_data_o,
    output etype_e etype_o,
    output logic bcast_o,
    output logic suite_o,
    output logic [7:0] opcode_o,
    output logic [FrameBytesBits-1:0] size_o
);

  // beats beyond this are not stored: longer than any MTU (9,000 bytes) allows
  localparam logic [BeatBits-1:0] StoreBeats = 11'd1152;
  localparam logic [FrameBytesBits-1:0] HeaderSize = FrameBytesBits'(saf_pkg::HeaderBytes);
  localparam logic [FrameBytesBits-1:0] MinFrameSize = 14'd60;  // IEEE 802.3-2018 4.2.3.3 without FCS: MACs pad up to this
  localparam logic [15:0] TpidC = 16'h8100, TpidS = 16'h88A8;  // IEEE 802.1Q tags

  function automatic logic [15:0] canonical(input etype_e etype);
    case (etype)
      EtDiscovery: return saf_pkg::EthertypeDiscovery;
      EtImage: return saf_pkg::EthertypeImage;
      EtImageAnswer: return saf_pkg::EthertypeImageAnswer;
      EtInput: return saf_pkg::EthertypeInput;
      EtInputAnswer: return saf_pkg::EthertypeInputAnswer;
      EtControl: return saf_pkg::EthertypeControl;
      EtResult: return saf_pkg::EthertypeResult;
      default: return 16'h0000;
    endcase
  endfunction

  // ---------------------------------------------------------------- beats

  logic take, in_frame_q, beat_valid_q, last_q;
  logic [BeatBits-1:0] index_q, index_d;
  logic [63:0] data_q;
  logic [FrameBytesBits-1:0] size_q;
  logic [16:0] max_size_q;

  assign take = mac_rx_valid_i && link_up_i && (mac_rx_sop_i || in_frame_q);

  always_comb begin
    index_d = index_q;
    if (mac_rx_sop_i) index_d = '0;
    else if (index_q != StoreBeats) index_d = index_q + 1'b1;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      in_frame_q <= 1'b0;
      beat_valid_q <= 1'b0;
      last_q <= 1'b0;
      index_q <= '0;
      data_q <= '0;
      size_q <= '0;
      max_size_q <= '0;
    end else begin
      if (!link_up_i) in_frame_q <= 1'b0;
      else if (take) in_frame_q <= !mac_rx_eop_i;
      beat_valid_q <= take && index_d != StoreBeats;
      last_q <= take && mac_rx_eop_i && !mac_rx_error_i;
      if (take) begin
        index_q <= index_d;
        data_q <= mac_rx_data_i;
        size_q <= {index_d + 1'b1, 3'b000} - {{FrameBytesBits - 3{1'b0}}, mac_rx_empty_i};
      end
      max_size_q <= 17'(cfg_i.mtu) + 17'(saf_pkg::EthernetHeaderBytes);
    end
  end

  // ---------------------------------------------------------------- fields, one beat after the other

  logic first_beat, second_beat, third_beat;
  logic [15:0] type_word;
  etype_e type_match, etype_q;
  logic own_q, bcast_q, group_source_q, tagged_vlan_q, vlan_ours_q, version_ok_q;
  logic [3:0] suite_q;
  logic [7:0] opcode_q;
  logic [15:0] length_q;

  assign first_beat = mac_rx_sop_i;
  assign second_beat = !mac_rx_sop_i && index_q == 11'd0;
  assign third_beat = !mac_rx_sop_i && index_q == 11'd1;
  assign type_word = second_beat ? mac_rx_data_i[31:16] : mac_rx_data_i[63:48];

  always_comb begin
    type_match = EtNone;
    for (int unsigned i = 0; i < 7; i++) begin
      if (type_word == cfg_i.ethertypes[i]) type_match = etype_e'(3'(i));
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      own_q <= 1'b0;
      bcast_q <= 1'b0;
      group_source_q <= 1'b0;
      etype_q <= EtNone;
      tagged_vlan_q <= 1'b0;
      vlan_ours_q <= 1'b0;
      version_ok_q <= 1'b0;
      suite_q <= '0;
      opcode_q <= '0;
      length_q <= '0;
    end else if (take) begin
      if (first_beat) begin
        own_q <= mac_rx_data_i[63:16] == cfg_i.mac0;
        bcast_q <= &mac_rx_data_i[63:16];
        group_source_q <= mac_rx_data_i[8];
        etype_q <= EtNone;
        tagged_vlan_q <= 1'b0;
        vlan_ours_q <= 1'b0;
      end
      if (second_beat) begin
        etype_q <= type_match;
        tagged_vlan_q <= type_word == TpidC || type_word == TpidS;
        version_ok_q <= mac_rx_data_i[15:12] == 4'(saf_pkg::ProtocolVersion);
        suite_q <= mac_rx_data_i[11:8];
        opcode_q <= mac_rx_data_i[7:0];
      end
      if (third_beat) begin
        vlan_ours_q <= tagged_vlan_q && type_match != EtNone;
        length_q <= mac_rx_data_i[31:16];
      end
    end
  end

  // ---------------------------------------------------------------- what the header demands
  // One cycle behind the fields: the length field is in the third beat, a frame of 40 bytes ends in the fifth.

  logic is_data_opcode, from_host_q, from_card_q, belongs_q, lies_q;
  logic [15:0] fixed_bytes;
  logic [16:0] payload_end, wanted_q;

  assign is_data_opcode = opcode_q == saf_pkg::OpcodeData;
  assign fixed_bytes = saf_pkg::opcode_payload_bytes(opcode_q);
  // DATA frames have no padding of their own and no tag
  assign payload_end = is_data_opcode ? 17'(length_q) : (17'(length_q) + 17'd7) & ~17'd7;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      from_host_q <= 1'b0;
      from_card_q <= 1'b0;
      belongs_q <= 1'b0;
      lies_q <= 1'b0;
      wanted_q <= '0;
    end else begin
      from_host_q <= saf_pkg::opcode_from_host(opcode_q);
      from_card_q <= saf_pkg::opcode_from_card(opcode_q);
      belongs_q <= saf_pkg::opcode_on_ethertype(opcode_q, canonical(etype_q));
      lies_q <= length_q < fixed_bytes || (length_q != fixed_bytes && !saf_pkg::opcode_has_tail(opcode_q));
      wanted_q <= payload_end + (suite_q[0] && saf_pkg::opcode_tagged(opcode_q) ?
                                 17'(saf_pkg::HeaderBytes + saf_pkg::TagBytes) : 17'(saf_pkg::HeaderBytes));
    end
  end

  // ---------------------------------------------------------------- verdict

  logic has_header, is_data, keep;
  logic [4:0] reason;

  assign has_header = size_q >= HeaderSize;
  assign is_data = has_header && is_data_opcode;

  always_comb begin
    keep = 1'b0;
    drop_o = 1'b1;
    reason = 5'(saf_pkg::DropReasonTruncated);
    if (!own_q && !bcast_q) drop_o = 1'b0;  // somebody else's
    else if (vlan_ours_q) reason = 5'(saf_pkg::DropReasonVlan);
    else if (!has_header) reason = 5'(saf_pkg::DropReasonTruncated);
    else if (17'(size_q) > max_size_q || index_q == StoreBeats) reason = 5'(saf_pkg::DropReasonOversized);
    else if (!version_ok_q) reason = 5'(saf_pkg::DropReasonBadVersion);
    else if (is_data ? suite_q != saf_pkg::SuiteNone : suite_q > saf_pkg::SuiteBlake2s)
      reason = 5'(saf_pkg::DropReasonBadSuite);
    else if (!is_data && !from_host_q && !from_card_q) reason = 5'(saf_pkg::DropReasonUnknownOpcode);
    else if (!is_data && !from_host_q) begin
      reason = 5'(saf_pkg::DropReasonWrongDirection);
      // other cards announce themselves to all: nothing is wrong with that
      drop_o = !(bcast_q && opcode_q == saf_pkg::OpcodeHello);
    end else if (!is_data && !belongs_q) reason = 5'(saf_pkg::DropReasonWrongEthertype);
    else if (!is_data && lies_q) reason = 5'(saf_pkg::DropReasonLyingLength);
    else if (17'(size_q) < wanted_q) reason = 5'(saf_pkg::DropReasonTruncated);
    else if (!is_data && 17'(size_q) > wanted_q && size_q > MinFrameSize) reason = 5'(saf_pkg::DropReasonLyingLength);
    else if (!is_data && group_source_q) reason = 5'(saf_pkg::DropReasonWrongSource);
    else begin
      keep = 1'b1;
      drop_o = 1'b0;
    end
  end

  // an EtherType ends at byte 14, one behind a VLAN tag at byte 18
  assign end_o = last_q && ((etype_q != EtNone && size_q >= 14'd14) || (vlan_ours_q && size_q >= 14'd18));
  assign take_data_o = end_o && keep && is_data;
  assign take_ctl_o = end_o && keep && !is_data;
  assign drop_reason_o = reason;

  assign beat_valid_o = beat_valid_q;
  assign beat_index_o = index_q;
  assign beat_data_o = data_q;
  assign is_data_o = is_data;
  assign etype_o = etype_q;
  assign bcast_o = bcast_q;
  assign suite_o = suite_q[0];
  assign opcode_o = opcode_q;
  assign size_o = size_q;

endmodule
