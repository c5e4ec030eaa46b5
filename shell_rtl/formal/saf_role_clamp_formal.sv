// Proof obligations of the role's clamp: no write of the role's reaches DDR at or above RoleBytes, no read of its shows
// what lies there, nothing is accepted while the role is blocked, and idle means that nothing is outstanding.
//
// Assumed of the DDR port: it answers no more than was read, and says in port_busy_i whether a request stands before the
// controller; of the role (Avalon): a request that was not taken stays.

module saf_role_clamp_formal
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic role_valid,
    input logic role_write,
    input logic [AddrBits-1:0] role_addr,
    input logic block,
    input logic hold,
    input logic port_ready,
    input logic port_busy,
    input logic port_rvalid
);

  localparam logic [DdrWordBits-1:0] RoleWords = DdrWordBits'(RoleBytes >> 6);
  localparam logic [DdrWordBits-1:0] ZeroWord = DdrWordBits'(ZeroBase >> 6);

  logic rst_n_q = 1'b0;
  always_ff @(posedge clk_i) rst_n_q <= 1'b1;

  logic role_ready, role_rvalid, idle, fault, port_valid, port_write;
  logic [DdrWordBits-1:0] port_addr;

  saf_role_clamp u_clamp (
      .ddr_clk_i(clk_i),
      .ddr_rst_ni(rst_n_q),
      .role_valid_i(role_valid),
      .role_ready_o(role_ready),
      .role_write_i(role_write),
      .role_addr_i(role_addr),
      .role_rvalid_o(role_rvalid),
      .block_i(block),
      .hold_i(hold),
      .idle_o(idle),
      .fault_o(fault),
      .port_valid_o(port_valid),
      .port_ready_i(port_ready),
      .port_busy_i(port_busy),
      .port_write_o(port_write),
      .port_addr_o(port_addr),
      .port_rvalid_i(port_rvalid)
  );

  logic [7:0] outstanding_q = '0;  // reads the port took and did not answer
  logic outside;
  assign outside = role_addr >= RoleBytes;

  always_ff @(posedge clk_i) begin
    if (rst_n_q) begin
      outstanding_q <= outstanding_q + 8'(port_valid && port_ready && !port_write) - 8'(port_rvalid);
      assume (!port_rvalid || outstanding_q != '0);
    end
  end

  always_comb begin
    if (rst_n_q) begin
      // DDR
      if (port_valid && port_write) assert (port_addr < RoleWords && port_addr == role_addr[AddrBits-1:6]);
      if (port_valid && !port_write) assert (port_addr == (outside ? ZeroWord : role_addr[AddrBits-1:6]));
      if (port_valid) assert (role_valid && port_write == role_write);
      // the role: what it sees taken was taken, or lies outside and is a fault
      if (role_valid && role_ready && !(outside && role_write)) assert (port_valid && port_ready);
      if (port_valid && port_ready) assert (role_ready);
      assert (fault == (role_valid && role_ready && outside));
      // blocked: nothing new
      if (block || hold) assert (!port_valid && !role_ready);
      assert (!idle || (block && outstanding_q == '0 && !port_valid && !port_busy));
      assert (8'(u_clamp.reads_q) == outstanding_q);
      assert (role_rvalid == port_rvalid);
    end
  end

endmodule
