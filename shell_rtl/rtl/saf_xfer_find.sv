// Which transfer has an id: those in contexts first, then the latest verified ones, whose outcome stays known.
//
// Ids lie in one RAM: past ones at 0 to 31 (a ring; the oldest is forgotten), contexts at 32 to 35. A search reads one a
// cycle. `remember_i` moves a context's id to the ring (`past_o` says beforehand where it will be); `enter_i` gives `id_i`
// to a context and makes it the newest id.
//
// Latency: find at most 39 cycles, remember 2; commands come one at a time, each waits for done_o. which_o and hit_o hold
// until the next find. Reset: nothing is known. clear_i: likewise, at once.

module saf_xfer_find
(
    input logic clk_i,
    input logic rst_ni,
    input logic clear_i,
    input logic [saf_shell_pkg::Contexts-1:0] used_i,
    input logic [31:0] id_i,
    input logic find_i,
    input logic remember_i,
    input logic enter_i,
    input logic [1:0] ctx_i,  // for remember and enter
    output logic done_o,  // of find and remember
    output logic hit_o,
    output logic is_past_o,
    output logic [4:0] which_o,
    output logic [4:0] past_o,
    output logic [31:0] ctx_id_o,  // while idle: id of context ctx_i, one cycle later
    output logic [31:0] newest_o,
    output logic not_newer_o  // id_i is not above the newest id
);

  typedef enum logic [1:0] {
    StIdle,
    StSearch,
    StMove
  } state_e;

  state_e state_q;
  logic [5:0] at_q, seen_q;  // word asked for; word that rd_data is
  logic seen_valid_q, seen_known_q;
  logic [5:0] count_q;  // past ids known
  logic [4:0] head_q;  // where the next goes
  logic [31:0] newest_q, rd_data, wr_data;
  logic wr_en;
  logic [5:0] wr_addr, rd_addr;
  logic match, known;

  assign rd_addr = state_q == StIdle ? {4'b1000, ctx_i} : at_q;
  assign wr_en = enter_i || state_q == StMove;
  assign wr_addr = enter_i ? {4'b1000, ctx_i} : {1'b0, head_q};
  assign wr_data = enter_i ? id_i : rd_data;

  saf_ram_1r1w #(
      .Width(32),
      .Depth(saf_shell_pkg::XferRemembered + saf_shell_pkg::Contexts)
  ) u_ids (
      .clk_i,
      .wr_en_i(wr_en),
      .wr_addr_i(wr_addr),
      .wr_data_i(wr_data),
      .rd_en_i(1'b1),
      .rd_addr_i(rd_addr),
      .rd_data_o(rd_data)
  );

  assign known = at_q[5] ? used_i[at_q[1:0]] : at_q < count_q;
  assign match = seen_valid_q && seen_known_q && rd_data == id_i;
  assign past_o = head_q;
  assign ctx_id_o = rd_data;
  assign newest_o = newest_q;
  assign not_newer_o = id_i <= newest_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      at_q <= '0;
      seen_q <= '0;
      seen_valid_q <= 1'b0;
      seen_known_q <= 1'b0;
      count_q <= '0;
      head_q <= '0;
      newest_q <= '0;
      done_o <= 1'b0;
      hit_o <= 1'b0;
      is_past_o <= 1'b0;
      which_o <= '0;
    end else begin
      done_o <= 1'b0;
      seen_valid_q <= 1'b0;
      if (enter_i) newest_q <= id_i;
      case (state_q)
        StIdle: begin
          if (find_i) begin
            state_q <= StSearch;
            at_q <= 6'd32;
          end else if (remember_i) state_q <= StMove;
        end
        StSearch: begin
          // contexts first: 32 to 35, then 0 to 31
          seen_q <= at_q;
          seen_valid_q <= 1'b1;
          seen_known_q <= known;
          at_q <= at_q == 6'd35 ? 6'd0 : at_q + 6'd1;
          if (match || (seen_valid_q && seen_q == 6'd31)) begin
            state_q <= StIdle;
            done_o <= 1'b1;
            hit_o <= match;
            is_past_o <= !seen_q[5];
            which_o <= seen_q[4:0];
          end
        end
        default: begin
          state_q <= StIdle;
          done_o <= 1'b1;
          head_q <= head_q + 5'd1;
          if (count_q != 6'd32) count_q <= count_q + 6'd1;
        end
      endcase
      if (clear_i) begin
        count_q <= '0;
        head_q <= '0;
        newest_q <= '0;
      end
    end
  end

endmodule
