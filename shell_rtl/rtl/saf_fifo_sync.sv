// FIFO on one clock, first word falls through.
//
// Data flow: up to 64 words lie in LUT RAM that is read where it lies (one cycle from write to rd_valid_o); deeper ones in
// block RAM, whose output register holds the word shown (two cycles). Either way one word a cycle in and out. Block asks for
// block RAM whatever the depth: LUT RAM takes half an ALM a bit of width, a block RAM none.
// Reset: empties it. Back-pressure: wr_ready_o low while Depth words are inside; it does not depend on rd_ready_i.

`include "saf_assert.svh"

module saf_fifo_sync #(
    parameter int unsigned Width = 64,
    parameter int unsigned Depth = 16,
    parameter bit Block = Depth > 64
) (
    input logic clk_i,
    input logic rst_ni,
    input logic wr_valid_i,
    output logic wr_ready_o,
    input logic [Width-1:0] wr_data_i,
    output logic rd_valid_o,
    input logic rd_ready_i,
    output logic [Width-1:0] rd_data_o,
    output logic [$clog2(Depth+1)-1:0] count_o
);

  localparam int unsigned CountWidth = $clog2(Depth + 1);
  localparam int unsigned AddrWidth = $clog2(Depth);
  localparam logic [AddrWidth-1:0] LastAddr = AddrWidth'(Depth - 1);

  if (Depth < 2) begin : gen_bad_depth
    $error("saf_fifo_sync: Depth must be at least 2");
  end

  logic push, pop, fetch;
  logic [AddrWidth-1:0] wr_addr_q, rd_addr_q;
  logic [CountWidth-1:0] count_q;

  assign wr_ready_o = count_q != CountWidth'(Depth);
  assign push = wr_valid_i && wr_ready_o;
  assign pop = rd_valid_o && rd_ready_i;
  assign count_o = count_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      wr_addr_q <= '0;
      rd_addr_q <= '0;
      count_q <= '0;
    end else begin
      if (push) wr_addr_q <= wr_addr_q == LastAddr ? '0 : wr_addr_q + 1'b1;
      if (fetch) rd_addr_q <= rd_addr_q == LastAddr ? '0 : rd_addr_q + 1'b1;
      if (push != pop) count_q <= push ? count_q + 1'b1 : count_q - 1'b1;
    end
  end

  if (Block) begin : gen_ram
    // a RAM of few words is made deeper than it need be: smaller ones become LUT RAM
    localparam int unsigned FewWords = (saf_shell_pkg::BlockRamBits + Width - 1) / Width;
    localparam int unsigned RamDepth = Depth > FewWords ? Depth : FewWords;
    localparam int unsigned RamAddrWidth = $clog2(RamDepth);
    logic [RamAddrWidth-1:0] ram_wr_addr, ram_rd_addr;
    logic shown_q;  // the words inside beyond the one shown lie in the RAM

    always_comb begin
      ram_wr_addr = '0;
      ram_rd_addr = '0;
      ram_wr_addr[AddrWidth-1:0] = wr_addr_q;
      ram_rd_addr[AddrWidth-1:0] = rd_addr_q;
    end
    assign fetch = count_q > CountWidth'(shown_q) && (!shown_q || rd_ready_i);
    assign rd_valid_o = shown_q;

    always_ff @(posedge clk_i or negedge rst_ni) begin
      if (!rst_ni) shown_q <= 1'b0;
      else if (fetch) shown_q <= 1'b1;
      else if (rd_ready_i) shown_q <= 1'b0;
    end

    saf_ram_1r1w #(
        .Width(Width),
        .Depth(RamDepth)
    ) u_ram (
        .clk_i,
        .wr_en_i(push),
        .wr_addr_i(ram_wr_addr),
        .wr_data_i,
        .rd_en_i(fetch),
        .rd_addr_i(ram_rd_addr),
        .rd_data_o
    );
  end else begin : gen_lut
    logic [Width-1:0] mem[Depth];

    assign rd_valid_o = count_q != '0;
    assign fetch = pop;
    assign rd_data_o = mem[rd_addr_q];

    always_ff @(posedge clk_i) begin
      if (push) mem[wr_addr_q] <= wr_data_i;
    end
  end

  `SAF_ASSERT(AssertNoOverflow, !push || count_q < CountWidth'(Depth))
  `SAF_ASSERT(AssertNoUnderflow, !pop || count_q != '0)
  `SAF_STABLE(AssertStable, rd_valid_o, rd_ready_i, rd_data_o, clk_i, rst_ni)

endmodule
