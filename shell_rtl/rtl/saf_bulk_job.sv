// Work on a whole bitmap, a word at a time: open (all bits, counters and state anew) and forget (a range is missing again).
//
// Purpose: says which word is next, which of its bits lie in the range, and what the context's state is when it opens. The
// bitmap engine does the words when it has nothing better to do.
// Data flow: open_valid_i or forget_valid_i (held until over_o with step_i) → word_o, mask_o → step_i: that word is done.
// Open goes on to the end of the object's last section, so that whole sections can be read later.
// Latency: one cycle to begin, then one word a step. Reset: no job. Back-pressure: none.
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
    input logic [BlockBits-1:0] open_blocks_i,
    input logic open_complete_i,
    input logic forget_valid_i,
    input logic [BlockBits-1:0] forget_first_i,
    input logic [BlockBits-1:0] forget_count_i,
    output logic opens_o,
    output logic forgets_o,
    output logic [WordBits-1:0] word_o,
    output logic [63:0] mask_o,
    output logic over_o,  // with step_i: that was the last word
    input logic step_i,
    output bulk_state_t opened_o,  // state of a context that was just opened
    output logic [CounterBits-1:0] missing_o  // blocks in the section of word_o, as open finds it
);

  localparam logic [63:0] Ones = '1;

  typedef enum logic [1:0] {
    StIdle,
    StOpen,
    StForget
  } state_e;

  state_e state_q;
  logic [WordBits-1:0] word_q;
  logic [BlockBits-2:0] first, last;
  logic nothing;

  assign opens_o = state_q == StOpen;
  assign forgets_o = state_q == StForget;
  assign word_o = word_q;

  assign nothing = opens_o && open_complete_i;
  assign first = opens_o ? '0 : forget_first_i[BlockBits-2:0];
  assign last = (BlockBits - 1)'((opens_o ? open_blocks_i : forget_first_i + forget_count_i) - 1'b1);

  always_comb begin
    mask_o = Ones;
    if (word_q == first[BlockBits-2:6]) mask_o &= Ones << first[5:0];
    if (word_q == last[BlockBits-2:6]) mask_o &= Ones >> ~last[5:0];
    if (word_q > last[BlockBits-2:6] || nothing) mask_o = '0;
  end

  assign over_o = word_q[WordBits-1:7] == last[BlockBits-2:13] && word_q[6:0] == (opens_o ? 7'h7F : last[12:6]);

  always_comb begin
    opened_o = '0;
    opened_o.blocks = open_blocks_i;
    opened_o.lowest = open_blocks_i;
    if (!open_complete_i) begin
      opened_o.lowest = '0;
      opened_o.missing = open_blocks_i;
      opened_o.sections = 16'hFFFF >> ~last[BlockBits-2:13];
    end
  end

  always_comb begin
    missing_o = CounterBits'(saf_pkg::SectionBlocks);  // whole sections but for the last
    if (word_q[WordBits-1:7] == last[BlockBits-2:13]) missing_o = CounterBits'(last[12:0]) + 1'b1;
    if (nothing) missing_o = '0;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      word_q <= '0;
    end else if (state_q == StIdle) begin
      if (open_valid_i) state_q <= StOpen;
      else if (forget_valid_i) state_q <= StForget;
      word_q <= open_valid_i ? '0 : forget_first_i[BlockBits-2:6];
    end else if (step_i) begin
      if (over_o) state_q <= StIdle;
      word_q <= word_q + 1'b1;
    end
  end

endmodule
