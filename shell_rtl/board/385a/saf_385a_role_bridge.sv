// The role's 512-bit Avalon-MM memory host with bursts, taken apart into single accesses for the clamp of saf_ddr.
//
// Avalon rules (Avalon Interface Specifications, bursts): address and burstcount count at the first beat of a write burst
// and at the one beat of a read; byteenable belongs to each write beat. Reads come back in order, as saf_ddr gives them.
// Latency: none added. Reset: no burst under way. Back-pressure: waitrequest.

module saf_385a_role_bridge
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,

    input logic avm_read_i,
    input logic avm_write_i,
    input logic [AddrBits-1:0] avm_address_i,  // bytes, as a host gives them
    input logic [4:0] avm_burstcount_i,
    input logic [DdrBits-1:0] avm_writedata_i,
    input logic [DdrBytes-1:0] avm_byteenable_i,
    output logic avm_waitrequest_o,
    output logic [DdrBits-1:0] avm_readdata_o,
    output logic avm_readdatavalid_o,

    output logic role_valid_o,
    input logic role_ready_i,
    output logic role_write_o,
    output logic [AddrBits-1:0] role_addr_o,
    output logic [DdrBits-1:0] role_data_o,
    output logic [DdrBytes-1:0] role_be_o,
    input logic [DdrBits-1:0] role_rdata_i,
    input logic role_rvalid_i
);

  logic [4:0] left_q;  // beats of the burst still to come
  logic [AddrBits-1:0] next_q;
  logic first;

  assign first = left_q == '0;
  assign role_write_o = avm_write_i;
  assign role_data_o = avm_writedata_i;
  assign role_be_o = avm_read_i ? '1 : avm_byteenable_i;
  assign role_addr_o = first ? avm_address_i : next_q;
  assign role_valid_o = avm_write_i | avm_read_i;

  // a write beat is taken when the clamp takes it; a read burst when its last access is
  assign avm_waitrequest_o = avm_read_i ? !(role_ready_i && (first ? avm_burstcount_i <= 5'd1 : left_q == 5'd1)) : !role_ready_i;
  assign avm_readdata_o = role_rdata_i;
  assign avm_readdatavalid_o = role_rvalid_i;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      left_q <= '0;
      next_q <= '0;
    end else if (role_valid_o && role_ready_i) begin
      next_q <= role_addr_o + AddrBits'(DdrBytes);
      left_q <= first ? (avm_burstcount_i == '0 ? '0 : avm_burstcount_i - 5'd1) : left_q - 5'd1;
    end
  end

endmodule
