// DDR controller with memory as the shell sees it: Avalon-MM, 512 bit, pipelined bursts.
//
// Data flow: accepted writes go to the memory at once; a read takes its words from the memory when it is accepted and
// gives them Latency cycles later, one a cycle, in order. The memory is the simulator's (DPI), so that kernels run on it.
// Latency: Latency cycles for the first word of a read. Reset: outstanding reads are forgotten, memory stays.
// Back-pressure: waitrequest while a refresh is under way (RefreshStall of every RefreshPeriod cycles), while slow_i says so,
// and while Depth words wait to be given.

module saf_ddr_model
  import saf_shell_pkg::*;
#(
    parameter int unsigned Latency = 30,
    parameter int unsigned RefreshPeriod = 1560,  // 7.8 us at 200 MHz
    parameter int unsigned RefreshStall = 80,  // 400 ns at 200 MHz
    parameter int unsigned Depth = 256
) (
    input logic clk_i,
    input logic rst_ni,
    input logic [63:0] context_i,  // the simulator's card
    input logic slow_i,
    input logic read_i,
    input logic write_i,
    input logic [DdrWordBits-1:0] addr_i,
    input logic [4:0] burst_i,
    input logic [DdrBits-1:0] wdata_i,
    input logic [DdrBytes-1:0] be_i,
    output logic waitrequest_o,
    output logic [DdrBits-1:0] rdata_o,
    output logic rvalid_o,
    output logic busy_o
);

  import "DPI-C" function void saf_dpi_ddr_read(
    input longint unsigned card,
    input int unsigned word,
    output bit [511:0] data
  );
  import "DPI-C" function void saf_dpi_ddr_write(
    input longint unsigned card,
    input int unsigned word,
    input bit [511:0] data,
    input longint unsigned enable
  );

  localparam int unsigned PtrBits = $clog2(Depth);

  logic [DdrBits-1:0] words_q[Depth];
  logic [31:0] due_q[Depth];
  logic [PtrBits-1:0] head_q, tail_q;
  logic [PtrBits:0] count_q;
  logic [31:0] now_q, refresh_q;
  logic [4:0] left_q;  // words of a write burst still to come
  logic [DdrWordBits-1:0] next_q;  // where they go
  logic refreshing, full, give;

  assign refreshing = refresh_q < RefreshStall;
  assign full = count_q > (PtrBits + 1)'(Depth - 32);
  assign waitrequest_o = refreshing || slow_i || full;
  assign give = count_q != '0 && due_q[head_q] <= now_q && !refreshing;
  assign busy_o = count_q != '0 || read_i || write_i;

  // The simulator's memory is no register: blocking assignments keep reads and writes in the order of the bus.
  // verilator lint_off BLKSEQ
  always_ff @(posedge clk_i or negedge rst_ni) begin : p_bus
    automatic bit [511:0] word;
    automatic int unsigned base;
    if (!rst_ni) begin
      head_q <= '0;
      tail_q <= '0;
      count_q <= '0;
      now_q <= '0;
      refresh_q <= RefreshStall;
      left_q <= '0;
      next_q <= '0;
      rvalid_o <= 1'b0;
      rdata_o <= '0;
    end else begin
      now_q <= now_q + 32'd1;
      refresh_q <= refresh_q == RefreshPeriod - 1 ? '0 : refresh_q + 32'd1;
      rvalid_o <= give;
      if (give) begin
        rdata_o <= words_q[head_q];
        head_q <= head_q + PtrBits'(1);
      end
      count_q <= count_q - (PtrBits + 1)'(give);
      if (write_i && !waitrequest_o) begin
        base = left_q == '0 ? 32'(addr_i) : 32'(next_q);
        saf_dpi_ddr_write(context_i, base, wdata_i, be_i);
        next_q <= DdrWordBits'(base + 1);
        left_q <= left_q == '0 ? burst_i - 5'd1 : left_q - 5'd1;
      end
      if (read_i && !waitrequest_o) begin
        for (int unsigned i = 0; i < 32'(burst_i); i++) begin
          saf_dpi_ddr_read(context_i, 32'(addr_i) + i, word);
          words_q[tail_q+PtrBits'(i)] <= word;
          due_q[tail_q+PtrBits'(i)] <= now_q + Latency;
        end
        tail_q <= tail_q + PtrBits'(burst_i);
        count_q <= count_q + (PtrBits + 1)'(burst_i) - (PtrBits + 1)'(give);
      end
    end
  end
  // verilator lint_on BLKSEQ

endmodule
