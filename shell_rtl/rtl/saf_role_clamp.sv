// Keeps the role inside its own DDR, [0, RoleBytes). DDR clock.
//
// Data flow: role_* → DDR port. A write outside is taken and dropped; a read outside is done at ZeroBase, a word of zeros, so that
// answers keep their order without a path of their own. Both pulse fault_o.
// Latency: none. Reset: blocked until the synchroniser says otherwise; nothing outstanding.
// Back-pressure: the port's. While blocked nothing is accepted; what was taken before goes on to the controller.

`include "saf_assert.svh"

module saf_role_clamp
  import saf_shell_pkg::*;
(
    input logic ddr_clk_i,
    input logic ddr_rst_ni,

    input logic role_valid_i,
    output logic role_ready_o,
    input logic role_write_i,
    input logic [AddrBits-1:0] role_addr_i,
    output logic role_rvalid_o,

    input logic block_i,
    input logic hold_i,  // a scrub: the role waits
    output logic idle_o,  // blocked, and nothing outstanding
    output logic fault_o,

    output logic port_valid_o,
    input logic port_ready_i,
    input logic port_busy_i,  // a request that was taken stands before the controller
    output logic port_write_o,
    output logic [DdrWordBits-1:0] port_addr_o,
    input logic port_rvalid_i
);

  localparam logic [DdrWordBits-1:0] ZeroWord = ZeroBase[AddrBits-1:$clog2(DdrBytes)];

  logic outside, is_open;
  logic [5:0] reads_q;

  assign outside = role_addr_i >= RoleBytes;
  assign is_open = !block_i && !hold_i && reads_q != '1;
  assign port_valid_o = role_valid_i && is_open && !(outside && role_write_i);
  assign port_write_o = role_write_i;
  assign port_addr_o = outside ? ZeroWord : role_addr_i[AddrBits-1:$clog2(DdrBytes)];
  assign role_ready_o = is_open && (port_ready_i || (outside && role_write_i));
  assign fault_o = role_valid_i && role_ready_o && outside;
  assign role_rvalid_o = port_rvalid_i;
  assign idle_o = block_i && !port_busy_i && reads_q == '0;

  always_ff @(posedge ddr_clk_i or negedge ddr_rst_ni) begin
    if (!ddr_rst_ni) begin
      reads_q <= '0;
    end else begin
      reads_q <= reads_q + 6'(role_valid_i && role_ready_o && !role_write_i) - 6'(port_rvalid_i);
    end
  end

  `SAF_ASSERT_CLK(AssertAnswers, !port_rvalid_i || reads_q != '0, ddr_clk_i, ddr_rst_ni)
  `SAF_ASSERT_CLK(AssertInside, !(port_valid_o && port_write_o) || port_addr_o < DdrWordBits'(RoleBytes >> 6),
                  ddr_clk_i, ddr_rst_ni)

endmodule
