// The command RAM: payload and arguments of the RUN in each slot, as they came.
//
// Data flow: written in 64-bit words as a RUN is copied (`count_i`: -7 to -1 its payload, from 0 its arguments), read in 32-bit
// words by the sequencer (what a push is to read) and by the kernel host (a launch). A slot has room for 128 bytes of arguments
// and the payload; behind all slots lies 1 KiB that one command with more of them may use.
// Latency: data one cycle after the address. Reset: none needed: only what was written is read. Back-pressure: none.

module saf_slots_ram
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic copy_i,
    input logic [7:0] count_i,
    input logic [2:0] slot_i,
    input logic large_i,  // its arguments lie in the shared part
    input logic [63:0] fr_data_i,

    input logic arg_i,  // of the arguments, else of the payload
    input logic shared_i,
    input logic [7:0] word_i,  // 32-bit word
    output logic [31:0] data_o
);

  // 128 words of arguments in slots, 64 of payloads (a payload's word w at w + 1), 128 of shared arguments
  localparam int unsigned Words = 320;

  function automatic logic [8:0] place(input logic is_arg, input logic is_shared, input logic [2:0] slot,
                                       input logic [6:0] word);
    if (!is_arg) place = {3'b010, slot, word[2:0]};
    else if (is_shared) place = {word[6], !word[6], !word[6], word[5:0]};
    else place = {2'b00, slot, word[3:0]};
  endfunction

  saf_ram_2clk_narrow #(
      .Width(64),
      .Depth(Words),
      .Parts(2)
  ) u_ram (
      .wr_clk_i(clk_i),
      .wr_en_i(copy_i),
      .wr_addr_i(place(!count_i[7], large_i, slot_i, count_i[6:0])),
      .wr_data_i(fr_data_i),
      .rd_clk_i(clk_i),
      .rd_en_i(1'b1),
      // the first half of a word is its more significant one
      .rd_addr_i({place(arg_i, shared_i, slot_i, word_i[7:1]), !word_i[0]}),
      .rd_data_o(data_o)
  );

endmodule
