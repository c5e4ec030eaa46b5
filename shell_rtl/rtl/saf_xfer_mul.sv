// Block number times block size: p = a * b, one bit of b a cycle, most significant first.
//
// Used for checks of XFER_OPEN, for the leaves an INVALIDATE touches and for the leaves behind the lowest missing block:
// seldom, so that a serial adder does. Latency: eight cycles from start_i to done_o; p_o holds until the next start.
// Reset: idle. No back-pressure: a start while it runs begins anew.

module saf_xfer_mul (
    input logic clk_i,
    input logic rst_ni,
    input logic start_i,
    input logic [31:0] a_i,  // held until done_o
    input logic [7:0] b_i,
    output logic done_o,  // pulse
    output logic [39:0] p_o
);

  logic [3:0] left_q;
  logic [7:0] b_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      left_q <= '0;
      b_q <= '0;
      p_o <= '0;
      done_o <= 1'b0;
    end else begin
      done_o <= left_q == 4'd1 && !start_i;
      if (start_i) begin
        left_q <= 4'd8;
        b_q <= b_i;
        p_o <= '0;
      end else if (left_q != '0) begin
        left_q <= left_q - 4'd1;
        b_q <= b_q << 1;
        p_o <= {p_o[38:0], 1'b0} + (b_q[7] ? {8'd0, a_i} : 40'd0);
      end
    end
  end

endmodule
