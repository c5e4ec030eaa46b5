// How many leaves of each context were given to the crypto unit, and how many of their digests hold.
//
// The verifier counts on (issued_next_i); a new transfer begins at none. INVALIDATE sets the count back: leaves in front of
// its range hold, those behind it are digested again. The leaf in which the range begins is worked out while tear_i is
// high; torn_i stores. Counts are those of the context at_i, a cycle later.
// Latency: one cycle. Reset: what is not entered has no meaning. Back-pressure: none.

module saf_xfer_leaves
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic [1:0] at_i,
    input logic enter_i,
    input logic tear_i,
    input logic torn_i,
    input logic [BlockBits-1:0] first_i,  // block in which INVALIDATE's range begins
    input logic [7:0] units_i,  // of a block
    input logic [1:0] in_flight_i,  // leaf jobs that still count
    input logic issued_wr_i,
    input logic [LeafBits-1:0] issued_next_i,
    output logic [LeafBits-1:0] issued_o,
    output logic [LeafBits-1:0] done_o
);

  logic [LeafBits-1:0] start_q;  // leaf in which the range begins
  // verilator lint_off UNUSEDSIGNAL
  logic [25:0] start_units;  // a leaf has 1,024
  // verilator lint_on UNUSEDSIGNAL
  logic [LeafBits:0] over;

  assign done_o = issued_o - LeafBits'(in_flight_i);
  assign start_units = 26'(first_i) * 26'(units_i);
  assign over = {1'b0, done_o} - {1'b0, start_q};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) start_q <= '0;
    else if (tear_i) start_q <= start_units[23:10];
  end

  saf_ram_few #(
      .Width(LeafBits),
      .Words(Contexts)
  ) u_issued (
      .clk_i,
      .wr_en_i(enter_i || torn_i || issued_wr_i),
      .wr_addr_i(at_i),
      .wr_data_i(enter_i ? '0 : torn_i ? (over[LeafBits] ? done_o : start_q) : issued_next_i),
      .rd_en_i(1'b1),
      .rd_addr_i(at_i),
      .rd_data_o(issued_o)
  );

endmodule
