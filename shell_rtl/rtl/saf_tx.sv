// Transmit path: messages of all units and data frames of saf_read, to the MAC.
//
// Data flow: msg_* and tf_* → saf_tx_build (arbiter, header, sequence, tag) → saf_tx_ram (store and forward) → MAC.
// While the link is down frames are made (and numbered) as ever, but none is kept or counted.
// Latency, reset, back-pressure: see the two modules. tx_count_o: one cycle for each frame on its way.

module saf_tx
  import saf_shell_pkg::*;
#(
    parameter int unsigned NumMsg = 6,
    parameter int unsigned Beats = 1280
) (
    input logic clk_i,
    input logic rst_ni,
    input cfg_t cfg_i,
    input logic link_up_i,
    input session_view_t session_i,
    input logic seq_load_i,
    input logic [63:0] seq_load_value_i,
    input logic [NumMsg-1:0] msg_valid_i,
    output logic [NumMsg-1:0] msg_ready_o,
    input msg_meta_t [NumMsg-1:0] msg_meta_i,
    input logic [NumMsg-1:0][63:0] msg_data_i,
    input logic [NumMsg-1:0] msg_last_i,
    output logic hash_valid_o,
    input logic hash_ready_i,
    output hash_req_t hash_req_o,
    output logic hash_dvalid_o,
    input logic hash_dready_i,
    output logic [63:0] hash_data_o,
    output logic hash_dlast_o,
    input logic hash_done_i,
    // verilator lint_off UNUSEDSIGNAL
    input logic [255:0] hash_digest_i,  // a tag is its first 16 bytes
    // verilator lint_on UNUSEDSIGNAL
    input logic tf_valid_i,
    output logic tf_ready_o,
    input logic [63:0] tf_data_i,
    input logic tf_last_i,
    input logic [3:0] tf_bytes_i,
    output logic mac_tx_valid_o,
    output logic mac_tx_sop_o,
    output logic mac_tx_eop_o,
    output logic [2:0] mac_tx_empty_o,
    output logic [63:0] mac_tx_data_o,
    input logic mac_tx_ready_i,
    output logic tx_count_o
);

  logic out_valid, out_ready, out_last, out_keep;
  logic [63:0] out_data;
  logic [2:0] out_empty;

  saf_tx_build #(
      .NumMsg(NumMsg)
  ) u_build (
      .clk_i,
      .rst_ni,
      .cfg_i,
      .session_i,
      .link_up_i,
      .seq_load_i,
      .seq_load_value_i,
      .msg_valid_i,
      .msg_ready_o,
      .msg_meta_i,
      .msg_data_i,
      .msg_last_i,
      .hash_valid_o,
      .hash_ready_i,
      .hash_req_o,
      .hash_dvalid_o,
      .hash_dready_i,
      .hash_data_o,
      .hash_dlast_o,
      .hash_done_i,
      .hash_tag_i(hash_digest_i[255:128]),
      .tf_valid_i,
      .tf_ready_o,
      .tf_data_i,
      .tf_last_i,
      .tf_bytes_i,
      .out_valid_o(out_valid),
      .out_ready_i(out_ready),
      .out_data_o(out_data),
      .out_last_o(out_last),
      .out_empty_o(out_empty),
      .out_keep_o(out_keep),
      .tx_count_o
  );

  saf_tx_ram #(
      .Beats(Beats),
      .Frames(32),
      .Reserve(2)
  ) u_ram (
      .clk_i,
      .rst_ni,
      .link_up_i,
      .wr_valid_i(out_valid),
      .wr_ready_o(out_ready),
      .wr_data_i(out_data),
      .wr_last_i(out_last),
      .wr_empty_i(out_empty),
      .wr_keep_i(out_keep),
      .mac_tx_valid_o,
      .mac_tx_sop_o,
      .mac_tx_eop_o,
      .mac_tx_empty_o,
      .mac_tx_data_o,
      .mac_tx_ready_i
  );

endmodule
