// Walks over a control frame in the receive RAM, and through the hash engine where that is asked for.
//
// Sources: the frame from beat 0 to `last_i`, skipping from `jump_at_i` to `jump_to_i` (a GROUP's member); what session
// keys are derived from (nonces, owner and generation of a SESSION_OPEN in the frame, then both MAC addresses); words of
// HELLO. Each beat of the frame that passes is shown (`beat_o`, `pos_o`), so that fields are caught on the way. Behind
// a hashed frame its 16-byte tag is read and compared, a word at a time.
//
// start_i is a pulse; all other inputs hold until done_o (a pulse, with tag_ok_o and the hash engine's digest).
// Latency: two cycles, then a beat a cycle as the hash engine takes them, then the engine's own.
// Reset: idle. Back-pressure: stops on hash_dready_i.

module saf_ctl_stream (
  input  logic                          clk_i,
  input  logic                          rst_ni,
  input  logic                          start_i,
  input  saf_shell_pkg::ctl_source_e          source_i,
  input  logic                          hashed_i,
  input  saf_shell_pkg::hash_req_t      req_i,
  input  logic                   [10:0] last_i,
  input  logic                   [10:0] jump_at_i,
  input  logic                   [10:0] jump_to_i,
  output logic                          active_o,
  output logic                          beat_o,
  output logic                   [10:0] pos_o,
  output logic                          done_o,
  output logic                          tag_ok_o,
  // the frame
  output logic                   [10:0] rd_addr_o,
  input  logic                   [63:0] rd_data_i,
  // other sources
  input  logic                   [63:0] hello_word_i,  // of HELLO's row, number rd_addr_o of the cycle before
  // hash engine
  output logic                          hash_valid_o,
  input  logic                          hash_ready_i,
  output saf_shell_pkg::hash_req_t      hash_req_o,
  output logic                          hash_dvalid_o,
  input  logic                          hash_dready_i,
  output logic                   [63:0] hash_data_o,
  output logic                          hash_dlast_o,
  input  logic                          hash_done_i,
  input  logic                  [127:0] hash_tag_i
);

  typedef enum logic [2:0] {
    StIdle,
    StRequest,
    StRun,
    StWait,
    StLoad,
    StTagHigh,
    StTagLow
  } state_e;

  localparam int unsigned TagAddrBits = $clog2(saf_shell_pkg::BlockRamBits / 128);

  state_e state_q;
  logic [10:0] pos_q, next, at;
  logic [63:0] tag;  // a word of the right one
  logic fire, is_last, is_frame, is_same, same_q;

  assign active_o = state_q != StIdle;
  assign pos_o = pos_q;
  assign is_last = pos_q == last_i;
  assign fire = state_q == StRun && (!hashed_i || hash_dready_i);
  assign is_frame = source_i == saf_shell_pkg::SrcFrame;
  assign beat_o = fire && is_frame;
  assign next = pos_q == jump_at_i ? jump_to_i : pos_q + 11'd1;

  // a RAM word is there in the cycle after its address: while a beat passes the next one is asked for
  assign at = fire ? next : pos_q;
  always_comb begin
    rd_addr_o = at;
    if (source_i == saf_shell_pkg::SrcKeys) begin
      // payload words 4 5 2 3 0 1: boot nonce, host nonce, owner, generation
      rd_addr_o = 11'd5 + {8'd0, 2'd2 - at[2:1], at[0]};
    end
  end

  assign hash_valid_o = state_q == StRequest && hashed_i;
  assign hash_req_o = req_i;
  assign hash_dvalid_o = state_q == StRun && hashed_i;
  assign hash_dlast_o = is_last;
  // the MAC addresses lie behind HELLO
  assign hash_data_o = is_frame || (source_i == saf_shell_pkg::SrcKeys && pos_q[2:1] != 2'd3) ? rd_data_i : hello_word_i;

  saf_ram_2clk_narrow #(
    .Width(128),
    .Depth(saf_shell_pkg::BlockRamBits / 128),
    .Parts(2)
  ) u_tag (
    .wr_clk_i(clk_i),
    .wr_en_i(state_q == StWait && hash_done_i),
    .wr_addr_i('0),
    .wr_data_i(hash_tag_i),
    .rd_clk_i(clk_i),
    .rd_en_i(1'b1),
    .rd_addr_i({TagAddrBits'(0), state_q == StLoad}),
    .rd_data_o(tag)
  );
  assign is_same = tag == rd_data_i;
  assign tag_ok_o = is_same && same_q;
  always_comb begin
    done_o = fire && is_last;
    if (hashed_i) done_o = is_frame ? state_q == StTagLow : state_q == StWait && hash_done_i;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      pos_q <= '0;
      same_q <= 1'b0;
    end else begin
      if (fire || state_q == StLoad) pos_q <= next;
      case (state_q)
        StIdle:
        if (start_i) begin
          state_q <= StRequest;
          pos_q <= '0;
        end
        StRequest: if (!hashed_i || hash_ready_i) state_q <= StRun;
        StRun:
        if (fire && is_last) begin
          state_q <= hashed_i ? StWait : StIdle;
        end
        StWait: if (hash_done_i) state_q <= is_frame ? StLoad : StIdle;
        StLoad: state_q <= StTagHigh;
        StTagHigh: begin
          same_q <= is_same;
          state_q <= StTagLow;
        end
        default: state_q <= StIdle;
      endcase
    end
  end

endmodule
