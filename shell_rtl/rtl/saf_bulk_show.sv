// What the transfer unit sees of a context: its state, and a lowest missing block that the DDR has caught up with.
//
// Purpose: leaves below q_lowest_o are hashed from DDR at once, so it must not run ahead of blocks under way. While a
// context has some, the last of its lowest blocks is shown whose blocks are known to be in DDR; once it is settled, the
// real one.
// Data flow: every change of state (st_*) goes to a copy of the state, as block RAM has one read port. For lowest there are
// two places a context: the one shown, and one that waits until the DDR has reported the blocks issued up to then; a
// change is put there when nothing waits. What an open or a forget leaves behind is shown at once: nothing is under way.
// Latency: q_* two cycles after q_ctx_i. Reset: nothing waits; a context that was never opened has no
// meaningful state. Back-pressure: none.

module saf_bulk_show
  import saf_shell_pkg::*;
#(
    parameter int unsigned NumberBits = 8
) (
    input logic clk_i,
    input logic rst_ni,
    input logic st_wr_i,
    input logic st_anew_i,
    input logic [1:0] st_ctx_i,
    input bulk_state_t st_i,
    input logic [NumberBits-1:0] issued_i,  // number of the latest block, this cycle's included
    input logic [NumberBits-1:0] done_i,  // of the latest one in DDR
    input logic [Contexts-1:0] busy_i,  // not settled
    input logic [1:0] q_ctx_i,
    output logic [BlockBits-1:0] q_missing_o,
    output logic [BlockBits-1:0] q_lowest_o,
    output logic [31:0] q_received_o,
    output logic [15:0] q_sections_o,
    output logic q_settled_o
);

  logic [Contexts-1:0][NumberBits-1:0] number_q;  // a context's lowest may be shown when this block is in DDR
  logic [Contexts-1:0] waits_q, place_q, reached;
  logic [1:0] q_ctx_q;
  logic keep;
  logic [BlockBits-1:0] lowest;
  bulk_state_t shown;

  always_comb for (int unsigned i = 0; i < Contexts; i++) reached[i] = waits_q[i] && number_q[i] == done_i;

  assign keep = st_wr_i && (st_anew_i || !waits_q[st_ctx_i]);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      number_q <= '0;
      waits_q <= '0;
      place_q <= '0;
      q_ctx_q <= '0;
      q_settled_o <= 1'b0;
    end else begin
      waits_q <= waits_q & ~reached;
      place_q <= place_q ^ reached;
      if (keep) begin
        number_q[st_ctx_i] <= issued_i;
        waits_q[st_ctx_i] <= !st_anew_i;
        if (st_anew_i) place_q[st_ctx_i] <= !place_q[st_ctx_i];
      end
      q_ctx_q <= q_ctx_i;
      q_settled_o <= !busy_i[q_ctx_q];
    end
  end

  saf_ram_few #(
      .Width($bits(bulk_state_t)),
      .Words(Contexts)
  ) u_state (
      .clk_i,
      .wr_en_i(st_wr_i),
      .wr_addr_i(st_ctx_i),
      .wr_data_i(st_i),
      .rd_en_i(1'b1),
      .rd_addr_i(q_ctx_q),
      .rd_data_o(shown)
  );

  saf_ram_few #(
      .Width(BlockBits),
      .Words(2 * Contexts)
  ) u_lowest (
      .clk_i,
      .wr_en_i(keep),
      .wr_addr_i({st_ctx_i, !place_q[st_ctx_i]}),
      .wr_data_i(st_i.lowest),
      .rd_en_i(1'b1),
      .rd_addr_i({q_ctx_q, place_q[q_ctx_q]}),
      .rd_data_o(lowest)
  );

  assign q_missing_o = shown.missing;
  assign q_lowest_o = q_settled_o ? shown.lowest : lowest;
  assign q_received_o = shown.received;
  assign q_sections_o = shown.sections;
endmodule
