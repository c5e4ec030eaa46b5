// What a command needs of the role's kernel interface: look at registers, launch, acknowledge, reset.
//
// Data flow: one command at a time (`cmd_valid_i` held until `cmd_done_o`) becomes bus operations. Reads: one register,
// of the ROM, or of the CRA window of segment `cmd_segment_i`. Launch: the invocation image of CSR version 3 (work_dim at
// CRA+0x28, group size, global sizes, numbers of groups, local sizes, offsets, arguments from +0x60) out of the command's
// record (`ram_*`: RUN's payload, see saf_slots), then start. Numbers of groups are divided bit by bit, 32 cycles each,
// the group size is multiplied in the same cycles.
// Latency: reads about 20 cycles, launch about 150 and four a 64-bit word of arguments. Reset: idle. Back-pressure: the bus's FIFO.

module saf_kernel_host
  import saf_shell_pkg::*;
#(
    parameter int unsigned TimeoutCycles = 1024
) (
    input logic clk_i,
    input logic rst_ni,
    input logic cmd_valid_i,
    input kernel_cmd_e cmd_i,
    input logic [15:0] cmd_addr_i,
    input logic [31:0] cmd_segment_i,
    input logic [10:0] cmd_bytes_i,
    output logic cmd_done_o,
    output logic cmd_error_o,
    output logic [63:0] cmd_data_o,
    output logic irq_o,
    output logic idle_o,
    // record of the command to launch: words 0 to 6 RUN's payload, from 7 the arguments; data in the next cycle
    output logic ram_rd_o,
    output logic [7:0] ram_word_o,
    input logic [63:0] ram_data_i,

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

  localparam logic [15:0] SegmentAddr = 16'h0020, CraAddr = 16'h1000;
  localparam logic [8:0] FirstArgument = 9'd14;  // in 32-bit words of the record

  typedef enum logic [3:0] {
    StIdle,
    StSegment,
    StRead,
    StAnswer,
    StFetch,
    StField,
    StDivide,
    StArgFetch,
    StArg,
    StStart,
    StReset
  } state_e;

  state_e state_q;
  logic [3:0] field_q;  // 0 to 10: see `fields`; then 11 group size
  logic [4:0] bit_q;
  logic [8:0] word_q;
  logic [31:0] quotient_q, rest_q, divisor_q, product_q;
  logic [30:0] sum_q;
  logic [31:0] rest_d, sum_d;
  assign sum_d = {sum_q, 1'b0} + (divisor_q[bit_q] ? product_q : '0);
  logic fits;

  logic op_valid, op_ready, op_read, op_write, rsp_valid, rsp_error;
  // verilator lint_off UNUSEDSIGNAL
  logic [15:0] op_addr;
  // verilator lint_on UNUSEDSIGNAL
  logic [3:0] op_be;
  logic [31:0] op_data;
  logic [63:0] rsp_data;

  // The fields in the order they are written: for each dimension global, local, number of groups; then work_dim and the
  // three offsets, always zero in version 3; then the group size. Where each lies in the record and in the CRA window:
  logic [7:0] field_addr;
  logic [2:0] field_word;
  logic field_low;
  always_comb begin
    field_addr = 8'h30;
    field_word = 3'd4;
    field_low = 1'b0;
    case (field_q)
      4'd0: ;
      4'd1: {field_addr, field_word, field_low} = {8'h48, 3'd5, 1'b1};
      4'd2: field_addr = 8'h3C;
      4'd3: {field_addr, field_word, field_low} = {8'h34, 3'd4, 1'b1};
      4'd4: {field_addr, field_word, field_low} = {8'h4C, 3'd6, 1'b0};
      4'd5: field_addr = 8'h40;
      4'd6: {field_addr, field_word, field_low} = {8'h38, 3'd5, 1'b0};
      4'd7: {field_addr, field_word, field_low} = {8'h50, 3'd6, 1'b1};
      4'd8: field_addr = 8'h44;
      4'd9: {field_addr, field_word, field_low} = {8'h28, 3'd3, 1'b1};
      4'd10: field_addr = 8'h54;
      4'd11: field_addr = 8'h58;
      4'd12: field_addr = 8'h5C;
      default: field_addr = 8'h2C;
    endcase
  end

  logic is_global, is_local, is_groups;
  logic [31:0] field_value;
  assign is_global = field_q == 4'd0 || field_q == 4'd3 || field_q == 4'd6;
  assign is_local = field_q == 4'd1 || field_q == 4'd4 || field_q == 4'd7;
  assign is_groups = field_q == 4'd2 || field_q == 4'd5 || field_q == 4'd8;
  always_comb begin
    field_value = field_low ? ram_data_i[31:0] : ram_data_i[63:32];
    if (is_groups) field_value = divisor_q == '0 ? '0 : quotient_q;
    else if (field_q == 4'd9) field_value = {24'd0, ram_data_i[15:8]};
    else if (field_q == 4'd13) field_value = product_q;
    else if (field_q > 4'd9) field_value = '0;
  end

  // arguments: bytes of the last word that are there
  logic [3:0] last_be;
  logic last_word;
  logic [7:0] argument_row;
  assign argument_row = word_q[8:1] + 8'd5;
  // verilator lint_off UNUSEDSIGNAL
  logic [10:0] last_byte;
  // verilator lint_on UNUSEDSIGNAL
  assign last_byte = cmd_bytes_i - 11'd1;
  assign last_word = word_q == FirstArgument + last_byte[10:2];
  assign last_be = {last_byte[1:0] == 2'd3, last_byte[1], |last_byte[1:0], 1'b1};

  always_comb begin
    op_valid = 1'b0;
    op_read = 1'b0;
    op_write = 1'b1;
    op_addr = cmd_addr_i;
    op_be = 4'hF;
    op_data = field_value;
    case (state_q)
      StSegment: begin
        op_valid = 1'b1;
        op_addr = SegmentAddr;
        op_data = cmd_segment_i;
      end
      StRead: begin
        op_valid = 1'b1;
        op_read = 1'b1;
        op_write = 1'b0;
      end
      StField: begin
        op_valid = 1'b1;
        op_addr = CraAddr | 16'(field_addr);
      end
      StArg: begin
        op_valid = 1'b1;
        // arguments lie at +0x60, word 7 of the record at word 12 of the window
        op_addr = CraAddr | {5'd0, argument_row, word_q[0], 2'd0};
        op_be = last_word ? last_be : 4'hF;
        op_data = swap32(word_q[0] ? ram_data_i[31:0] : ram_data_i[63:32]);
      end
      StStart: begin
        op_valid = 1'b1;
        op_addr = CraAddr;
        op_data = {31'd0, cmd_i == KernelLaunch};  // an acknowledgement clears the status bits
      end
      StReset: begin
        op_valid = 1'b1;
        op_write = 1'b0;
      end
      default: ;
    endcase
  end

  assign ram_rd_o = state_q == StFetch || state_q == StArgFetch;
  assign ram_word_o = state_q == StFetch ? {5'd0, field_word} : word_q[8:1];

  // one bit of a division, most significant first: rest_q stays below the divisor
  assign {fits, rest_d} = divide_step({rest_q, quotient_q[31]}, divisor_q);
  function automatic logic [32:0] divide_step(input logic [32:0] rest, input logic [31:0] divisor);
    // verilator lint_off UNUSEDSIGNAL
    logic [33:0] left;
    // verilator lint_on UNUSEDSIGNAL
    left = {1'b0, rest} - {2'b0, divisor};
    return left[33] ? {1'b0, rest[31:0]} : {1'b1, left[31:0]};
  endfunction

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      field_q <= '0;
      bit_q <= '0;
      word_q <= '0;
      quotient_q <= '0;
      rest_q <= '0;
      divisor_q <= '0;
      product_q <= '0;
      sum_q <= '0;
    end else begin
      case (state_q)
        StIdle: begin
          field_q <= '0;
          product_q <= 32'd1;
          word_q <= FirstArgument;
          if (cmd_valid_i && !cmd_done_o) begin
            case (cmd_i)
              KernelRom: state_q <= StRead;
              KernelReset: state_q <= StReset;
              default: state_q <= StSegment;
            endcase
          end
        end
        StSegment:
        if (op_ready) begin
          case (cmd_i)
            KernelRegister: state_q <= StRead;
            KernelAck: state_q <= StStart;
            default: state_q <= StFetch;
          endcase
        end
        StRead, StReset: if (op_ready) state_q <= StAnswer;
        StAnswer: if (rsp_valid) state_q <= StIdle;
        StFetch: state_q <= StField;
        StField:
        if (op_ready) begin
          field_q <= field_q + 4'd1;
          state_q <= StFetch;
          if (is_global) begin
            quotient_q <= field_value;
            rest_q <= '0;
          end
          if (is_local) begin
            divisor_q <= field_value;
            sum_q <= '0;
            bit_q <= '1;
            state_q <= StDivide;
          end
          if (field_q == 4'd13) state_q <= cmd_bytes_i == '0 ? StStart : StArgFetch;
        end
        StDivide: begin
          quotient_q <= {quotient_q[30:0], fits};
          rest_q <= rest_d;
          sum_q <= sum_d[30:0];
          bit_q <= bit_q - 5'd1;
          if (bit_q == '0) begin
            // a local size of 0 leaves the choice to the runtime and counts as 1
            if (divisor_q != '0) product_q <= sum_d;
            state_q <= StFetch;
          end
        end
        StArgFetch: state_q <= StArg;
        StArg:
        if (op_ready) begin
          word_q <= word_q + 9'd1;
          state_q <= last_word ? StStart : StArgFetch;
        end
        // an acknowledgement is read back: idle then means that nothing is on its way
        default: if (op_ready) state_q <= cmd_i == KernelAck ? StRead : StIdle;  // StStart
      endcase
    end
  end

  assign cmd_done_o = (state_q == StAnswer && rsp_valid) || (state_q == StStart && op_ready && cmd_i == KernelLaunch);
  assign cmd_error_o = rsp_error;
  assign cmd_data_o = rsp_data;
  assign idle_o = state_q == StIdle;

  saf_kernel_bus #(
      .TimeoutCycles(TimeoutCycles)
  ) u_bus (
      .clk_i,
      .rst_ni,
      .op_valid_i(op_valid),
      .op_ready_o(op_ready),
      .op_read_i(op_read),
      .op_write_i(op_write),
      .op_addr_i(op_addr[15:2]),
      .op_be_i(op_be),
      .op_data_i(op_data),
      .rsp_valid_o(rsp_valid),
      .rsp_error_o(rsp_error),
      .rsp_data_o(rsp_data),
      .irq_o,
      .krn_clk_i,
      .krn_rst_ni,
      .krn_address_o,
      .krn_read_o,
      .krn_write_o,
      .krn_writedata_o,
      .krn_byteenable_o,
      .krn_waitrequest_i,
      .krn_readdata_i,
      .krn_readdatavalid_i,
      .krn_irq_i,
      .krn_reset_o
  );

endmodule
