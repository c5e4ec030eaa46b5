// BLAKE2s compression (RFC 7693, 3.2) of two lanes that take turns: 64 bytes a lane in 42 cycles.
//
// Four G units, each cut into two halves with a register behind each. While one lane is in the first halves, the other is
// in the second ones; cycle by cycle they change places, so the working vector lies in the pipeline itself:
//   v1 --first halves--> v2 --second halves, wiring--> v1          h1 --> h2 --> h1 (chaining value, the same way)
// The wiring behind the second halves turns columns into diagonals and diagonals into columns alike: unit u hands a, b, c, d
// to units -u, 1-u, 2-u, 3-u (modulo 4). So units stand in the order 0, 3, 2, 1 during diagonals and nothing is multiplexed.
//
// A lane's turn comes every second cycle. Turn 0 starts a block (a hash client's before a leaf's: pre-emption at every
// block's border), turns 0 to 19 ask for the message words of steps 0 to 19, which are computed one turn later, turn 21 adds
// up the chaining value and is turn 0 of the next block. That value comes from h2 where the message goes on without a gap,
// else from the RAM outside (h_rd_*, data in the next cycle). fin_o says in the cycle after turn 21 that h_o is the chaining
// value behind a block, to be written to fin_dst_o; it can be read in the cycle after that.
//
// Latency: 43 cycles from start (take_o) to fin_o. Reset: both lanes idle. Longest path: one 3-input and one 2-input 32-bit
// addition, two XORs, the 2:1 choice of the load.

`include "saf_assert.svh"

module saf_blake2s
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,

    // message words; address: lane, leaf, buffer, pair
    input logic wr_valid_i,
    input logic [5:0] wr_addr_i,
    input logic [63:0] wr_data_i,

    // the next block of each [lane][leaf]; its buffer may be written again after release
    input logic [1:0][1:0] block_valid_i,
    input hash_block_t [1:0][1:0] block_i,
    output logic [1:0][1:0] take_o,
    output logic [1:0][1:0] release_o,

    output logic h_rd_en_o,
    output logic [4:0] h_rd_addr_o,
    input logic [7:0][31:0] h_rd_data_i,

    output logic fin_o,
    output logic fin_lane_o,
    output logic fin_leaf_o,
    output logic fin_last_o,
    output logic [4:0] fin_dst_o,
    output logic [7:0][31:0] h_o
);

  localparam logic [4:0] LastTurn = 5'd21;

  typedef struct packed {
    logic active;
    logic [4:0] turn;
    logic leaf;
    logic buffer;
    logic last;
    logic [4:0] dst;
  } lane_t;

  function automatic logic [31:0] rotated(input logic [31:0] word, input int unsigned right);
    return word >> right | word << (32 - right);
  endfunction

  // Control: the lane whose turn it is, and the other
  logic lane_q;
  lane_t now_q, other_q, now_d;
  logic fin, start, leaf, chain;
  hash_block_t block;

  assign fin = now_q.active && now_q.turn == LastTurn;
  assign start = (!now_q.active || fin) && |block_valid_i[lane_q];
  assign leaf = !block_valid_i[lane_q][0];
  assign block = block_i[lane_q][leaf];
  // a client has one message at a time: what is ready when a block ends is the same message's next one
  assign chain = fin && now_q.leaf == leaf;

  always_comb begin
    now_d = now_q;
    if (start) begin
      now_d.active = 1'b1;
      now_d.turn = 5'd1;
      now_d.leaf = leaf;
      now_d.buffer = block.buffer;
      now_d.last = block.last;
      now_d.dst = block.dst;
    end else if (fin) begin
      now_d.active = 1'b0;
    end else if (now_q.active) begin
      now_d.turn = now_q.turn + 5'd1;
    end
    take_o = '0;
    release_o = '0;
    take_o[lane_q][leaf] = start;
    release_o[lane_q][now_q.leaf] = fin;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      lane_q <= 1'b0;
      now_q <= '0;
      other_q <= '0;
    end else begin
      lane_q <= !lane_q;
      now_q <= other_q;
      other_q <= now_d;
    end
  end

  // What follows in the cycle after a turn
  logic load_q, from_ram_q, second_q, fin_q, last_q, last_node_q;
  logic [19:0] count_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      load_q <= 1'b0;
      from_ram_q <= 1'b0;
      second_q <= 1'b0;
      fin_q <= 1'b0;
      last_q <= 1'b0;
      last_node_q <= 1'b0;
      count_q <= '0;
    end else begin
      load_q <= start;
      from_ram_q <= start && !chain;
      second_q <= now_q.active && !fin;
      fin_q <= fin;
      last_q <= block.last;
      last_node_q <= block.last && block.last_node;
      if (block.last && block.partial) count_q <= {block.number, block.tail};
      else count_q <= {block.number + 14'd1, 6'd0};
    end
  end

  assign h_rd_en_o = start && !chain;
  assign h_rd_addr_o = block.src;

  // Message words
  logic [3:0][31:0] x, y;

  saf_blake2s_message u_message (
      .clk_i,
      .rst_ni,
      .wr_valid_i,
      .wr_addr_i,
      .wr_data_i,
      .step_valid_i(start || now_q.active),
      .base_i(start ? {lane_q, leaf, block.buffer} : {lane_q, now_q.leaf, now_q.buffer}),
      .step_i(start ? 5'd0 : now_q.turn),
      .x_o(x),
      .y_o(y)
  );

  // Working vector: rows of four words. What is not needed does not move (power, and the time of simulations).
  typedef logic [31:0] word_t;
  word_t a1_q[4], b1_q[4], c1_q[4], d1_q[4], a2_q[4], b2_q[4], c2_q[4], d2_q[4];
  word_t h1_q[8], h2_q[8];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      for (int unsigned u = 0; u < 4; u++) begin
        {a1_q[u], b1_q[u], c1_q[u], d1_q[u]} <= '0;
        {a2_q[u], b2_q[u], c2_q[u], d2_q[u]} <= '0;
      end
    end else begin
      if (now_q.active && !fin) begin
        for (int unsigned u = 0; u < 4; u++) begin
          automatic word_t a = a1_q[u] + b1_q[u] + x[u];
          automatic word_t d = rotated(d1_q[u] ^ a, 16);
          automatic word_t c = c1_q[u] + d;
          a2_q[u] <= a;
          b2_q[u] <= rotated(b1_q[u] ^ c, 12);
          c2_q[u] <= c;
          d2_q[u] <= d;
        end
      end
      if (load_q) begin
        for (int unsigned u = 0; u < 4; u++) begin
          a1_q[u] <= from_ram_q ? h_rd_data_i[u] : h2_q[u];
          b1_q[u] <= from_ram_q ? h_rd_data_i[4+u] : h2_q[4+u];
          c1_q[u] <= Blake2sIv[u];
        end
        d1_q[0] <= Blake2sIv[4] ^ {12'd0, count_q};
        d1_q[1] <= Blake2sIv[5];
        d1_q[2] <= Blake2sIv[6] ^ {32{last_q}};
        d1_q[3] <= Blake2sIv[7] ^ {32{last_node_q}};
      end else if (second_q) begin
        for (int unsigned u = 0; u < 4; u++) begin
          automatic word_t a = a2_q[u] + b2_q[u] + y[u];
          automatic word_t d = rotated(d2_q[u] ^ a, 8);
          automatic word_t c = c2_q[u] + d;
          a1_q[(4-u)%4] <= a;
          b1_q[(5-u)%4] <= rotated(b2_q[u] ^ c, 7);
          c1_q[(6-u)%4] <= c;
          d1_q[(7-u)%4] <= d;
        end
      end
    end
  end

  // Chaining values
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      for (int unsigned i = 0; i < 8; i++) {h1_q[i], h2_q[i]} <= '0;
    end else if (now_q.active || other_q.active) begin
      for (int unsigned i = 0; i < 8; i++) begin
        h1_q[i] <= from_ram_q ? h_rd_data_i[i] : h2_q[i];
        h2_q[i] <= h1_q[i];
      end
      if (fin) begin
        for (int unsigned u = 0; u < 4; u++) begin
          h2_q[u] <= h1_q[u] ^ a1_q[u] ^ c1_q[u];
          h2_q[4+u] <= h1_q[4+u] ^ b1_q[u] ^ d1_q[u];
        end
      end
    end
  end

  for (genvar i = 0; i < 8; i++) begin : gen_h
    assign h_o[i] = h2_q[i];
  end

  // Result, in the cycle after turn 21: the lane it belongs to is not the one whose turn it is, but the other
  logic fin_leaf_q, fin_last_q;
  logic [4:0] fin_dst_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      fin_leaf_q <= 1'b0;
      fin_last_q <= 1'b0;
      fin_dst_q <= '0;
    end else begin
      fin_leaf_q <= now_q.leaf;
      fin_last_q <= now_q.last;
      fin_dst_q <= now_q.dst;
    end
  end

  assign fin_o = fin_q;
  assign fin_lane_o = !lane_q;
  assign fin_leaf_o = fin_leaf_q;
  assign fin_last_o = fin_last_q;
  assign fin_dst_o = fin_dst_q;

  `SAF_ASSERT(load_while_idle, !(load_q && second_q))

endmodule
