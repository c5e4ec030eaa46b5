// Avalon-MM host to the role's kernel interface, commanded from another clock.
//
// Data flow: operations (write, read, reset) cross to krn_clk_i in a FIFO and are done one after the other; reads and
// resets give one response each, in order; writes give none. A transfer that takes longer than TimeoutCycles breaks the
// bus: that read and all later ones answer with `rsp_error_o`, writes go nowhere, until a reset. So a role that hangs the
// bus holds up nobody. A reset holds krn_reset_o for ResetCycles and waits as long again.
// Latency: a read takes about five clocks of each domain and the role's own. Reset: both sides together.
// Back-pressure: op_ready_o low while the FIFO is full. Constraints: krn_irq_i is a level, synchronised here.

`include "saf_assert.svh"

module saf_kernel_bus #(
    parameter int unsigned TimeoutCycles = 1024,
    parameter int unsigned ResetCycles = 32
) (
    input logic clk_i,
    input logic rst_ni,
    input logic op_valid_i,
    output logic op_ready_o,
    input logic op_read_i,  // neither read nor write: reset
    input logic op_write_i,
    input logic [15:0] op_addr_i,
    input logic [7:0] op_be_i,
    input logic [63:0] op_data_i,
    output logic rsp_valid_o,
    input logic rsp_ready_i,
    output logic rsp_error_o,
    output logic [63:0] rsp_data_o,
    output logic irq_o,

    input logic krn_clk_i,
    input logic krn_rst_ni,
    output logic [15:0] krn_address_o,
    output logic krn_read_o,
    output logic krn_write_o,
    output logic [63:0] krn_writedata_o,
    output logic [7:0] krn_byteenable_o,
    input logic krn_waitrequest_i,
    input logic [63:0] krn_readdata_i,
    input logic krn_readdatavalid_i,
    input logic krn_irq_i,
    output logic krn_reset_o
);

  localparam int unsigned TimerBits = $clog2(TimeoutCycles + 1);
  localparam logic [TimerBits-1:0] Timeout = TimerBits'(TimeoutCycles);
  localparam logic [TimerBits-1:0] ResetEnd = TimerBits'(2 * ResetCycles);
  localparam logic [TimerBits-1:0] ResetHalf = TimerBits'(ResetCycles);

  if (2 * ResetCycles > TimeoutCycles) begin : gen_bad_reset
    $error("saf_kernel_bus: TimeoutCycles must be at least twice ResetCycles");
  end

  typedef enum logic [1:0] {
    StIdle,
    StTransfer,
    StData,
    StReset
  } state_e;

  state_e state_q;
  logic [TimerBits-1:0] timer_q;
  logic broken_q, reset_q;
  logic valid, is_read, is_write, done, expired, answer, answer_ready;

  saf_fifo_async #(
      .Width(90),
      .Depth(16)
  ) u_ops (
      .wr_clk_i(clk_i),
      .wr_rst_ni(rst_ni),
      .wr_valid_i(op_valid_i),
      .wr_ready_o(op_ready_o),
      .wr_data_i({op_read_i, op_write_i, op_addr_i, op_be_i, op_data_i}),
      .rd_clk_i(krn_clk_i),
      .rd_rst_ni(krn_rst_ni),
      .rd_valid_o(valid),
      .rd_ready_i(done),
      .rd_data_o({is_read, is_write, krn_address_o, krn_byteenable_o, krn_writedata_o})
  );

  // two resets may be asked for and one read is waited for: it never fills
  saf_fifo_async #(
      .Width(65),
      .Depth(4)
  ) u_answers (
      .wr_clk_i(krn_clk_i),
      .wr_rst_ni(krn_rst_ni),
      .wr_valid_i(answer),
      .wr_ready_o(answer_ready),
      .wr_data_i({state_q != StReset && !(state_q == StData && krn_readdatavalid_i), krn_readdata_i}),
      .rd_clk_i(clk_i),
      .rd_rst_ni(rst_ni),
      .rd_valid_o(rsp_valid_o),
      .rd_ready_i(rsp_ready_i),
      .rd_data_o({rsp_error_o, rsp_data_o})
  );

  saf_sync u_irq (
      .clk_i,
      .rst_ni,
      .d_i(krn_irq_i),
      .q_o(irq_o)
  );

  assign krn_read_o = state_q == StTransfer && is_read;
  assign krn_write_o = state_q == StTransfer && is_write;
  assign krn_reset_o = reset_q;
  assign expired = timer_q == Timeout;
  always_comb begin
    case (state_q)
      StIdle: done = valid && broken_q && (is_read || is_write);
      StTransfer: done = expired || (is_write && !krn_waitrequest_i);
      StData: done = expired || krn_readdatavalid_i;
      default: done = timer_q == ResetEnd;
    endcase
  end
  assign answer = done && !is_write;

  always_ff @(posedge krn_clk_i or negedge krn_rst_ni) begin
    if (!krn_rst_ni) begin
      state_q <= StIdle;
      timer_q <= '0;
      broken_q <= 1'b0;
      reset_q <= 1'b1;
    end else begin
      reset_q <= state_q == StReset && timer_q < ResetHalf;
      timer_q <= state_q == StIdle ? '0 : timer_q + 1'b1;
      case (state_q)
        StIdle:
        if (valid && !is_read && !is_write) state_q <= StReset;
        else if (valid && !broken_q) state_q <= StTransfer;
        StTransfer:
        if (done) state_q <= StIdle;
        else if (!krn_waitrequest_i) state_q <= StData;
        default: if (done) state_q <= StIdle;
      endcase
      if (state_q == StReset) broken_q <= 1'b0;
      else if (state_q != StIdle && expired) broken_q <= 1'b1;
    end
  end

  `SAF_ASSERT_CLK(AssertAnswerFits, !answer || answer_ready, krn_clk_i, krn_rst_ni)

endmodule
