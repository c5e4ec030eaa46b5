// Root over the bytes of a READ: leaf jobs, then the job of the root over their digests in scratch.
//
// Data flow: start_i (pulse; addr_i and length_i hold until done_o) → a job a leaf, as fast as they are taken → when all are
// done, the root's → its digest into a RAM of one word, which shows it from the cycle after done_o on.
// Stop: no further job; done_o (level) when those under way are over. Reset: idle, jobs forgotten (crypto is reset too).

module saf_read_tree
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic start_i,
    input logic stop_i,
    output logic done_o,
    input logic [AddrBits-1:0] addr_i,
    input logic [20:0] length_i,
    output logic [255:0] digest_o,
    input logic [1:0] digest_word_i,  // 0: the last eight bytes
    output logic [63:0] digest_data_o,  // the cycle after

    output logic job_valid_o,
    input logic job_ready_i,
    output leaf_job_t job_o,
    input logic job_done_i,
    input logic [255:0] job_digest_i
);

  logic active_q, held_q, fresh_q, shown_q;
  logic [4:0] next_q, ended_q;  // jobs; the root's is the last
  logic [4:0] leaves;
  logic is_root, is_last, wants, over;

  assign leaves = length_i[20:16] + {4'd0, length_i[15:0] != '0};
  assign is_root = next_q == leaves;
  assign is_last = next_q + 5'd1 == leaves;
  assign wants = active_q && (is_root ? ended_q == leaves : next_q < leaves);
  assign job_valid_o = held_q || (wants && shown_q && !stop_i);
  assign over = active_q && !job_valid_o && ended_q == next_q && (stop_i || leaves < next_q);
  assign done_o = !active_q;

  // A job's fields follow its number by a cycle. Leaves begin at multiples of 64 KiB behind the first; what the root's job, or
  // a full leaf's, has zeros in is cleared by the flops' own clear.
  logic is_part;
  logic [AddrBits-17:0] job_leaf_q;
  logic [15:0] job_low_q, job_bytes_q;
  logic [4:0] job_node_q;
  logic job_full_q;
  assign is_part = is_last && !is_root;
  if (ReadLeafBase[15:0] != '0) begin : gen_check
    $fatal(1, "the root job's address is made by OR");
  end

  always_ff @(posedge clk_i) begin
    if (is_root) {job_leaf_q, job_low_q, job_node_q} <= '0;
    else {job_leaf_q, job_low_q, job_node_q} <= {addr_i[AddrBits-1:16] + {13'd0, next_q}, addr_i[15:0], next_q};
    if (!is_part) {job_bytes_q[15:10], job_bytes_q[4:0]} <= '0;
    else {job_bytes_q[15:10], job_bytes_q[4:0]} <= {length_i[15:10], length_i[4:0]};
    if (!is_part && !is_root) job_bytes_q[9:5] <= '0;
    else job_bytes_q[9:5] <= is_root ? leaves : length_i[9:5];
    job_full_q <= !is_root && !(is_part && length_i[15:0] != '0);
  end

  assign job_o = '{
          root: is_root,
          addr: {job_leaf_q | (ReadLeafBase[AddrBits-1:16] & {18{is_root}}), job_low_q},
          bytes: {4'd0, job_full_q, job_bytes_q},
          node: {27'd0, job_node_q},
          last: is_root || is_last,
          store_addr: {ReadLeafBase[AddrBits-1:10], next_q, 5'd0}
      };

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      active_q <= 1'b0;
      held_q <= 1'b0;
      fresh_q <= 1'b0;
      shown_q <= 1'b0;
      next_q <= '0;
      ended_q <= '0;
    end else begin
      held_q <= job_valid_o && !job_ready_i;
      fresh_q <= job_done_i;
      shown_q <= active_q && !(job_valid_o && job_ready_i);
      if (start_i) begin
        active_q <= 1'b1;
        next_q <= '0;
        ended_q <= '0;
      end else begin
        if (over && !fresh_q) active_q <= 1'b0;
        next_q <= next_q + {4'd0, job_valid_o && job_ready_i};
        ended_q <= ended_q + {4'd0, job_done_i};
      end
    end
  end

  // every digest goes there; the root's is the last. Sixteen words, so that it is block RAM.
  saf_ram_1r1w #(
      .Width(256),
      .Depth(16)
  ) u_digest (
      .clk_i,
      .wr_en_i(job_done_i),
      .wr_addr_i(4'd0),
      .wr_data_i(job_digest_i),
      .rd_en_i(fresh_q),
      .rd_addr_i(4'd0),
      .rd_data_o(digest_o)
  );

  // the same, for who wants it word by word
  saf_ram_2clk_narrow #(
      .Width(256),
      .Depth(16),
      .Parts(4)
  ) u_words (
      .wr_clk_i(clk_i),
      .wr_en_i(job_done_i),
      .wr_addr_i(4'd0),
      .wr_data_i(job_digest_i),
      .rd_clk_i(clk_i),
      .rd_en_i(1'b1),
      .rd_addr_i({4'd0, digest_word_i}),
      .rd_data_o(digest_data_o)
  );

endmodule
