// FIFO between two clocks, first word falls through.
//
// Data flow: block RAM, pointers in gray code through saf_sync; the RAM's output register holds the word shown. The depth
// is Depth words and the one shown.
// Latency: write to rd_valid_o one edge of wr_clk_i and four of rd_clk_i; a word's place is free again two to three edges of
// wr_clk_i after it was fetched. Reset: both sides in the same reset (each synchronised to its clock).
// Back-pressure: wr_ready_o low while full; it depends on nothing of the read side but the pointer.
// Constraints: the gray pointers' skew below one period of the faster clock.

`include "saf_assert.svh"

module saf_fifo_async #(
    parameter int unsigned Width = 64,
    parameter int unsigned Depth = 16,
    parameter bit Block = 1'b0  // block RAM whatever the depth
) (
    input logic wr_clk_i,
    input logic wr_rst_ni,
    input logic wr_valid_i,
    output logic wr_ready_o,
    input logic [Width-1:0] wr_data_i,
    input logic rd_clk_i,
    input logic rd_rst_ni,
    output logic rd_valid_o,
    input logic rd_ready_i,
    output logic [Width-1:0] rd_data_o
);

  localparam int unsigned AddrWidth = $clog2(Depth);
  localparam int unsigned PtrWidth = AddrWidth + 1;
  localparam int unsigned FewWords = (saf_shell_pkg::BlockRamBits + Width - 1) / Width;
  localparam int unsigned RamDepth = Block && Depth < FewWords ? FewWords : Depth;
  localparam int unsigned RamAddrWidth = $clog2(RamDepth);

  if (Depth < 4 || Depth != 2 ** AddrWidth) begin : gen_bad_depth
    $error("saf_fifo_async: Depth must be a power of two, at least 4");
  end

  function automatic logic [PtrWidth-1:0] to_gray(input logic [PtrWidth-1:0] value);
    return value ^ (value >> 1);
  endfunction

  logic [PtrWidth-1:0] wr_ptr_q, wr_ptr_d, wr_gray_q, wr_rd_gray;
  logic [PtrWidth-1:0] rd_ptr_q, rd_ptr_d, rd_gray_q, rd_wr_gray;
  logic push, fetch, shown_q;
  logic [RamAddrWidth-1:0] ram_wr_addr, ram_rd_addr;

  always_comb begin
    ram_wr_addr = '0;
    ram_rd_addr = '0;
    ram_wr_addr[AddrWidth-1:0] = wr_ptr_q[AddrWidth-1:0];
    ram_rd_addr[AddrWidth-1:0] = rd_ptr_q[AddrWidth-1:0];
  end

  // write side: full when the pointers differ by Depth, which in gray code is the two top bits inverted
  assign wr_ready_o = wr_gray_q != (wr_rd_gray ^ {2'b11, {PtrWidth - 2{1'b0}}});
  assign push = wr_valid_i && wr_ready_o;
  assign wr_ptr_d = wr_ptr_q + PtrWidth'(push);

  always_ff @(posedge wr_clk_i or negedge wr_rst_ni) begin
    if (!wr_rst_ni) begin
      wr_ptr_q <= '0;
      wr_gray_q <= '0;
    end else begin
      wr_ptr_q <= wr_ptr_d;
      wr_gray_q <= to_gray(wr_ptr_d);
    end
  end

  saf_sync #(
      .Width(PtrWidth)
  ) u_rd_to_wr (
      .clk_i(wr_clk_i),
      .rst_ni(wr_rst_ni),
      .d_i(rd_gray_q),
      .q_o(wr_rd_gray)
  );

  // read side
  assign fetch = rd_gray_q != rd_wr_gray && (!shown_q || rd_ready_i);
  assign rd_ptr_d = rd_ptr_q + PtrWidth'(fetch);
  assign rd_valid_o = shown_q;

  always_ff @(posedge rd_clk_i or negedge rd_rst_ni) begin
    if (!rd_rst_ni) begin
      rd_ptr_q <= '0;
      rd_gray_q <= '0;
      shown_q <= 1'b0;
    end else begin
      rd_ptr_q <= rd_ptr_d;
      rd_gray_q <= to_gray(rd_ptr_d);
      if (fetch) shown_q <= 1'b1;
      else if (rd_ready_i) shown_q <= 1'b0;
    end
  end

  saf_sync #(
      .Width(PtrWidth)
  ) u_wr_to_rd (
      .clk_i(rd_clk_i),
      .rst_ni(rd_rst_ni),
      .d_i(wr_gray_q),
      .q_o(rd_wr_gray)
  );

  saf_ram_2clk #(
      .Width(Width),
      .Depth(RamDepth)
  ) u_ram (
      .wr_clk_i,
      .wr_en_i(push),
      .wr_addr_i(ram_wr_addr),
      .wr_data_i,
      .rd_clk_i,
      .rd_en_i(fetch),
      .rd_addr_i(ram_rd_addr),
      .rd_data_o
  );

  `SAF_STABLE(AssertStable, rd_valid_o, rd_ready_i, rd_data_o, rd_clk_i, rd_rst_ni)

endmodule
