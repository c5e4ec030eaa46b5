// RAM with a wide write port and a narrow read port on clocks of their own: block RAM of mixed widths, so that the choice of the
// narrow word costs no logic. The form is the one that Quartus infers it from (packed words inside a wide one).
//
// Latency: data one edge of rd_clk_i after the address; it holds while rd_en_i is low. Narrow word 0 of a wide one is its least
// significant part. As in saf_ram_2clk, nobody may look at a word around the time it is written. No reset.

module saf_ram_2clk_narrow #(
    parameter int unsigned Width = 512,  // of the write port
    parameter int unsigned Depth = 128,  // words of that width
    parameter int unsigned Parts = 8,  // read words in one of them
    localparam int unsigned AddrWidth = Depth > 1 ? $clog2(Depth) : 1,
    localparam int unsigned PartBits = $clog2(Parts)
) (
    input logic wr_clk_i,
    input logic wr_en_i,
    input logic [AddrWidth-1:0] wr_addr_i,
    input logic [Width-1:0] wr_data_i,
    input logic rd_clk_i,
    input logic rd_en_i,
    input logic [AddrWidth+PartBits-1:0] rd_addr_i,
    output logic [Width/Parts-1:0] rd_data_o
);

  logic [Parts-1:0][Width/Parts-1:0] mem[Depth];

  always_ff @(posedge wr_clk_i) begin
    if (wr_en_i) mem[wr_addr_i] <= wr_data_i;
  end

  always_ff @(posedge rd_clk_i) begin
    if (rd_en_i) rd_data_o <= mem[rd_addr_i[AddrWidth+PartBits-1:PartBits]][rd_addr_i[PartBits-1:0]];
  end

endmodule
