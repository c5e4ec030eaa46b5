// OPENED's tables: beats 0 to 23 the image slots, 24 to 31 the transfers that have a context, in order of contexts and
// without gaps.
//
// info_data_o belongs to the info_addr_i of two cycles before. What a transfer received comes from saf_bulk (q_*, two
// cycles): info_ctx_o asks for it whenever nobody else does (ours_i); in the cycle in which info_addr_i is new nobody else
// may (changed_o), and the answer is held. Ids and blocks are kept here beside the records so that OPENED need not wait for
// those. Reset: the tables are empty because no context is used.

module saf_xfer_info
(
    input logic clk_i,
    input logic rst_ni,
    input logic wr_en_i,
    input logic [1:0] wr_ctx_i,
    input logic [31:0] wr_id_i,
    input logic [17:0] wr_blocks_i,
    input saf_shell_pkg::xfer_state_t [saf_shell_pkg::Contexts-1:0] state_i,
    input logic [63:0] image_word_i,
    input logic image_none_i,
    input logic image_tail_i,
    input saf_shell_pkg::xfer_state_t image_state_i,
    input logic [1:0] image_slot_i,
    input logic [31:0] image_used_i,
    input logic image_was_used_i,
    output logic changed_o,
    output logic [1:0] info_ctx_o,
    input logic ours_i,
    input logic [31:0] q_received_i,
    input logic [4:0] info_addr_i,
    output logic [63:0] info_data_o
);

  logic [4:0] addr_q;
  logic [1:0] ctx, ctx_q, number;
  logic some, some_q, received_q2, ours_q, ours_q2;
  logic [49:0] rd_data;
  logic [63:0] word, word_q;
  saf_pkg::image_info_t tail;
  saf_pkg::transfer_info_t entry;
  logic table_q, none, unused;
  logic [31:0] received_q;

  // the context that is entry `number` of the table
  assign number = info_addr_i[2:1];
  always_comb begin
    logic [2:0] seen;
    ctx = '0;
    some = 1'b0;
    seen = '0;
    for (int i = 0; i < saf_shell_pkg::Contexts; i++) begin
      if (state_i[i] != saf_shell_pkg::XsUnused) begin
        if (seen == {1'b0, number}) begin
          ctx = 2'(i);
          some = 1'b1;
        end
        seen = seen + 3'd1;
      end
    end
  end
  assign info_ctx_o = ctx;
  assign changed_o = info_addr_i != addr_q;

  saf_ram_1r1w #(
      .Width(50),
      .Depth(saf_shell_pkg::BlockRamBits / 50 + 1)
  ) u_table (
      .clk_i,
      .wr_en_i,
      .wr_addr_i({4'd0, wr_ctx_i}),
      .wr_data_i({wr_id_i, wr_blocks_i}),
      .rd_en_i(1'b1),
      .rd_addr_i({4'd0, ctx}),
      .rd_data_o(rd_data)
  );

  // What a word has zeros in is cleared by the flops' own clear, each part of it when it has to be; elsewhere a part does not
  // matter then.
  assign table_q = addr_q[4:3] == 2'b11;
  assign none = table_q ? !some_q : image_none_i && !image_tail_i;
  assign unused = ^{tail, entry};
  always_comb begin
    tail = '0;
    tail.state = {5'd0, image_state_i};
    tail.slot = {6'd0, image_slot_i};
    tail.last_used = image_used_i;
    entry = '0;
    entry.transfer = rd_data[49:18];
    entry.kind = ctx_q == '0 ? saf_pkg::TransferKindImage : saf_pkg::TransferKindDdr;
    entry.state = {5'd0, state_i[ctx_q]};
    entry.blocks = {14'd0, rd_data[17:0]};
    word = image_word_i;
    if (table_q) begin
      word[63:32] = entry.transfer;
      word[31:19] = entry[95:83];
      word[18:16] = addr_q[0] ? entry.blocks[18:16] : entry.state[2:0];
      word[15:0] = entry.blocks[15:0];
    end else if (image_tail_i) begin
      word[58:56] = image_state_i;
      word[49:48] = image_slot_i;
      word[31:0] = tail.last_used;
    end
  end

  always_ff @(posedge clk_i) begin
    if (none || (table_q && addr_q[0])) {word_q[58:56], word_q[49:48]} <= '0;
    else {word_q[58:56], word_q[49:48]} <= {word[58:56], word[49:48]};
    if (none || (table_q ? addr_q[0] : image_tail_i)) {word_q[63:59], word_q[55:50], word_q[47:32]} <= '0;
    else {word_q[63:59], word_q[55:50], word_q[47:32]} <= {word[63:59], word[55:50], word[47:32]};
    if (none || (table_q ? addr_q[0] : image_tail_i && !image_was_used_i)) word_q[31:19] <= '0;
    else word_q[31:19] <= word[31:19];
    if (none || (!table_q && image_tail_i && !image_was_used_i)) word_q[18:16] <= '0;
    else word_q[18:16] <= word[18:16];
    if (none || (table_q ? !addr_q[0] : image_tail_i && !image_was_used_i)) word_q[15:0] <= '0;
    else word_q[15:0] <= word[15:0];
  end

  always_comb begin
    info_data_o = word_q;
    if (received_q2) info_data_o[63:32] = ours_q2 ? q_received_i : received_q;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      addr_q <= '0;
      ctx_q <= '0;
      some_q <= 1'b0;
      received_q <= '0;
      received_q2 <= 1'b0;
      ours_q <= 1'b0;
      ours_q2 <= 1'b0;
    end else begin
      addr_q <= info_addr_i;
      ctx_q <= ctx;
      some_q <= some;
      received_q2 <= some_q && addr_q[4:3] == 2'b11 && addr_q[0];
      ours_q <= ours_i;
      ours_q2 <= ours_q;
      if (ours_q2) received_q <= q_received_i;
    end
  end

endmodule
