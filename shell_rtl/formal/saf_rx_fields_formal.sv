// Proof obligations of the classifier, first half: whatever comes from the MAC, its registers hold the fields of the frame's
// header and what follows from them. See saf_rx_shadow.

module saf_rx_fields_formal (
    input logic clk_i,
    input logic link_up,
    input logic valid,
    input logic sop,
    input logic eop,
    input logic error,
    input logic [2:0] empty,
    input logic [63:0] data,
    input logic [47:0] any_mac,
    input logic [15:0] any_mtu,
    input logic [6:0][15:0] any_ethertypes
);

  logic agrees, right;

  saf_rx_shadow u_shadow (
      .clk_i,
      .link_up,
      .valid,
      .sop,
      .eop,
      .error,
      .empty,
      .data,
      .any_mac,
      .any_mtu,
      .any_ethertypes,
      .agrees_o(agrees),
      .right_o(right)
  );

  always_comb assert (agrees);

endmodule
