// The bitmaps of all contexts and what is counted with them: one small engine that does one thing at a time.
//
// Purpose: bit = 1: block is missing. Takes blocks (the only way a bit is cleared), opens and forgets, finds the lowest
// missing block, reads words out. Memory map: context 0 has words 0 to 2047, context c 2048 + 1024 (c - 1) and following.
// Data flow: an operation reads bitmap word, state and section counter of its context (one cycle), looks at them (one
// cycle), writes them back (one cycle). Taking a block goes first, then open or forget, then reads, then the search for the
// lowest missing block; open writes a word in every cycle nobody else needs.
// Latency: a block is taken 3 to 7 cycles after take_valid_i. Reset: idle, all searches off; contents unknown: open writes
// all that is read later. Back-pressure: take_valid_i, open_valid_i, forget_valid_i hold until done.
// Constraints: open and forget not at once; one bitmap read at a time, its address holds until the answer; first + count
// within the object.

`include "saf_assert.svh"

module saf_bulk_map
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic take_valid_i,
    input logic [1:0] take_ctx_i,
    input logic [BlockBits-2:0] take_index_i,
    output logic take_done_o,
    output logic take_new_o,
    input logic open_valid_i,
    output logic open_done_o,
    input logic [1:0] open_ctx_i,
    input logic [BlockBits-1:0] open_blocks_i,
    input logic open_complete_i,
    input logic forget_valid_i,
    output logic forget_done_o,
    input logic [1:0] forget_ctx_i,
    input logic [BlockBits-1:0] forget_first_i,
    input logic [BlockBits-1:0] forget_count_i,
    input logic bm_rd_valid_i,
    input logic [1:0] bm_ctx_i,
    input logic [10:0] bm_word_i,
    output logic bm_valid_o,
    output logic [63:0] bm_data_o,
    // contexts whose lowest missing block is being looked for, or whose bits are being set
    output logic [Contexts-1:0] unsettled_o,
    // every change of a context's state; st_anew_o: by open or forget
    output logic st_wr_o,
    output logic st_anew_o,
    output logic [1:0] st_ctx_o,
    output bulk_state_t st_o
);

  localparam int unsigned WordBits = 11;  // word number in a context
  localparam int unsigned Words = (saf_pkg::ImageMaxBlocks + saf_pkg::DdrContexts * saf_pkg::DdrMaxBlocks) / 64;
  localparam int unsigned CounterBits = $clog2(saf_pkg::SectionBlocks) + 1;

  typedef enum logic [1:0] {
    StIdle,
    StLook,  // the search reads where it stands
    StData,
    StWrite
  } state_e;

  typedef enum logic [1:0] {
    OpTake,
    OpForget,
    OpRead,
    OpSearch
  } op_e;

  state_e state_q;
  op_e op, op_q;
  logic [Contexts-1:0] search_q;
  logic hit_q, any_q;
  logic [5:0] first_q;
  logic [4:0] added_q;
  logic read_q;  // a word is to be read

  // -- work on whole bitmaps

  logic opens, forgets, opened_wr, job_step, job_ones;
  logic [1:0] job_ctx, job_quarter;
  logic [3:0] job_first, job_last;
  logic [WordBits-1:0] job_word;
  bulk_state_t opened;
  logic [CounterBits-1:0] opened_missing;

  saf_bulk_job #(
      .WordBits(WordBits),
      .CounterBits(CounterBits)
  ) u_job (
      .clk_i,
      .rst_ni,
      .open_valid_i,
      .open_done_o,
      .open_blocks_i,
      .open_complete_i,
      .forget_valid_i,
      .forget_done_o,
      .forget_first_i,
      .forget_count_i,
      .opens_o(opens),
      .forgets_o(forgets),
      .word_o(job_word),
      .ones_o(job_ones),
      .quarter_o(job_quarter),
      .first_o(job_first),
      .last_o(job_last),
      .step_i(job_step),
      .opened_wr_o(opened_wr),
      .opened_o(opened),
      .missing_o(opened_missing)
  );
  assign job_ctx = open_valid_i ? open_ctx_i : forget_ctx_i;

  // -- who is next

  logic [Contexts-1:0] searchable;
  logic [1:0] search_ctx, search_ctx_q;
  logic start, clear;

  always_comb begin
    searchable = search_q;
    if (open_valid_i || forget_valid_i) searchable[job_ctx] = 1'b0;
    search_ctx = '0;
    for (int i = Contexts - 1; i >= 0; i--) if (searchable[i]) search_ctx = 2'(i);
  end

  assign clear = state_q == StIdle && !take_valid_i && opens;

  always_comb begin
    op = op_q;
    start = 1'b0;
    if (state_q == StIdle) begin
      op = OpTake;
      if (take_valid_i) start = 1'b1;
      else if (forgets) {start, op} = {1'b1, OpForget};
      else if (read_q && !opens) {start, op} = {1'b1, OpRead};
      else if (searchable != '0 && !opens) {start, op} = {1'b1, OpSearch};
    end
  end

  // -- where it works; its source holds until it is done

  logic [1:0] ctx;
  logic [WordBits-1:0] word;
  logic [WordBits+1:0] bm_addr;
  bulk_state_t st, nst;

  always_comb begin
    unique case (op)
      OpTake: {ctx, word} = {take_ctx_i, take_index_i[BlockBits-2:6]};
      OpForget: {ctx, word} = {job_ctx, job_word};
      OpRead: {ctx, word} = {bm_ctx_i, bm_word_i};
      OpSearch: {ctx, word} = {state_q == StIdle ? search_ctx : search_ctx_q, st.lowest[BlockBits-2:6]};
    endcase
    if (clear) {ctx, word} = {job_ctx, job_word};
  end

  assign bm_addr = ctx == '0 ? {2'b00, word} : {{1'b0, ctx} + 3'd1, word[WordBits-2:0]};

  // -- the memories

  logic data_rd, bm_wr, sec_wr;
  logic [63:0] bm_word_data, bm_next;
  logic [BlockBits-1:0] blocks;
  logic [CounterBits-1:0] sec, sec_next;
  logic hit, any;
  logic [5:0] first;
  logic [4:0] added;
  logic writes;

  assign data_rd = (state_q == StIdle && start && op != OpSearch) || state_q == StLook;
  assign writes = state_q == StWrite;
  assign bm_wr = clear || (writes && ((op_q == OpTake && hit_q) || op_q == OpForget));
  assign sec_wr = (clear && job_word[6:0] == '0) || (writes && ((op_q == OpTake && hit_q) || op_q == OpForget));
  assign st_wr_o = (clear && opened_wr) || writes;
  assign st_anew_o = clear || op_q == OpForget;
  assign st_ctx_o = ctx;
  assign st_o = clear ? opened : nst;

  saf_ram_1r1w #(
      .Width(64),
      .Depth(Words)
  ) u_bits (
      .clk_i,
      .wr_en_i(bm_wr),
      .wr_addr_i(bm_addr),
      .wr_data_i(bm_next),
      .rd_en_i(data_rd),
      .rd_addr_i(bm_addr),
      .rd_data_o(bm_word_data)
  );

  saf_ram_few #(
      .Width(CounterBits),
      .Words(64)
  ) u_sections (
      .clk_i,
      .wr_en_i(sec_wr),
      .wr_addr_i({ctx, word[WordBits-1:7]}),
      .wr_data_i(sec_next),
      .rd_en_i(data_rd),
      .rd_addr_i({ctx, word[WordBits-1:7]}),
      .rd_data_o(sec)
  );

  saf_ram_few #(
      .Width(BlockBits),
      .Words(Contexts)
  ) u_blocks (
      .clk_i,
      .wr_en_i(clear),
      .wr_addr_i(ctx),
      .wr_data_i(open_blocks_i),
      .rd_en_i(state_q == StIdle && start),
      .rd_addr_i(ctx),
      .rd_data_o(blocks)
  );

  saf_ram_few #(
      .Width($bits(bulk_state_t)),
      .Words(Contexts)
  ) u_state (
      .clk_i,
      .wr_en_i(st_wr_o),
      .wr_addr_i(ctx),
      .wr_data_i(st_o),
      .rd_en_i(state_q == StIdle && start),
      .rd_addr_i(ctx),
      .rd_data_o(st)
  );

  saf_bulk_bits u_look (
      .word_i(bm_word_data),
      .fill_i(clear),
      .set_i(clear ? job_ones : op_q == OpForget),
      .touch_i(op_q == OpTake || op_q == OpForget),
      .quarter_i(op_q == OpTake ? take_index_i[5:4] : job_quarter),
      .first_i(op_q == OpTake ? take_index_i[3:0] : job_first),
      .last_i(op_q == OpTake ? take_index_i[3:0] : job_last),
      .word_o(bm_next),
      .hit_o(hit),
      .any_o(any),
      .first_o(first),
      .added_o(added)
  );

  // -- what an operation leaves behind

  logic [15:0] section_bit;
  logic [BlockBits-1:0] change, next_missing;
  logic at_lowest, taken, all_taken;

  assign section_bit = 16'd1 << word[WordBits-1:7];
  // a block taken, if it was missing, or blocks added
  assign taken = op_q == OpTake && hit_q;
  assign all_taken = taken && st.missing == BlockBits'(1);
  assign change = op_q == OpTake ? {BlockBits{hit_q}} : BlockBits'(added_q);
  // where none is left in the word the search goes on; first_q is 0 then
  assign next_missing = {{1'b0, word} + (WordBits + 1)'(!any_q), first_q};
  assign at_lowest = st.lowest == {1'b0, take_index_i} && !search_q[ctx];

  always_comb begin
    nst = st;
    nst.received = st.received + 32'(op_q == OpTake);
    if (op_q == OpTake || op_q == OpForget) nst.missing = st.missing + change;
    if (op_q == OpForget) nst.sections = st.sections | section_bit;
    else if (taken && sec == CounterBits'(1)) nst.sections = st.sections & ~section_bit;
    if (all_taken) nst.lowest = blocks;
    else if (op_q == OpSearch || (taken && at_lowest)) nst.lowest = next_missing;
    else if (op_q == OpForget && forget_valid_i && forget_first_i < st.lowest) nst.lowest = forget_first_i;
    sec_next = sec + change[CounterBits-1:0];
    if (clear) sec_next = opened_missing;
  end

  assign take_done_o = writes && op_q == OpTake;
  assign take_new_o = hit_q;
  assign job_step = clear || (writes && op_q == OpForget);
  assign bm_valid_o = state_q == StData && op_q == OpRead;
  assign bm_data_o = bm_word_data;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      op_q <= OpTake;
      search_q <= '0;
      hit_q <= 1'b0;
      any_q <= 1'b0;
      first_q <= '0;
      added_q <= '0;
      read_q <= 1'b0;
      search_ctx_q <= '0;
    end else begin
      if (bm_valid_o) read_q <= 1'b0;
      if (bm_rd_valid_i) read_q <= 1'b1;
      unique case (state_q)
        StIdle: begin
          op_q <= op;
          search_ctx_q <= search_ctx;
          if (start) state_q <= op == OpSearch ? StLook : StData;
        end
        StLook: state_q <= StData;
        StData: begin
          hit_q <= hit;
          any_q <= any;
          first_q <= first;
          added_q <= added;
          state_q <= op_q == OpRead ? StIdle : StWrite;
        end
        StWrite: begin
          state_q <= StIdle;
          case (op_q)
            OpTake: begin
              if (all_taken) search_q[ctx] <= 1'b0;
              else if (taken && at_lowest && !any_q) search_q[ctx] <= 1'b1;
            end
            OpForget: search_q[ctx] <= 1'b1;
            OpSearch: search_q[ctx] <= !any_q;
            default: ;
          endcase
        end
      endcase
      if (clear || open_done_o) search_q[job_ctx] <= 1'b0;
    end
  end

  always_comb begin
    unsettled_o = search_q;
    if (open_valid_i) unsettled_o[open_ctx_i] = 1'b1;
    if (forget_valid_i) unsettled_o[forget_ctx_i] = 1'b1;
  end

  `SAF_ASSERT(AssertOneRead, !bm_rd_valid_i || !read_q || bm_valid_o)
  `SAF_ASSERT(AssertOneJob, !(open_valid_i && forget_valid_i))
  `SAF_ASSERT(AssertSearchFinds, !(writes && op_q == OpSearch) || st.missing != '0)
  `SAF_ASSERT(AssertCounterHolds, !(writes && op_q == OpTake && hit_q) || (sec != '0 && st.missing != '0))
  `SAF_ASSERT(AssertForgetInside, !(writes && op_q == OpForget && forget_valid_i) || forget_first_i + forget_count_i <= blocks)

endmodule
