// Replay window of a session (RFC 4303 3.4.3): which sequence numbers of the host were seen.
//
// A RAM keeps, for each of the 64 values of a number's low six bits, the newest number that ended so: numbers in the
// window all differ in these bits, so one of them was seen when it is the one that is kept. `fresh_o` says from the
// cycle after `sequence_i` came on whether it is newer than all or unseen among the newest 64. `commit_i` marks it as
// seen: only after its tag verified. `load_i` starts a new window in which `sequence_i` alone was seen (or, with
// `empty_i`, none); with busy_o up the RAM is cleared then, 64 cycles in which sequence_i and empty_i hold.
// Reset: no window; load_i comes first. No back-pressure: whoever asks waits for busy_o.

module saf_replay (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic [63:0] sequence_i,
  output logic        fresh_o,
  output logic        busy_o,
  input  logic        commit_i,
  input  logic        load_i,
  input  logic        empty_i,
  output logic        zero_o  // sequence_i is 0
);

  localparam int unsigned IndexBits = $clog2(saf_pkg::ReplayWindow);

  typedef struct packed {
    logic valid;
    logic [63:IndexBits] number;
  } seen_t;

  logic [63:0] top_q;
  logic [IndexBits:0] clear_q;  // top bit: clearing
  logic [IndexBits-1:0] index;
  seen_t kept, seen;

  // age = top - sequence; below zero: newer than all
  logic [64:0] age;
  logic is_newer, is_kept, unused;
  assign unused = ^age[IndexBits-1:0];
  assign age = {1'b0, top_q} - {1'b0, sequence_i};
  assign is_newer = age[64];
  assign index = sequence_i[IndexBits-1:0];
  assign is_kept = kept == seen_t'{valid: 1'b1, number: sequence_i[63:IndexBits]};

  assign zero_o = sequence_i == '0;
  assign fresh_o = is_newer || (!zero_o && age[63:IndexBits] == '0 && !is_kept);
  assign busy_o = clear_q[IndexBits];

  always_comb begin
    seen.number = sequence_i[63:IndexBits];
    seen.valid = !busy_o || (!empty_i && clear_q[IndexBits-1:0] == index);
  end

  saf_ram_1r1w #(
    .Width($bits(seen_t)),
    .Depth(1 << IndexBits)
  ) u_seen (
    .clk_i,
    .wr_en_i(commit_i || busy_o),
    .wr_addr_i(busy_o ? clear_q[IndexBits-1:0] : index),
    .wr_data_i(seen),
    .rd_en_i(1'b1),
    .rd_addr_i(index),
    .rd_data_o(kept)
  );

  always_ff @(posedge clk_i) begin
    if (load_i && empty_i) top_q <= '0;
    else if (load_i || (commit_i && is_newer)) top_q <= sequence_i;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) clear_q <= '0;
    else if (load_i) clear_q <= {1'b1, {IndexBits{1'b0}}};
    else if (busy_o) clear_q <= clear_q + 1'b1;
  end

endmodule
