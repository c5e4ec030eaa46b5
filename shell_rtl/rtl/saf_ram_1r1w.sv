// RAM with one write and one read port on one clock, in the form every tool infers a block RAM from (M20K; small ones
// become MLABs).
//
// Latency: data one cycle after the address; it holds while rd_en_i is low. Reading the address that is being written
// gives the OLD word. No reset: the contents are unknown until written.

module saf_ram_1r1w #(
    parameter int unsigned Width = 64,
    parameter int unsigned Depth = 512,
    localparam int unsigned AddrWidth = Depth > 1 ? $clog2(Depth) : 1
) (
    input logic clk_i,
    input logic wr_en_i,
    input logic [AddrWidth-1:0] wr_addr_i,
    input logic [Width-1:0] wr_data_i,
    input logic rd_en_i,
    input logic [AddrWidth-1:0] rd_addr_i,
    output logic [Width-1:0] rd_data_o
);

  logic [Width-1:0] mem[Depth];

  always_ff @(posedge clk_i) begin
    if (wr_en_i) mem[wr_addr_i] <= wr_data_i;
    if (rd_en_i) rd_data_o <= mem[rd_addr_i];
  end

endmodule
