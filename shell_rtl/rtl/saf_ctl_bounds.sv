// How far the walk over a control frame goes, what of it is payload and how much is under the tag.
//
// Data flow: lengths of the frame, or of a GROUP's body, and where in it this card's member lies -> beats. A member's fields
// come behind the body: the walk jumps over the others'. Combinational.

module saf_ctl_bounds (
  input  logic [15:0] length_i,
  input  logic        tagged_i,  // else nobody needs more than the first 64 payload bytes
  input  logic        in_group_i,  // it is a GROUP, also while its member is looked for
  input  logic        member_i,  // it is a GROUP's member
  input  logic [15:0] body_bytes_i,
  input  logic [10:0] member_beat_i,
  output logic [15:0] pay_bytes_o,
  output logic [13:0] body_end_o,  // last beat of the payload or the body
  output logic [10:0] last_o,
  output logic [10:0] jump_at_o,
  output logic [10:0] first_beat_o,  // of the payload or the body
  output logic [13:0] bytes_o  // under the tag
);

  localparam logic [10:0] PayloadBeat = 11'(saf_pkg::HeaderBytes / 8);
  localparam logic [10:0] BodyBeat = PayloadBeat + 11'd1;  // of a GROUP
  // under a GROUP's tag: the member's fields without the tag
  localparam logic [10:0] MemberBeats = 11'((saf_pkg::GroupMemberBytes - saf_pkg::TagBytes) / 8);

  logic [16:0] pay_end;
  logic [10:0] pay_last;
  logic unused;
  assign pay_bytes_o = in_group_i ? body_bytes_i : length_i;
  assign pay_end = {1'b0, pay_bytes_o} + 17'd7 + 17'(saf_pkg::HeaderBytes) - (in_group_i ? 17'd0 : 17'd8);
  assign pay_last = pay_end[13:3];
  assign body_end_o = pay_end[16:3];
  assign unused = ^pay_end[2:0];

  assign jump_at_o = member_i ? pay_last : '1;
  assign first_beat_o = member_i ? BodyBeat : PayloadBeat;
  assign bytes_o = {pay_last + (member_i ? 11'd1 + MemberBeats : 11'd1), 3'd0};
  always_comb begin
    last_o = pay_last;
    if (member_i) last_o = member_beat_i + 11'd2;
    else if (!tagged_i && (|length_i[15:7] || (length_i[6] && |length_i[5:0]))) last_o = PayloadBeat + 11'd7;
  end

endmodule
