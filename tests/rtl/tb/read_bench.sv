// saf_read with its structs taken apart, for tests.
module read_bench
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic [47:0] mac_i,
    input logic [15:0] ethertype_i,
    input logic open_i,
    input logic [31:0] session_i,
    input logic [47:0] host_i,
    input logic [15:0] block_limit_i,
    input logic session_end_i,
    input logic scrub_busy_i,
    input logic has_role_i,
    input logic [63:0] time_ns_i,
    input logic [31:0] object_i,
    input logic [31:0] index_i,
    input logic [255:0] pay_i,
    input logic h_valid_i,
    output logic h_done_o,
    output logic msg_valid_o,
    input logic msg_ready_i,
    output logic [7:0] msg_opcode_o,
    output logic [2:0] msg_etype_o,
    output logic [47:0] msg_dst_o,
    output logic [31:0] msg_session_o,
    output logic [31:0] msg_object_o,
    output logic [31:0] msg_index_o,
    output logic [15:0] msg_length_o,
    output logic msg_sealed_o,
    output logic [63:0] msg_data_o,
    output logic msg_last_o,
    output logic tf_valid_o,
    input logic tf_ready_i,
    output logic [63:0] tf_data_o,
    output logic tf_last_o,
    output logic [3:0] tf_bytes_o,
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
    output logic job_valid_o,
    input logic job_ready_i,
    output logic job_root_o,
    output logic [AddrBits-1:0] job_addr_o,
    output logic [20:0] job_bytes_o,
    output logic [31:0] job_node_o,
    output logic job_last_o,
    output logic [AddrBits-1:0] job_store_addr_o,
    input logic job_done_i,
    input logic [255:0] job_digest_i,
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
    input logic push_valid_i,
    output logic push_done_o,
    input logic [31:0] push_read_i,
    input logic [AddrBits-1:0] push_addr_i,
    input logic [20:0] push_bytes_i,
    input logic [15:0] push_block_i,
    output logic [31:0] push_blocks_o,
    output logic [255:0] push_digest_o
);

  cfg_t cfg;
  session_view_t session;
  role_view_t role;
  ctl_req_t req;
  msg_meta_t meta;
  leaf_job_t job;

  always_comb begin
    cfg = '0;
    cfg.mac0 = mac_i;
    cfg.ethertypes[EtResult] = ethertype_i;
    session = '{open: open_i, id: session_i, host: host_i, block_limit: block_limit_i, key_bank: 1'b0};
    role = '0;
    role.has_role = has_role_i;
    req = '0;
    req.object = object_i;
    req.index = index_i;
  end

  assign msg_opcode_o = meta.opcode;
  assign msg_etype_o = meta.etype;
  assign msg_dst_o = meta.dst;
  assign msg_session_o = meta.session;
  assign msg_object_o = meta.object;
  assign msg_index_o = meta.index;
  assign msg_length_o = meta.length;
  assign msg_sealed_o = meta.sealed && !meta.own_sequence;
  assign job_root_o = job.root;
  assign job_addr_o = job.addr;
  assign job_bytes_o = job.bytes;
  assign job_node_o = job.node;
  assign job_last_o = job.last;
  assign job_store_addr_o = job.store_addr;

  logic [BeatBits-1:0] fr_addr;
  logic [63:0] fr_data;

  always_ff @(posedge clk_i) fr_data <= fr_addr < 11'd4 ? pay_i[255-64*int'(fr_addr)-:64] : '0;

  saf_read u_read (
      .cfg_i(cfg),
      .session_i(session),
      .role_i(role),
      .req_i(req),
      .pay_i({pay_i, 256'd0}),
      .fr_addr_o(fr_addr),
      .fr_data_i(fr_data),
      .msg_meta_o(meta),
      .job_o(job),
      .*
  );

endmodule
