// The command RAM, and whose turn it is by the sequencer's state: the sequencer's own, the kernel host's, the reply's.
//
// Data flow: 32 words a slot (saf_shell_pkg: arguments up to 128 bytes, RUN's payload, times, reply), then 1 KiB of arguments
// that one command with more may use, then an answer that is not kept. What the parts write is chosen here too.
// Latency: data one cycle after the address, held until the next. Reset: none needed: only what was written is read.
// Back-pressure: none.

module saf_slots_ram
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input slots_state_e state_i,
    input logic [2:0] slot_i,
    input logic [7:0] count_i,  // of what is copied: -7 to -1 RUN's payload, from 0 its arguments; of what is recorded
    input logic [2:0] walk_slot_i,
    input logic [15:0] kernel_i,
    input logic large_i,  // its arguments lie in the shared part
    input logic [10:0] bytes_i,
    input logic [31:0] deadline_ms_i,
    input logic [63:0] fr_data_i,
    // verilator lint_off UNUSEDSIGNAL
    input logic [63:0] time_us_i,
    input logic [63:0] time_ns_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic cmd_done_i,
    input logic [31:0] rom_segment_i,
    output logic [63:0] data_o,
    output logic late_o,  // in SqDeadline: it has come

    input logic host_rd_i,
    input logic host_arg_i,
    input logic [6:0] host_word_i,
    input logic host_shared_i,

    input logic reply_rd_i,
    input logic reply_wr_i,
    input logic reply_scratch_i,
    input logic [2:0] reply_beat_i,
    input logic [63:0] reply_data_i
);

  localparam int unsigned StampBits = 48;  // nine years of microseconds, three days of nanoseconds

  logic [StampBits-1:0] now_us, now_ns;
  logic rd, wr;
  logic [8:0] rd_addr, wr_addr, reply_addr;
  logic [63:0] wr_data;

  assign now_us = time_us_i[StampBits-1:0];
  assign now_ns = time_ns_i[StampBits-1:0];
  assign late_o = now_us >= data_o[StampBits-1:0];
  assign reply_addr = reply_scratch_i ? {6'b110000, reply_beat_i} : {1'b0, slot_i, SlotReply[4:3], reply_beat_i};

  always_comb begin
    rd = 1'b1;
    rd_addr = {1'b0, slot_i, SlotLaunch};
    case (state_i)
      SqWalkFetch: rd_addr[7:5] = walk_slot_i;
      SqPollFetch, SqLaunchFetch: ;
      SqStampFetch: rd_addr[4:0] = SlotTime;
      SqStamp: rd_addr[4:0] = SlotAsk;
      SqDeadlineFetch: rd_addr[4:0] = SlotDeadline;
      SqPushFetch: rd_addr[4:0] = SlotAsk + 5'd1 + 5'(count_i[1:0]);
      SqReply: {rd, rd_addr} = {reply_rd_i, reply_addr};
      SqLaunch: begin
        rd = host_rd_i;
        if (!host_arg_i) rd_addr[4:0] = SlotAsk + 5'(host_word_i[2:0]);
        else if (host_shared_i) rd_addr = {2'b10, host_word_i};
        else rd_addr[4:0] = {1'b0, host_word_i[3:0]};
      end
      default: rd = 1'b0;
    endcase
  end

  always_comb begin
    wr = 1'b1;
    wr_addr = {1'b0, slot_i, SlotTime};
    case (state_i)
      SqRomKernel: {wr, wr_addr[4:0]} = {cmd_done_i, SlotLaunch};
      SqCopy:
      if (count_i[7]) wr_addr[4:0] = {SlotAsk[4:3], count_i[2:0]};
      else if (large_i) wr_addr = {2'b10, count_i[6:0]};
      else wr_addr[4:0] = {1'b0, count_i[3:0]};
      SqRecord: if (count_i[0]) wr_addr[4:0] = SlotDeadline;
      SqLaunch: wr = cmd_done_i;
      SqStamp: ;
      SqReply: {wr, wr_addr} = {reply_wr_i, reply_addr};
      default: wr = 1'b0;
    endcase
    case (state_i)
      SqRomKernel: wr_data = {large_i, bytes_i, 4'd0, kernel_i, rom_segment_i};
      SqCopy: wr_data = fr_data_i;
      SqRecord: wr_data = count_i[0] ? 64'(now_us + StampBits'(us_of(deadline_ms_i))) : '0;
      SqLaunch: wr_data = 64'(now_ns);
      SqStamp: wr_data = 64'(now_ns - data_o[StampBits-1:0]);
      default: wr_data = reply_data_i;
    endcase
  end

  saf_ram_1r1w #(
      .Width(64),
      .Depth(392)
  ) u_ram (
      .clk_i,
      .wr_en_i(wr),
      .wr_addr_i(wr_addr),
      .wr_data_i(wr_data),
      .rd_en_i(rd),
      .rd_addr_i(rd_addr),
      .rd_data_o(data_o)
  );

endmodule
