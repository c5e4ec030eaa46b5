// Proof obligations of the two kinds of saf_fifo_sync: what comes out is what went in, in order, and nothing is lost or
// made up, whatever the other sides do.
//
// The shadow: any word that goes in may be marked; what it was, where it was written, and how many words are ahead of it.
// Until it leaves it lies where it was written (or is shown), behind as many words, so that the proof closes by induction.

module saf_fifo_formal #(
    parameter int unsigned Width = 2
) (
    input logic clk_i,
    input logic wr_valid,
    input logic [Width-1:0] wr_data,
    input logic rd_ready,
    input logic mark,
    input logic big_wr_valid,
    input logic [Width-1:0] big_wr_data,
    input logic big_rd_ready,
    input logic big_mark
);

  localparam int unsigned Depth = 5, BigDepth = 66;

  logic rst_n_q = 1'b0;
  always_ff @(posedge clk_i) rst_n_q <= 1'b1;

  // ---------------------------------------------------------------- in LUT RAM, a depth that is no power of two

  logic wr_ready, rd_valid;
  logic [Width-1:0] rd_data;
  logic [2:0] count;

  saf_fifo_sync #(
      .Width(Width),
      .Depth(Depth)
  ) u_fifo (
      .clk_i,
      .rst_ni(rst_n_q),
      .wr_valid_i(wr_valid),
      .wr_ready_o(wr_ready),
      .wr_data_i(wr_data),
      .rd_valid_o(rd_valid),
      .rd_ready_i(rd_ready),
      .rd_data_o(rd_data),
      .count_o(count)
  );

  logic inside_q = 1'b0;
  logic [2:0] ahead_q, place_q;
  logic [Width-1:0] word_q;
  logic push, pop;

  assign push = wr_valid && wr_ready;
  assign pop = rd_valid && rd_ready;

  always_ff @(posedge clk_i) begin
    if (!inside_q) begin
      if (push && mark && rst_n_q) begin
        inside_q <= 1'b1;
        word_q <= wr_data;
        ahead_q <= count - 3'(pop);
        place_q <= u_fifo.wr_addr_q;
      end
    end else if (pop) begin
      inside_q <= ahead_q != '0;
      ahead_q <= ahead_q - 1'b1;
    end
  end

  // ---------------------------------------------------------------- in block RAM, whose output register shows a word

  logic big_wr_ready, big_rd_valid;
  logic [Width-1:0] big_rd_data;
  logic [6:0] big_count, big_stored;  // beyond the one shown

  saf_fifo_sync #(
      .Width(Width),
      .Depth(BigDepth)
  ) u_big (
      .clk_i,
      .rst_ni(rst_n_q),
      .wr_valid_i(big_wr_valid),
      .wr_ready_o(big_wr_ready),
      .wr_data_i(big_wr_data),
      .rd_valid_o(big_rd_valid),
      .rd_ready_i(big_rd_ready),
      .rd_data_o(big_rd_data),
      .count_o(big_count)
  );

  logic big_inside_q = 1'b0;
  logic [6:0] big_ahead_q, big_place_q;
  logic [Width-1:0] big_word_q;
  logic big_push, big_pop;

  assign big_push = big_wr_valid && big_wr_ready;
  assign big_pop = big_rd_valid && big_rd_ready;
  assign big_stored = big_count - 7'(big_rd_valid);

  always_ff @(posedge clk_i) begin
    if (!big_inside_q) begin
      if (big_push && big_mark && rst_n_q) begin
        big_inside_q <= 1'b1;
        big_word_q <= big_wr_data;
        big_ahead_q <= big_count - 7'(big_pop);
        big_place_q <= u_big.wr_addr_q;
      end
    end else if (big_pop) begin
      big_inside_q <= big_ahead_q != '0;
      big_ahead_q <= big_ahead_q - 1'b1;
    end
  end

  function automatic logic [6:0] around(input logic [7:0] place);
    return place >= 8'(BigDepth) ? 7'(place - 8'(BigDepth)) : place[6:0];
  endfunction

  always_comb begin
    if (rst_n_q) begin
      assert (big_count <= 7'(BigDepth));
      assert (big_wr_ready == (big_count < 7'(BigDepth)));
      assert (!big_rd_valid || big_count != '0);
      assert (u_big.rd_addr_q < 7'(BigDepth));
      assert (u_big.wr_addr_q < 7'(BigDepth));
      assert (u_big.wr_addr_q == around(8'(u_big.rd_addr_q) + 8'(big_stored)));
      if (big_inside_q) begin
        assert (big_ahead_q < big_count);
        if (big_rd_valid && big_ahead_q == '0) assert (big_rd_data == big_word_q);
        else begin
          assert (big_place_q < 7'(BigDepth));
          assert (big_place_q == around(8'(u_big.rd_addr_q) + 8'(big_ahead_q) - 8'(big_rd_valid)));
          assert (u_big.gen_ram.u_ram.mem[big_place_q] == big_word_q);
        end
      end
    end
  end

  always_comb begin
    if (rst_n_q) begin
      assert (count <= 3'(Depth));
      assert (wr_ready == (count < 3'(Depth)));
      assert (rd_valid == (count != '0));
      assert (u_fifo.rd_addr_q < 3'(Depth));
      assert (u_fifo.wr_addr_q < 3'(Depth));
      assert (4'(u_fifo.wr_addr_q) == (4'(u_fifo.rd_addr_q) + 4'(count)) % 4'(Depth));
      if (inside_q) begin
        assert (ahead_q < count);
        assert (place_q < 3'(Depth));
        assert (4'(place_q) == (4'(u_fifo.rd_addr_q) + 4'(ahead_q)) % 4'(Depth));
        assert (u_fifo.gen_lut.mem[place_q] == word_q);
        if (ahead_q == '0) assert (rd_data == word_q);
      end
    end
  end

endmodule
