// DDR-clock half of saf_ddr: what wants the controller, and the port to it.
//
// Data flow: MEM FIFO's bursts → saf_ddr_issue ┐
//            read bursts ──────────────────────┼ saf_ddr_port ⇄ controller; row RAM → controller's write data
//            saf_scrub ────────────────────────┤
//            role → saf_role_clamp ────────────┘
// Latency, reset, back-pressure: see the parts. All levels and pulses here are of the DDR clock.

module saf_ddr_bus
  import saf_shell_pkg::*;
#(
    parameter int unsigned Regions = 7168  // of 1 MiB
) (
    input logic ddr_clk_i,
    input logic ddr_rst_ni,

    // MEM FIFO and row RAM
    input logic mem_valid_i,
    output logic mem_ready_o,
    input mem_write_t mem_i,
    output logic row_done_o,
    output logic out_re_o,
    output logic out_put_o,
    output logic [MemRowBits:0] out_addr_o,
    input logic [DdrBytes-1:0] out_be_i,
    input logic zeros_i,  // the row of zeros is there

    // bursts to be read, response buffer
    input logic read_valid_i,
    output logic read_ready_o,
    input mem_read_t read_i,
    output logic buf_we_o,
    output logic [6:0] buf_addr_o,

    input logic scrub_i,  // held until done
    output logic scrub_done_o,

    input logic block_i,
    output logic idle_o,
    output logic fault_o,
    input logic role_valid_i,
    output logic role_ready_o,
    input logic role_write_i,
    input logic [AddrBits-1:0] role_addr_i,
    output logic role_rvalid_o,

    output logic ddr_read_o,
    output logic ddr_write_o,
    output logic [DdrWordBits-1:0] ddr_addr_o,
    output logic [4:0] ddr_burst_o,
    output logic [DdrBytes-1:0] ddr_be_o,
    input logic ddr_waitrequest_i,
    input logic ddr_rvalid_i
);

  logic out_ready, out_last;
  logic [MemRowBits-1:0] out_row;
  logic [7:0] out_lanes;

  saf_ddr_issue u_issue (
      .ddr_clk_i,
      .ddr_rst_ni,
      .mem_valid_i,
      .mem_ready_o,
      .mem_count_i(mem_i.count),
      .mem_first_i(mem_i.first),
      .mem_last_i(mem_i.last),
      .out_ready_i(out_ready),
      .out_last_o(out_last),
      .out_row_o(out_row),
      .out_lanes_o(out_lanes)
  );

  logic scrub_running, scrub_ready, scrub_valid, scrub_taken, touch;
  logic [DdrWordBits-1:0] scrub_addr, touch_addr;

  saf_scrub #(
      .Regions(Regions)
  ) u_scrub (
      .ddr_clk_i,
      .ddr_rst_ni,
      .want_i(scrub_i),
      .done_o(scrub_done_o),
      .busy_o(scrub_running),
      .ready_o(scrub_ready),
      .zeros_i,
      .touch_i(touch),
      .touch_addr_i(touch_addr),
      .out_valid_o(scrub_valid),
      .out_ready_i(scrub_taken),
      .out_addr_o(scrub_addr)
  );

  logic idle, role_valid, role_ready, role_busy, role_write, role_rvalid;
  logic [DdrWordBits-1:0] role_addr;

  saf_role_clamp u_clamp (
      .ddr_clk_i,
      .ddr_rst_ni,
      .role_valid_i,
      .role_ready_o,
      .role_write_i,
      .role_addr_i,
      .role_rvalid_o,
      .block_i,
      .hold_i(scrub_running || !scrub_ready),
      .idle_o(idle),
      .fault_o,
      .port_valid_o(role_valid),
      .port_ready_i(role_ready),
      .port_busy_i(role_busy),
      .port_write_o(role_write),
      .port_addr_o(role_addr),
      .port_rvalid_i(role_rvalid)
  );

  // a flop before it crosses
  always_ff @(posedge ddr_clk_i or negedge ddr_rst_ni) begin
    if (!ddr_rst_ni) idle_o <= 1'b0;
    else idle_o <= idle;
  end

  saf_ddr_port u_port (
      .ddr_clk_i,
      .ddr_rst_ni,
      .ready_i(scrub_ready),
      .mem_valid_i,
      .mem_ready_o(out_ready),
      .mem_last_i(out_last),
      .mem_addr_i(mem_i.addr),
      .mem_count_i(mem_i.count),
      .mem_row_i(out_row),
      .mem_lanes_i(out_lanes),
      .mem_done_o(row_done_o),
      .out_re_o,
      .out_put_o,
      .out_addr_o,
      .out_be_i,
      .read_valid_i,
      .read_ready_o,
      .read_i,
      .row_we_o(buf_we_o),
      .row_addr_o(buf_addr_o),
      .scrub_valid_i(scrub_valid),
      .scrub_ready_o(scrub_taken),
      .scrub_addr_i(scrub_addr),
      .touch_o(touch),
      .touch_addr_o(touch_addr),
      .role_valid_i(role_valid),
      .role_ready_o(role_ready),
      .role_busy_o(role_busy),
      .role_write_i(role_write),
      .role_addr_i(role_addr),
      .role_rvalid_o(role_rvalid),
      .ddr_read_o,
      .ddr_write_o,
      .ddr_addr_o,
      .ddr_burst_o,
      .ddr_be_o,
      .ddr_waitrequest_i,
      .ddr_rvalid_i
  );

endmodule
