// The image slots of staging memory: digest, length, state, latest use.
//
// Digests and lengths lie in one RAM, six words a slot as in OPENED (the sixth is not stored). Its read port serves
// three, never two at once because saf_ctl handles one frame after another: a COMMIT's lookup (img_*), the comparison of
// an XFER_OPEN with what its slot holds (same_*), else OPENED (info_addr_i → info_word_o in the next cycle).
//
// Latency: lookup 28 cycles, comparison 7. Reset and clear_i: all slots unused; contents are masked by their state.

module saf_xfer_images
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic clear_i,
    // state of a slot, by the transfer into it
    input logic set_i,
    input logic set_new_i,  // another image begins: never used
    input logic [1:0] set_slot_i,
    input xfer_state_t set_state_i,
    // contents: word 0 to 3 digest, 4 length
    input logic wr_en_i,
    input logic [2:0] wr_word_i,
    input logic [63:0] wr_data_i,
    // is slot set_slot_i verified and of the digest and length that the payload announces (word n the cycle after)?
    input logic same_start_i,
    output logic same_busy_o,
    output logic [2:0] pay_word_o,
    input logic [63:0] pay_data_i,
    output logic same_done_o,
    output logic same_o,
    // COMMIT
    input logic used_valid_i,
    input logic [1:0] used_slot_i,
    input logic [31:0] used_epoch_i,
    input logic img_valid_i,
    output logic [1:0] img_word_o,  // of the digest that COMMIT's payload begins with, on pay_data_i in the next cycle
    output logic img_done_o,
    output logic img_found_o,
    output logic img_verified_o,
    output logic [1:0] img_slot_o,
    output logic [33:0] img_length_o,
    // OPENED
    input logic [4:0] info_addr_i,
    output logic [63:0] info_word_o,  // of words 0 to 4
    output logic info_none_o,  // which are zero
    output logic info_tail_o,  // word 5 is asked for: these, one cycle later too
    output xfer_state_t info_state_o,
    output logic [1:0] info_slot_o,
    output logic [31:0] info_used_o,
    output logic info_was_used_o  // else info_used_o is 0
);

  localparam int unsigned Slots = saf_pkg::ImageSlots;

  typedef enum logic [1:0] {
    StIdle,
    StSame,
    StLook,
    StLength
  } state_e;

  state_e state_q;
  xfer_state_t [Slots-1:0] slot_state_q;
  logic [Slots-1:0] was_used_q;
  logic [1:0] slot_q;
  logic [2:0] word_q;  // asked for; what was asked before is on rd_data
  logic equal_q;
  logic [63:0] rd_data;
  logic [4:0] rd_addr, info_addr_q;
  logic [31:0] used_data;
  logic equal;

  // six words a slot
  function automatic logic [4:0] at(input logic [1:0] slot, input logic [2:0] word);
    return {1'b0, slot, 2'b0} + {2'b0, slot, 1'b0} + {2'b0, word};
  endfunction

  function automatic logic [1:0] slot_of(input logic [4:0] addr);
    if (addr < 5'd6) return 2'd0;
    if (addr < 5'd12) return 2'd1;
    if (addr < 5'd18) return 2'd2;
    return 2'd3;
  endfunction

  assign rd_addr = state_q == StIdle && !same_start_i ? info_addr_i : at(
      state_q == StLook || state_q == StLength ? slot_q : set_slot_i, state_q == StIdle ? 3'd0 : word_q
  );

  saf_ram_1r1w #(
      .Width(64),
      .Depth(BlockRamBits / 64)
  ) u_slots (
      .clk_i,
      .wr_en_i,
      .wr_addr_i({1'b0, at(set_slot_i, wr_word_i)}),
      .wr_data_i,
      .rd_en_i(1'b1),
      .rd_addr_i({1'b0, rd_addr}),
      .rd_data_o(rd_data)
  );

  saf_ram_1r1w #(
      .Width(32),
      .Depth(BlockRamBits / 32)
  ) u_used (
      .clk_i,
      .wr_en_i(used_valid_i),
      .wr_addr_i({5'd0, used_slot_i}),
      .wr_data_i(used_epoch_i),
      .rd_en_i(1'b1),
      .rd_addr_i({5'd0, slot_of(info_addr_i)}),
      .rd_data_o(used_data)
  );

  // ---------------------------------------------------------------- comparison

  assign same_busy_o = state_q == StSame;
  assign pay_word_o = same_start_i ? 3'd0 : word_q;

  assign img_word_o = word_q[1:0];
  assign equal = equal_q && rd_data == pay_data_i;

  assign same_o = equal_q && slot_state_q[set_slot_i] == XsVerified;
  assign img_length_o = rd_data[33:0];
  assign img_slot_o = slot_q;

  logic [1:0] best_q;
  logic found_q, verified_q, better;
  // the first verified one, or else the first
  assign better = equal && slot_state_q[slot_q] != XsUnused
      && (!found_q || (!verified_q && slot_state_q[slot_q] == XsVerified));
  assign img_found_o = found_q;
  assign img_verified_o = verified_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      slot_q <= '0;
      word_q <= '0;
      equal_q <= 1'b0;
      best_q <= '0;
      found_q <= 1'b0;
      verified_q <= 1'b0;
      same_done_o <= 1'b0;
      img_done_o <= 1'b0;
    end else begin
      same_done_o <= 1'b0;
      img_done_o <= 1'b0;
      case (state_q)
        StIdle: begin
          equal_q <= 1'b1;
          if (same_start_i) begin
            word_q <= 3'd1;
            state_q <= StSame;
          end else if (img_valid_i && !img_done_o) begin
            word_q <= 3'd0;
            slot_q <= 2'd0;
            found_q <= 1'b0;
            verified_q <= 1'b0;
            best_q <= '0;
            state_q <= StLook;
          end
        end
        StSame: begin
          equal_q <= equal;
          word_q <= word_q + 3'd1;
          if (word_q == 3'd5) begin
            same_done_o <= 1'b1;
            state_q <= StIdle;
          end
        end
        StLook: begin
          // word 0 is asked for at word_q 0 and compared at word_q 1
          equal_q <= word_q == 3'd0 || equal;
          word_q <= word_q + 3'd1;
          if (word_q == 3'd4) begin
            if (better) begin
              best_q <= slot_q;
              found_q <= 1'b1;
              verified_q <= slot_state_q[slot_q] == XsVerified;
            end
            word_q <= 3'd0;
            slot_q <= slot_q + 2'd1;
            if (slot_q == 2'(Slots - 1)) begin
              state_q <= StLength;
              slot_q <= better ? slot_q : best_q;
              word_q <= 3'd4;
            end
          end
        end
        default: begin
          // the length is on rd_data with img_done_o, and until info_addr_i's turn
          img_done_o <= 1'b1;
          state_q <= StIdle;
        end
      endcase
    end
  end

  // ---------------------------------------------------------------- state

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      slot_state_q <= '0;
      was_used_q <= '0;
    end else begin
      if (used_valid_i) was_used_q[used_slot_i] <= 1'b1;
      if (set_i) begin
        slot_state_q[set_slot_i] <= set_state_i;
        if (set_new_i) was_used_q[set_slot_i] <= 1'b0;
      end
      if (clear_i) begin
        slot_state_q <= '0;
        was_used_q <= '0;
      end
    end
  end

  // ---------------------------------------------------------------- OPENED

  logic [1:0] info_slot;
  logic [2:0] info_word;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) info_addr_q <= '0;
    else info_addr_q <= info_addr_i;
  end

  assign info_slot = slot_of(info_addr_q);
  assign info_word = 3'(info_addr_q - at(info_slot, 3'd0));
  assign info_word_o = rd_data;
  assign info_none_o = slot_state_q[info_slot] == XsUnused;
  assign info_tail_o = info_word == 3'd5;
  assign info_state_o = slot_state_q[info_slot];
  assign info_slot_o = info_slot;
  assign info_used_o = used_data;
  assign info_was_used_o = was_used_q[info_slot];

endmodule
