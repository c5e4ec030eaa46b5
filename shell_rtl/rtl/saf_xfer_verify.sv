// Verification of transfers behind their lowest missing block: leaf jobs as soon as a leaf's bytes are in DDR, the root job
// when CLOSE found everything there, then the comparison with the root announced.
//
// It goes round the contexts, a step of some twenty cycles each: read the record, ask saf_bulk for the lowest missing
// block, give at most one job to the crypto unit, write back. Between two steps, and while a job waits for the crypto
// unit, it is quiet and the handlers may have records, multiplier and saf_bulk (lock_i and quiet_o).
//
// Jobs in flight (two at most) are noted here. kill_i makes those of a context stale: their results do not count, and no
// job is given until they have ended, so that a stale leaf can never be stored over a fresh one.
// Reset: nothing in flight. Back-pressure: job_ready_i.

module saf_xfer_verify
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic lock_i,
    output logic quiet_o,
    input xfer_state_t [Contexts-1:0] state_i,
    input logic [Contexts-1:0] kill_i,
    input logic [1:0] asked_ctx_i,
    output logic [1:0] in_flight_o,  // leaf jobs of asked_ctx_i that still count
    output logic outcome_valid_o,
    output logic [1:0] outcome_ctx_o,
    output logic outcome_ok_o,
    // saf_bulk: two cycles
    output logic q_use_o,
    input logic q_free_i,
    output logic [1:0] q_ctx_o,
    input logic [17:0] q_missing_i,
    input logic [17:0] q_lowest_i,
    input logic q_settled_i,
    // of the context ctx_o: what it is (the cycle after), how many of its leaves were given to the crypto unit
    output logic [1:0] ctx_o,
    input xfer_shape_t shape_i,
    input logic [LeafBits-1:0] issued_i,
    output logic issued_wr_o,
    output logic [LeafBits-1:0] issued_next_o,
    // records
    output xfer_addr_t st_rd_addr_o,
    input logic [63:0] st_data_i,
    // root found in a context, word by word, while it is quiet (data in the next cycle)
    input logic [3:0] found_at_i,
    output logic [63:0] found_data_o,
    // jobs
    output logic job_valid_o,
    input logic job_ready_i,
    output leaf_job_t job_o,
    input logic job_done_i,
    input logic [255:0] job_digest_i
);

  typedef enum logic [2:0] {
    StPick,
    StShape,
    StAsk,
    StMul,
    StDecide,
    StJob,
    StCompare
  } state_e;

  if (LeafStride != 34'(2 ** (LeafBits + 5)) || LeafBase[20:0] != '0) begin : gen_check
    $fatal(1, "a leaf digest's address is made by OR");
  end

  state_e state_q;
  logic [1:0] ctx_q;
  logic [LeafBits-1:0] ready_q;  // leaves in front of the lowest missing block
  logic [17:0] lowest_q;
  logic [25:0] ready_units;  // of 64 bytes
  logic [LeafBits:0] leaves_left;  // below zero when some are ready
  logic all_q, root_q, last_q, active, unused, is_last;

  assign unused = ^{shape_i, ready_units, leaves_left};
  assign ctx_o = ctx_q;
  assign active = state_i[ctx_q] == XsReceiving || state_i[ctx_q] == XsVerifying;
  assign quiet_o = state_q == StPick || state_q == StJob;

  // ---------------------------------------------------------------- jobs in flight, the oldest first

  logic [1:0] count_q;
  logic [1:0][1:0] fly_ctx_q;
  logic [1:0] fly_root_q, fly_stale_q, fly_stale, fly_own, fly_live_leaf;
  logic [1:0] own_leaves;
  logic give, slot, idle_ctx, can_give;

  always_comb begin
    for (int i = 0; i < 2; i++) begin
      fly_stale[i] = fly_stale_q[i] || kill_i[fly_ctx_q[i]];
      fly_own[i] = 2'(i) < count_q && fly_ctx_q[i] == ctx_q;
      fly_live_leaf[i] = 2'(i) < count_q && !fly_root_q[i] && !fly_stale_q[i];
    end
  end
  assign in_flight_o = {1'b0, fly_live_leaf[0] && fly_ctx_q[0] == asked_ctx_i}
      + {1'b0, fly_live_leaf[1] && fly_ctx_q[1] == asked_ctx_i};
  assign own_leaves = {1'b0, fly_own[0]} + {1'b0, fly_own[1]};
  assign idle_ctx = own_leaves == 2'd0;
  assign can_give = !count_q[1] && !(count_q[0] && fly_stale_q[0]);
  assign slot = count_q[0] && !job_done_i;

  // ---------------------------------------------------------------- root found

  logic root_there_q, same_q;
  logic [1:0] root_ctx_q;
  logic [2:0] word_q;
  logic [3:0] found_at;
  logic [63:0] root_word;
  logic root_taken;

  assign root_taken = job_done_i && fly_root_q[0] && !fly_stale[0];

  // a context's root, its word 0 in the most significant part
  assign found_at = state_q == StCompare ? {root_ctx_q, ~word_q[1:0]} : {found_at_i[3:2], ~found_at_i[1:0]};
  assign found_data_o = root_word;

  saf_ram_2clk_narrow #(
      .Width(256),
      .Depth(BlockRamBits / 256),
      .Parts(4)
  ) u_root (
      .wr_clk_i(clk_i),
      .wr_en_i(root_taken),
      .wr_addr_i({2'd0, fly_ctx_q[0]}),
      .wr_data_i(job_digest_i),
      .rd_clk_i(clk_i),
      .rd_en_i(1'b1),
      .rd_addr_i({2'd0, found_at}),
      .rd_data_o(root_word)
  );

  assign outcome_valid_o = state_q == StCompare && word_q == 3'd4;
  assign outcome_ctx_o = root_ctx_q;
  assign outcome_ok_o = same_q && root_word == st_data_i;

  // ---------------------------------------------------------------- a step

  logic leaf_due, root_due;

  assign leaves_left = {1'b0, issued_i} - {1'b0, ready_q};
  assign leaf_due = can_give && leaves_left[LeafBits];
  assign root_due = can_give && issued_i == shape_i.leaves && idle_ctx && !root_there_q
      && !(count_q[0] && fly_root_q[0]) && state_i[ctx_q] == XsVerifying;
  assign give = state_q == StDecide && (leaf_due || root_due);
  assign issued_wr_o = state_q == StDecide && leaf_due;
  assign issued_next_o = issued_i + 1'b1;

  assign q_use_o = state_q == StPick && !lock_i && !root_there_q && active;
  assign q_ctx_o = ctx_q;
  assign ready_units = 26'(lowest_q) * 26'(shape_i.units);
  assign st_rd_addr_o = xfer_context_word(root_ctx_q, {XferRecDigest[3:2], word_q[1:0]});

  assign job_valid_o = state_q == StJob;
  assign is_last = issued_next_o == shape_i.leaves;

  // A job's fields, taken with the decision. What has zeros in a root's job (its bytes are the leaf digests), or in that of a
  // full leaf (65,536 bytes), is cleared by the flops' own clear.
  logic [17:0] leaf_at_q;
  logic [15:0] low_at_q;
  logic [LeafBits-1:0] leaf_q;
  logic [18:0] bytes_q;
  logic full_q;
  always_ff @(posedge clk_i) begin
    if (state_q == StDecide) begin
      full_q <= leaf_due && !is_last;
      if (!leaf_due) {leaf_at_q, low_at_q, leaf_q} <= '0;
      else {leaf_at_q, low_at_q, leaf_q} <= {shape_i.base[33:16] + {4'd0, issued_i}, shape_i.base[15:0], issued_i};
      if (!(leaf_due && is_last)) bytes_q[4:0] <= '0;
      else bytes_q[4:0] <= shape_i.last_leaf_bytes[4:0];
      if (leaf_due && !is_last) bytes_q[16:5] <= '0;
      else bytes_q[16:5] <= leaf_due ? shape_i.last_leaf_bytes[16:5] : shape_i.leaves[11:0];
      if (leaf_due) bytes_q[18:17] <= '0;
      else bytes_q[18:17] <= shape_i.leaves[13:12];
    end
  end

  logic [33:0] leaves_at;
  assign leaves_at = LeafBase | {13'd0, ctx_q, 19'd0};
  always_comb begin
    job_o.root = root_q;
    job_o.last = last_q;
    job_o.addr = {leaf_at_q | (leaves_at[33:16] & {18{root_q}}), low_at_q};
    job_o.bytes = {2'd0, bytes_q} | {4'd0, full_q, 16'd0};
    job_o.node = {18'd0, leaf_q};
    job_o.store_addr = leaves_at | {15'd0, leaf_q, 5'd0};
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StPick;
      ctx_q <= '0;
      ready_q <= '0;
      last_q <= 1'b0;
      lowest_q <= '0;
      all_q <= 1'b0;
      root_q <= 1'b0;
      word_q <= '0;
      same_q <= 1'b0;
    end else begin
      case (state_q)
        StPick: begin
          word_q <= '0;
          same_q <= 1'b1;
          if (!lock_i) begin
            if (root_there_q) state_q <= StCompare;
            else if (!active) ctx_q <= ctx_q + 2'd1;
            else if (q_free_i) state_q <= StShape;
          end
        end
        StShape: state_q <= StAsk;
        StAsk: begin
          lowest_q <= q_lowest_i;
          // the last leaf is there only when the last block is in DDR; what is below q_lowest_i is, at any time
          all_q <= state_i[ctx_q] == XsVerifying || (q_missing_i == '0 && q_settled_i);
          state_q <= StMul;
        end
        StMul: begin
          ready_q <= all_q ? shape_i.leaves : ready_units[23:10];
          state_q <= StDecide;
        end
        StDecide: begin
          root_q <= !leaf_due;
          last_q <= !leaf_due || is_last;
          ctx_q <= give ? ctx_q : ctx_q + 2'd1;
          state_q <= give ? StJob : StPick;
        end
        StJob:
        if (job_ready_i) begin
          ctx_q <= ctx_q + 2'd1;
          state_q <= StPick;
        end
        default: begin
          word_q <= word_q + 3'd1;
          if (word_q != 3'd0) same_q <= outcome_ok_o;
          if (word_q == 3'd4) state_q <= StPick;
        end
      endcase
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      count_q <= '0;
      fly_ctx_q <= '0;
      fly_root_q <= '0;
      fly_stale_q <= '0;
      root_there_q <= 1'b0;
      root_ctx_q <= '0;
    end else begin
      count_q <= count_q + {1'b0, give} - {1'b0, job_done_i};
      fly_stale_q <= fly_stale;
      if (job_done_i) begin
        fly_ctx_q[0] <= fly_ctx_q[1];
        fly_root_q[0] <= fly_root_q[1];
        fly_stale_q[0] <= fly_stale[1];
      end
      if (give) begin
        fly_ctx_q[slot] <= ctx_q;
        fly_root_q[slot] <= !leaf_due;
        fly_stale_q[slot] <= 1'b0;
      end
      if (kill_i[root_ctx_q] || outcome_valid_o) root_there_q <= 1'b0;
      if (root_taken) begin
        root_there_q <= 1'b1;
        root_ctx_q <= fly_ctx_q[0];
      end
    end
  end

endmodule
