// What a command needs of the role's kernel interface: look at registers, launch, acknowledge, reset.
//
// Data flow: one command at a time (`cmd_valid_i` held until `cmd_done_o`) becomes bus operations. Reads: one register,
// of the ROM, or of the CRA window of segment `cmd_segment_i`. Launch: the invocation image of CSR version 3 (work_dim at
// CRA+0x28, group size, global sizes, numbers of groups, local sizes, offsets, arguments from +0x60) out of the command's
// record (`ram_*`: payload and arguments of its RUN, see saf_slots_ram), then start. Where no local size was given there is
// nothing to divide.
// Latency: reads about 20 cycles, launch about 40, 32 more a local size and two a 32-bit word of arguments. Reset: idle.
// Back-pressure: the bus's FIFO.

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
    // record of the command to launch: 32-bit words of RUN's payload, its first at 2, or of its arguments; data in the next cycle
    output logic ram_arg_o,
    output logic [7:0] ram_word_o,
    input logic [31:0] ram_data_i,

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

  typedef enum logic [3:0] {
    StIdle,
    StSegment,
    StRead,
    StAnswer,
    StFetch,
    StField,
    StLoad,
    StSerial,
    StArgFetch,
    StArg,
    StStart,
    StReset
  } state_e;

  state_e state_q;
  logic [3:0] field_q;  // see `field_word`
  logic [4:0] bit_q;
  logic [7:0] arg_q;  // 32-bit word of the arguments

  logic op_valid, op_ready, op_read, op_write, rsp_valid, rsp_error;
  // verilator lint_off UNUSEDSIGNAL
  logic [15:0] op_addr;
  // verilator lint_on UNUSEDSIGNAL
  logic [3:0] op_be;
  logic [31:0] op_data;
  logic [63:0] rsp_data;

  typedef enum logic [1:0] {
    SrcRecord,
    SrcArg,
    SrcSegment,
    SrcSerial  // zero where nothing was worked out
  } src_e;

  // The fields in the order they are written: for each dimension global, local, number of groups; then work_dim and the
  // three offsets, always zero in version 3, and the group size. Where each lies in the record and in the CRA window:
  logic [7:0] field_addr;
  logic [3:0] field_word;
  src_e field_src;
  logic is_global, is_local, is_dim, is_last;
  assign is_global = field_q == 4'd0 || field_q == 4'd3 || field_q == 4'd6;
  assign is_local = field_q == 4'd1 || field_q == 4'd4 || field_q == 4'd7;
  assign is_dim = field_q == 4'd9;
  assign is_last = field_q == 4'd13;
  always_comb begin
    field_word = 4'd9;
    field_src = SrcSerial;
    case (field_q)
      4'd0: {field_addr, field_word, field_src} = {8'h30, 4'd10, SrcRecord};
      4'd1: {field_addr, field_word, field_src} = {8'h48, 4'd13, SrcRecord};
      4'd2: field_addr = 8'h3C;
      4'd3: {field_addr, field_word, field_src} = {8'h34, 4'd11, SrcRecord};
      4'd4: {field_addr, field_word, field_src} = {8'h4C, 4'd14, SrcRecord};
      4'd5: field_addr = 8'h40;
      4'd6: {field_addr, field_word, field_src} = {8'h38, 4'd12, SrcRecord};
      4'd7: {field_addr, field_word, field_src} = {8'h50, 4'd15, SrcRecord};
      4'd8: field_addr = 8'h44;
      4'd9: field_addr = 8'h28;
      4'd10: field_addr = 8'h54;
      4'd11: field_addr = 8'h58;
      4'd12: field_addr = 8'h5C;
      default: field_addr = 8'h2C;
    endcase
  end

  logic [31:0] serial;
  logic operand_zero;

  saf_kernel_serial u_serial (
      .clk_i,
      .data_i(ram_data_i),
      // a size of 0 leaves the choice to the runtime: no groups; zero is what is written behind the numbers of groups, too
      .clear_i(state_q == StIdle || (state_q == StLoad && operand_zero) || (state_q == StField && field_q[3] && op_ready)),
      .load_i(state_q == StField && is_global),
      .operand_load_i(state_q == StField && is_local),
      .one_i(state_q == StIdle),
      .begin_i(state_q == StLoad),
      .step_i(state_q == StSerial),
      .take_i(state_q == StFetch && is_last),
      .operand_zero_o(operand_zero),
      .result_o(serial)
  );

  // ---- arguments: bytes of the last word that are there

  logic [3:0] last_be;
  logic last_word;
  logic [8:0] arg_addr;
  // verilator lint_off UNUSEDSIGNAL
  logic [10:0] last_byte;
  // verilator lint_on UNUSEDSIGNAL
  assign arg_addr = 9'd24 + {1'b0, arg_q};  // they lie at +0x60
  assign last_byte = cmd_bytes_i - 11'd1;
  assign last_word = arg_q == last_byte[9:2];
  assign last_be = {last_byte[1:0] == 2'd3, last_byte[1], |last_byte[1:0], 1'b1};

  // ---- bus operations

  src_e op_src;
  logic [7:0] low_byte;  // comes to the zeros
  always_comb begin
    op_valid = 1'b1;
    op_read = 1'b0;
    op_write = 1'b1;
    op_addr = CraAddr;
    op_be = 4'hF;
    op_src = field_src;
    low_byte = '0;
    case (state_q)
      StSegment: {op_addr, op_src} = {SegmentAddr, SrcSegment};
      StRead: {op_addr, op_read, op_write} = {cmd_addr_i, 1'b1, cmd_i == KernelNothing};
      StField: begin
        op_addr = CraAddr | 16'(field_addr);
        if (is_dim) low_byte = ram_data_i[15:8];
      end
      StArg: begin
        op_addr = CraAddr | {5'd0, arg_addr, 2'd0};
        op_be = last_word ? last_be : 4'hF;
        op_src = SrcArg;
      end
      StStart: {op_src, low_byte[0]} = {SrcSerial, cmd_i == KernelLaunch};  // an acknowledgement clears the status bits
      StReset: op_write = 1'b0;
      default: op_valid = 1'b0;
    endcase
  end

  always_comb begin
    case (op_src)
      SrcRecord: op_data = ram_data_i;
      SrcArg: op_data = swap32(ram_data_i);
      SrcSegment: op_data = cmd_segment_i;
      default: op_data = serial;
    endcase
    op_data[7:0] |= low_byte;
  end

  assign ram_arg_o = state_q == StArgFetch || state_q == StArg;
  assign ram_word_o = ram_arg_o ? arg_q : {4'd0, field_word};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      field_q <= '0;
      bit_q <= '0;
      arg_q <= '0;
    end else begin
      case (state_q)
        StIdle: begin
          field_q <= '0;
          arg_q <= '0;
          if (cmd_valid_i && !cmd_done_o) begin
            case (cmd_i)
              KernelRom, KernelNothing: state_q <= StRead;
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
          state_q <= StFetch;
          if (is_local) state_q <= StLoad;
          else field_q <= field_q + 4'd1;
          if (is_last) state_q <= cmd_bytes_i == '0 ? StStart : StArgFetch;
        end
        // a size of 0 divides nothing and counts as a factor of 1
        StLoad: begin
          bit_q <= '1;
          state_q <= operand_zero ? StFetch : StSerial;
          if (operand_zero) field_q <= field_q + 4'd1;
        end
        StSerial: begin
          bit_q <= bit_q - 5'd1;
          if (bit_q == '0) begin
            field_q <= field_q + 4'd1;
            state_q <= StFetch;
          end
        end
        StArgFetch: state_q <= StArg;
        StArg:
        if (op_ready) begin
          arg_q <= arg_q + 8'd1;
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
