// Proof obligations of saf_fifo_async: with any two clocks, and resets that end at any two times, words come out as they
// went in, in order, none lost, none made up, and a word is fetched only after it was written and before its place is
// written again.
//
// Clocks are free inputs (both may rise in the same step). A pointer's bit that changes at the very edge at which the
// other side samples it arrives as it was or as it is, in this model as it was: in gray code that is either the old or
// the new pointer, which is what is proven to be enough. Not modelled: bits of one pointer that arrive further apart than
// a clock period (the skew constraint of the module's header).
//
// The shadow is the word written at each pointer, of twice as many pointers as there are places: what is shown is compared
// with what was written under the number of words that were shown before it.

module saf_fifo_async_formal (
    input logic wr_clk_i,
    input logic rd_clk_i,
    input logic wr_reset_ends_i,
    input logic rd_reset_ends_i,
    input logic wr_valid,
    input logic wr_data,
    input logic rd_ready
);

  localparam int unsigned Depth = 4;
  localparam int unsigned Bits = 3;

  logic wr_rst_n_q = 1'b0;
  logic rd_rst_n_q = 1'b0;
  always_ff @(posedge wr_reset_ends_i) wr_rst_n_q <= 1'b1;
  always_ff @(posedge rd_reset_ends_i) rd_rst_n_q <= 1'b1;

  logic wr_ready, rd_valid, rd_data;

  saf_fifo_async #(
      .Width(1),
      .Depth(Depth)
  ) u_fifo (
      .wr_clk_i,
      .wr_rst_ni(wr_rst_n_q),
      .wr_valid_i(wr_valid),
      .wr_ready_o(wr_ready),
      .wr_data_i(wr_data),
      .rd_clk_i,
      .rd_rst_ni(rd_rst_n_q),
      .rd_valid_o(rd_valid),
      .rd_ready_i(rd_ready),
      .rd_data_o(rd_data)
  );

  logic [2**Bits-1:0] written_q;  // word by pointer
  logic [Bits-1:0] pushed_q, popped_q;

  always_ff @(posedge wr_clk_i or negedge wr_rst_n_q) begin
    if (!wr_rst_n_q) pushed_q <= '0;
    else if (wr_valid && wr_ready) pushed_q <= pushed_q + 1'b1;
  end
  always_ff @(posedge wr_clk_i) begin
    if (wr_valid && wr_ready) written_q[pushed_q] <= wr_data;
  end
  always_ff @(posedge rd_clk_i or negedge rd_rst_n_q) begin
    if (!rd_rst_n_q) popped_q <= '0;
    else if (rd_valid && rd_ready) popped_q <= popped_q + 1'b1;
  end

  // nothing is pushed while the write side is in reset: its neighbours are in the same one
  always_comb assume (wr_rst_n_q || !wr_valid);
  always_comb assume (rd_rst_n_q || !rd_ready);

  function automatic logic [Bits-1:0] binary(input logic [Bits-1:0] gray);
    return {gray[2], gray[2] ^ gray[1], gray[2] ^ gray[1] ^ gray[0]};
  endfunction

  // from the newest to the oldest: pointers as they were made, and as they arrive on the other side
  logic [Bits-1:0] wr, wr_meta, wr_seen, rd, rd_meta, rd_seen;
  logic [5:0] span;
  assign wr = u_fifo.wr_ptr_q;
  assign wr_meta = binary(u_fifo.u_wr_to_rd.meta_q);
  assign wr_seen = binary(u_fifo.u_wr_to_rd.sync_q);
  assign rd = u_fifo.rd_ptr_q;
  assign rd_meta = binary(u_fifo.u_rd_to_wr.meta_q);
  assign rd_seen = binary(u_fifo.u_rd_to_wr.sync_q);
  assign span = 6'(Bits'(wr - wr_meta)) + 6'(Bits'(wr_meta - wr_seen)) + 6'(Bits'(wr_seen - rd))
      + 6'(Bits'(rd - rd_meta)) + 6'(Bits'(rd_meta - rd_seen));

  logic [Bits-1:0] stored;
  assign stored = wr - rd;

  // what is proven
  always_comb begin
    assert (stored <= Bits'(Depth));
    if (rd_valid) assert (rd_data == written_q[popped_q]);
    if (u_fifo.push) assert (stored < Bits'(Depth));
    if (u_fifo.fetch) assert (stored != '0);
    // one bit at a time crosses
    assert ($countones(u_fifo.wr_gray_q ^ (Bits'(wr + 1'b1) ^ (Bits'(wr + 1'b1) >> 1))) == 1);
    // no word is lost: pushed, stored, shown and popped add up
    assert (pushed_q == wr);
    assert (Bits'(popped_q + Bits'(rd_valid)) == rd);
  end

  // what makes it inductive
  always_comb begin
    assert (span <= 6'(Depth));
    assert (u_fifo.wr_gray_q == (wr ^ (wr >> 1)));
    assert (u_fifo.rd_gray_q == (rd ^ (rd >> 1)));
    if (!wr_rst_n_q) assert (wr == '0 && rd_meta == '0 && rd_seen == '0);
    if (!rd_rst_n_q) assert (rd == '0 && wr_meta == '0 && wr_seen == '0 && !rd_valid);
    for (int unsigned i = 0; i < Depth; i++) begin
      if (Bits'(i) < stored)
        assert (u_fifo.u_ram.mem[2'(rd + Bits'(i))] == written_q[Bits'(rd + Bits'(i))]);
    end
  end

endmodule
