// Asks for a scrub across the clocks.
//
// Purpose: a scrub is wanted until it is done; one that is asked for meanwhile comes behind it, several make one.
// Data flow: start_i (core clock) → want_o, a level (DDR clock) → done_i, held until want_o falls → busy_o falls.
// Latency: a synchroniser each way. Reset: nothing wanted. Back-pressure: none.

module saf_scrub_ask (
    input logic clk_i,
    input logic rst_ni,
    input logic start_i,
    output logic busy_o,
    input logic ddr_clk_i,
    input logic ddr_rst_ni,
    output logic want_o,
    input logic done_i
);

  logic want_q, more_q, done;

  assign busy_o = want_q || more_q;
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      want_q <= 1'b0;
      more_q <= 1'b0;
    end else begin
      want_q <= want_q ? !done : !done && (start_i || more_q);
      more_q <= want_q || done ? more_q || start_i : 1'b0;
    end
  end

  saf_sync u_want (
      .clk_i(ddr_clk_i),
      .rst_ni(ddr_rst_ni),
      .d_i(want_q),
      .q_o(want_o)
  );
  saf_sync u_done (
      .clk_i,
      .rst_ni,
      .d_i(done_i),
      .q_o(done)
  );

endmodule
