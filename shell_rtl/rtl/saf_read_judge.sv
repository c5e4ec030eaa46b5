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
    input logic [15:0] block_limit_i,
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
    input logic [15:0] leafq_status_i,
    input logic [AddrBits-1:0] leafq_addr_i,
    input logic [20:0] leafq_bytes_i,

    output logic [15:0] status_o,
    output logic copies_o,  // registers are to be copied first
    output logic copies_role_o,
    output logic [AddrBits-1:0] addr_o,  // where the bytes lie in DDR
    output logic [20:0] length_o,  // of a READ that is not refused
    output logic [7:0] block_o,  // in units of 64 bytes
    output logic [31:0] gap_ns_o,
    output logic [13:0] first_o,  // block that is sent first
    output logic [13:0] start_o,  // its offset in units of 64 bytes
    output logic [20:0] bytes_o,  // that are sent
    output logic to_end_o  // they reach the end
);

  localparam logic [AddrBits:0] ShellBytes = (AddrBits + 1)'(saf_pkg::RegisterEnd);
  localparam logic [AddrBits:0] RoleWindowBytes = (AddrBits + 1)'(34'h1000);

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
  logic [15:0] status_q, fault;
  logic [7:0] space_q;
  logic [AddrBits-1:0] addr_q;
  logic [20:0] length_q;
  logic [31:0] gap_q;
  logic [7:0] block_q;
  logic addr_bad_q, count_bad_q, count_zero_q;
  logic [14:0] count_q;
  logic [15:0] behind_q;  // number of the first block that is not sent
  logic [23:0] product_q;
  logic [13:0] first_product;
  logic [13:0] first_q, start_q;

  logic [AddrBits:0] limit;
  logic is_outside;

  // ---- what is wrong, if anything, in this state
  always_comb begin
    case (space_q)
      saf_pkg::ReadSpaceDdr: limit = {1'b0, RoleBytes};
      saf_pkg::ReadSpaceShellRegisters: limit = ShellBytes;
      saf_pkg::ReadSpaceRoleRegisters: limit = RoleWindowBytes;
      default: limit = {14'd0, leafq_bytes_i};
    endcase
  end
  assign is_outside = addr_bad_q || {1'b0, addr_q} + {14'd0, length_q} > limit;

  always_comb begin
    fault = saf_pkg::StatusOk;
    case (state_q)
      StLoad: begin
        if (step_q == 3'd1 && (rd_data_i[37:32] != '0 || rd_data_i[47:32] == '0 || rd_data_i[47:32] > block_limit_i))
          fault = saf_pkg::StatusBadBlockSize;
        if (step_q == 3'd3 && rd_data_i[63:32] == '0) fault = saf_pkg::StatusBadParameter;
        if (step_q == 3'd3 && rd_data_i[63:32] > saf_pkg::ReadMaxBytes) fault = saf_pkg::StatusTooLarge;
      end
      StSpace: begin
        case (space_q)
          saf_pkg::ReadSpaceDdr, saf_pkg::ReadSpaceShellRegisters:
          if (is_outside) fault = saf_pkg::StatusBadRange;
          saf_pkg::ReadSpaceRoleRegisters:
          if (!has_role_i) fault = saf_pkg::StatusNoRole;
          else if (is_outside) fault = saf_pkg::StatusBadRange;
          saf_pkg::ReadSpaceLeafDigests: fault = saf_pkg::StatusOk;
          default: fault = saf_pkg::StatusBadParameter;
        endcase
      end
      StLeaf: begin
        if (leafq_status_i != saf_pkg::StatusOk) fault = leafq_status_i;
        else if (is_outside) fault = saf_pkg::StatusBadRange;
        if (!leafq_done_i) fault = saf_pkg::StatusOk;
      end
      StRange: begin
        // the last block that is sent must begin inside: its end, less a block, is below the length
        if (count_bad_q || {product_q, 6'd0} >= {9'd0, length_q} + {16'd0, block_q, 6'd0})
          fault = saf_pkg::StatusBadRange;
      end
      default: fault = saf_pkg::StatusOk;
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
      addr_q <= '0;
      length_q <= '0;
      gap_q <= '0;
      block_q <= '0;
      addr_bad_q <= 1'b0;
      count_bad_q <= 1'b0;
      count_zero_q <= 1'b0;
      count_q <= '0;
      behind_q <= '0;
      product_q <= '0;
      first_q <= '0;
      start_q <= '0;
    end else begin
      if (status_q == saf_pkg::StatusOk) status_q <= fault;
      case (state_q)
        StIdle: begin
          step_q <= '0;
          if (start_i) begin
            state_q <= is_push_i ? StDone : StLoad;
            status_q <= saf_pkg::StatusOk;
            if (is_push_i) begin
              space_q <= saf_pkg::ReadSpaceDdr;
              addr_q <= push_addr_i;
              length_q <= push_bytes_i;
              block_q <= push_block_i;
              gap_q <= '0;
              first_q <= '0;
              start_q <= '0;
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
              gap_q <= rd_data_i[31:0];
            end
            3'd2: begin
              addr_q <= rd_data_i[AddrBits-1:0];
              addr_bad_q <= rd_data_i[63:AddrBits] != '0;
            end
            3'd3: begin
              length_q <= rd_data_i[52:32];
              first_q <= rd_data_i[13:0];
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
          if (space_q == saf_pkg::ReadSpaceLeafDigests && status_q == saf_pkg::StatusOk) state_q <= StLeaf;
          else if (copies_o) addr_q <= {RegisterCopyBase[AddrBits-1:12], addr_q[11:0]};
        end
        StLeaf: begin
          if (leafq_done_i) begin
            addr_q <= leafq_addr_i + addr_q;
            state_q <= StFirst;
          end
        end
        StFirst: begin
          behind_q <= {2'd0, first_q} + {1'b0, count_q[14:1], count_q[0] || count_zero_q};
          start_q <= first_product;
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

  assign done_o = state_q == StDone;
  assign status_o = status_q;
  assign copies_role_o = space_q == saf_pkg::ReadSpaceRoleRegisters;
  assign copies_o = copies_role_o || space_q == saf_pkg::ReadSpaceShellRegisters;
  assign addr_o = addr_q;
  assign length_o = length_q;
  assign block_o = block_q;
  assign gap_ns_o = gap_q;
  assign first_o = first_q;
  assign start_o = start_q;
  assign to_end_o = count_zero_q || {product_q, 6'd0} >= {9'd0, length_q};
  assign bytes_o = (to_end_o ? length_q : {product_q[14:0], 6'd0}) - {1'b0, start_q, 6'd0};

endmodule
