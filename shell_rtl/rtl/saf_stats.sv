// Counters and the shell's register file (u64 words, what READ of shell_registers gives).
//
// Data flow: events → a few bits of tally a counter → one counter after the other is read from RAM, its tally added, and
// written back. A round takes Counters cycles, so that a tally never overflows: no event is lost, whatever comes at once.
// rx_frames and the sum of drops are wanted in parallel and are plain counters.
// Latency: events are in the registers after at most Counters + 3 cycles; reg_data_o two cycles after reg_addr_i.
// Reset: all zero (RAM contents count as zero until their first write). Back-pressure: none.

`include "saf_assert.svh"

module saf_stats
  import saf_shell_pkg::*;
#(
    parameter int unsigned NumDrop = 3
) (
    input logic clk_i,
    input logic rst_ni,
    // verilator lint_off UNUSEDSIGNAL
    input cfg_t cfg_i,  // PR compatibility id
    input role_view_t role_i,  // state, PR status, epoch
    // verilator lint_on UNUSEDSIGNAL
    input logic [NumDrop-1:0] drop_valid_i,
    input logic [NumDrop-1:0][4:0] drop_reason_i,
    input logic rx_count_i,
    input logic tx_count_i,
    input logic block_count_i,
    input logic command_count_i,
    input logic [63:0] time_us_i,
    input logic [31:0] pr_count_i,
    input logic [31:0] session_count_i,
    input logic [5:0] reg_addr_i,
    output logic [63:0] reg_data_o,
    output logic [63:0] rx_frames_o,
    output logic [63:0] rx_dropped_o
);

  localparam int unsigned Reasons = 21;  // saf_pkg::drop_reason_e
  localparam int unsigned TxSlot = 21, BlockSlot = 22, CommandSlot = 23, Counters = 24;
  localparam int unsigned StepWidth = $clog2(NumDrop + 1);
  localparam int unsigned TallyWidth = $clog2(NumDrop * Counters + 1);

  // ---------------------------------------------------------------- tallies

  logic [Counters-1:0][StepWidth-1:0] step;
  logic [Counters-1:0][TallyWidth-1:0] tally_q;
  logic [StepWidth-1:0] dropped;
  logic [63:0] rx_frames_q, rx_dropped_q;
  logic [4:0] visit_q, visited_q;

  always_comb begin
    step = '0;
    dropped = '0;
    for (int unsigned p = 0; p < NumDrop; p++) begin
      for (int unsigned r = 0; r < Reasons; r++) begin
        if (drop_valid_i[p] && drop_reason_i[p] == 5'(r)) step[r] = step[r] + 1'b1;
      end
      // a duplicate is harmless and does not count as lost
      if (drop_valid_i[p] && drop_reason_i[p] != 5'(saf_pkg::DropReasonDuplicateBlock)) dropped = dropped + 1'b1;
    end
    step[TxSlot] = StepWidth'(tx_count_i);
    step[BlockSlot] = StepWidth'(block_count_i);
    step[CommandSlot] = StepWidth'(command_count_i);
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      tally_q <= '0;
      rx_frames_q <= '0;
      rx_dropped_q <= '0;
    end else begin
      for (int unsigned i = 0; i < Counters; i++) begin
        tally_q[i] <= (visited_q == 5'(i) ? '0 : tally_q[i]) + TallyWidth'(step[i]);
      end
      rx_frames_q <= rx_frames_q + 64'(rx_count_i);
      rx_dropped_q <= rx_dropped_q + 64'(dropped);
    end
  end

  assign rx_frames_o = rx_frames_q;
  assign rx_dropped_o = rx_dropped_q;

  // ---------------------------------------------------------------- counters in RAM, one after the other

  logic started_q, written_q;  // visited_q is valid; all counters were written once
  logic [63:0] stored, sum, shown;
  logic [4:0] shown_slot;

  assign sum = (written_q ? stored : '0) + 64'(tally_q[visited_q]);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      visit_q <= '0;
      visited_q <= 5'(Counters);
      started_q <= 1'b0;
      written_q <= 1'b0;
    end else begin
      visit_q <= visit_q == 5'(Counters - 1) ? '0 : visit_q + 1'b1;
      visited_q <= visit_q;
      started_q <= 1'b1;
      if (visited_q == 5'(Counters - 1)) written_q <= 1'b1;
    end
  end

  saf_ram_1r1w #(
      .Width(64),
      .Depth(32)
  ) u_counters (
      .clk_i,
      .wr_en_i(started_q),
      .wr_addr_i(visited_q),
      .wr_data_i(sum),
      .rd_en_i(1'b1),
      .rd_addr_i(visit_q),
      .rd_data_o(stored)
  );

  // the same contents, for who reads registers
  saf_ram_1r1w #(
      .Width(64),
      .Depth(32)
  ) u_shown (
      .clk_i,
      .wr_en_i(started_q),
      .wr_addr_i(visited_q),
      .wr_data_i(sum),
      .rd_en_i(1'b1),
      .rd_addr_i(shown_slot),
      .rd_data_o(shown)
  );

  // ---------------------------------------------------------------- registers

  function automatic logic [5:0] word(input logic [11:0] address);
    return 6'(address >> 3);
  endfunction

  localparam logic [5:0] DropWord = saf_pkg::RegisterDropBase[8:3];

  logic counted, counted_q, shown_valid_q;
  logic [5:0] reg_addr_q;
  logic [63:0] plain;

  always_comb begin
    counted = 1'b1;
    shown_slot = 5'(reg_addr_i - DropWord);
    case (reg_addr_i)
      word(saf_pkg::RegisterTxFrames): shown_slot = 5'(TxSlot);
      word(saf_pkg::RegisterDataBlocks): shown_slot = 5'(BlockSlot);
      word(saf_pkg::RegisterCommands): shown_slot = 5'(CommandSlot);
      default: counted = reg_addr_i >= DropWord && reg_addr_i < DropWord + 6'(Reasons);
    endcase
  end

  always_comb begin
    case (reg_addr_q)
      word(saf_pkg::RegisterProtocolVersion): plain = 64'(saf_pkg::ProtocolVersion);
      word(saf_pkg::RegisterShellVersion): plain = 64'(ShellVersion);
      word(saf_pkg::RegisterPrCompatId): plain = 64'(cfg_i.pr_compat_id);
      word(saf_pkg::RegisterCardState): plain = 64'(role_i.card_state);
      word(saf_pkg::RegisterPrStatus): plain = 64'(role_i.pr_status);
      word(saf_pkg::RegisterRoleEpoch): plain = 64'(role_i.epoch);
      word(saf_pkg::RegisterSessionCount): plain = 64'(session_count_i);
      word(saf_pkg::RegisterUptimeUs): plain = time_us_i;
      word(saf_pkg::RegisterRxFrames): plain = rx_frames_q;
      word(saf_pkg::RegisterPrCount): plain = 64'(pr_count_i);
      default: plain = '0;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      reg_addr_q <= '0;
      counted_q <= 1'b0;
      shown_valid_q <= 1'b0;
      reg_data_o <= '0;
    end else begin
      reg_addr_q <= reg_addr_i;
      counted_q <= counted;
      shown_valid_q <= written_q;
      // before all were written once, all are zero
      reg_data_o <= counted_q ? (shown_valid_q ? shown : '0) : plain;
    end
  end

  for (genvar i = 0; i < Counters; i++) begin : gen_tally
    `SAF_ASSERT(AssertFits, 32'(tally_q[i]) + 32'(step[i]) < 32'd2 ** TallyWidth)
  end

endmodule
