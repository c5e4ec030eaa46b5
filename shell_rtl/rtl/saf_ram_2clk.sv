// RAM with a write port and a read port on clocks of their own, in the form every tool infers a block RAM from.
//
// Latency: data one edge of rd_clk_i after the address; it holds while rd_en_i is low. What a read gives of a word that
// is written around the same time is unknown in hardware: the user must not look (saf_fifo_async does not). No reset.

module saf_ram_2clk #(
    parameter int unsigned Width = 64,
    parameter int unsigned Depth = 512,
    localparam int unsigned AddrWidth = Depth > 1 ? $clog2(Depth) : 1
) (
    input logic wr_clk_i,
    input logic wr_en_i,
    input logic [AddrWidth-1:0] wr_addr_i,
    input logic [Width-1:0] wr_data_i,
    input logic rd_clk_i,
    input logic rd_en_i,
    input logic [AddrWidth-1:0] rd_addr_i,
    output logic [Width-1:0] rd_data_o
);

  logic [Width-1:0] mem[Depth];

  always_ff @(posedge wr_clk_i) begin
    if (wr_en_i) mem[wr_addr_i] <= wr_data_i;
  end

  always_ff @(posedge rd_clk_i) begin
    if (rd_en_i) rd_data_o <= mem[rd_addr_i];
  end

endmodule
