// Partial reconfiguration controller of an Arria 10 as Intel documents it (683834): status codes, a wrong first word, a
// POF id (word 1 of the simulation bitstream, word 71 of a real one) that is not this shell's, a CRC error, its rate.
//
// Data flow: words go to the simulator (DPI), which judges the whole image once no more come: verdict_i is then the
// final status (1 PR_ERROR, 2 CRC_ERROR, 3 incompatible, 5 success; 0: not yet).
// Latency: status follows a decisive word by one cycle. Reset: power-up status. Back-pressure: ready one cycle of
// CyclesPerWord (1 plain, 4 encrypted, 8 compressed at 32 bit); never after an error, nor while hang_i.

module saf_pr_model #(
    parameter int unsigned CyclesPerWord = 1,
    parameter int unsigned EndCycles = 4096,  // so long without a word: the image is over
    parameter logic [31:0] FirstWord = 32'h0000_A65C  // Intel's simulation bitstream
) (
    input logic clk_i,
    input logic rst_ni,
    input logic [63:0] context_i,  // the simulator's card
    input logic [31:0] compat_id_i,
    input logic hang_i,  // never come to an end
    input logic [2:0] verdict_i,
    input logic reset_i,  // withdraw an image in the middle
    input logic start_i,
    input logic valid_i,
    input logic [31:0] data_i,
    output logic ready_o,
    output logic [2:0] status_o,
    output logic busy_o
);

  import "DPI-C" function void saf_dpi_pr_start(input longint unsigned card);
  import "DPI-C" function void saf_dpi_pr_word(
    input longint unsigned card,
    input int unsigned word
  );
  import "DPI-C" function void saf_dpi_pr_end(input longint unsigned card);

  localparam logic [2:0] PowerUp = 3'd0, PrError = 3'd1, Incompatible = 3'd3, InProgress = 3'd4;
  localparam logic [31:0] PofIdWord = 32'd71;

  logic [31:0] words_q, quiet_q, pace_q;
  logic ended_q;

  assign ready_o = status_o == InProgress && pace_q == '0 && !ended_q;
  assign busy_o = status_o == InProgress && !ended_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      status_o <= PowerUp;
      words_q <= '0;
      quiet_q <= '0;
      pace_q <= '0;
      ended_q <= 1'b0;
    end else if (reset_i) begin
      status_o <= PowerUp;
      ended_q <= 1'b0;
    end else if (start_i) begin
      status_o <= InProgress;
      words_q <= '0;
      quiet_q <= '0;
      pace_q <= '0;
      ended_q <= 1'b0;
      saf_dpi_pr_start(context_i);
    end else begin
      pace_q <= pace_q == '0 ? '0 : pace_q - 32'd1;
      if (valid_i && ready_o) begin
        saf_dpi_pr_word(context_i, data_i);
        words_q <= words_q + 32'd1;
        quiet_q <= '0;
        pace_q <= CyclesPerWord - 1;
        if (words_q == '0 && data_i != FirstWord) status_o <= PrError;
        else if ((words_q == 32'd1 || words_q == PofIdWord) && data_i != compat_id_i) status_o <= Incompatible;
      end else if (status_o == InProgress && words_q != '0 && !ended_q) begin
        quiet_q <= quiet_q + 32'd1;
        if (quiet_q == EndCycles) begin
          ended_q <= 1'b1;
          saf_dpi_pr_end(context_i);
        end
      end
      if (ended_q && status_o == InProgress && verdict_i != '0 && !hang_i) status_o <= verdict_i;
    end
  end

endmodule
