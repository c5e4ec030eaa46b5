// Replay window of a session (RFC 4303 3.4.3): which sequence numbers of the host were seen.
//
// `fresh_o` says at once whether `sequence_i` is newer than all or unseen among the newest 64. `commit_i` marks it as
// seen: only after its tag verified. `load_i` starts a new window in which `sequence_i` alone was seen (or, with
// `empty_i`, none). The newest number moves in the cycle of commit_i; the mask follows a position a cycle (one or two
// as a rule, never more than 63), with busy_o up: fresh_o holds again when busy_o is down. That saves a barrel shifter.
// Reset: an empty window. No back-pressure: whoever commits waits for busy_o before it asks again.

module saf_replay (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic [63:0] sequence_i,
  output logic        fresh_o,
  output logic        busy_o,
  input  logic        commit_i,
  input  logic        load_i,
  input  logic        empty_i
);

  localparam int unsigned Window = saf_pkg::ReplayWindow;

  logic [63:0] top_q;
  logic [Window-1:0] mask_q;  // bit n: top_q - n was seen
  logic [5:0] shift_q;  // positions the mask has still to move

  // age = top - sequence; below zero: newer than all
  logic [64:0] age;
  logic is_newer, is_near;
  assign age = {1'b0, top_q} - {1'b0, sequence_i};
  assign is_newer = age[64];
  // newer by less than the window: what is left of the mask counts
  assign is_near = &age[63:6] && age[5:0] != '0;

  assign fresh_o = is_newer || (sequence_i != '0 && age[63:6] == '0 && !mask_q[age[5:0]]);
  assign busy_o = shift_q != '0;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      top_q <= '0;
      mask_q <= '0;
      shift_q <= '0;
    end else if (load_i) begin
      top_q <= empty_i ? '0 : sequence_i;
      mask_q <= {{(Window - 1) {1'b0}}, !empty_i};
      shift_q <= '0;
    end else if (commit_i) begin
      if (is_newer) begin
        top_q <= sequence_i;
        if (is_near) shift_q <= 6'd0 - age[5:0];
        else mask_q <= {{(Window - 1) {1'b0}}, 1'b1};
      end else begin
        mask_q[age[5:0]] <= 1'b1;
      end
    end else if (busy_o) begin
      mask_q <= {mask_q[Window-2:0], shift_q == 6'd1};
      shift_q <= shift_q - 6'd1;
    end
  end

endmodule
