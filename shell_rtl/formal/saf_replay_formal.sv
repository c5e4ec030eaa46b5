// Proof obligations of the replay window: no sequence number is fresh twice, none that is 64 or more behind the newest,
// and whatever is neither is fresh (RFC 4303 3.4.3).
//
// The shadow watches one number, any one but zero (which no sealed frame has), for ever: whether it was marked as seen
// since the window was loaded. Assumed of the user: it commits only what is fresh, asks from the second cycle of a number
// on, and holds what it loads while busy_o is up.

module saf_replay_formal (
    input logic clk_i,
    input logic [63:0] sequence_,
    input logic commit,
    input logic load,
    input logic empty,
    input logic [63:0] any_number
);

  logic rst_n_q = 1'b0;
  logic [63:0] watched_q;
  always_ff @(posedge clk_i) begin
    rst_n_q <= 1'b1;
    if (!rst_n_q) watched_q <= any_number;
  end

  logic fresh, busy, unused_zero;
  saf_replay u_replay (
      .clk_i,
      .rst_ni(rst_n_q),
      .sequence_i(sequence_),
      .fresh_o(fresh),
      .busy_o(busy),
      .commit_i(commit),
      .load_i(load),
      .empty_i(empty),
      .zero_o(unused_zero)
  );

  logic [63:0] loads_q = '0;
  logic seen_q = 1'b0;
  logic [63:0] newest_q = '0;
  always_ff @(posedge clk_i) begin
    if (rst_n_q) begin
      if (load) begin
        loads_q <= sequence_;
        seen_q <= !empty && sequence_ == watched_q;
        newest_q <= empty ? '0 : sequence_;
      end else if (commit) begin
        if (sequence_ == watched_q) seen_q <= 1'b1;
        if (sequence_ > newest_q) newest_q <= sequence_;
      end
    end
  end

  // the number and what was written in the cycle before; whether a window was ever loaded
  logic [63:0] before_q = '0;
  logic wrote_q = 1'b1, empty_q = 1'b0, loaded_q = 1'b0;
  always_ff @(posedge clk_i) begin
    before_q <= sequence_;
    wrote_q <= busy || commit || load || !rst_n_q;
    if (load && rst_n_q) begin
      empty_q <= empty;
      loaded_q <= 1'b1;
    end
  end

  logic asks;
  assign asks = rst_n_q && loaded_q && !busy && !wrote_q && before_q == sequence_;

  always_comb begin
    assume (any_number != '0);
    if (rst_n_q) assume (!commit || (fresh && asks));
    if (rst_n_q && busy) assume (sequence_ == loads_q && empty == empty_q);
  end

  // what is proven
  logic far_behind;
  assign far_behind = sequence_ <= newest_q && newest_q - sequence_ >= 64'd64;

  always_comb begin
    if (asks) begin
      assert (!(fresh && far_behind));
      if (sequence_ == watched_q) assert (fresh == (!seen_q && !far_behind));
    end
  end

  // what makes it inductive: the RAM's word for numbers that end as the watched one does
  logic [58:0] kept, word;
  logic is_kept;
  logic [63:0] age;
  assign kept = u_replay.u_seen.mem[watched_q[5:0]];
  assign word = u_replay.kept;
  assign is_kept = kept == {1'b1, watched_q[63:6]};
  assign age = newest_q - watched_q;

  always_comb begin
    if (rst_n_q) begin
      assert (watched_q != '0);
      if (!loaded_q) assert (!busy && !seen_q);
      if (loaded_q) assert (u_replay.top_q == newest_q);
      if (loaded_q && watched_q > newest_q) assert (!seen_q);
      if (busy) begin
        assert (newest_q == (empty_q ? '0 : loads_q));
        assert (seen_q == (!empty_q && loads_q == watched_q));
        if (u_replay.clear_q[5:0] > watched_q[5:0]) assert (is_kept == seen_q);
      end else if (loaded_q) begin
        if (is_kept) assert (seen_q);
        if (seen_q && age < 64'd64) assert (is_kept);
      end
      if (!wrote_q && before_q[5:0] == watched_q[5:0]) assert (word == kept);
    end
  end

endmodule
