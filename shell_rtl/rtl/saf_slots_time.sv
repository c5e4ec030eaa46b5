// Times of the command slots: when a command's deadline is, when its kernel was launched, how long it ran.
//
// Data flow: one subtraction makes all of them. A slot has two words in a RAM: the deadline, first written as the time that is
// given, below zero, and in the next cycle taken from what the clock says; and the kernel's time, zero from the start,
// so that a launch leaves what the clock says and the end how much later it is. `late_o` is valid one cycle after
// `deadline_i`, `time_o` one cycle after everything else.
// Latency: one cycle. Reset: none needed. Back-pressure: none. Times in nanoseconds, modulo 208 days.

module saf_slots_time
  import saf_shell_pkg::*;
#(
    localparam int unsigned StampBits = 54
) (
    input logic clk_i,
    input logic [63:0] now_ns_i,
    input logic [2:0] slot_i,
    input logic [31:0] given_ms_i,
    input logic give_i,  // deadline: the time given
    input logic clear_i,  // kernel's time: none
    input logic stamp_i,  // replace the word that was read by the time since then
    input logic deadline_i,  // read, or replace, the deadline, else the kernel's time
    output logic [StampBits-1:0] time_o,
    output logic late_o
);

  localparam int unsigned Depth = (BlockRamBits + StampBits - 1) / StampBits;
  // a millisecond has 15,625 times 2^6 nanoseconds; two DSP blocks' multiplications
  localparam int unsigned Ms = 15_625;

  logic [StampBits-1:0] since, given;
  logic [40:0] low;
  logic unused;
  assign unused = ^now_ns_i[63:StampBits];
  assign low = 41'(given_ms_i[26:0]) * 41'(Ms);
  assign given = StampBits'({19'(given_ms_i[31:27]) * 19'(Ms) + 19'(low[40:27]), low[26:0], 6'd0});
  assign since = now_ns_i[StampBits-1:0] - time_o;
  assign late_o = !since[StampBits-1];

  saf_ram_1r1w #(
      .Width(StampBits),
      .Depth(Depth)
  ) u_ram (
      .clk_i,
      .wr_en_i(give_i || clear_i || stamp_i),
      .wr_addr_i(6'({(deadline_i && !clear_i) || give_i, slot_i})),
      .wr_data_i(({StampBits{give_i}} & ~given) | ({StampBits{stamp_i}} & since)),
      .rd_en_i(1'b1),
      .rd_addr_i(6'({deadline_i, slot_i})),
      .rd_data_o(time_o)
  );

endmodule
