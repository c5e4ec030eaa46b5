// saf_ddr with the model of its controller, for tests.
module ddr_bench
  import saf_shell_pkg::*;
#(
    parameter int unsigned WaitPercent = 0,
    parameter int unsigned RefreshPeriod = 1560,
    parameter int unsigned RefreshStall = 80,
    parameter bit Pattern = 1'b0,
    parameter int unsigned Regions = 64
) (
    input logic clk_i,
    input logic rst_ni,
    input logic ddr_clk_i,
    input logic ddr_rst_ni,
    input logic [2:0] wr_valid_i,
    output logic [2:0] wr_ready_o,
    input logic [2:0][AddrBits-1:0] wr_addr_i,
    input logic [2:0][15:0] wr_bytes_i,
    input logic [2:0][63:0] wr_data_i,
    input logic [2:0] wr_last_i,
    output logic [2:0] wr_done_o,
    input logic [3:0] rd_valid_i,
    output logic [3:0] rd_ready_o,
    input logic [3:0][AddrBits-1:0] rd_addr_i,
    input logic [3:0][31:0] rd_bytes_i,
    output logic [3:0] rd_dvalid_o,
    input logic [3:0] rd_dready_i,
    output logic [3:0][63:0] rd_data_o,
    output logic [3:0] rd_dlast_o,
    input logic [3:0] rd_abort_i,
    input logic scrub_start_i,
    output logic scrub_busy_o,
    input logic role_valid_i,
    output logic role_ready_o,
    input logic role_write_i,
    input logic [AddrBits-1:0] role_addr_i,
    input logic [DdrBits-1:0] role_data_i,
    input logic [DdrBytes-1:0] role_be_i,
    output logic [DdrBits-1:0] role_rdata_o,
    output logic role_rvalid_o,
    output logic role_fault_o,
    input logic role_block_i,
    output logic role_idle_o,
    input logic [DdrWordBits-1:0] peek_addr_i,
    output logic [DdrBits-1:0] peek_data_o,
    output logic [31:0] words_written_o
);

  logic ddr_read, ddr_write, ddr_waitrequest, ddr_rvalid;
  logic [DdrWordBits-1:0] ddr_addr;
  logic [4:0] ddr_burst;
  logic [DdrBits-1:0] ddr_wdata, ddr_rdata;
  logic [DdrBytes-1:0] ddr_be;

  saf_ddr #(
      .NumWr(3),
      .NumRd(4),
      .Regions(Regions)
  ) u_ddr (
      .ddr_read_o(ddr_read),
      .ddr_write_o(ddr_write),
      .ddr_addr_o(ddr_addr),
      .ddr_burst_o(ddr_burst),
      .ddr_wdata_o(ddr_wdata),
      .ddr_be_o(ddr_be),
      .ddr_waitrequest_i(ddr_waitrequest),
      .ddr_rdata_i(ddr_rdata),
      .ddr_rvalid_i(ddr_rvalid),
      .*
  );

  saf_model_ddr #(
      .WaitPercent(WaitPercent),
      .RefreshPeriod(RefreshPeriod),
      .RefreshStall(RefreshStall),
      .Pattern(Pattern)
  ) u_model (
      .clk_i(ddr_clk_i),
      .rst_ni(ddr_rst_ni),
      .read_i(ddr_read),
      .write_i(ddr_write),
      .addr_i(ddr_addr),
      .burst_i(ddr_burst),
      .wdata_i(ddr_wdata),
      .be_i(ddr_be),
      .waitrequest_o(ddr_waitrequest),
      .rdata_o(ddr_rdata),
      .rvalid_o(ddr_rvalid),
      .peek_addr_i,
      .peek_data_o,
      .words_written_o
  );

endmodule
