// What is kept of commands: the newest of each slot and KILL's for the sequencer, and the slot table of OPENED.
//
// Data flow: all that is written comes from the frame that is before the unit and from the bus's latest answer, so that a row is
// written again when more of it is known. Latency: one cycle; `slot_data_o` two cycles after its address. Reset: none: the
// slots' states say what is there. Back-pressure: none.

module saf_slots_rows
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic wr_i,
    input logic [3:0] wr_addr_i,
    input slot_row_t wr_row_i,
    input logic [3:0] rd_addr_i,
    output slot_row_t row_o,

    input logic status_wr_i,  // with the index of the row that was read
    input logic [2:0] slot_i,
    input logic [5:0] status_i,

    input slot_e [saf_pkg::CommandSlots-1:0] slots_i,
    input logic [saf_pkg::CommandSlots-1:0] running_i,
    input logic [2:0] slot_addr_i,
    output logic [63:0] slot_data_o
);

  // few words each: made as deep as a block RAM wants them
  localparam int unsigned RowDepth = (BlockRamBits - 1) / $bits(slot_row_t) + 1;
  localparam int unsigned ShownDepth = BlockRamBits / 38 + 1;

  saf_ram_1r1w #(
      .Width($bits(slot_row_t)),
      .Depth(RowDepth)
  ) u_newest (
      .clk_i,
      .wr_en_i(wr_i),
      .wr_addr_i(5'(wr_addr_i)),
      .wr_data_i(wr_row_i),
      .rd_en_i(1'b1),
      .rd_addr_i(5'(rd_addr_i)),
      .rd_data_o(row_o)
  );

  logic [2:0] shown_slot_q;
  logic [31:0] shown_command;
  logic [5:0] shown_status;

  saf_ram_1r1w #(
      .Width(38),
      .Depth(ShownDepth)
  ) u_shown (
      .clk_i,
      .wr_en_i(status_wr_i),
      .wr_addr_i(7'(slot_i)),
      .wr_data_i({row_o.index, status_i}),
      .rd_en_i(1'b1),
      .rd_addr_i(7'(slot_addr_i)),
      .rd_data_o({shown_command, shown_status})
  );

  // an idle slot shows zeros: the flops' own synchronous clear
  saf_pkg::slot_info_t info_q;
  always_ff @(posedge clk_i) begin
    shown_slot_q <= slot_addr_i;
    if (slots_i[shown_slot_q] == SlotIdle) begin
      info_q <= '0;
    end else begin
      info_q <= '0;
      info_q.command <= shown_command;
      info_q.state <= running_i[shown_slot_q] ? saf_pkg::SlotStateRunning : saf_pkg::SlotStateDone;
      info_q.status <= {10'd0, shown_status};
    end
  end
  assign slot_data_o = info_q;

endmodule
