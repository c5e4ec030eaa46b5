// READs that wait: the handler's side of saf_read.
//
// Data flow: a READ's payload goes word by word from the frame's RAM into a slot of the queue's RAM, what its frames and its answer
// repeat into RAMs beside it; the engine reads the oldest slot word by word (word 4: the object for frames, which stays shown)
// and frees it when the READ is over. Nothing is judged here.
// A READ that finds all slots taken is answered `busy` (busy_*), which is the only answer out of turn: its fields have a place of
// their own in the RAM of answers.
// Latency: six cycles from h_valid_i to h_done_o. Reset and session_end_i: empty. Back-pressure: none but the busy answer's.

module saf_read_queue
  import saf_shell_pkg::*;
#(
    parameter int unsigned Slots = 32  // as the virtual card (MAX_READS)
) (
    input logic clk_i,
    input logic rst_ni,
    input logic session_end_i,

    input logic h_valid_i,
    output logic h_done_o,
    input logic [31:0] object_i,
    input logic [31:0] index_i,
    input logic [31:0] length_i,
    output logic [2:0] fr_word_o,  // of the payload
    input logic [63:0] fr_data_i,  // the cycle after
    output logic busy_valid_o,  // held until busy_done_i
    input logic busy_done_i,

    output logic head_valid_o,
    input logic head_pop_i,
    input logic rd_en_i,
    input logic [2:0] rd_word_i,
    output logic [63:0] rd_data_o,
    output logic [31:0] object_o,  // for frames
    // for the answer: of the READ that found no slot, else of the oldest; the cycle after
    input logic answer_en_i,
    input logic answer_busy_i,
    output logic [31:0] answer_object_o,
    output logic [31:0] answer_index_o,
    output logic [31:0] answer_length_o
);

  localparam int unsigned SlotBits = $clog2(Slots);
  localparam logic [2:0] LastWord = 3'd4;

  typedef enum logic [1:0] {
    StIdle,
    StStore,
    StBusy,
    StDone
  } state_e;

  state_e state_q;
  logic [SlotBits:0] wr_slot_q, rd_slot_q;
  logic [2:0] word_q;
  logic ended_q;  // the session ended while its READ was stored

  assign head_valid_o = wr_slot_q != rd_slot_q;
  assign busy_valid_o = state_q == StBusy;
  assign h_done_o = state_q == StDone;

  assign fr_word_o = word_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      wr_slot_q <= '0;
      rd_slot_q <= '0;
      word_q <= '0;
      ended_q <= 1'b0;
    end else begin
      case (state_q)
        StIdle: begin
          word_q <= '0;
          ended_q <= session_end_i;
          if (h_valid_i) begin
            if (wr_slot_q == {~rd_slot_q[SlotBits], rd_slot_q[SlotBits-1:0]}) state_q <= StBusy;
            else state_q <= StStore;
          end
        end
        StStore: begin
          word_q <= word_q + 3'd1;
          ended_q <= ended_q || session_end_i;
          if (word_q == LastWord) begin
            state_q <= StDone;
            if (!ended_q && !session_end_i) wr_slot_q <= wr_slot_q + 1'b1;
          end
        end
        StBusy: if (busy_done_i) state_q <= StDone;
        default: state_q <= StIdle;
      endcase
      if (session_end_i) rd_slot_q <= wr_slot_q;
      else if (head_pop_i) rd_slot_q <= rd_slot_q + 1'b1;
    end
  end

  // word k comes in the cycle after its number
  logic [1:0] came;
  assign came = word_q[1:0] - 2'd1;

  saf_ram_1r1w #(
      .Width(64),
      .Depth(4 * Slots)
  ) u_ram (
      .clk_i,
      .wr_en_i(state_q == StStore && word_q != '0),
      .wr_addr_i({wr_slot_q[SlotBits-1:0], came}),
      .wr_data_i(fr_data_i),
      .rd_en_i(rd_en_i && rd_word_i != LastWord),
      .rd_addr_i({rd_slot_q[SlotBits-1:0], rd_word_i[1:0]}),
      .rd_data_o
  );

  // both deeper than need be, so that they are block RAM
  saf_ram_1r1w #(
      .Width(32),
      .Depth(4 * Slots)
  ) u_objects (
      .clk_i,
      .wr_en_i(state_q == StStore),
      .wr_addr_i({2'd0, wr_slot_q[SlotBits-1:0]}),
      .wr_data_i(object_i),
      .rd_en_i(rd_en_i && rd_word_i == LastWord),
      .rd_addr_i({2'd0, rd_slot_q[SlotBits-1:0]}),
      .rd_data_o(object_o)
  );

  saf_ram_1r1w #(
      .Width(96),
      .Depth(2 * Slots)
  ) u_answers (
      .clk_i,
      .wr_en_i(h_valid_i && (state_q == StIdle || state_q == StStore)),
      .wr_addr_i(state_q == StIdle ? {1'b1, SlotBits'(0)} : {1'b0, wr_slot_q[SlotBits-1:0]}),
      .wr_data_i({object_i, index_i, length_i}),
      .rd_en_i(answer_en_i),
      .rd_addr_i(answer_busy_i ? {1'b1, SlotBits'(0)} : {1'b0, rd_slot_q[SlotBits-1:0]}),
      .rd_data_o({answer_object_o, answer_index_o, answer_length_o})
  );

endmodule
