// Message words for the four G units of saf_blake2s.
//
// Every G unit needs two words a step, any of the block's sixteen (RFC 7693, 2.7). Each of the eight gets a copy of the
// message buffers: eight RAMs of pairs of words, written together, read apart, cost no logic but a 2:1 choice behind them.
//
// Timing, from the cycle in which step_i and base_i are shown: x_o (first halves of G) is valid in the second cycle after
// it, y_o (second halves) in the third. A new step may be shown every cycle. Step 2r is the columns of round r, step 2r+1
// its diagonals, whose units stand in the order 0, 3, 2, 1 (see saf_blake2s).
// Reset: registers only; what the RAMs hold is used only for blocks that were written.

module saf_blake2s_message (
    input logic clk_i,
    input logic rst_ni,

    input logic wr_valid_i,
    input logic [5:0] wr_addr_i,  // buffer, pair
    input logic [63:0] wr_data_i,  // two words: the even one in the upper half, bytes as in the stream

    input logic step_valid_i,
    input logic [2:0] base_i,  // buffer
    input logic [4:0] step_i,
    output logic [3:0][31:0] x_o,
    output logic [3:0][31:0] y_o
);

  // sigma (RFC 7693, 2.7): round 0 last, each with its first entry leftmost
  localparam logic [9:0][63:0] Sigma = {
    64'hA2847615FB9E3CD0,
    64'h6FE9B308C2D714A5,
    64'hDB7EC13950F4862A,
    64'hC51FED4A0763928B,
    64'h2C6A0B834D75FE19,
    64'h905724AFE1BC683D,
    64'h7931DCBE265A40F8,
    64'hB8C052FDAE367194,
    64'hEA489FD61C02B753,
    64'h0123456789ABCDEF
  };

  typedef logic [31:0][3:0] schedule_t;

  // Word that a unit adds in every step, in its first (0) or second (1) half
  function automatic schedule_t schedule(input int unsigned unit, input int unsigned half);
    int unsigned entry;
    schedule = '0;
    for (int unsigned step = 0; step < 20; step++) begin
      entry = 2 * (step % 2 == 0 ? unit : (4 - unit) % 4) + 8 * (step % 2) + half;
      schedule[step] = Sigma[step/2][63-4*entry-:4];
    end
  endfunction

  // second halves are a cycle behind
  logic valid_q;
  logic [2:0] base_q;
  logic [4:0] step_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
      base_q <= '0;
      step_q <= '0;
    end else begin
      valid_q <= step_valid_i;
      base_q <= base_i;
      step_q <= step_i;
    end
  end

  for (genvar u = 0; u < 4; u++) begin : gen_unit
    for (genvar h = 0; h < 2; h++) begin : gen_half
      localparam schedule_t Schedule = schedule(u, h);
      logic valid, ready_q, odd_q;
      logic [3:0] word;
      logic [2:0] base;
      logic [63:0] pair;
      logic [31:0] word_q;

      assign valid = h == 0 ? step_valid_i : valid_q;
      assign base = h == 0 ? base_i : base_q;
      assign word = Schedule[h==0?step_i : step_q];

      saf_ram_1r1w #(
          .Width(64),
          .Depth(64)
      ) u_ram (
          .clk_i,
          .wr_en_i(wr_valid_i),
          .wr_addr_i,
          .wr_data_i,
          .rd_en_i(valid),
          .rd_addr_i({base, word[3:1]}),
          .rd_data_o(pair)
      );

      always_ff @(posedge clk_i or negedge rst_ni) begin
        if (!rst_ni) begin
          ready_q <= 1'b0;
          odd_q <= 1'b0;
          word_q <= '0;
        end else begin
          ready_q <= valid;
          odd_q <= word[0];
          if (ready_q) word_q <= saf_shell_pkg::swap32(odd_q ? pair[31:0] : pair[63:32]);
        end
      end

      if (h == 0) begin : gen_x
        assign x_o[u] = word_q;
      end else begin : gen_y
        assign y_o[u] = word_q;
      end
    end
  end

endmodule
