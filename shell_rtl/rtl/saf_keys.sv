// Keys: eight slots of 32 bytes. Slot KeyCard is the card's own and comes from outside; the others lie in a RAM and are
// written beat by beat by saf_hash_out when a hash request asks to store its digest.
//
// Reading: a lane asks for a beat, the answer comes in the next cycle, or not, when lane 0 asked too; then it asks again.
// A slot never stored since reset reads as zeros. Reset: no slot is stored.

module saf_keys
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic [255:0] card_key_i,

    input logic [1:0] rd_req_i,
    input logic [1:0][2:0] rd_index_i,
    input logic [1:0][1:0] rd_beat_i,
    output logic [1:0] rd_valid_o,
    output logic [63:0] rd_data_o,

    input logic wr_valid_i,
    input logic [2:0] wr_index_i,
    input logic [1:0] wr_beat_i,
    input logic [63:0] wr_data_i
);

  logic lane, card_q, stored_q;
  logic [1:0] valid_q, beat_q;
  logic [7:0] slots_q;
  logic [63:0] ram;
  logic [3:0][63:0] card;

  assign lane = !rd_req_i[0];
  assign card = card_key_i;

  saf_ram_1r1w #(
      .Width(64),
      .Depth(32)
  ) u_ram (
      .clk_i,
      .wr_en_i(wr_valid_i),
      .wr_addr_i({wr_index_i, wr_beat_i}),
      .wr_data_i,
      .rd_en_i(|rd_req_i),
      .rd_addr_i({rd_index_i[lane], rd_beat_i[lane]}),
      .rd_data_o(ram)
  );

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q <= '0;
      beat_q <= '0;
      card_q <= 1'b0;
      stored_q <= 1'b0;
      slots_q <= '0;
    end else begin
      valid_q <= {rd_req_i[1] && !rd_req_i[0], rd_req_i[0]};
      beat_q <= rd_beat_i[lane];
      card_q <= rd_index_i[lane] == KeyCard;
      stored_q <= slots_q[rd_index_i[lane]];
      if (wr_valid_i) slots_q[wr_index_i] <= 1'b1;
    end
  end

  assign rd_valid_o = valid_q;
  assign rd_data_o = card_q ? card[~beat_q] : stored_q ? ram : '0;

endmodule
