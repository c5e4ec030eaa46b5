// Proof obligations of the replay window: no sequence number is fresh twice, none that is 64 or more behind the newest,
// and whatever is neither is fresh (RFC 4303 3.4.3).
//
// The shadow watches one number, any one but zero (which no sealed frame has), for ever: whether it was marked as seen
// since the window was loaded. Assumed of the user: it commits only what is fresh, and waits for busy_o.

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

  logic fresh, busy;
  saf_replay u_replay (
      .clk_i,
      .rst_ni(rst_n_q),
      .sequence_i(sequence_),
      .fresh_o(fresh),
      .busy_o(busy),
      .commit_i(commit),
      .load_i(load),
      .empty_i(empty)
  );

  logic seen_q = 1'b0;
  logic [63:0] newest_q = '0;
  always_ff @(posedge clk_i) begin
    if (rst_n_q) begin
      if (load) begin
        seen_q <= !empty && sequence_ == watched_q;
        newest_q <= empty ? '0 : sequence_;
      end else if (commit) begin
        if (sequence_ == watched_q) seen_q <= 1'b1;
        if (sequence_ > newest_q) newest_q <= sequence_;
      end
    end
  end

  always_comb begin
    assume (any_number != '0);
    if (rst_n_q) assume (!commit || (fresh && !busy));
  end

  // what is proven
  logic far_behind;
  assign far_behind = sequence_ <= newest_q && newest_q - sequence_ >= 64'd64;

  always_comb begin
    if (rst_n_q && !busy) begin
      assert (!(fresh && far_behind));
      if (sequence_ == watched_q) assert (fresh == (!seen_q && !far_behind));
    end
  end

  // what makes it inductive: the watched number's place in the mask, which still moves while busy
  logic [63:0] age, place;
  assign age = newest_q - watched_q;
  assign place = age - 64'(u_replay.shift_q);

  always_comb begin
    if (rst_n_q) begin
      assert (watched_q != '0);
      assert (u_replay.top_q == newest_q);
      if (watched_q > newest_q) assert (!seen_q);
      else if (age == '0) assert (seen_q);
      else if (age < 64'(u_replay.shift_q)) assert (!seen_q);
      else if (age < 64'd64) assert (seen_q == u_replay.mask_q[place[5:0]]);
      if (!busy && newest_q != '0) assert (u_replay.mask_q[0]);
    end
  end

endmodule
