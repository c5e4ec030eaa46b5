// Assertions of the shell's modules: immediate ones on a clock, so that Verilator, yosys (slang) and Quartus all read them.
// Nothing is left of them under SYNTHESIS, unless FORMAL asks for them. They say nothing before the first reset, whatever
// the registers hold then.
//
//   `SAF_ASSERT(Name, expression)                                 in a module with clk_i and rst_ni
//   `SAF_ASSERT_CLK(Name, expression, clk, rst_n)
//   `SAF_STABLE(Name, valid, ready, data, clk, rst_n)             while stalled, valid and data hold

`ifndef SAF_ASSERT_SVH
`define SAF_ASSERT_SVH

`ifdef FORMAL
`define SAF_ASSERTIONS
`elsif SYNTHESIS
`else
`define SAF_ASSERTIONS
`endif

`ifdef SAF_ASSERTIONS

`define SAF_ASSERT_CLK(Name, Expr, Clk, RstN) \
  if (1) begin : Name \
    logic armed_q; \
    initial armed_q = 1'b0; \
    always @(posedge Clk or negedge RstN) \
      if (!RstN) armed_q <= 1'b0; \
      else armed_q <= 1'b1; \
    always_ff @(posedge Clk) if ((RstN) && armed_q) assert (Expr); \
  end

`define SAF_STABLE(Name, Valid, Ready, Data, Clk, RstN) \
  if (1) begin : Name \
    logic stalled_q; \
    logic [$bits(Data)-1:0] data_q; \
    initial stalled_q = 1'b0; \
    always @(posedge Clk or negedge RstN) \
      if (!RstN) stalled_q <= 1'b0; \
      else stalled_q <= (Valid) && !(Ready); \
    always_ff @(posedge Clk) data_q <= Data; \
    always_ff @(posedge Clk) if ((RstN) && stalled_q) assert ((Valid) && (Data) == data_q); \
  end

`else

`define SAF_ASSERT_CLK(Name, Expr, Clk, RstN)
`define SAF_STABLE(Name, Valid, Ready, Data, Clk, RstN)

`endif

`define SAF_ASSERT(Name, Expr) `SAF_ASSERT_CLK(Name, Expr, clk_i, rst_ni)

`endif
