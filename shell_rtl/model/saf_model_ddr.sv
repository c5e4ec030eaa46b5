// DDR controller with a memory of its own, for tests of modules: pipelined Avalon-MM bursts, one 512-bit word a cycle in all.
//
// Data flow: a read burst is accepted at once and takes its words from the memory one a cycle, during which nothing else is
// accepted (the data bus is busy); they come Latency cycles later, in order. Writes are in the memory when accepted.
// Words never written hold zeros, or with Pattern a word made of their address (ddr_pattern in the tests).
// Back-pressure: waitrequest during refreshes (RefreshStall of every RefreshPeriod cycles), in WaitPercent of the cycles at
// random, and while more than Depth words are owed. Reset: what is owed is forgotten, memory stays.
// Checked: a burst's beats are not interleaved with anything, byte enables of reads are all set, lengths are 1 to 16.

`include "saf_assert.svh"

module saf_model_ddr
  import saf_shell_pkg::*;
#(
    parameter int unsigned Latency = 24,
    parameter int unsigned RefreshPeriod = 1560,  // 7.8 us at 200 MHz
    parameter int unsigned RefreshStall = 80,  // 400 ns at 200 MHz
    parameter int unsigned WaitPercent = 0,
    parameter int unsigned Depth = 128,
    parameter bit Pattern = 1'b0
) (
    input logic clk_i,
    input logic rst_ni,
    input logic read_i,
    input logic write_i,
    input logic [DdrWordBits-1:0] addr_i,
    input logic [4:0] burst_i,
    input logic [DdrBits-1:0] wdata_i,
    input logic [DdrBytes-1:0] be_i,
    output logic waitrequest_o,
    output logic [DdrBits-1:0] rdata_o,
    output logic rvalid_o,

    // the test's own look at the memory
    input logic [DdrWordBits-1:0] peek_addr_i,
    output logic [DdrBits-1:0] peek_data_o,
    output logic [31:0] words_written_o
);

  logic [DdrBits-1:0] memory[logic [DdrWordBits-1:0]];
  logic [DdrBits-1:0] owed[$];
  longint unsigned due[$];

  logic [31:0] cycle_q, refresh_q, written_q;
  logic [4:0] reads_q, writes_q;  // beats of the burst under way still to come
  logic [DdrWordBits-1:0] next_q;
  logic wait_q, refreshing, full_q;

  function automatic logic [DdrBits-1:0] content(input logic [DdrWordBits-1:0] word);
    logic [DdrBits-1:0] value;
    value = '0;
    if (memory.exists(word) != 0) value = memory[word];
    else if (Pattern) begin
      for (int unsigned i = 0; i < 16; i++) value[32*i+:32] = ({word, 4'(i)} + 32'd1) * 32'h9E37_79B1;
    end
    return value;
  endfunction

  assign refreshing = refresh_q < RefreshStall;
  assign waitrequest_o = refreshing || wait_q || full_q || reads_q != '0;
  assign words_written_o = written_q;

  // The memory is no register: blocking assignments keep reads and writes in the order of the bus.
  // verilator lint_off BLKSEQ
  always_ff @(posedge clk_i or negedge rst_ni) begin : p_bus
    automatic logic [DdrBits-1:0] value;
    automatic logic [DdrWordBits-1:0] word;
    if (!rst_ni) begin
      cycle_q <= '0;
      refresh_q <= RefreshStall;
      written_q <= '0;
      reads_q <= '0;
      writes_q <= '0;
      next_q <= '0;
      wait_q <= 1'b0;
      full_q <= 1'b0;
      rvalid_o <= 1'b0;
      rdata_o <= '0;
      owed.delete();
      due.delete();
    end else begin
      cycle_q <= cycle_q + 32'd1;
      refresh_q <= refresh_q == RefreshPeriod - 1 ? '0 : refresh_q + 32'd1;
      wait_q <= int'($urandom % 100) < int'(WaitPercent);
      if (write_i && !waitrequest_o) begin
        word = writes_q == '0 ? addr_i : next_q;
        value = content(word);
        for (int unsigned i = 0; i < DdrBytes; i++) if (be_i[i]) value[8*i+:8] = wdata_i[8*i+:8];
        memory[word] = value;
        written_q <= written_q + 32'd1;
        next_q <= word + 1'b1;
        writes_q <= writes_q == '0 ? burst_i - 5'd1 : writes_q - 5'd1;
      end else if (read_i && !waitrequest_o) begin
        owed.push_back(content(addr_i));
        due.push_back(64'(cycle_q) + 64'(Latency));
        next_q <= addr_i + 1'b1;
        reads_q <= burst_i - 5'd1;
      end else if (reads_q != '0) begin
        owed.push_back(content(next_q));
        due.push_back(64'(cycle_q) + 64'(Latency));
        next_q <= next_q + 1'b1;
        reads_q <= reads_q - 5'd1;
      end
      rvalid_o <= 1'b0;
      if (due.size() != 0 && due[0] <= 64'(cycle_q) && !refreshing) begin
        rvalid_o <= 1'b1;
        rdata_o <= owed.pop_front();
        void'(due.pop_front());
      end
      full_q <= due.size() > int'(Depth) - 16;
    end
  end

  always_ff @(posedge clk_i) peek_data_o <= content(peek_addr_i);
  // verilator lint_on BLKSEQ

  `SAF_ASSERT(AssertOne, !(read_i && write_i))
  `SAF_ASSERT(AssertWhole, !(read_i && writes_q != '0))
  `SAF_ASSERT(AssertLength, !(read_i || write_i) || (burst_i != '0 && burst_i <= 5'd16))
  `SAF_ASSERT(AssertReadBytes, !read_i || be_i == '1)
  `SAF_STABLE(AssertStable, read_i || write_i, !waitrequest_o, {read_i, write_i, addr_i, burst_i, wdata_i, be_i}, clk_i, rst_ni)

endmodule
