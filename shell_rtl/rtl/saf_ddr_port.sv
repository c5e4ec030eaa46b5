// The way to the DDR controller: MEM FIFO, readers, scrub and role in turn, as pipelined Avalon-MM bursts. DDR clock.
//
// Data flow: an owner is chosen (in this order: writes, reads, scrub, role) and keeps the port until its burst is over and
// another wants it. Its request goes into a register before the controller; the data of a write comes out of the row RAM in the
// same cycle: a row of the MEM FIFO, the row of zeros, or the role's word, which is put into a row of its own. So no multiplexer
// stands before the controller. What is read comes back in order; a FIFO says whose it is and which row it fills.
// Latency: one cycle; one more for a request that finds the port with another owner. Throughput: a beat a cycle in an owner.
// Reset: nothing under way. Back-pressure: waitrequest holds the register; reads wait while 32 bursts are under way; before the
// scrubber has cleared its map nobody but it gets the port.

`include "saf_assert.svh"

module saf_ddr_port
  import saf_shell_pkg::*;
(
    input logic ddr_clk_i,
    input logic ddr_rst_ni,
    input logic ready_i,  // the scrubber's map is clear

    input logic mem_valid_i,
    output logic mem_ready_o,
    input logic mem_last_i,
    input logic [DdrWordBits-1:0] mem_addr_i,
    input logic [2:0] mem_count_i,
    input logic [MemRowBits-1:0] mem_row_i,
    input logic [7:0] mem_lanes_i,  // lanes of which anything is written
    output logic mem_done_o,  // a row is in DDR

    // row RAM; within lanes of eight bytes its byte enables count
    output logic out_re_o,
    output logic out_put_o,
    output logic [MemRowBits:0] out_addr_o,
    input logic [DdrBytes-1:0] out_be_i,

    input logic read_valid_i,
    output logic read_ready_o,
    input mem_read_t read_i,
    output logic row_we_o,  // a row for the response buffer
    output logic [6:0] row_addr_o,

    input logic scrub_valid_i,
    output logic scrub_ready_o,
    input logic [DdrWordBits-1:0] scrub_addr_i,
    output logic touch_o,
    output logic [DdrWordBits-1:0] touch_addr_o,

    input logic role_valid_i,
    output logic role_ready_o,
    output logic role_busy_o,  // a request of the role's stands before the controller
    input logic role_write_i,
    input logic [DdrWordBits-1:0] role_addr_i,
    output logic role_rvalid_o,

    output logic ddr_read_o,
    output logic ddr_write_o,
    output logic [DdrWordBits-1:0] ddr_addr_o,
    output logic [4:0] ddr_burst_o,
    output logic [DdrBytes-1:0] ddr_be_o,
    input logic ddr_waitrequest_i,
    input logic ddr_rvalid_i
);

  localparam int unsigned OwnMem = 0;
  localparam int unsigned OwnRead = 1;
  localparam int unsigned OwnScrub = 2;
  localparam int unsigned OwnRole = 3;

  logic [3:0] wants, others, owner_q, owner_d;  // one bit an owner
  logic [1:0] pick_q;  // the same as a number
  logic is_valid, is_taken, is_read, order_ready, moves;

  assign wants[OwnMem] = mem_valid_i && ready_i;
  assign wants[OwnRead] = read_valid_i && ready_i && order_ready;
  assign wants[OwnScrub] = scrub_valid_i;
  assign wants[OwnRole] = role_valid_i && ready_i && (role_write_i || order_ready);

  assign is_valid = |(wants & owner_q);
  assign is_taken = is_valid && moves;
  assign others = wants & ~owner_q;
  assign owner_d = others & (~others + 4'd1);  // the lowest bit

  // saf_ddr_issue shows the beats of a burst without a gap
  logic is_free;
  assign is_free = !is_valid || (is_taken && (!owner_q[OwnMem] || mem_last_i));

  always_ff @(posedge ddr_clk_i or negedge ddr_rst_ni) begin
    if (!ddr_rst_ni) begin
      owner_q <= 4'd1;
      pick_q <= '0;
    end else if (is_free && others != '0) begin
      owner_q <= owner_d;
      pick_q <= {owner_d[3] || owner_d[2], owner_d[3] || owner_d[1]};
    end
  end

  assign mem_ready_o = is_taken && owner_q[OwnMem];
  assign read_ready_o = is_taken && owner_q[OwnRead];
  assign scrub_ready_o = is_taken && owner_q[OwnScrub];
  assign role_ready_o = is_taken && owner_q[OwnRole];
  assign is_read = owner_q[OwnRead] || (owner_q[OwnRole] && !role_write_i);

  logic [DdrWordBits-1:0] addr;
  logic [2:0] count;
  always_comb begin
    unique case (pick_q)
      2'(OwnMem): addr = mem_addr_i;
      2'(OwnRead): addr = read_i.addr;
      2'(OwnScrub): addr = scrub_addr_i;
      2'(OwnRole): addr = role_addr_i;
    endcase
    count = (mem_count_i & {3{owner_q[OwnMem]}}) | (read_i.count & {3{owner_q[OwnRead]}});
  end

  // whoever reads or scrubs gets the row of zeros: its byte enables are set
  assign out_re_o = moves;
  assign out_put_o = is_valid && owner_q[OwnRole] && role_write_i;
  assign out_addr_o = owner_q[OwnMem] ? {1'b0, mem_row_i} : out_put_o ? RoleRow : ZeroRow;

  // -- what the controller sees

  logic valid_q, read_q, mem_q, role_q;
  logic [DdrWordBits-1:0] addr_q;
  logic [2:0] count_q;
  logic [7:0] lanes_q;

  assign moves = !valid_q || !ddr_waitrequest_i;
  always_ff @(posedge ddr_clk_i or negedge ddr_rst_ni) begin
    if (!ddr_rst_ni) begin
      valid_q <= 1'b0;
      read_q <= 1'b0;
      mem_q <= 1'b0;
      role_q <= 1'b0;
      addr_q <= '0;
      count_q <= '0;
      lanes_q <= '0;
    end else if (moves) begin
      valid_q <= is_valid;
      read_q <= is_read;
      mem_q <= owner_q[OwnMem];
      role_q <= owner_q[OwnRole];
      addr_q <= addr;
      count_q <= count;
      lanes_q <= mem_lanes_i | {8{!owner_q[OwnMem]}};
    end
  end

  assign ddr_read_o = valid_q && read_q;
  assign ddr_write_o = valid_q && !read_q;
  assign ddr_addr_o = addr_q;
  assign ddr_burst_o = {2'd0, count_q} + 5'd1;
  for (genvar lane = 0; lane < 8; lane++) begin : gen_be
    assign ddr_be_o[lane*8+:8] = out_be_i[lane*8+:8] & {8{lanes_q[lane]}};
  end
  assign mem_done_o = valid_q && mem_q && !ddr_waitrequest_i;
  assign role_busy_o = valid_q && role_q;

  assign touch_o = is_taken && !is_read && !owner_q[OwnScrub];
  assign touch_addr_o = addr;  // of a burst, its first row: no burst leaves its region

  // -- whose the rows are that come back

  logic order_valid, order_role, order_pop;
  logic [6:0] order_row;
  logic [2:0] order_count, row_q;
  logic [5:0] unused_count;

  saf_fifo_sync #(
      .Width(11),
      .Depth(32)
  ) u_order (
      .clk_i(ddr_clk_i),
      .rst_ni(ddr_rst_ni),
      .wr_valid_i(is_taken && is_read),
      .wr_ready_o(order_ready),
      // of the role's only the count is looked at
      .wr_data_i({owner_q[OwnRole], read_i.client, read_i.row, count}),
      .rd_valid_o(order_valid),
      .rd_ready_i(order_pop),
      .rd_data_o({order_role, order_row, order_count}),
      .count_o(unused_count)
  );
  assign order_pop = ddr_rvalid_i && row_q == order_count;

  always_ff @(posedge ddr_clk_i or negedge ddr_rst_ni) begin
    if (!ddr_rst_ni) row_q <= '0;
    else if (ddr_rvalid_i) row_q <= order_pop ? 3'd0 : row_q + 3'd1;
  end

  assign row_we_o = ddr_rvalid_i && !order_role;
  assign row_addr_o = {order_row[6:5], order_row[4:0] + {2'd0, row_q}};
  assign role_rvalid_o = ddr_rvalid_i && order_role;

  `SAF_ASSERT_CLK(AssertOrder, !ddr_rvalid_i || order_valid, ddr_clk_i, ddr_rst_ni)
  `SAF_STABLE(AssertStable, ddr_read_o || ddr_write_o, !ddr_waitrequest_i,
              {ddr_read_o, ddr_write_o, ddr_addr_o, ddr_burst_o, ddr_be_o}, ddr_clk_i, ddr_rst_ni)

endmodule
