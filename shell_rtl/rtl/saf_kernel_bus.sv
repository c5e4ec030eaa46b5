// Avalon-MM host to the role's kernel interface, commanded from another clock.
//
// Data flow: operations (write, read, reset) cross to krn_clk_i in a FIFO and are done one after the other; reads and
// resets give one response each (zeros for a read that failed), waited for before the next; writes (32 bits) give none. A transfer that takes longer than TimeoutCycles breaks the
// bus: that read and all later ones answer with `rsp_error_o`, writes go nowhere, until a reset. So a role that hangs the
// bus holds up nobody. A reset holds krn_reset_o for ResetCycles and waits as long again.
// The answer's bits are stable two clocks before rsp_valid_o: a set_max_delay of one clk_i period on them.
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
    input logic op_read_i,  // neither read nor write: reset; both: nothing, answered with zeros
    input logic op_write_i,
    input logic [15:2] op_addr_i,  // of reads a multiple of 8
    input logic [3:0] op_be_i,
    input logic [31:0] op_data_i,
    output logic rsp_valid_o,  // one cycle
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
  logic valid, is_read, is_write, nothing, done, good, expired, answer, answer_q, answer_busy, error_q;
  logic [15:2] address;
  logic [3:0] enable;
  logic [31:0] data;
  logic [63:0] data_q;

  saf_fifo_async #(
      .Width(52),
      .Depth(64)  // of which a few are ever used: a block RAM
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
      .rd_data_o({is_read, is_write, address, enable, data})
  );

  // one answer is waited for at a time: it stays until the next
  saf_pulse_cdc u_answer (
      .src_clk_i(krn_clk_i),
      .src_rst_ni(krn_rst_ni),
      .src_pulse_i(answer_q),
      .src_busy_o(answer_busy),
      .dst_clk_i(clk_i),
      .dst_rst_ni(rst_ni),
      .dst_pulse_o(rsp_valid_o)
  );
  assign rsp_error_o = error_q;
  assign rsp_data_o = data_q;

  saf_sync u_irq (
      .clk_i,
      .rst_ni,
      .d_i(krn_irq_i),
      .q_o(irq_o)
  );

  assign krn_read_o = state_q == StTransfer && is_read;
  assign krn_write_o = state_q == StTransfer && is_write;
  assign krn_address_o = {address[15:3], 3'd0};
  assign krn_byteenable_o = is_read ? '1 : address[2] ? {enable, 4'd0} : {4'd0, enable};
  assign krn_writedata_o = {data, data};
  assign krn_reset_o = reset_q;
  assign nothing = is_read && is_write;
  assign expired = timer_q == Timeout;
  always_comb begin
    case (state_q)
      StIdle: done = valid && (nothing || (broken_q && (is_read || is_write)));
      StTransfer: done = expired || (is_write && !krn_waitrequest_i);
      StData: done = expired || krn_readdatavalid_i;
      default: done = timer_q == ResetEnd;
    endcase
  end
  assign answer = done && (is_read || !is_write);
  assign good = state_q == StData && krn_readdatavalid_i;

  always_ff @(posedge krn_clk_i or negedge krn_rst_ni) begin
    if (!krn_rst_ni) begin
      state_q <= StIdle;
      timer_q <= '0;
      broken_q <= 1'b0;
      reset_q <= 1'b1;
      answer_q <= 1'b0;
      error_q <= 1'b0;
    end else begin
      answer_q <= answer;
      if (answer) error_q <= state_q != StReset && !good && !nothing;
      reset_q <= state_q == StReset && timer_q < ResetHalf;
      timer_q <= state_q == StIdle ? '0 : timer_q + 1'b1;
      case (state_q)
        StIdle:
        if (valid && !is_read && !is_write) state_q <= StReset;
        else if (valid && !broken_q && !nothing) state_q <= StTransfer;
        StTransfer:
        if (done) state_q <= StIdle;
        else if (!krn_waitrequest_i) state_q <= StData;
        default: if (done) state_q <= StIdle;
      endcase
      if (state_q == StReset) broken_q <= 1'b0;
      else if (state_q != StIdle && expired) broken_q <= 1'b1;
    end
  end

  // cleared by the flops' own synchronous clear; nobody looks before an answer
  always_ff @(posedge krn_clk_i) if (answer) data_q <= good ? krn_readdata_i : '0;

  `SAF_ASSERT_CLK(AssertOneAnswer, !(answer_q && answer_busy), krn_clk_i, krn_rst_ni)

endmodule
