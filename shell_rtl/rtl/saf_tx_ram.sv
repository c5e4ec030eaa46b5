// Store and forward to the MAC: a ring of frames that is read only when a frame is whole, so that no gap is inside one.
//
// Data flow: wr_* beats → RAM; the last beat with wr_keep_i makes the frame leave, without it the frame is forgotten.
// MAC side: frames in order, a beat a cycle. Each beat's place is free again when it was fetched, so that frames as long
// as nearly the whole ring flow without a break. Frames that wait while the link is down are thrown away.
// Latency: four cycles from last beat to mac_tx_sop_o. Reset: empty.
// Back-pressure: wr_ready_o low with less than Reserve + 1 beats free; the writer may write Reserve beats nevertheless at a
// frame's end. A frame must fit the ring.

`include "saf_assert.svh"

module saf_tx_ram #(
    parameter int unsigned Beats = 1280,
    parameter int unsigned Frames = 32,
    parameter int unsigned Reserve = 2
) (
    input logic clk_i,
    input logic rst_ni,
    input logic link_up_i,
    input logic wr_valid_i,
    output logic wr_ready_o,
    input logic [63:0] wr_data_i,
    input logic wr_last_i,
    input logic [2:0] wr_empty_i,
    input logic wr_keep_i,
    output logic mac_tx_valid_o,
    output logic mac_tx_sop_o,
    output logic mac_tx_eop_o,
    output logic [2:0] mac_tx_empty_o,
    output logic [63:0] mac_tx_data_o,
    input logic mac_tx_ready_i
);

  localparam int unsigned AddrWidth = $clog2(Beats);
  localparam int unsigned CountWidth = $clog2(Beats + 1);

  if (Beats < 16 || Frames < 2) begin : gen_bad_size
    $error("saf_tx_ram: Beats must be at least 16, Frames at least 2");
  end

  function automatic logic [AddrWidth-1:0] next(input logic [AddrWidth-1:0] from);
    return from == AddrWidth'(Beats - 1) ? '0 : from + 1'b1;
  endfunction

  // ---------------------------------------------------------------- write side

  logic [AddrWidth-1:0] start_q, wr_addr_q;
  logic [CountWidth-1:0] written_q, written_d;  // beats of the frame being written
  logic [CountWidth-1:0] free_q;  // places not taken, by that frame neither
  logic [CountWidth-1:0] back;  // places of a frame that is forgotten
  logic keep, forget, fetch, lengths_ready;

  assign written_d = written_q + 1'b1;
  assign wr_ready_o = free_q > CountWidth'(Reserve) && lengths_ready;
  assign keep = wr_valid_i && wr_last_i && wr_keep_i;
  assign forget = wr_valid_i && wr_last_i && !wr_keep_i;
  assign back = forget ? written_d : '0;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      start_q <= '0;
      wr_addr_q <= '0;
      written_q <= '0;
      free_q <= CountWidth'(Beats);
    end else begin
      if (wr_valid_i) begin
        wr_addr_q <= forget ? start_q : next(wr_addr_q);
        written_q <= wr_last_i ? '0 : written_d;
      end
      if (keep) start_q <= next(wr_addr_q);
      free_q <= free_q + CountWidth'(fetch) - CountWidth'(wr_valid_i) + back;
    end
  end

  // ---------------------------------------------------------------- MAC side

  logic frame_valid, frame_first, frame_last, discard, discard_q, shown_q, sop_q, eop_q;
  logic [CountWidth-1:0] frame_beats, fetched_q;
  logic [2:0] frame_empty, empty_q;
  logic [AddrWidth-1:0] rd_addr_q;
  logic [$clog2(Frames+1)-1:0] unused_count;

  saf_fifo_sync #(
      .Width(CountWidth + 3),
      .Depth(Frames)
  ) u_lengths (
      .clk_i,
      .rst_ni,
      .wr_valid_i(keep),
      .wr_ready_o(lengths_ready),
      .wr_data_i({written_q, wr_empty_i}),
      .rd_valid_o(frame_valid),
      .rd_ready_i(fetch && frame_last),
      .rd_data_o({frame_beats, frame_empty}),
      .count_o(unused_count)
  );

  assign frame_first = fetched_q == '0;
  assign frame_last = fetched_q == frame_beats;
  assign discard = frame_first ? !link_up_i : discard_q;
  assign fetch = frame_valid && (!shown_q || mac_tx_ready_i);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      fetched_q <= '0;
      rd_addr_q <= '0;
      discard_q <= 1'b0;
      shown_q <= 1'b0;
      sop_q <= 1'b0;
      eop_q <= 1'b0;
      empty_q <= '0;
    end else begin
      if (fetch) begin
        fetched_q <= frame_last ? '0 : fetched_q + 1'b1;
        rd_addr_q <= next(rd_addr_q);
        discard_q <= discard;
        sop_q <= frame_first;
        eop_q <= frame_last;
        empty_q <= frame_last ? frame_empty : '0;
      end
      if (fetch) shown_q <= !discard;
      else if (mac_tx_ready_i) shown_q <= 1'b0;
    end
  end

  saf_ram_1r1w #(
      .Width(64),
      .Depth(Beats)
  ) u_ram (
      .clk_i,
      .wr_en_i(wr_valid_i),
      .wr_addr_i(wr_addr_q),
      .wr_data_i,
      .rd_en_i(fetch),
      .rd_addr_i(rd_addr_q),
      .rd_data_o(mac_tx_data_o)
  );

  assign mac_tx_valid_o = shown_q;
  assign mac_tx_sop_o = sop_q;
  assign mac_tx_eop_o = eop_q;
  assign mac_tx_empty_o = empty_q;

  `SAF_ASSERT(AssertNoOverflow, !wr_valid_i || free_q != '0)
  `SAF_ASSERT(AssertFits, 32'(written_q) + Reserve < Beats)
  `SAF_STABLE(AssertStable, mac_tx_valid_o, mac_tx_ready_i,
              ({mac_tx_sop_o, mac_tx_eop_o, mac_tx_empty_o, mac_tx_data_o}), clk_i, rst_ni)

endmodule
