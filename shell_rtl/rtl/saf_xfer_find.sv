// Which transfer has an id: those in contexts first, then the latest verified ones, whose outcome stays known.
//
// Ids are the upper half of a record's first word; a search reads one record a cycle, so it needs the lock over the
// records. Past records are a ring: `past_o` says where the next one goes, `remember_i` (pulse, when it is there) moves on;
// the oldest is forgotten. `enter_i`: `id_i` is the newest id from now on.
//
// Latency: at most 39 cycles. which_o and hit_o hold until the next find. Reset and clear_i: nothing is known.

module saf_xfer_find
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic clear_i,
    input logic [Contexts-1:0] used_i,
    input logic [31:0] id_i,
    input logic find_i,
    input logic remember_i,
    input logic enter_i,
    output logic done_o,
    output logic hit_o,
    output logic is_past_o,
    output logic [4:0] which_o,
    output logic [4:0] past_o,
    output logic [31:0] newest_o,
    output logic not_newer_o,  // id_i is not above the newest id
    output logic st_rd_o,
    output xfer_addr_t st_addr_o,
    input logic [63:0] st_data_i
);

  logic [5:0] at_q, seen_q;  // record asked for (contexts at 32 to 35); the one that is on st_data_i
  logic busy_q, seen_valid_q, seen_known_q, known, match, unused;
  logic [5:0] count_q;  // past records that hold
  logic [4:0] head_q;  // where the next goes
  logic [31:0] newest_q;
  logic [32:0] newer;  // below zero when id_i is
  logic entered_q;  // newest_q is not 0
  xfer_ctl_t ctl;

  assign ctl = st_data_i;
  assign unused = ^{ctl, newer};
  assign st_rd_o = busy_q;
  assign st_addr_o = at_q[5] ? xfer_context_word(at_q[1:0], XferRecCtl) : xfer_past_word(at_q[4:0], XferRecCtl[2:0]);

  assign known = at_q[5] ? used_i[at_q[1:0]] : at_q < count_q;
  assign match = seen_valid_q && seen_known_q && ctl.id == id_i;
  assign past_o = head_q;
  assign newest_o = newest_q;
  // of a comparison so wide, the subtraction's sign is the cheapest form
  assign newer = {1'b0, newest_q} - {1'b0, id_i};
  assign not_newer_o = !newer[32];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      at_q <= '0;
      seen_q <= '0;
      seen_valid_q <= 1'b0;
      seen_known_q <= 1'b0;
      count_q <= '0;
      head_q <= '0;
      entered_q <= 1'b0;
      done_o <= 1'b0;
      hit_o <= 1'b0;
      is_past_o <= 1'b0;
      which_o <= '0;
    end else begin
      done_o <= 1'b0;
      seen_valid_q <= busy_q && !done_o;
      seen_q <= at_q;
      seen_known_q <= known;
      at_q <= at_q == 6'd35 ? 6'd0 : at_q + 6'd1;
      if (find_i) begin
        busy_q <= 1'b1;
        at_q <= 6'd32;
      end else if (busy_q && (match || (seen_valid_q && seen_q == 6'd31))) begin
        busy_q <= 1'b0;
        seen_valid_q <= 1'b0;
        done_o <= 1'b1;
        hit_o <= match;
        is_past_o <= !seen_q[5];
        which_o <= seen_q[4:0];
      end
      if (remember_i) begin
        head_q <= head_q + 5'd1;
        if (count_q != 6'd32) count_q <= count_q + 6'd1;
      end
      if (enter_i) entered_q <= 1'b1;
      if (clear_i) begin
        count_q <= '0;
        head_q <= '0;
        entered_q <= 1'b0;
      end
    end
  end

  // cleared by the flops' own synchronous clear, after a reset too
  always_ff @(posedge clk_i) begin
    if (enter_i) newest_q <= id_i;
    else if (!entered_q) newest_q <= '0;
  end

endmodule
