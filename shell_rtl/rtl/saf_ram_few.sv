// RAM of a few wide words in block RAM: in memory LABs each 20 bits of width would take the place of ten ALMs, however few
// the words are. So its depth is made up to the size from which block RAM is used.
//
// Latency, reset and reading while writing as in saf_ram_1r1w.

module saf_ram_few #(
    parameter int unsigned Width = 64,
    parameter int unsigned Words = 4,
    parameter int unsigned MinBits = saf_shell_pkg::BlockRamBits,
    localparam int unsigned Rows = (MinBits + Width - 1) / Width,
    localparam int unsigned Depth = Rows > Words ? Rows : Words,
    localparam int unsigned AddrWidth = $clog2(Words),
    localparam int unsigned DepthBits = $clog2(Depth)
) (
    input logic clk_i,
    input logic wr_en_i,
    input logic [AddrWidth-1:0] wr_addr_i,
    input logic [Width-1:0] wr_data_i,
    input logic rd_en_i,
    input logic [AddrWidth-1:0] rd_addr_i,
    output logic [Width-1:0] rd_data_o
);

  saf_ram_1r1w #(
      .Width(Width),
      .Depth(Depth)
  ) u_ram (
      .clk_i,
      .wr_en_i,
      .wr_addr_i(DepthBits'(wr_addr_i)),
      .wr_data_i,
      .rd_en_i,
      .rd_addr_i(DepthBits'(rd_addr_i)),
      .rd_data_o
  );

endmodule
