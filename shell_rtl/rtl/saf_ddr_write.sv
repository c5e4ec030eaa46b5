// Core-clock half of the MEM FIFO: takes objects of three clients, aligns them to 64-bit words, packs these into 512-bit rows.
//
// Data flow: whole objects in turn (the lowest client first) → byte aligner → one of eight 64-bit lanes of the row RAM; a burst
// of rows ends with the object or at a multiple of MemBurstRows, and then its command follows on mem_*. Bytes outside of
// [addr, addr + bytes) are never written: a word lies in the RAM with its byte enables, the command carries the first and the
// last lane of the burst. The row of zeros, for the scrubber, is written before everything else.
// Throughput: a beat a cycle; one cycle to choose a client, one more beat where the alignment spreads an object over one word
// more. Latency: a command goes with the last beat of its burst.
// Done: rows are counted back from the DDR clock; an object is done when its last row is.
// Reset: forgets everything; the row RAM and the other half are reset too. Back-pressure: wr_ready_o low without a free row.

`include "saf_assert.svh"

module saf_ddr_write
  import saf_shell_pkg::*;
#(
    parameter int unsigned NumWr = 3
) (
    input logic clk_i,
    input logic rst_ni,

    input logic [NumWr-1:0] wr_valid_i,
    output logic [NumWr-1:0] wr_ready_o,
    input logic [NumWr-1:0][AddrBits-1:0] wr_addr_i,
    input logic [NumWr-1:0][15:0] wr_bytes_i,
    input logic [NumWr-1:0][63:0] wr_data_i,
    input logic [NumWr-1:0] wr_last_i,
    output logic [NumWr-1:0] wr_done_o,

    // row RAM
    output logic [7:0] row_we_o,
    output logic [MemRowBits:0] row_addr_o,
    output logic [63:0] row_data_o,
    output logic [7:0] row_be_o,  // bit 0 is the first byte

    // bursts
    output logic mem_valid_o,
    input logic mem_ready_i,
    output mem_write_t mem_o,

    output logic zeros_o,  // the row of zeros is there

    // rows that DDR took, modulo twice their number
    input logic [MemRowBits:0] rows_done_i
);

  localparam int unsigned OwnerBits = $clog2(NumWr + 1);

  logic busy_q, zeros_q;
  logic [OwnerBits-1:0] owner_q, owner_d;  // a client's number, plus one; nobody's data are zeros
  logic [2:0] shift_q;  // byte of a word where the object's first byte goes
  logic [DdrWordBits-1:0] word_q;  // row's address
  logic [2:0] lane_q;
  logic [13:0] left_q;  // words still to come
  logic extra_q;  // the last word takes no beat
  logic [2:0] from_q, to_q;  // first byte of the word in turn, last byte of the object's last word
  logic [2:0] first_q, last_q;  // lanes
  logic [2:0] burst_q;  // low address bits of the burst's first row
  logic [55:0] hold_q;  // bytes of the beat before
  logic [MemRowBits:0] row_q;

  logic [AddrBits-1:0] addr_d;
  logic [15:0] bytes_d;
  logic [63:0] beat;
  logic owner_valid, needs_beat, has_room, is_last, row_full, burst_ends, fire, log_ready;
  logic [MemRowBits:0] used;

  // the client chosen next
  always_comb begin
    owner_d = '0;
    addr_d = wr_addr_i[NumWr-1];
    bytes_d = wr_bytes_i[NumWr-1];
    for (int signed i = int'(NumWr) - 1; i >= 0; i--) begin
      if (wr_valid_i[i]) begin
        owner_d = OwnerBits'(i + 1);
        addr_d = wr_addr_i[i];
        bytes_d = wr_bytes_i[i];
      end
    end
  end

  // the client whose turn it is
  always_comb begin
    beat = '0;
    owner_valid = 1'b0;
    wr_ready_o = '0;
    for (int unsigned i = 0; i < NumWr; i++) begin
      if (owner_q == OwnerBits'(i + 1)) begin
        beat = wr_data_i[i];
        owner_valid = wr_valid_i[i];
        wr_ready_o[i] = busy_q && has_room && needs_beat;
      end
    end
  end

  assign used = row_q - rows_done_i;
  assign is_last = left_q == 14'd1;
  assign needs_beat = !(is_last && extra_q);
  assign row_full = lane_q == 3'd7 || is_last;
  assign burst_ends = is_last || (row_full && word_q[2:0] == 3'(MemBurstRows - 1));
  assign has_room = !used[MemRowBits] && (mem_ready_i || !burst_ends) && (log_ready || !is_last);
  assign fire = busy_q && has_room && (!needs_beat || owner_valid);

  // two beats side by side, moved right by `shift_q` bytes
  saf_byte_shift u_shift (
      .data_i({hold_q, beat}),
      .shift_i(shift_q),
      .data_o(row_data_o)
  );
  always_comb begin
    for (int unsigned i = 0; i < 8; i++) row_be_o[i] = 3'(i) >= from_q && (!is_last || 3'(i) <= to_q);
  end
  assign row_we_o = fire || !zeros_q ? 8'd1 << lane_q : 8'd0;
  assign row_addr_o = {!zeros_q, row_q[MemRowBits-1:0]};
  assign zeros_o = zeros_q;

  assign mem_valid_o = fire && burst_ends;
  assign mem_o = '{
          addr: {word_q[DdrWordBits-1:3], burst_q},
          count: word_q[2:0] - burst_q,
          first: first_q,
          last: is_last ? last_q : 3'd7
      };

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      zeros_q <= 1'b0;
      owner_q <= '0;
      shift_q <= '0;
      word_q <= '0;
      lane_q <= '0;
      left_q <= '0;
      extra_q <= 1'b0;
      from_q <= '0;
      to_q <= '0;
      first_q <= '0;
      last_q <= '0;
      burst_q <= '0;
      hold_q <= '0;
      row_q <= '0;
    end else if (!zeros_q) begin
      lane_q <= lane_q + 3'd1;
      zeros_q <= lane_q == 3'd7;
    end else if (!busy_q) begin
      busy_q <= |wr_valid_i;
      owner_q <= owner_d;
      shift_q <= addr_d[2:0];
      word_q <= addr_d[AddrBits-1:6];
      lane_q <= addr_d[5:3];
      left_q <= 14'(({1'b0, bytes_d} + {14'd0, addr_d[2:0]} + 17'd7) >> 3);
      extra_q <= {1'b0, addr_d[2:0]} + {1'b0, bytes_d[2:0] - 3'd1} > 4'd7;
      from_q <= addr_d[2:0];
      first_q <= addr_d[5:3];
      {last_q, to_q} <= addr_d[5:0] + bytes_d[5:0] - 6'd1;
      burst_q <= addr_d[8:6];
    end else if (fire) begin
      busy_q <= !is_last;
      left_q <= left_q - 14'd1;
      lane_q <= lane_q + 3'd1;
      hold_q <= beat[55:0];
      from_q <= 3'd0;
      if (row_full) begin
        row_q <= row_q + 1'b1;
        word_q <= word_q + 1'b1;
      end
      if (burst_ends) begin
        first_q <= 3'd0;
        burst_q <= 3'd0;
      end
    end
  end

  // objects whose rows are on their way: client, and the count of rows behind its last one
  logic log_valid, log_pop;
  logic [OwnerBits-1:0] log_owner;
  logic [MemRowBits:0] log_end, row_end;
  logic is_behind;
  logic [MemRowBits-1:0] unused_ahead;
  logic [$clog2(MemWriteRows+1)-1:0] unused_count;

  saf_fifo_sync #(
      .Width(OwnerBits + MemRowBits + 1),
      .Depth(MemWriteRows)
  ) u_log (
      .clk_i,
      .rst_ni,
      .wr_valid_i(fire && is_last),
      .wr_ready_o(log_ready),
      .wr_data_i({owner_q, row_end}),
      .rd_valid_o(log_valid),
      .rd_ready_i(log_pop),
      .rd_data_o({log_owner, log_end}),
      .count_o(unused_count)
  );
  assign row_end = row_q + 1'b1;
  assign {is_behind, unused_ahead} = rows_done_i - log_end;
  assign log_pop = log_valid && !is_behind;

  always_comb begin
    for (int unsigned i = 0; i < NumWr; i++) wr_done_o[i] = log_pop && log_owner == OwnerBits'(i + 1);
  end

  `SAF_ASSERT(AssertBytes, busy_q || wr_valid_i == '0 || bytes_d != '0)
  `SAF_ASSERT(AssertLast, !(busy_q && owner_valid && has_room && needs_beat)
              || |(wr_last_i & wr_ready_o) == (left_q == (extra_q ? 14'd2 : 14'd1)))
  `SAF_ASSERT(AssertRows, used <= (MemRowBits + 1)'(MemWriteRows))

endmodule
