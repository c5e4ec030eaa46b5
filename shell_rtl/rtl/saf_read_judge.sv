// Takes a READ apart and judges it, in the order of the checks that the reference makes; a push is taken as it is.
//
// Data flow: start_i (pulse) → words 0 to 3 of the queue's slot → block size, length, space and range (leaf digests: asked of
// the transfers) → first block and count, times the block size (in a DSP block) → done_o (pulse); results hold until
// the next start. The queue then shows word 4, object and index.
// Latency: 10 cycles for a READ, 2 for a push. Reset: idle. Back-pressure: waits for leafq_done_i.

module saf_read_judge
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic [9:0] block_limit_i,  // in units of 64 bytes
    input logic has_role_i,

    input logic start_i,
    input logic is_push_i,
    input logic [AddrBits-1:0] push_addr_i,
    input logic [20:0] push_bytes_i,
    input logic [7:0] push_block_i,  // in units of 64 bytes
    output logic done_o,

    output logic rd_en_o,
    output logic [2:0] rd_word_o,
    input logic [63:0] rd_data_i,

    output logic leafq_valid_o,
    output logic [31:0] leafq_id_o,
    input logic leafq_done_i,
    input logic [5:0] leafq_status_i,
    input logic [1:0] leafq_ctx_i,  // whose leaf digests they are
    input logic [20:0] leafq_bytes_i,

    output logic [15:0] status_o,
    output logic copies_o,  // registers are to be copied first
    output logic copies_role_o,
    output logic [AddrBits-1:0] addr_o,  // where the bytes lie in DDR
    output logic [20:0] length_o,  // of a READ that is not refused
    output logic [11:0] end_o,  // address behind the bytes, modulo 4096
    output logic [7:0] block_o,  // in units of 64 bytes
    output logic [31:0] gap_ns_o,
    output logic [13:0] first_o,  // block that is sent first
    output logic [13:0] start_o,  // its offset in units of 64 bytes
    output logic [20:0] bytes_o,  // that are sent
    output logic to_end_o  // they reach the end
);

  if (RoleBytes != 34'h1_C000_0000 || saf_pkg::RegisterEnd != 12'h200 || saf_pkg::ReadMaxBytes != 1048576
      || LeafStride != 34'h0_0008_0000 || LeafBase[20:0] != '0 || RegisterCopyBase != (LeafBase | 34'h20_1000)) begin : gen_check
    $fatal(1, "comparisons and addresses below are made for other constants");
  end

  typedef enum logic [2:0] {
    StIdle,
    StLoad,
    StSpace,
    StLeaf,
    StFirst,
    StCount,
    StRange,
    StDone
  } state_e;

  state_e state_q;
  logic [2:0] step_q;
  logic [5:0] status_q, fault;  // six bits hold any
  logic [7:0] space_q;
  logic [AddrBits-1:0] addr_q;
  logic [20:0] length_q;
  logic [31:0] gap_q;
  logic [7:0] block_q;
  logic addr_bad_q, count_bad_q, count_zero_q;
  logic [14:0] count_q;
  logic [15:0] behind_q;  // number of the first block that is not sent
  logic [23:0] product_q;
  logic [24:0] over;  // units of 64 bytes by which the blocks up to there go past the end
  logic over_unused;
  // of wide comparisons, a subtraction's sign is the cheapest form
  // verilator lint_off UNUSEDSIGNAL
  logic [21:0] leaf_room;
  logic [10:0] block_room;
  logic [8:0] over_block;
  // verilator lint_on UNUSEDSIGNAL
  logic [13:0] first_product;
  logic [13:0] first_q, start_q;

  logic [AddrBits:0] span_end;
  logic is_outside, low_zero, huge, begins;

  // ---- what is wrong, if anything, in this state
  always_comb begin
    case (space_q)
      // seven times 2^30, 2^9, 2^12: comparisons with these, by hand, because of so many bits they would be subtractions
      saf_pkg::ReadSpaceDdr: is_outside = span_end[34:33] != '0 || (span_end[32:30] == '1 && span_end[29:0] != '0);
      saf_pkg::ReadSpaceShellRegisters: is_outside = span_end[34:10] != '0 || (span_end[9] && span_end[8:0] != '0);
      saf_pkg::ReadSpaceRoleRegisters: is_outside = span_end[34:13] != '0 || (span_end[12] && span_end[11:0] != '0);
      default: is_outside = span_end[34:21] != '0 || leaf_room[21];
    endcase
    if (addr_bad_q) is_outside = 1'b1;
  end
  assign leaf_room = {1'b0, leafq_bytes_i} - {1'b0, span_end[20:0]};
  assign block_room = {1'b0, block_limit_i} - {1'b0, rd_data_i[47:38]};
  assign over_block = {1'b0, over[7:0]} - {1'b0, block_q};
  assign span_end = {1'b0, addr_q} + {14'd0, length_q};
  assign end_o = span_end[11:0];

  // the length, when it is shown: zero, above 2^20
  assign low_zero = rd_data_i[51:32] == '0;
  assign huge = rd_data_i[63:53] != '0;

  // product - length, both in units of 64 bytes; the length's last unit may be a part of one. A carry from below is one
  // adder less than a third operand.
  assign {over, over_unused} = {1'b0, product_q, 1'b1} + {10'h3FF, ~length_q[20:6], length_q[5:0] == '0};

  always_comb begin
    fault = 6'(saf_pkg::StatusOk);
    case (state_q)
      StLoad: begin
        if (step_q == 3'd1 && (rd_data_i[37:32] != '0 || rd_data_i[47:38] == '0 || block_room[10]))
          fault = 6'(saf_pkg::StatusBadBlockSize);
        if (step_q == 3'd3 && low_zero && !huge && !rd_data_i[52]) fault = 6'(saf_pkg::StatusBadParameter);
        if (step_q == 3'd3 && (huge || (rd_data_i[52] && !low_zero))) fault = 6'(saf_pkg::StatusTooLarge);
      end
      StSpace: begin
        case (space_q)
          saf_pkg::ReadSpaceDdr, saf_pkg::ReadSpaceShellRegisters:
          if (is_outside) fault = 6'(saf_pkg::StatusBadRange);
          saf_pkg::ReadSpaceRoleRegisters:
          if (!has_role_i) fault = 6'(saf_pkg::StatusNoRole);
          else if (is_outside) fault = 6'(saf_pkg::StatusBadRange);
          saf_pkg::ReadSpaceLeafDigests: fault = 6'(saf_pkg::StatusOk);
          default: fault = 6'(saf_pkg::StatusBadParameter);
        endcase
      end
      StLeaf: begin
        if (leafq_status_i != 6'(saf_pkg::StatusOk)) fault = leafq_status_i;
        else if (is_outside) fault = 6'(saf_pkg::StatusBadRange);
        if (!leafq_done_i) fault = 6'(saf_pkg::StatusOk);
      end
      StRange: begin
        // the last block that is sent must begin inside: its end is past the length by less than a block
        if (count_bad_q || (!over[24] && (over[23:8] != '0 || !over_block[8])))
          fault = 6'(saf_pkg::StatusBadRange);
      end
      default: fault = 6'(saf_pkg::StatusOk);
    endcase
  end

  // ---- the queue's RAM
  assign rd_en_o = (state_q == StLoad && step_q < 3'd4) || state_q == StFirst;
  assign rd_word_o = state_q == StFirst ? 3'd4 : step_q;
  assign leafq_valid_o = state_q == StLeaf;
  assign leafq_id_o = rd_data_i[31:0];  // word 3 is shown

  assign first_product = first_q * 14'(block_q);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      step_q <= '0;
      status_q <= '0;
      space_q <= '0;
      length_q <= '0;
      block_q <= '0;
      addr_bad_q <= 1'b0;
      count_bad_q <= 1'b0;
      count_zero_q <= 1'b0;
      count_q <= '0;
      behind_q <= '0;
      product_q <= '0;
    end else begin
      if (status_q == 6'(saf_pkg::StatusOk)) status_q <= fault;
      case (state_q)
        StIdle: begin
          step_q <= '0;
          if (start_i) begin
            state_q <= is_push_i ? StDone : StLoad;
            status_q <= 6'(saf_pkg::StatusOk);
            if (is_push_i) begin
              space_q <= saf_pkg::ReadSpaceDdr;
              length_q <= push_bytes_i;
              block_q <= push_block_i;
              count_zero_q <= 1'b1;
            end
          end
        end
        StLoad: begin
          step_q <= step_q + 3'd1;
          case (step_q)
            3'd0: ;
            3'd1: begin
              space_q <= rd_data_i[63:56];
              block_q <= rd_data_i[45:38];
            end
            3'd2: addr_bad_q <= rd_data_i[63:AddrBits] != '0;
            3'd3: begin
              length_q <= rd_data_i[52:32];
              count_bad_q <= rd_data_i[31:14] != '0;
            end
            default: begin
              count_zero_q <= rd_data_i[63:32] == '0;
              count_q <= rd_data_i[46:32];
              if (rd_data_i[63:47] != '0) count_bad_q <= 1'b1;
              state_q <= StSpace;
            end
          endcase
        end
        StSpace: begin
          step_q <= '0;
          state_q <= StFirst;
          if (space_q == saf_pkg::ReadSpaceLeafDigests && status_q == 6'(saf_pkg::StatusOk)) state_q <= StLeaf;
        end
        StLeaf: if (leafq_done_i) state_q <= StFirst;
        StFirst: begin
          behind_q <= {2'd0, first_q} + {1'b0, count_q[14:1], count_q[0] || count_zero_q};
          state_q <= StCount;
        end
        StCount: begin
          product_q <= 24'(behind_q) * 24'(block_q);
          state_q <= StRange;
        end
        StRange: state_q <= StDone;
        default: state_q <= StIdle;
      endcase
    end
  end

  // What a push has zeros in is cleared by the flops' own synchronous clear with every start, not by logic before them.
  assign begins = state_q == StIdle && start_i;
  always_ff @(posedge clk_i) begin
    if (begins) gap_q <= '0;
    else if (state_q == StLoad && step_q == 3'd1) gap_q <= rd_data_i[31:0];
    if (begins) first_q <= '0;
    else if (state_q == StLoad && step_q == 3'd3) first_q <= rd_data_i[13:0];
    if (begins) start_q <= '0;
    else if (state_q == StFirst) start_q <= first_product;
  end

  // The address: a push's, or what a READ names: in DDR; in registers, which are copied to RegisterCopyBase + their number;
  // in leaf digests, which lie from a multiple of LeafStride on, and nowhere near its end.
  always_ff @(posedge clk_i) begin
    if (state_q == StIdle) begin
      if (start_i) addr_q <= push_addr_i;
    end else if (state_q == StLoad) begin
      if (step_q == 3'd2) addr_q <= rd_data_i[AddrBits-1:0];
    end else if ((state_q == StSpace && copies_o) || (state_q == StLeaf && leafq_done_i)) begin
      addr_q[AddrBits-1:22] <= LeafBase[AddrBits-1:22];
      addr_q[21:19] <= copies_o ? 3'b100 : {1'b0, leafq_ctx_i};
      if (copies_o) addr_q[18:12] <= RegisterCopyBase[18:12];
    end
  end

  assign done_o = state_q == StDone;
  assign status_o = {10'd0, status_q};
  assign copies_role_o = space_q == saf_pkg::ReadSpaceRoleRegisters;
  assign copies_o = copies_role_o || space_q == saf_pkg::ReadSpaceShellRegisters;
  assign addr_o = addr_q;
  assign length_o = length_q;
  assign block_o = block_q;
  assign gap_ns_o = gap_q;
  assign first_o = first_q;
  assign start_o = start_q;
  assign to_end_o = count_zero_q || !over[24];
  assign bytes_o = (to_end_o ? length_q : {product_q[14:0], 6'd0}) - {1'b0, start_q, 6'd0};

endmodule
