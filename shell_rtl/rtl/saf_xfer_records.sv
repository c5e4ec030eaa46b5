// The RAM of records (digests, places, ids), which handler and verifier use in turns.
//
// While granted_i is high the handler's side reads and writes, one of its modules at a time; else the verifier reads, each
// cycle. What is written: object and index of the frame, or for a new transfer object and 0, the word read before, or
// the payload word asked for.
// Latency: a word read is there the cycle after; it is written one cycle later. Reset: nothing is written.
// Back-pressure: none.

module saf_xfer_records
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic granted_i,
    input xfer_access_t handle_rd_i,
    input xfer_access_t begin_rd_i,
    input xfer_access_t find_rd_i,
    input xfer_access_t say_rd_i,
    input xfer_addr_t verify_rd_addr_i,
    output logic [63:0] rd_data_o,
    input xfer_access_t handle_wr_i,
    input xfer_access_t begin_wr_i,
    input logic copies_i,  // of a new transfer, the word read before is written; else:
    input logic pays_i,  // the payload word asked for, else the frame's object
    input logic [31:0] object_i,
    input logic [31:0] index_i,
    input logic [63:0] pay_data_i
);

  logic rd, wr_copies, wr_pays, wr_q;
  xfer_addr_t rd_addr, wr_addr_q;
  logic [63:0] wr_names_q, wr_copy_q, wr_pay_q;

  always_comb begin
    rd = 1'b1;
    rd_addr = verify_rd_addr_i;
    if (granted_i) begin
      rd = handle_rd_i.en || begin_rd_i.en || find_rd_i.en || say_rd_i.en;
      rd_addr = handle_rd_i.addr;
      if (say_rd_i.en) rd_addr = say_rd_i.addr;
      else if (begin_rd_i.en) rd_addr = begin_rd_i.addr;
      else if (find_rd_i.en) rd_addr = find_rd_i.addr;
    end
    wr_copies = begin_wr_i.en && copies_i;
    wr_pays = begin_wr_i.en && !copies_i && pays_i;
  end

  // A record is written a cycle later, from flops of each source that clear themselves when it is another's turn: an OR takes
  // less than a choice.
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) wr_q <= 1'b0;
    else wr_q <= handle_wr_i.en || begin_wr_i.en;
  end
  always_ff @(posedge clk_i) begin
    wr_addr_q <= begin_wr_i.en ? begin_wr_i.addr : handle_wr_i.addr;
    if (wr_copies || wr_pays) wr_names_q[63:32] <= '0;
    else wr_names_q[63:32] <= object_i;
    if (begin_wr_i.en) wr_names_q[31:0] <= '0;  // a new transfer's repair id is 0
    else wr_names_q[31:0] <= index_i;
    if (!wr_copies) wr_copy_q <= '0;
    else wr_copy_q <= rd_data_o;
    if (!wr_pays) wr_pay_q <= '0;
    else wr_pay_q <= pay_data_i;
  end

  saf_ram_1r1w #(
      .Width(64),
      .Depth(XferRecordDepth)
  ) u_records (
      .clk_i,
      .wr_en_i(wr_q),
      .wr_addr_i(wr_addr_q),
      .wr_data_i(wr_names_q | wr_copy_q | wr_pay_q),
      .rd_en_i(rd),
      .rd_addr_i(rd_addr),
      .rd_data_o
  );

endmodule
