// DDR of the shell: three write clients and four read clients in the core clock, the role and the controller in the DDR clock.
//
// Data flow: write clients → saf_ddr_write → saf_ddr_rows (MEM FIFO) ────────┐
//            read clients ⇄ saf_ddr_read ⇄ bursts, response buffer ──────────┼ saf_ddr_bus ⇄ controller
//            role ───────────────────────────────────────────────────────────┘
// Byte 0 of a stream's beat is its most significant one; byte 0 of a DDR word is its least significant one.
// Crossings: MEM FIFO and read bursts through saf_fifo_async, rows written and read counted back in gray code, levels
// and pulses of scrub and role through saf_sync and saf_pulse_cdc. A row is in its RAM before its command or count crosses.
// Order: reads that begin after an object's wr_done_o see it (the controller keeps the order of what it took).
// Reset: both sides together; DDR counts as clean (saf_scrub). Back-pressure: see the parts.

module saf_ddr
  import saf_shell_pkg::*;
#(
    parameter int unsigned NumWr = 3,
    parameter int unsigned NumRd = 4,
    parameter int unsigned Regions = 7168  // of 1 MiB, what a scrub covers: RoleBytes (fewer in tests)
) (
    input logic clk_i,
    input logic rst_ni,
    input logic ddr_clk_i,
    input logic ddr_rst_ni,

    input logic [NumWr-1:0] wr_valid_i,
    output logic [NumWr-1:0] wr_ready_o,
    input logic [NumWr-1:0][AddrBits-1:0] wr_addr_i,
    input logic [NumWr-1:0][15:0] wr_bytes_i,
    input logic [NumWr-1:0][63:0] wr_data_i,
    input logic [NumWr-1:0] wr_last_i,
    output logic [NumWr-1:0] wr_done_o,

    input logic [NumRd-1:0] rd_valid_i,
    output logic [NumRd-1:0] rd_ready_o,
    input logic [NumRd-1:0][AddrBits-1:0] rd_addr_i,
    input logic [NumRd-1:0][31:0] rd_bytes_i,
    output logic [NumRd-1:0] rd_dvalid_o,
    input logic [NumRd-1:0] rd_dready_i,
    output logic [NumRd-1:0][63:0] rd_data_o,
    output logic [NumRd-1:0] rd_dlast_o,
    input logic [NumRd-1:0] rd_abort_i,

    input logic scrub_start_i,
    output logic scrub_busy_o,

    // role, DDR clock
    input logic role_valid_i,
    output logic role_ready_o,
    input logic role_write_i,
    input logic [AddrBits-1:0] role_addr_i,
    input logic [DdrBits-1:0] role_data_i,
    input logic [DdrBytes-1:0] role_be_i,
    output logic [DdrBits-1:0] role_rdata_o,
    output logic role_rvalid_o,
    // core clock
    output logic role_fault_o,
    input logic role_block_i,
    output logic role_idle_o,

    // controller, DDR clock
    output logic ddr_read_o,
    output logic ddr_write_o,
    output logic [DdrWordBits-1:0] ddr_addr_o,
    output logic [4:0] ddr_burst_o,
    output logic [DdrBits-1:0] ddr_wdata_o,
    output logic [DdrBytes-1:0] ddr_be_o,
    input logic ddr_waitrequest_i,
    input logic [DdrBits-1:0] ddr_rdata_i,
    input logic ddr_rvalid_i
);

  if (NumWr < 1 || NumWr > 4 || NumRd < 2 || NumRd > 4) begin : gen_bad_clients
    $error("saf_ddr: 1 to 4 write clients and 2 to 4 read clients");
  end

  // ---- writes
  logic [7:0] row_we, row_be;
  logic [MemRowBits:0] row_wr_addr, row_rd_addr, rows_done;
  logic [63:0] row_data;
  logic row_re, row_put, row_done, zeros, zeros_ddr;
  logic mem_in_valid, mem_in_ready, mem_valid, mem_ready;
  mem_write_t mem_in, mem;
  logic [DdrBytes-1:0] out_be;

  saf_ddr_write #(
      .NumWr(NumWr)
  ) u_write (
      .clk_i,
      .rst_ni,
      .wr_valid_i,
      .wr_ready_o,
      .wr_addr_i,
      .wr_bytes_i,
      .wr_data_i,
      .wr_last_i,
      .wr_done_o,
      .row_we_o(row_we),
      .row_addr_o(row_wr_addr),
      .row_data_o(row_data),
      .row_be_o(row_be),
      .mem_valid_o(mem_in_valid),
      .mem_ready_i(mem_in_ready),
      .mem_o(mem_in),
      .zeros_o(zeros),
      .rows_done_i(rows_done)
  );

  saf_ddr_rows u_rows (
      .clk_i,
      .rst_ni,
      .ddr_clk_i,
      .ddr_rst_ni,
      .row_we_i(row_we),
      .row_addr_i(row_wr_addr),
      .row_data_i(row_data),
      .row_be_i(row_be),
      .in_valid_i(mem_in_valid),
      .in_ready_o(mem_in_ready),
      .in_i(mem_in),
      .rows_done_o(rows_done),
      .mem_valid_o(mem_valid),
      .mem_ready_i(mem_ready),
      .mem_o(mem),
      .row_done_i(row_done),
      .out_re_i(row_re),
      .out_put_i(row_put),
      .out_addr_i(row_rd_addr),
      .role_data_i,
      .role_be_i,
      .out_data_o(ddr_wdata_o),
      .out_be_o(out_be)
  );

  // ---- reads
  logic ask_valid, ask_ready, read_valid, read_ready, buf_re, buf_we;
  mem_read_t ask, read;
  logic [7:0] rows_read;
  logic [9:0] buf_rd_addr;
  logic [63:0] buf_data;
  logic [6:0] buf_wr_addr;

  saf_ddr_read #(
      .NumRd(NumRd)
  ) u_read (
      .clk_i,
      .rst_ni,
      .rd_valid_i,
      .rd_ready_o,
      .rd_addr_i,
      .rd_bytes_i,
      .rd_dvalid_o,
      .rd_dready_i,
      .rd_data_o,
      .rd_dlast_o,
      .rd_abort_i,
      .ask_valid_o(ask_valid),
      .ask_ready_i(ask_ready),
      .ask_o(ask),
      .rows_read_i(rows_read),
      .buf_re_o(buf_re),
      .buf_addr_o(buf_rd_addr),
      .buf_data_i(buf_data)
  );

  saf_fifo_async #(
      .Width($bits(mem_read_t)),
      .Depth(8),
      .Block(1'b1)
  ) u_ask (
      .wr_clk_i(clk_i),
      .wr_rst_ni(rst_ni),
      .wr_valid_i(ask_valid),
      .wr_ready_o(ask_ready),
      .wr_data_i(ask),
      .rd_clk_i(ddr_clk_i),
      .rd_rst_ni(ddr_rst_ni),
      .rd_valid_o(read_valid),
      .rd_ready_i(read_ready),
      .rd_data_o(read)
  );

  // lane 0 is the first to be read; its first byte in bits 63:56
  logic [DdrBits-1:0] buf_wr_data;
  for (genvar i = 0; i < int'(DdrBytes); i++) begin : gen_buffer_byte
    assign buf_wr_data[(i/8)*64+(7-i%8)*8+:8] = ddr_rdata_i[8*i+:8];
  end

  saf_ram_2clk_narrow #(
      .Width(DdrBits),
      .Depth(4 * MemReadRows),
      .Parts(8)
  ) u_buffer (
      .wr_clk_i(ddr_clk_i),
      .wr_en_i(buf_we),
      .wr_addr_i(buf_wr_addr),
      .wr_data_i(buf_wr_data),
      .rd_clk_i(clk_i),
      .rd_en_i(buf_re),
      .rd_addr_i(buf_rd_addr),
      .rd_data_o(buf_data)
  );

  saf_counter_cdc #(
      .Width(8)
  ) u_rows_read (
      .src_clk_i(ddr_clk_i),
      .src_rst_ni(ddr_rst_ni),
      .src_pulse_i(buf_we),
      .dst_clk_i(clk_i),
      .dst_rst_ni(rst_ni),
      .dst_count_o(rows_read)
  );

  // ---- scrub
  logic scrub_want, scrub_done;

  saf_scrub_ask u_scrub_ask (
      .clk_i,
      .rst_ni,
      .start_i(scrub_start_i),
      .busy_o(scrub_busy_o),
      .ddr_clk_i,
      .ddr_rst_ni,
      .want_o(scrub_want),
      .done_i(scrub_done)
  );
  saf_sync u_zeros (
      .clk_i(ddr_clk_i),
      .rst_ni(ddr_rst_ni),
      .d_i(zeros),
      .q_o(zeros_ddr)
  );

  // ---- role
  logic block, idle, fault, unused_fault;

  saf_sync u_block (
      .clk_i(ddr_clk_i),
      .rst_ni(ddr_rst_ni),
      .d_i(role_block_i),
      .q_o(block)
  );

  assign role_rdata_o = ddr_rdata_i;

  saf_sync u_idle (
      .clk_i,
      .rst_ni,
      .d_i(idle),
      .q_o(role_idle_o)
  );
  saf_pulse_cdc u_fault (
      .src_clk_i(ddr_clk_i),
      .src_rst_ni(ddr_rst_ni),
      .src_pulse_i(fault),
      .src_busy_o(unused_fault),
      .dst_clk_i(clk_i),
      .dst_rst_ni(rst_ni),
      .dst_pulse_o(role_fault_o)
  );

  // ---- DDR clock
  saf_ddr_bus #(
      .Regions(Regions)
  ) u_bus (
      .ddr_clk_i,
      .ddr_rst_ni,
      .mem_valid_i(mem_valid),
      .mem_ready_o(mem_ready),
      .mem_i(mem),
      .row_done_o(row_done),
      .out_re_o(row_re),
      .out_put_o(row_put),
      .out_addr_o(row_rd_addr),
      .out_be_i(out_be),
      .zeros_i(zeros_ddr),
      .read_valid_i(read_valid),
      .read_ready_o(read_ready),
      .read_i(read),
      .buf_we_o(buf_we),
      .buf_addr_o(buf_wr_addr),
      .scrub_i(scrub_want),
      .scrub_done_o(scrub_done),
      .block_i(block),
      .idle_o(idle),
      .fault_o(fault),
      .role_valid_i,
      .role_ready_o,
      .role_write_i,
      .role_addr_i,
      .role_rvalid_o,
      .ddr_read_o,
      .ddr_write_o,
      .ddr_addr_o,
      .ddr_burst_o,
      .ddr_be_o,
      .ddr_waitrequest_i,
      .ddr_rvalid_i
  );

endmodule
