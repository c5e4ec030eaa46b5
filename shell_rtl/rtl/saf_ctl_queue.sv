// Queue of control frames for saf_control: fields of the oldest one, and its bytes on request.
//
// Data flow: beat_* → saf_rx_ram and saf_rx_head; commit_i keeps the frame. It is offered when all DATA frames that came
// before it are done, so that an answer speaks of them too: `number` counts control frames, the data queue shows how many
// of them came before its oldest frame (data_stamp_i).
// Latency: two cycles from commit to cf_valid_o; cf_rd_data_o one cycle after its address. Reset: empty.
// Back-pressure: lost_o with a beat: the frame does not fit.

module saf_ctl_queue
  import saf_shell_pkg::*;
#(
    parameter int unsigned Beats = 2048,
    parameter int unsigned Frames = 16,
    parameter int unsigned StampWidth = $clog2(Frames) + 1
) (
    input logic clk_i,
    input logic rst_ni,
    input logic beat_valid_i,
    input logic [BeatBits-1:0] beat_index_i,
    input logic [63:0] beat_data_i,
    input logic commit_i,
    input etype_e etype_i,
    input logic bcast_i,
    input logic suite_i,
    input logic [7:0] opcode_i,
    input logic [FrameBytesBits-1:0] size_i,
    output logic lost_o,
    output logic [StampWidth-1:0] stamp_o,  // control frames kept so far
    input logic data_pending_i,
    input logic [StampWidth-1:0] data_stamp_i,
    output logic cf_valid_o,
    output ctl_req_t cf_req_o,
    input logic [BeatBits-1:0] cf_rd_addr_i,
    output logic [63:0] cf_rd_data_o,
    input logic cf_pop_i
);

  localparam int unsigned MetaWidth = 3 + 1 + 1 + 8;
  localparam int unsigned Slots = 64;  // of headers: block RAM, more than Frames

  logic ram_lost, head_full, size_ready, size_valid, head_valid, pop, bcast, suite;
  logic [StampWidth-1:0] kept_q, number_q;
  logic [2:0] etype;
  logic [7:0] opcode;
  logic [FrameBytesBits-1:0] size;
  logic [47:0] src;
  logic [63:0] beat2, beat3, beat4;

  assign lost_o = ram_lost || head_full || !size_ready;
  assign stamp_o = kept_q;
  // the data queue's oldest frame cannot have come before a control frame that was already taken: unequal means later
  assign cf_valid_o = head_valid && size_valid && !(data_pending_i && data_stamp_i == number_q);
  assign pop = cf_valid_o && cf_pop_i;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      kept_q <= '0;
      number_q <= '0;
    end else begin
      if (commit_i) kept_q <= kept_q + 1'b1;
      if (pop) number_q <= number_q + 1'b1;
    end
  end

  saf_rx_ram #(
      .Depth(Beats)
  ) u_ram (
      .clk_i,
      .rst_ni,
      .beat_valid_i,
      .beat_index_i,
      .beat_data_i,
      .commit_i,
      .lost_o(ram_lost),
      .release_i(pop),
      .release_beats_i(BeatBits'((size + 14'd7) >> 3)),
      .rd_en_i(1'b1),
      .rd_addr_i(cf_rd_addr_i),
      .rd_data_o(cf_rd_data_o)
  );

  saf_rx_head #(
      .MetaWidth(MetaWidth),
      .Slots(Slots)
  ) u_head (
      .clk_i,
      .rst_ni,
      .beat_valid_i,
      .beat_index_i,
      .beat_data_i,
      .meta_i({etype_i, bcast_i, suite_i, opcode_i}),
      .commit_i,
      .full_o(head_full),
      .valid_o(head_valid),
      .ready_i(pop),
      .src_o(src),
      .beat2_o(beat2),
      .beat3_o(beat3),
      .beat4_o(beat4),
      .meta_o({etype, bcast, suite, opcode})
  );

  logic [$clog2(Frames+1)-1:0] unused_count;

  saf_fifo_sync #(
      .Width(FrameBytesBits),
      .Depth(Frames)
  ) u_sizes (
      .clk_i,
      .rst_ni,
      .wr_valid_i(commit_i),
      .wr_ready_o(size_ready),
      .wr_data_i(size_i),
      .rd_valid_o(size_valid),
      .rd_ready_i(pop),
      .rd_data_o(size),
      .count_o(unused_count)
  );

  always_comb begin
    cf_req_o.src = src;
    cf_req_o.bcast = bcast;
    cf_req_o.etype = etype_e'(etype);
    cf_req_o.suite = {3'b000, suite};
    cf_req_o.opcode = opcode;
    cf_req_o.session = beat2[63:32];
    cf_req_o.length = beat2[31:16];
    cf_req_o.flags = beat2[15:0];
    cf_req_o.object = beat3[63:32];
    cf_req_o.index = beat3[31:0];
    cf_req_o.sequence_ = beat4;
    cf_req_o.frame_bytes = size;
  end

endmodule
