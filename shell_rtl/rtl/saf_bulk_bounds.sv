// The last word on where a block may be written: between base and limit of its context as XFER_OPEN set them.
//
// Purpose: whatever the units before computed an address from, a block that does not lie wholly in [base, limit) gets no
// ok_o and is not written. Nothing else in the bulk path decides this, so that this alone has to be proven.
// Data flow: set_* (at open) fills the table; rd_* names the context of the block that is about to arrive; in the next
// cycle and until the next read addr_i/bytes_i are judged.
// Latency: ok_o is combinational from addr_i and bytes_i, one cycle after rd_en_i. Reset: no context is open: ok_o is low
// for all. Back-pressure: none. Constraints: set_* and rd_* of one context are never in the same cycle.

`include "saf_assert.svh"

module saf_bulk_bounds
  import saf_shell_pkg::*;
#(
    parameter int unsigned TableBits = BlockRamBits  // size of the table's RAM
) (
    input logic clk_i,
    input logic rst_ni,
    input logic set_i,
    input logic [1:0] set_ctx_i,
    input logic [AddrBits-1:0] set_base_i,
    input logic [AddrBits-1:0] set_limit_i,
    input logic rd_en_i,
    input logic [1:0] rd_ctx_i,
    input logic [AddrBits-1:0] addr_i,
    input logic [FrameBytesBits-1:0] bytes_i,
    output logic ok_o
);

  typedef struct packed {
    logic [AddrBits-1:0] base;
    logic [AddrBits-1:0] limit;
  } bounds_t;

  bounds_t bounds;
  logic [AddrBits:0] stop;
  logic [Contexts-1:0] known_q;
  logic open_q;

  saf_ram_few #(
      .Width($bits(bounds_t)),
      .Words(Contexts),
      .MinBits(TableBits)
  ) u_table (
      .clk_i,
      .wr_en_i(set_i),
      .wr_addr_i(set_ctx_i),
      .wr_data_i({set_base_i, set_limit_i}),
      .rd_en_i,
      .rd_addr_i(rd_ctx_i),
      .rd_data_o(bounds)
  );

  // one bit more than an address, so that a block at the very top does not wrap to the bottom
  assign stop = {1'b0, addr_i} + (AddrBits + 1)'(bytes_i);
  // `<` alone: `<=` would take a comparison for equality too
  assign ok_o = open_q && bytes_i != '0 && !(addr_i < bounds.base) && !({1'b0, bounds.limit} < stop);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      known_q <= '0;
      open_q <= 1'b0;
    end else begin
      if (set_i) known_q[set_ctx_i] <= 1'b1;
      if (rd_en_i) open_q <= known_q[rd_ctx_i];
    end
  end

  `SAF_ASSERT(AssertLastByteInside, !ok_o || stop - 1'b1 < {1'b0, bounds.limit})
  `SAF_ASSERT(AssertFirstByteInside, !ok_o || (addr_i >= bounds.base && addr_i < bounds.limit))
  `SAF_ASSERT(AssertSetAlone, !(set_i && rd_en_i && set_ctx_i == rd_ctx_i))

endmodule
