// Counters and the shell's register file (u64 words, what READ of shell_registers gives).
//
// Data flow: events → one a cycle → read, add one and write back a counter in RAM, pipelined. The lowest drop port
// (saf_rx) first, in every cycle if need be; other events wait meanwhile: drops in a FIFO a port, the others in a count.
// What is wanted in parallel: rx_frames follows its counter in the RAM, the sum of drops is a counter of its own.
// No event is lost as long as all together are fewer than one a cycle in the long run, with 16 of a port waiting at most: each
// comes of a frame, and a frame takes at least two cycles.
// Latency: an event is in its register four cycles later, when nothing waits; reg_data_o two cycles after reg_addr_i.
// Reset: all zero (the RAM is cleared in the first cycles, events wait). Back-pressure: none.

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
  localparam int unsigned TxSlot = 21, BlockSlot = 22, CommandSlot = 23, RxSlot = 24, Counters = 25;
  localparam int unsigned Plain = 4;  // events without a reason
  localparam int unsigned WaitWidth = 6;
  localparam int unsigned StepWidth = $clog2(NumDrop + 1);

  // ---------------------------------------------------------------- plain counters

  logic [StepWidth-1:0] dropped;
  logic [63:0] rx_frames_q, rx_dropped_q;

  always_comb begin
    dropped = '0;
    for (int unsigned p = 0; p < NumDrop; p++) begin
      // a duplicate is harmless and does not count as lost
      if (drop_valid_i[p] && drop_reason_i[p] != 5'(saf_pkg::DropReasonDuplicateBlock)) dropped = dropped + 1'b1;
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      rx_dropped_q <= '0;
    end else begin
      rx_dropped_q <= rx_dropped_q + 64'(dropped);
    end
  end

  assign rx_frames_o = rx_frames_q;
  assign rx_dropped_o = rx_dropped_q;

  // ---------------------------------------------------------------- events that wait

  logic [NumDrop-1:0] drop_waits, drop_taken;
  logic [NumDrop-1:0][4:0] drop_slot;
  logic [Plain-1:0] plain_event, plain_waits, plain_taken;
  logic [Plain-1:0][WaitWidth-1:0] plain_count_q;
  logic clearing_q, event_valid;
  logic [4:0] event_slot;

  for (genvar p = 0; p < NumDrop; p++) begin : gen_drop
    logic [4:0] unused_count;
    logic queue_ready;

    saf_fifo_sync #(
        .Width(5),
        .Depth(16)
    ) u_queue (
        .clk_i,
        .rst_ni,
        .wr_valid_i(drop_valid_i[p]),
        .wr_ready_o(queue_ready),
        .wr_data_i(drop_reason_i[p]),
        .rd_valid_o(drop_waits[p]),
        .rd_ready_i(drop_taken[p]),
        .rd_data_o(drop_slot[p]),
        .count_o(unused_count)
    );

    `SAF_ASSERT(AssertRoom, !drop_valid_i[p] || queue_ready)
  end

  assign plain_event = {rx_count_i, command_count_i, block_count_i, tx_count_i};

  always_comb begin
    for (int unsigned i = 0; i < Plain; i++) plain_waits[i] = plain_count_q[i] != '0;
    event_valid = !clearing_q && (|drop_waits || |plain_waits);
    event_slot = '0;
    drop_taken = '0;
    plain_taken = '0;
    // the lowest port last, so that it wins
    for (int i = int'(Plain) - 1; i >= 0; i--) begin
      if (plain_waits[i]) begin
        event_slot = 5'(TxSlot + i);
        plain_taken = '0;
        plain_taken[i] = !clearing_q;
      end
    end
    for (int i = int'(NumDrop) - 1; i >= 0; i--) begin
      if (drop_waits[i]) begin
        event_slot = drop_slot[i];
        plain_taken = '0;
        drop_taken = '0;
        drop_taken[i] = !clearing_q;
      end
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) plain_count_q <= '0;
    else begin
      for (int unsigned i = 0; i < Plain; i++) begin
        plain_count_q[i] <= plain_count_q[i] + WaitWidth'(plain_event[i]) - WaitWidth'(plain_taken[i]);
      end
    end
  end

  // ---------------------------------------------------------------- counters in RAM

  logic add_q, added_q;  // an event's counter is being read; was written in the cycle before
  logic [4:0] add_slot_q, added_slot_q, clear_q, wr_slot, shown_slot;
  logic [63:0] stored, base, sum, added_sum_q, shown;

  // the RAM gives the old word when the same counter was written while it was read
  assign base = added_q && added_slot_q == add_slot_q ? added_sum_q : stored;
  assign sum = (base & {64{!clearing_q}}) + 64'(!clearing_q);
  assign wr_slot = clearing_q ? clear_q : add_slot_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      clearing_q <= 1'b1;
      clear_q <= '0;
      add_q <= 1'b0;
      add_slot_q <= '0;
      added_q <= 1'b0;
      added_slot_q <= '0;
      added_sum_q <= '0;
      rx_frames_q <= '0;
    end else begin
      if (clearing_q) clear_q <= clear_q + 1'b1;
      if (clear_q == 5'(Counters - 1)) clearing_q <= 1'b0;
      add_q <= event_valid;
      add_slot_q <= event_slot;
      added_q <= add_q;
      added_slot_q <= add_slot_q;
      added_sum_q <= sum;
      if (add_q && add_slot_q == 5'(RxSlot)) rx_frames_q <= sum;
    end
  end

  // 25 words would do; from 64 on it is block RAM
  saf_ram_1r1w #(
      .Width(64),
      .Depth(64)
  ) u_counters (
      .clk_i,
      .wr_en_i(clearing_q || add_q),
      .wr_addr_i({1'b0, wr_slot}),
      .wr_data_i(sum),
      .rd_en_i(1'b1),
      .rd_addr_i({1'b0, event_slot}),
      .rd_data_o(stored)
  );

  // the same contents, for who reads registers
  saf_ram_1r1w #(
      .Width(64),
      .Depth(64)
  ) u_shown (
      .clk_i,
      .wr_en_i(clearing_q || add_q),
      .wr_addr_i({1'b0, wr_slot}),
      .wr_data_i(sum),
      .rd_en_i(1'b1),
      .rd_addr_i({1'b0, shown_slot}),
      .rd_data_o(shown)
  );

  // ---------------------------------------------------------------- registers

  function automatic logic [5:0] word(input logic [11:0] address);
    return 6'(address >> 3);
  endfunction

  localparam logic [5:0] DropWord = saf_pkg::RegisterDropBase[8:3];

  logic counted, counted_q, cleared_q;
  logic [5:0] reg_addr_q;
  logic [63:0] plain;

  always_comb begin
    counted = 1'b1;
    shown_slot = 5'(reg_addr_i - DropWord);
    case (reg_addr_i)
      word(saf_pkg::RegisterRxFrames): shown_slot = 5'(RxSlot);
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
      word(saf_pkg::RegisterPrCount): plain = 64'(pr_count_i);
      default: plain = '0;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      reg_addr_q <= '0;
      counted_q <= 1'b0;
      cleared_q <= 1'b0;
      reg_data_o <= '0;
    end else begin
      reg_addr_q <= reg_addr_i;
      counted_q <= counted;
      cleared_q <= !clearing_q;
      reg_data_o <= counted_q ? (cleared_q ? shown : '0) : plain;
    end
  end

endmodule
