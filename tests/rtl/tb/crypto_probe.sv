// saf_crypto with a memory for its leaf jobs: reads below StoreBase give bytes that are a function of their address (see
// tb_saf_crypto.py), reads above it what was stored. A stored digest can be read only from wr_done on. Latencies and gaps
// come from inputs and a shift register.

module crypto_probe
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic [255:0] card_key_i,

    input logic [2:0] hash_valid_i,
    output logic [2:0] hash_ready_o,
    input hash_req_t [2:0] hash_req_i,
    input logic [2:0] hash_dvalid_i,
    output logic [2:0] hash_dready_o,
    input logic [2:0][63:0] hash_data_i,
    input logic [2:0] hash_dlast_i,
    output logic [2:0] hash_done_o,
    output logic [255:0] hash_digest_o,

    input logic [1:0] job_valid_i,
    output logic [1:0] job_ready_o,
    input leaf_job_t [1:0] job_i,
    output logic [1:0] job_done_o,
    output logic [255:0] job_digest_o,

    input logic [7:0] latency_i,  // of reads and of wr_done
    input logic [7:0] gap_i,  // of 256: how often a beat waits
    output logic [31:0] writes_o,
    output logic [31:0] bad_o  // accesses that nothing asked for
);

  localparam logic [AddrBits-1:0] StoreBase = 34'h1_F800_0000;

  cfg_t cfg;
  logic [1:0] rd_valid, rd_ready, rd_dvalid, rd_dready, rd_dlast, rd_abort;
  logic [1:0][AddrBits-1:0] rd_addr;
  logic [1:0][31:0] rd_bytes;
  logic [1:0][63:0] rd_data;
  logic wr_valid, wr_ready, wr_last, wr_done;
  logic [AddrBits-1:0] wr_addr;
  logic [15:0] wr_bytes;
  logic [63:0] wr_data;

  assign cfg.key = card_key_i;
  assign cfg.serial = '0;
  assign cfg.mac0 = '0;
  assign cfg.mac1 = '0;
  assign cfg.key_valid = 1'b1;
  assign cfg.mtu = '0;
  assign cfg.receive_rate = '0;
  assign cfg.window_blocks = '0;
  assign cfg.emulated = 1'b0;
  assign cfg.pr_compat_id = '0;
  assign cfg.ethertypes = '0;

  saf_crypto u_dut (
      .clk_i,
      .rst_ni,
      .cfg_i(cfg),
      .hash_valid_i,
      .hash_ready_o,
      .hash_req_i,
      .hash_dvalid_i,
      .hash_dready_o,
      .hash_data_i,
      .hash_dlast_i,
      .hash_done_o,
      .hash_digest_o,
      .job_valid_i,
      .job_ready_o,
      .job_i,
      .job_done_o,
      .job_digest_o,
      .rd_valid_o(rd_valid),
      .rd_ready_i(rd_ready),
      .rd_addr_o(rd_addr),
      .rd_bytes_o(rd_bytes),
      .rd_dvalid_i(rd_dvalid),
      .rd_dready_o(rd_dready),
      .rd_data_i(rd_data),
      .rd_dlast_i(rd_dlast),
      .rd_abort_o(rd_abort),
      .wr_valid_o(wr_valid),
      .wr_ready_i(wr_ready),
      .wr_addr_o(wr_addr),
      .wr_bytes_o(wr_bytes),
      .wr_data_o(wr_data),
      .wr_last_o(wr_last),
      .wr_done_i(wr_done)
  );

  logic [31:0] noise_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) noise_q <= 32'hACE1_2468;
    else begin
      if (noise_q[31]) noise_q <= {noise_q[30:0], 1'b0} ^ 32'h04C1_1DB7;
      else noise_q <= {noise_q[30:0], 1'b0};
    end
  end

  logic [63:0] store[4096];

  function automatic logic [63:0] word_at(input logic [AddrBits-4:0] word);
    logic [63:0] x;
    if ({word, 3'd0} >= StoreBase) return store[word[11:0]];
    x = {33'd0, word} * 64'h9E37_79B9_7F4A_7C15;
    x = x ^ (x >> 29);
    x = x * 64'hBF58_476D_1CE4_E5B9;
    return x ^ (x >> 32);
  endfunction

  function automatic logic [63:0] bytes_at(input logic [AddrBits-1:0] addr, input logic [31:0] left);
    logic [127:0] pair;
    logic [63:0] beat;
    pair = {word_at(addr[AddrBits-1:3]), word_at(addr[AddrBits-1:3] + 31'd1)} << {addr[2:0], 3'd0};
    beat = pair[127:64];
    for (int unsigned i = 0; i < 8; i++) if (i >= left) beat[63-8*i-:8] = '0;
    return beat;
  endfunction

  logic [1:0] read_bad;

  for (genvar c = 0; c < 2; c++) begin : gen_read
    logic active_q;
    logic held_q;  // what is offered stays offered
    logic [7:0] wait_q;
    logic [AddrBits-1:0] addr_q;
    logic [31:0] left_q;

    assign rd_ready[c] = !active_q && (noise_q[7+c-:8] >= gap_i);
    assign rd_dvalid[c] = active_q && wait_q == '0 && (held_q || noise_q[17+c-:8] >= gap_i);
    assign rd_data[c] = bytes_at(addr_q, left_q);
    assign rd_dlast[c] = left_q <= 32'd8;
    assign read_bad[c] = rd_abort[c] || (rd_dready[c] && !active_q);

    always_ff @(posedge clk_i or negedge rst_ni) begin
      if (!rst_ni) begin
        active_q <= 1'b0;
        held_q <= 1'b0;
        wait_q <= '0;
        addr_q <= '0;
        left_q <= '0;
      end else begin
        held_q <= rd_dvalid[c] && !rd_dready[c];
        if (rd_valid[c] && rd_ready[c]) begin
          active_q <= 1'b1;
          wait_q <= latency_i;
          addr_q <= rd_addr[c];
          left_q <= rd_bytes[c];
        end else if (active_q && wait_q != '0) begin
          wait_q <= wait_q - 8'd1;
        end else if (rd_dvalid[c] && rd_dready[c]) begin
          addr_q <= addr_q + 34'd8;
          left_q <= left_q - 32'd8;
          if (rd_dlast[c]) active_q <= 1'b0;
        end
      end
    end
  end

  logic [1:0] beat_q;
  logic [3:0][63:0] object_q;
  logic full_q, done_q;
  logic [7:0] wait_q;
  logic [11:0] index_q;
  logic [31:0] writes_q, bad_q;

  assign wr_ready = !full_q && (noise_q[27-:8] >= gap_i);
  assign wr_done = done_q;
  assign writes_o = writes_q;
  assign bad_o = bad_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      beat_q <= '0;
      object_q <= '0;
      full_q <= 1'b0;
      done_q <= 1'b0;
      wait_q <= '0;
      index_q <= '0;
      writes_q <= '0;
      bad_q <= '0;
    end else begin
      done_q <= 1'b0;
      if (|read_bad) bad_q <= bad_q + 32'd1;
      if (wr_valid && wr_ready) begin
        beat_q <= beat_q + 2'd1;
        object_q[beat_q] <= wr_data;
        index_q <= wr_addr[14:3];
        if (wr_addr < StoreBase || wr_addr[4:0] != '0 || wr_bytes != 16'd32 || wr_last != &beat_q) bad_q <= bad_q + 32'd1;
        if (wr_last) begin
          full_q <= 1'b1;
          wait_q <= latency_i;
        end
      end
      if (full_q) begin
        if (wait_q != '0) wait_q <= wait_q - 8'd1;
        else begin
          full_q <= 1'b0;
          done_q <= 1'b1;
          writes_q <= writes_q + 32'd1;
          for (int unsigned i = 0; i < 4; i++) store[index_q+12'(i)] <= object_q[i];
        end
      end
    end
  end

endmodule
