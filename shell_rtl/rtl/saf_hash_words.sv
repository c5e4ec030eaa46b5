// Write port of the message buffers: one beat a cycle of the four feeds that offer one, hash lanes 0 and 1 before leaf lanes
// 0 and 1 (two lanes need 16 beats in 42 cycles, so nobody starves). Bytes that do not count become zeros.
//
// Latency: one register between what is granted and the buffers. Reset: nothing to write.

module saf_hash_words (
    input logic clk_i,
    input logic rst_ni,

    input logic [3:0] feed_valid_i,
    output logic [3:0] feed_ready_o,
    input logic [1:0] feed_key_i,  // hash lanes: the beat is key_data_i
    input logic [3:0][3:0] feed_bytes_i,
    input logic [3:0][3:0] feed_addr_i,
    input logic [3:0][63:0] data_i,
    input logic [63:0] key_data_i,

    output logic valid_o,
    output logic [5:0] addr_o,  // lane, leaf, buffer, pair
    output logic [63:0] data_o
);

  logic [1:0] source;
  logic [63:0] beat, keep;

  always_comb begin
    source = 2'd3;
    for (int unsigned f = 3; f > 0; f--) if (feed_valid_i[f-1]) source = 2'(f - 1);
    feed_ready_o = '0;
    feed_ready_o[source] = 1'b1;
    beat = data_i[source];
    if (!source[1] && feed_key_i[source[0]]) beat = key_data_i;
    for (int unsigned i = 0; i < 8; i++) keep[63-8*i-:8] = {8{i < 32'(feed_bytes_i[source])}};
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_o <= 1'b0;
      addr_o <= '0;
      data_o <= '0;
    end else begin
      valid_o <= |feed_valid_i;
      addr_o <= {source[0], source[1], feed_addr_i[source]};
      data_o <= beat & keep;
    end
  end

endmodule
