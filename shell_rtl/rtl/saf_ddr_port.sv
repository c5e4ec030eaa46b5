// The way to the DDR controller: MEM FIFO, readers, scrub and role in turn, as pipelined Avalon-MM bursts. DDR clock.
//
// Data flow: an owner is chosen (in this order: writes, reads, scrub, role) and keeps the port until its burst is over and
// another wants it; what is read comes back in order, and a FIFO says whose it is and which row it fills.
// Latency: a request that finds the port with another owner waits a cycle. Throughput: a beat a cycle within an owner.
// Reset: nothing under way. Back-pressure: waitrequest holds a request; reads wait while 32 bursts are under way; before the
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
    input logic [DdrBits-1:0] mem_data_i,
    input logic [DdrBytes-1:0] mem_be_i,  // within lanes of eight bytes
    input logic [7:0] mem_lanes_i,  // lanes of which anything is written

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
    output logic role_waits_o,
    input logic role_write_i,
    input logic [DdrWordBits-1:0] role_addr_i,
    input logic [DdrBits-1:0] role_data_i,
    input logic [DdrBytes-1:0] role_be_i,
    output logic role_rvalid_o,

    output logic ddr_read_o,
    output logic ddr_write_o,
    output logic [DdrWordBits-1:0] ddr_addr_o,
    output logic [4:0] ddr_burst_o,
    output logic [DdrBits-1:0] ddr_wdata_o,
    output logic [DdrBytes-1:0] ddr_be_o,
    input logic ddr_waitrequest_i,
    input logic ddr_rvalid_i
);

  localparam int unsigned OwnMem = 0;
  localparam int unsigned OwnRead = 1;
  localparam int unsigned OwnScrub = 2;
  localparam int unsigned OwnRole = 3;

  logic [3:0] wants, others, owner_q, owner_d;  // one bit an owner
  logic is_valid, is_taken, is_read, order_ready;

  assign wants[OwnMem] = mem_valid_i && ready_i;
  assign wants[OwnRead] = read_valid_i && ready_i && order_ready;
  assign wants[OwnScrub] = scrub_valid_i;
  assign wants[OwnRole] = role_valid_i && ready_i && (role_write_i || order_ready);

  assign is_valid = |(wants & owner_q);
  assign is_taken = is_valid && !ddr_waitrequest_i;
  assign others = wants & ~owner_q;
  assign owner_d = others & (~others + 4'd1);  // the lowest bit

  // saf_ddr_issue shows the beats of a burst without a gap
  logic is_free;
  assign is_free = !is_valid || (is_taken && (!owner_q[OwnMem] || mem_last_i));

  always_ff @(posedge ddr_clk_i or negedge ddr_rst_ni) begin
    if (!ddr_rst_ni) begin
      owner_q <= 4'd1;
    end else begin
      if (is_free && others != '0) owner_q <= owner_d;
    end
  end

  assign mem_ready_o = is_taken && owner_q[OwnMem];
  assign read_ready_o = is_taken && owner_q[OwnRead];
  assign scrub_ready_o = is_taken && owner_q[OwnScrub];
  assign role_ready_o = is_taken && owner_q[OwnRole];
  assign role_waits_o = is_valid && owner_q[OwnRole] && ddr_waitrequest_i;

  // what the controller sees
  assign is_read = owner_q[OwnRead] || (owner_q[OwnRole] && !role_write_i);
  assign ddr_read_o = is_valid && is_read;
  assign ddr_write_o = is_valid && !is_read;
  always_comb begin
    ddr_addr_o = mem_addr_i;
    ddr_burst_o = 5'd1;
    case (1'b1)
      owner_q[OwnMem]: ddr_burst_o = {2'd0, mem_count_i} + 5'd1;
      owner_q[OwnRead]: begin
        ddr_addr_o = read_i.addr;
        ddr_burst_o = {2'd0, read_i.count} + 5'd1;
      end
      owner_q[OwnScrub]: ddr_addr_o = scrub_addr_i;
      default: ddr_addr_o = role_addr_i;
    endcase
  end
  // two inputs and two selects a bit; the scrubber writes what is left
  assign ddr_wdata_o = (mem_data_i & {DdrBits{owner_q[OwnMem]}}) | (role_data_i & {DdrBits{owner_q[OwnRole]}});

  // five inputs a byte; whoever does not choose bytes takes all
  logic all_bytes;
  assign all_bytes = owner_q[OwnRead] || owner_q[OwnScrub] || (owner_q[OwnRole] && !role_write_i);
  for (genvar lane = 0; lane < 8; lane++) begin : gen_be
    logic mem_lane;
    assign mem_lane = owner_q[OwnMem] && mem_lanes_i[lane];
    assign ddr_be_o[lane*8+:8] = (mem_be_i[lane*8+:8] & {8{mem_lane}}) | (role_be_i[lane*8+:8] & {8{owner_q[OwnRole]}})
        | {8{all_bytes}};
  end

  assign touch_o = ddr_write_o && is_taken && !owner_q[OwnScrub];
  assign touch_addr_o = ddr_addr_o;  // of a burst, its first row: no burst leaves its region

  // whose the rows are that come back
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
      .wr_data_i(owner_q[OwnRole] ? {1'b1, 10'd0} : {1'b0, read_i.client, read_i.row, read_i.count}),
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
