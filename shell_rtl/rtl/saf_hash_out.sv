// Where digests go that are more than a pulse: into a key slot, into DDR (leaf digests), to the client of a job.
//
// All of them are read from the RAM of chaining values, whose read port the engine may take at any cycle (rd_grant_i low):
// then it is asked again. One errand at a time; key slots first, since hash requests wait for them (storing_o).
// A leaf's digest is an object of four beats of the write client; stored_o follows when wr_done_i says that it is in DDR.
// reported_o: report_digest_o is the lane's digest in this cycle.
//
// Reset: nothing to do. Back-pressure: wr_ready_i; meanwhile reports and key slots wait.

`include "saf_assert.svh"

module saf_hash_out
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,

    // digest of [lane] shall be stored as a key (pulse)
    input logic [1:0] key_store_i,
    input logic [1:0][2:0] key_index_i,
    output logic storing_o,
    output logic key_valid_o,
    output logic key_first_o,  // with the first beat: what is known of the slot's old key is void
    output logic [2:0] key_index_o,
    output logic [1:0] key_beat_o,
    output logic [63:0] data_o,  // of key slot or write client

    // leaf digest of [lane]: to be stored, to be reported (levels, until the pulse)
    input logic [1:0] leaf_store_i,
    input logic [1:0][AddrBits-1:0] leaf_addr_i,
    output logic [1:0] leaf_stored_o,
    input logic [1:0] report_i,
    output logic [1:0] reported_o,
    output logic [255:0] report_digest_o,

    output logic rd_req_o,
    input logic rd_grant_i,
    output logic [4:0] rd_addr_o,
    input logic [7:0][31:0] rd_data_i,

    output logic wr_valid_o,
    input logic wr_ready_i,
    output logic [AddrBits-1:0] wr_addr_o,
    output logic wr_last_o,
    input logic wr_done_i
);

  typedef enum logic [2:0] {
    StIdle,
    StRead,
    StTake,
    StKey,
    StWrite
  } state_e;
  typedef enum logic [1:0] {
    ForKey,
    ForStore,
    ForReport
  } errand_e;

  state_e state_q;
  errand_e errand_q;
  logic lane_q;
  logic [1:0] beat_q;
  logic [63:0] word_q;
  logic [1:0] keys_q;  // lanes whose digest is to become a key
  logic wait_q, wait_lane_q;  // a leaf digest is on its way into DDR
  logic [3:0][63:0] digest;
  logic can_write;

  assign report_digest_o = digest_of(rd_data_i);
  assign digest = report_digest_o;
  assign can_write = |leaf_store_i && !wait_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      errand_q <= ForKey;
      lane_q <= 1'b0;
      beat_q <= '0;
      word_q <= '0;
      keys_q <= '0;
      wait_q <= 1'b0;
      wait_lane_q <= 1'b0;
    end else begin
      if (wr_done_i) wait_q <= 1'b0;
      case (state_q)
        StIdle: begin
          beat_q <= '0;
          if (|keys_q || |report_i || can_write) state_q <= StRead;
          if (|keys_q) begin
            errand_q <= ForKey;
            lane_q <= !keys_q[0];
          end else if (|report_i) begin
            errand_q <= ForReport;
            lane_q <= !report_i[0];
          end else begin
            errand_q <= ForStore;
            lane_q <= !leaf_store_i[0];
          end
        end
        StRead: if (rd_grant_i) state_q <= StTake;
        StTake: begin
          word_q <= digest[~beat_q];
          case (errand_q)
            ForKey: state_q <= StKey;
            ForStore: state_q <= StWrite;
            default: state_q <= StIdle;
          endcase
        end
        StKey: begin
          beat_q <= beat_q + 2'd1;
          state_q <= &beat_q ? StIdle : StRead;
          if (&beat_q) keys_q[lane_q] <= 1'b0;
        end
        default:
        if (wr_ready_i) begin
          beat_q <= beat_q + 2'd1;
          state_q <= &beat_q ? StIdle : StRead;
          if (&beat_q) begin
            wait_q <= 1'b1;
            wait_lane_q <= lane_q;
          end
        end
      endcase
      for (int unsigned l = 0; l < 2; l++) if (key_store_i[l]) keys_q[l] <= 1'b1;
    end
  end

  assign rd_req_o = state_q == StRead;
  assign rd_addr_o = {3'b000, lane_q, errand_q != ForKey};

  assign storing_o = |keys_q;
  assign key_valid_o = state_q == StKey;
  assign key_first_o = state_q == StKey && beat_q == '0;
  assign key_index_o = key_index_i[lane_q];
  assign key_beat_o = beat_q;
  assign data_o = word_q;

  assign wr_valid_o = state_q == StWrite;
  assign wr_addr_o = leaf_addr_i[lane_q];
  assign wr_last_o = &beat_q;

  always_comb begin
    leaf_stored_o = '0;
    leaf_stored_o[wait_lane_q] = wait_q && wr_done_i;
    reported_o = '0;
    reported_o[lane_q] = state_q == StTake && errand_q == ForReport;
  end

  `SAF_ASSERT(done_when_waited_for, !wr_done_i || wait_q)
  `SAF_STABLE(wr_stalled, wr_valid_o, wr_ready_i, {wr_addr_o, wr_last_o, data_o}, clk_i, rst_ni)

endmodule
