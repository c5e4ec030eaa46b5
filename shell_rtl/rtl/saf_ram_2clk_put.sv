// RAM with a write port on one clock and, on another clock, a port that reads or puts: what is put is stored and shown as if it
// had been read. So a word from elsewhere takes the place of a stored one without a multiplexer: a true dual-port block RAM of
// two clocks whose second port shows new data when it writes, in the form that Quartus infers it from.
//
// Latency: data one edge of rd_clk_i after the address; it holds while rd_en_i is low. As in saf_ram_2clk, nobody may look at a
// word around the time the other clock writes it, and never do both ports write one word. No reset.

module saf_ram_2clk_put #(
    parameter int unsigned Width = 72,
    parameter int unsigned Depth = 36,
    localparam int unsigned AddrWidth = Depth > 1 ? $clog2(Depth) : 1
) (
    input logic wr_clk_i,
    input logic wr_en_i,
    input logic [AddrWidth-1:0] wr_addr_i,
    input logic [Width-1:0] wr_data_i,
    input logic rd_clk_i,
    input logic rd_en_i,
    input logic [AddrWidth-1:0] rd_addr_i,
    output logic [Width-1:0] rd_data_o,
    input logic put_i,  // with rd_en_i
    input logic [Width-1:0] put_data_i
);

  // two ports write one memory, each on its clock: that is what this module is for, and no always_ff may say it
  /* verilator lint_off MULTIDRIVEN */
  logic [Width-1:0] mem[Depth];
  /* verilator lint_on MULTIDRIVEN */

  always @(posedge wr_clk_i) begin
    if (wr_en_i) mem[wr_addr_i] <= wr_data_i;
  end

  always @(posedge rd_clk_i) begin
    if (rd_en_i) begin
      rd_data_o <= put_i ? put_data_i : mem[rd_addr_i];
      if (put_i) mem[rd_addr_i] <= put_data_i;
    end
  end

endmodule
