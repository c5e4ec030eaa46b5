// Work on a whole bitmap: open (all bits, counters and state anew) and forget (a range is missing again).
//
// Purpose: says where the bitmap engine is to work next when it has nothing better to do, and what the context's state is
// when it opens. Open fills word after word with ones (in front of the object's end) or zeros, to the end of the object's
// last section, so that whole sections can be read later; the blocks in the word that the object ends in it then forgets.
// Forget goes a quarter of a word at a time, as no more bits are counted at once.
// Data flow: open_valid_i or forget_valid_i (held until done) → opens_o with word_o, ones_o, or forgets_o with word_o,
// quarter_o, first_o, last_o → step_i: that was done.
// Latency: one cycle to begin, one a step, one to end. Reset: no job. Back-pressure: none.
// Constraints: not both at once; first + count within the object, count at least 1.

module saf_bulk_job
  import saf_shell_pkg::*;
#(
    parameter int unsigned WordBits = 11,
    parameter int unsigned CounterBits = 14
) (
    input logic clk_i,
    input logic rst_ni,
    input logic open_valid_i,
    output logic open_done_o,
    input logic [BlockBits-1:0] open_blocks_i,
    input logic open_complete_i,
    input logic forget_valid_i,
    output logic forget_done_o,
    input logic [BlockBits-1:0] forget_first_i,
    input logic [BlockBits-1:0] forget_count_i,
    output logic opens_o,
    output logic forgets_o,
    output logic [WordBits-1:0] word_o,
    output logic ones_o,
    output logic [1:0] quarter_o,
    output logic [3:0] first_o,  // of the quarter's bits
    output logic [3:0] last_o,
    input logic step_i,
    output logic opened_wr_o,  // with step_i: the context's state is opened_o
    output bulk_state_t opened_o,
    output logic [CounterBits-1:0] missing_o  // blocks in the section of word_o, as open finds it
);

  typedef enum logic [1:0] {
    StIdle,
    StOpen,
    StForget,
    StDone
  } state_e;

  state_e state_q;
  logic [WordBits:0] word_q;  // a bit more: behind the largest object
  logic [1:0] quarter_q;
  logic begun_q, ones_q;
  logic [BlockBits-1:0] stop;  // the block behind the last
  logic [3:0] last_section;
  logic at_stop_word, at_stop, tail;

  assign stop = (open_valid_i ? '0 : forget_count_i) + (open_valid_i ? open_blocks_i : forget_first_i);
  assign at_stop_word = word_q == stop[BlockBits-1:6];
  assign at_stop = at_stop_word && quarter_q == stop[5:4];

  assign word_o = word_q[WordBits-1:0];
  assign quarter_o = quarter_q;
  assign opens_o = state_q == StOpen;
  assign open_done_o = state_q == StDone && open_valid_i;
  assign forget_done_o = state_q == StDone && !open_valid_i;

  // -- forget: the quarter that the range ends in may have no bit of it

  assign forgets_o = state_q == StForget && !(at_stop && stop[3:0] == '0);
  assign first_o = begun_q ? '0 : forget_first_i[3:0];
  assign last_o = at_stop ? stop[3:0] - 1'b1 : 4'hF;

  // -- open

  assign ones_o = ones_q && !at_stop_word;
  assign tail = stop[12:0] != '0;
  assign last_section = stop[16:13] - 4'(!tail);
  assign opened_wr_o = opens_o && word_q[WordBits-1:0] == {last_section, 7'h7F};

  always_comb begin
    opened_o = '0;
    opened_o.lowest = open_blocks_i;
    if (!open_complete_i) begin
      opened_o.lowest = '0;
      opened_o.missing = {stop[BlockBits-1:6], 6'd0};
      opened_o.sections = 16'hFFFF >> ~last_section;
    end
  end

  always_comb begin
    missing_o = CounterBits'(saf_pkg::SectionBlocks);  // whole sections but for the last
    if (word_q[WordBits-1:7] == stop[16:13] && !stop[BlockBits-1]) missing_o = CounterBits'({stop[12:6], 6'd0});
    if (open_complete_i) missing_o = '0;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      word_q <= '0;
      quarter_q <= '0;
      begun_q <= 1'b0;
      ones_q <= 1'b0;
    end else begin
      case (state_q)
        StIdle: begin
          begun_q <= open_valid_i;
          ones_q <= !open_complete_i;
          if (open_valid_i) begin
            word_q <= '0;
            quarter_q <= '0;
            state_q <= StOpen;
          end else if (forget_valid_i) begin
            {word_q, quarter_q} <= forget_first_i[BlockBits-1:4];
            state_q <= StForget;
          end
        end
        StOpen:
        if (step_i) begin
          ones_q <= ones_o;
          word_q <= word_q + 1'b1;
          if (opened_wr_o) begin
            word_q <= stop[BlockBits-1:6];
            state_q <= open_complete_i || stop[5:0] == '0 ? StDone : StForget;
          end
        end
        StForget:
        if (step_i || !forgets_o) begin
          begun_q <= 1'b1;
          {word_q, quarter_q} <= {word_q, quarter_q} + 1'b1;
          if (at_stop) state_q <= StDone;
        end
        default: state_q <= StIdle;
      endcase
    end
  end

endmodule
