// The MEM FIFO: rows of 512 bits and the bursts that they make up, from the core clock to the DDR clock.
//
// Data flow: words with their byte enables → eight lanes of row RAM → the controller's write data; a burst's command crosses
// behind its rows, a row's place is counted back when it is in DDR. The RAM's port on the DDR clock shows what the role writes
// as well (saf_ram_2clk_put).
// Byte 0 of a word is its most significant one; byte 0 of a row is its least significant one.
// Latency: a row one edge of ddr_clk_i after out_re_i; a command three. Reset: no command; the RAM's contents are unknown.
// Back-pressure: mem_ready_o; places are counted by saf_ddr_write.

module saf_ddr_rows
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic ddr_clk_i,
    input logic ddr_rst_ni,

    // core clock
    input logic [7:0] row_we_i,  // lanes
    input logic [MemRowBits:0] row_addr_i,
    input logic [63:0] row_data_i,
    input logic [7:0] row_be_i,
    input logic in_valid_i,
    output logic in_ready_o,
    input mem_write_t in_i,
    output logic [MemRowBits:0] rows_done_o,  // modulo twice their number

    // DDR clock
    output logic mem_valid_o,
    input logic mem_ready_i,
    output mem_write_t mem_o,
    input logic row_done_i,
    input logic out_re_i,
    input logic out_put_i,
    input logic [MemRowBits:0] out_addr_i,
    input logic [DdrBits-1:0] role_data_i,
    input logic [DdrBytes-1:0] role_be_i,
    output logic [DdrBits-1:0] out_data_o,
    output logic [DdrBytes-1:0] out_be_o
);

  for (genvar lane = 0; lane < 8; lane++) begin : gen_lane
    logic [63:0] lane_data, role_data;

    saf_ram_2clk_put #(
        .Width(72),
        .Depth(MemRamRows)
    ) u_rows (
        .wr_clk_i(clk_i),
        .wr_en_i(row_we_i[lane]),
        .wr_addr_i(row_addr_i),
        .wr_data_i({row_be_i, row_data_i}),
        .rd_clk_i(ddr_clk_i),
        .rd_en_i(out_re_i),
        .rd_addr_i(out_addr_i),
        .rd_data_o({out_be_o[lane*8+:8], lane_data}),
        .put_i(out_put_i),
        .put_data_i({role_be_i[lane*8+:8], role_data})
    );
    for (genvar i = 0; i < 8; i++) begin : gen_byte
      assign out_data_o[lane*64+i*8+:8] = lane_data[63-i*8-:8];
      assign role_data[63-i*8-:8] = role_data_i[lane*64+i*8+:8];
    end
  end

  saf_fifo_async #(
      .Width($bits(mem_write_t)),
      .Depth(16),
      .Block(1'b1)
  ) u_mem (
      .wr_clk_i(clk_i),
      .wr_rst_ni(rst_ni),
      .wr_valid_i(in_valid_i),
      .wr_ready_o(in_ready_o),
      .wr_data_i(in_i),
      .rd_clk_i(ddr_clk_i),
      .rd_rst_ni(ddr_rst_ni),
      .rd_valid_o(mem_valid_o),
      .rd_ready_i(mem_ready_i),
      .rd_data_o(mem_o)
  );

  saf_counter_cdc #(
      .Width(MemRowBits + 1)
  ) u_rows_done (
      .src_clk_i(ddr_clk_i),
      .src_rst_ni(ddr_rst_ni),
      .src_pulse_i(row_done_i),
      .dst_clk_i(clk_i),
      .dst_rst_ni(rst_ni),
      .dst_count_o(rows_done_o)
  );

endmodule
