// READ: bytes of DDR or registers out as result frames, then READ_DONE with the root over the whole length; pushes of RUN.
//
// Data flow: handler → saf_read_turn (queue, one READ or push at a time, answers) → saf_read_judge → registers are copied into
// scratch (saf_read_copy) → saf_read_tree and saf_read_frames side by side → the answer. Nothing is kept of a READ that is
// over.
// Session's end: READs that wait are forgotten, the one under way ends behind its frame, unanswered; a push is counted
// and hashed to its end, but sends no more. While a scrub runs nothing begins.
// Latency: READ of one block, 36 cycles from the handler's start to the first read of DDR.
// Reset: idle. Back-pressure: frames and message wait for the transmitter, the handler does not.

module saf_read
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input cfg_t cfg_i,
    input session_view_t session_i,
    input logic session_end_i,
    input logic scrub_busy_i,
    input logic [63:0] time_ns_i,
    input role_view_t role_i,

    // handler
    input ctl_req_t req_i,
    input logic [511:0] pay_i,
    input logic h_valid_i,
    output logic h_done_o,
    output logic [BeatBits-1:0] fr_addr_o,
    input logic [63:0] fr_data_i,

    // messages, result frames
    output logic msg_valid_o,
    input logic msg_ready_i,
    output msg_meta_t msg_meta_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o,
    output logic tf_valid_o,
    input logic tf_ready_i,
    output logic [63:0] tf_data_o,
    output logic tf_last_o,
    output logic [3:0] tf_bytes_o,

    // DDR
    output logic rd_valid_o,
    input logic rd_ready_i,
    output logic [AddrBits-1:0] rd_addr_o,
    output logic [31:0] rd_bytes_o,
    input logic rd_dvalid_i,
    output logic rd_dready_o,
    input logic [63:0] rd_data_i,
    input logic rd_dlast_i,
    output logic rd_abort_o,
    output logic wr_valid_o,
    input logic wr_ready_i,
    output logic [AddrBits-1:0] wr_addr_o,
    output logic [15:0] wr_bytes_o,
    output logic [63:0] wr_data_o,
    output logic wr_last_o,
    input logic wr_done_i,

    // leaf jobs
    output logic job_valid_o,
    input logic job_ready_i,
    output leaf_job_t job_o,
    input logic job_done_i,
    input logic [255:0] job_digest_i,

    // registers, leaf digests of transfers
    output logic [5:0] reg_addr_o,
    input logic [63:0] reg_data_i,
    output logic rolereg_valid_o,
    output logic [8:0] rolereg_addr_o,
    input logic rolereg_done_i,
    input logic [63:0] rolereg_data_i,
    output logic leafq_valid_o,
    output logic [31:0] leafq_id_o,
    input logic leafq_done_i,
    input logic [15:0] leafq_status_i,
    input logic [AddrBits-1:0] leafq_addr_i,
    input logic [20:0] leafq_bytes_i,

    // pushes: push_valid_i falls when the results were taken
    input logic push_valid_i,
    output logic push_done_o,
    input logic [31:0] push_read_i,
    input logic [AddrBits-1:0] push_addr_i,
    input logic [20:0] push_bytes_i,
    input logic [15:0] push_block_i,
    output logic [31:0] push_blocks_o,
    output logic [255:0] push_digest_o
);

  localparam int unsigned PaceBits = 38;  // of time_ns_i that pacing looks at: two minutes either way

  logic push, begins, stops, mute, copy, start_all, slot_re;
  logic [2:0] slot_word, fr_word;
  logic [31:0] object;
  logic [1:0] digest_word;
  logic [63:0] digest_data;
  logic [63:0] slot_data;
  logic judged, copies, copies_role, to_end, copied, hashed, sent_all;
  logic [15:0] status, sent;
  logic [AddrBits-1:0] addr;
  logic [20:0] length;
  logic [31:0] gap_ns;
  logic [7:0] block;
  logic [13:0] first, start;
  logic [20:0] bytes;
  logic [11:0] span_end;
  logic [8:0] copy_last;

  assign fr_addr_o = BeatBits'(fr_word);

  // what this unit does not look at
  logic unused;
  assign unused = &{1'b0, req_i.src, req_i.bcast, req_i.etype, req_i.suite, req_i.opcode, req_i.session, req_i.length,
                    req_i.flags, req_i.sequence_, req_i.frame_bytes, pay_i[511:384], pay_i[351:0], role_i.card_state,
                    role_i.pr_status, role_i.epoch, role_i.image_digest, cfg_i, session_i, time_ns_i, push_block_i, leafq_status_i,
                    leafq_addr_i};

  saf_read_turn u_turn (
      .clk_i,
      .rst_ni,
      .session_i,
      .session_end_i,
      .scrub_busy_i,
      .object_i(req_i.object),
      .index_i(req_i.index),
      .length_i(pay_i[383:352]),
      .h_valid_i,
      .h_done_o,
      .fr_word_o(fr_word),
      .fr_data_i,
      .push_valid_i,
      .push_done_o,
      .begins_o(begins),
      .stops_o(stops),
      .mute_o(mute),
      .push_o(push),
      .object_o(object),
      .rd_en_i(slot_re),
      .rd_word_i(slot_word),
      .rd_data_o(slot_data),
      .judged_i(judged),
      .status_i(status),
      .copies_i(copies),
      .copy_o(copy),
      .copied_i(copied),
      .start_o(start_all),
      .hashed_i(hashed),
      .sent_all_i(sent_all),
      .sent_i(sent),
      .digest_word_o(digest_word),
      .digest_data_i(digest_data),
      .msg_valid_o,
      .msg_ready_i,
      .msg_meta_o,
      .msg_data_o,
      .msg_last_o
  );

  saf_read_judge u_judge (
      .clk_i,
      .rst_ni,
      .block_limit_i(session_i.block_limit[15:6]),
      .has_role_i(role_i.has_role),
      .start_i(begins),
      .is_push_i(push_valid_i),
      .push_addr_i,
      .push_bytes_i,
      .push_block_i(push_block_i[13:6]),
      .done_o(judged),
      .rd_en_o(slot_re),
      .rd_word_o(slot_word),
      .rd_data_i(slot_data),
      .leafq_valid_o,
      .leafq_id_o,
      .leafq_done_i,
      .leafq_status_i(leafq_status_i[5:0]),
      .leafq_ctx_i(leafq_addr_i[20:19]),
      .leafq_bytes_i,
      .status_o(status),
      .copies_o(copies),
      .copies_role_o(copies_role),
      .addr_o(addr),
      .length_o(length),
      .end_o(span_end),
      .block_o(block),
      .gap_ns_o(gap_ns),
      .first_o(first),
      .start_o(start),
      .bytes_o(bytes),
      .to_end_o(to_end)
  );

  // the word of the last byte
  assign copy_last = span_end[11:3] - 9'(span_end[2:0] == '0);

  saf_read_copy u_copy (
      .clk_i,
      .rst_ni,
      .start_i(copy),
      .stop_i(stops),
      .done_o(copied),
      .is_role_i(copies_role),
      .first_i(addr[11:3]),
      .last_i(copy_last),
      .reg_addr_o,
      .reg_data_i,
      .rolereg_valid_o,
      .rolereg_addr_o,
      .rolereg_done_i,
      .rolereg_data_i,
      .wr_valid_o,
      .wr_ready_i,
      .wr_addr_o,
      .wr_bytes_o,
      .wr_data_o,
      .wr_last_o,
      .wr_done_i
  );

  saf_read_tree u_tree (
      .clk_i,
      .rst_ni,
      .start_i(start_all),
      .stop_i(stops),
      .done_o(hashed),
      .addr_i(addr),
      .length_i(length),
      .digest_o(push_digest_o),
      .digest_word_i(digest_word),
      .digest_data_o(digest_data),
      .job_valid_o,
      .job_ready_i,
      .job_o,
      .job_done_i,
      .job_digest_i
  );

  saf_read_frames #(
      .PaceBits(PaceBits)
  ) u_frames (
      .clk_i,
      .rst_ni,
      .mac_i(cfg_i.mac0),
      .ethertype_i(cfg_i.ethertypes[EtResult]),
      .host_i(session_i.host),
      .session_i(session_i.id),
      .time_ns_i(time_ns_i[PaceBits-1:0]),
      .start_i(start_all),
      .stop_i(stops),
      .mute_i(mute),
      .done_o(sent_all),
      .sent_o(sent),
      .addr_i({addr[AddrBits-1:6] + {14'd0, start}, addr[5:0]}),
      .bytes_i(bytes),
      .first_i(first),
      .to_end_i(to_end),
      .block_i(block),
      .gap_ns_i(gap_ns),
      .object_i(push ? push_read_i : object),
      .tf_valid_o,
      .tf_ready_i,
      .tf_data_o,
      .tf_last_o,
      .tf_bytes_o,
      .rd_valid_o,
      .rd_ready_i,
      .rd_addr_o,
      .rd_bytes_o,
      .rd_dvalid_i,
      .rd_dready_o,
      .rd_data_i,
      .rd_dlast_i,
      .rd_abort_o
  );

  assign push_blocks_o = {16'd0, sent};

endmodule
