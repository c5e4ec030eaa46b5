// Gives a context to a new transfer, and takes it from the one before.
//
// start_i (pulse) with leave_i: the verified transfer that has the context moves to the past, its record is copied and its
// id remembered. With open_i: an image slot that holds the announced image already completes the transfer at once (same_o);
// saf_bulk clears or completes the bitmap; the record, the image slot's digest and OPENED's table are written.
// All inputs hold until done_o (pulse). Payload words come by pay_word_o → pay_data_i in the next cycle.
// Latency: some 20 cycles for leave, 20 for open, plus saf_bulk's clearing (up to 2,048). Reset: idle.

module saf_xfer_begin
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic start_i,
    input logic leave_i,
    input logic open_i,
    output logic done_o,
    output logic same_o,
    input logic [1:0] ctx_i,
    // the old transfer
    input logic [4:0] past_i,
    output logic remember_o,
    // the new one
    input saf_pkg::xfer_open_t ask_i,
    input logic is_image_i,
    output logic enter_o,
    output logic [2:0] pay_word_o,
    // image slot
    output logic same_start_o,
    input logic same_busy_i,
    input logic [2:0] same_word_i,
    input logic same_done_i,
    input logic same_i,
    output logic slot_wr_o,
    output logic [2:0] slot_word_o,
    // records
    output logic st_rd_o,
    output xfer_addr_t st_rd_addr_o,
    output logic st_wr_o,
    output xfer_addr_t st_wr_addr_o,
    output logic copies_o,  // what is written is what was read before; else:
    output logic pays_o,  // the payload word asked for, else the frame's object
    // saf_bulk
    output logic open_valid_o,
    input logic open_done_i,
    output logic [33:0] open_base_o
);

  typedef enum logic [2:0] {
    StIdle,
    StRead,
    StWrite,
    StSame,
    StOpen,
    StRecord
  } state_e;

  state_e state_q;
  logic [2:0] word_q;
  logic open_start, unused;

  assign open_start = open_i && ((state_q == StIdle && start_i && !leave_i) || remember_o);
  assign same_start_o = open_start && is_image_i;
  assign remember_o = state_q == StWrite && word_q == 3'd7;
  assign open_valid_o = state_q == StOpen;
  assign enter_o = state_q == StRecord && word_q == 3'd0;

  // The payload is there long before its base is used. The low bits of a slot's base are cleared by the flops themselves.
  if (StagingBase[24:0] != '0 || ImageSlotBytes[24:0] != '0) begin : gen_check
    $fatal(1, "the bits below are those of other constants");
  end
  always_ff @(posedge clk_i) begin
    if (is_image_i) open_base_o[24:0] <= '0;
    else open_base_o[24:0] <= ask_i.base[24:0];
    open_base_o[33:25] <= ask_i.base[33:25];
    if (is_image_i) begin
      case (ask_i.slot[1:0])
        2'd0: open_base_o[33:25] <= StagingBase[33:25];
        2'd1: open_base_o[33:25] <= StagingBase[33:25] + ImageSlotBytes[33:25];
        2'd2: open_base_o[33:25] <= StagingBase[33:25] + 9'(2 * 11'(ImageSlotBytes[33:25]));
        default: open_base_o[33:25] <= StagingBase[33:25] + 9'(3 * 11'(ImageSlotBytes[33:25]));
      endcase
    end
  end

  // Words 4 to 7 of payload and record are the digest announced, word 2 of the payload is the length. Each is asked for a
  // cycle ahead; a slot's length (its word 4) is written with record word 3.
  logic slots_turn;
  assign slots_turn = same_start_o || same_busy_i;
  assign slot_word_o = word_q == 3'd3 ? 3'd4 : {1'b0, word_q[1:0]};
  assign pay_word_o = slots_turn ? (same_word_i[2] ? 3'd2 : {1'b1, same_word_i[1:0]})
      : word_q == 3'd2 ? 3'd2 : word_q + 3'd1;
  assign slot_wr_o = is_image_i && state_q == StRecord && word_q >= 3'd3;

  always_comb begin
    st_rd_o = state_q == StRead;
    st_rd_addr_o = xfer_context_word(ctx_i, {1'b0, word_q});
    st_wr_o = copies_o || state_q == StRecord;
    st_wr_addr_o = copies_o ? xfer_past_word(past_i, word_q) : xfer_context_word(ctx_i, {1'b0, word_q});
  end
  assign copies_o = state_q == StWrite;
  assign pays_o = word_q[2];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      word_q <= '0;
      done_o <= 1'b0;
      same_o <= 1'b0;
    end else begin
      done_o <= 1'b0;
      case (state_q)
        StIdle:
        if (start_i) begin
          word_q <= '0;
          if (leave_i) state_q <= StRead;
          else done_o <= !open_i;
        end
        StRead: state_q <= StWrite;
        StWrite: begin
          word_q <= word_q + 3'd1;
          state_q <= StRead;
          if (remember_o) begin
            state_q <= StIdle;
            done_o <= !open_i;
          end
        end
        StSame:
        if (same_done_i) begin
          same_o <= same_i;
          state_q <= StOpen;
        end
        StOpen: if (open_done_i) state_q <= StRecord;
        default: begin
          word_q <= word_q + 3'd1;
          if (word_q == 3'd7) begin
            state_q <= StIdle;
            done_o <= 1'b1;
          end
        end
      endcase
      if (open_start) begin
        same_o <= 1'b0;
        state_q <= is_image_i ? StSame : StOpen;
      end
    end
  end

  assign unused = ^ask_i;

endmodule
