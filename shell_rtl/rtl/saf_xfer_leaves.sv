// Arithmetic on how far an object's leaves are digested (leaves_t, see saf_shell_pkg).
//
// `done_o`: leaves whose digest holds. `forgotten_o`: what is left when leaves [start_i, stop_i) must be digested anew; what
// was in flight then is given up, and of the leaves that hold, a part may be digested again (never too few).
// Combinational.

module saf_xfer_leaves
(
    input saf_shell_pkg::xfer_leaves_t leaves_i,
    input logic [1:0] in_flight_i,
    input logic all_i,  // every leaf is digested
    input logic [saf_shell_pkg::LeafBits-1:0] total_i,
    input logic [saf_shell_pkg::LeafBits-1:0] start_i,
    input logic [saf_shell_pkg::LeafBits-1:0] stop_i,
    output logic [saf_shell_pkg::LeafBits-1:0] done_o,
    output saf_shell_pkg::xfer_leaves_t forgotten_o
);

  logic hole, unused;
  logic [saf_shell_pkg::LeafBits-1:0] settled;

  assign unused = ^leaves_i.unused;
  assign hole = leaves_i.hole_end != '0;
  assign settled = leaves_i.issued - {{saf_shell_pkg::LeafBits - 2{1'b0}}, in_flight_i};
  assign done_o = settled + (hole ? total_i - leaves_i.hole_end : '0);

  always_comb begin
    forgotten_o = '0;
    forgotten_o.issued = settled < start_i ? settled : start_i;
    forgotten_o.ready = leaves_i.ready < start_i ? leaves_i.ready : start_i;
    if (hole || all_i) forgotten_o.hole_end = leaves_i.hole_end > stop_i ? leaves_i.hole_end : stop_i;
  end

endmodule
