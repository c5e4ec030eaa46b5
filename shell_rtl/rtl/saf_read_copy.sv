// Copies registers into scratch, from where they are read like DDR.
//
// Data flow: start_i (pulse; the other inputs hold until done_o) → words first_i to last_i, one at a time: a shell register two
// cycles after its address, a word of the role's window when its host has it → each an object of eight bytes for the
// write client, so that a slow role holds up nobody → done_o (level) when all of them are in DDR.
// Stop: after the word under way. Reset: idle. Back-pressure: waits for the write client and for the role's registers.

module saf_read_copy
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic start_i,
    input logic stop_i,
    output logic done_o,
    input logic is_role_i,
    input logic [8:0] first_i,
    input logic [8:0] last_i,

    output logic [5:0] reg_addr_o,
    input logic [63:0] reg_data_i,
    output logic rolereg_valid_o,
    output logic [8:0] rolereg_addr_o,
    input logic rolereg_done_i,
    input logic [63:0] rolereg_data_i,

    output logic wr_valid_o,
    input logic wr_ready_i,
    output logic [AddrBits-1:0] wr_addr_o,
    output logic [15:0] wr_bytes_o,
    output logic [63:0] wr_data_o,
    output logic wr_last_o,
    input logic wr_done_i
);

  typedef enum logic [2:0] {
    StIdle,
    StRole,
    StWait1,
    StWait2,
    StTake,
    StWrite,
    StFence
  } state_e;

  state_e state_q, state_d;
  logic [8:0] word_q;
  logic [9:0] written_q;  // under way to DDR
  logic [63:0] data_q;

  assign done_o = state_q == StIdle;
  assign reg_addr_o = word_q[5:0];
  assign rolereg_valid_o = state_q == StRole;
  assign rolereg_addr_o = word_q;
  assign wr_valid_o = state_q == StWrite;
  assign wr_addr_o = {RegisterCopyBase[AddrBits-1:12], word_q, 3'd0};
  assign wr_bytes_o = 16'd8;
  assign wr_data_o = data_q;
  assign wr_last_o = 1'b1;

  always_comb begin
    state_d = state_q;
    case (state_q)
      StIdle: if (start_i) state_d = is_role_i ? StRole : StWait1;
      StRole: if (rolereg_done_i) state_d = StWrite;
      StWait1: state_d = StWait2;
      StWait2: state_d = StTake;
      StTake: state_d = StWrite;
      StWrite: begin
        if (wr_ready_i) begin
          if (word_q == last_i || stop_i) state_d = StFence;
          else state_d = is_role_i ? StRole : StWait1;
        end
      end
      default: if (written_q == '0) state_d = StIdle;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      word_q <= '0;
      written_q <= '0;
      data_q <= '0;
    end else begin
      state_q <= state_d;
      if (state_q == StIdle) word_q <= first_i;
      else if (wr_valid_o && wr_ready_i) word_q <= word_q + 9'd1;
      if (state_q == StTake) data_q <= reg_data_i;
      if (state_q == StRole) data_q <= rolereg_data_i;
      if ((wr_valid_o && wr_ready_i) != wr_done_i) written_q <= written_q + {{9{wr_done_i}}, 1'b1};
    end
  end

endmodule
