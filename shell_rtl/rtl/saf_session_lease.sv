// The lease of the session: how long it is, until when it holds, what is left of it.
//
// Data flow: milliseconds asked for by SESSION_OPEN (0: the usual) or KEEPALIVE (0: stays as it is), at most MaxLeaseMs, are
// taken with adopt_i or keep_i; renew_i has it begin anew, by the length that is in force.
// Latency: one cycle; what is left: at once. Reset: no lease. Back-pressure: none.

module saf_session_lease (
  input  logic                               clk_i,
  input  logic                               rst_ni,
  input  logic [saf_shell_pkg::TimeBits-1:0] now_i,
  input  logic                               open_i,
  input  logic                               is_keepalive_i,
  input  logic                        [31:0] keep_lease_i,
  input  logic                        [31:0] ask_lease_i,
  input  logic                               keep_i,
  input  logic                               adopt_i,
  input  logic                               renew_i,
  output logic                               expired_o,
  output logic                        [31:0] lease_ms_o,
  output logic                        [29:0] left_us_o,
  output logic                               left_valid_o  // else nothing is left
);

  localparam int unsigned LeaseBits = 20;  // MaxLeaseMs fits
  localparam int unsigned TimeBits = saf_shell_pkg::TimeBits;

  logic [LeaseBits-1:0] lease_q, wanted;
  logic [TimeBits-1:0] until_q, left_us;
  logic [31:0] asked;
  logic is_zero;

  always_comb begin
    asked = is_keepalive_i ? keep_lease_i : ask_lease_i;
    is_zero = asked == '0;
    wanted = asked[LeaseBits-1:0];
    if (is_zero) wanted = LeaseBits'(saf_pkg::LeaseMs);
    // MaxLeaseMs is a multiple of 64
    if (asked[31:LeaseBits] != '0 || asked[LeaseBits-1:6] >= saf_shell_pkg::MaxLeaseMs[LeaseBits-1:6])
      wanted = LeaseBits'(saf_shell_pkg::MaxLeaseMs);
  end

  logic [LeaseBits+9:0] lease_us;
  assign lease_us = 30'(saf_shell_pkg::us_of(32'(lease_q)));
  assign left_us = until_q - now_i;
  assign expired_o = open_i && (left_us[TimeBits-1] || left_us == '0);
  assign left_us_o = left_us[29:0];
  assign left_valid_o = open_i && !left_us[TimeBits-1];
  assign lease_ms_o = 32'(lease_q);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      lease_q <= '0;
      until_q <= '0;
    end else begin
      if (adopt_i || (keep_i && !is_zero)) lease_q <= wanted;
      if (renew_i) until_q <= now_i + TimeBits'(lease_us);
    end
  end

endmodule
