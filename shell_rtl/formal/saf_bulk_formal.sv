// Proof obligations of the bulk path's writing half: no beat leaves for DDR outside what an open transfer allowed.
//
// saf_bulk_bounds, saf_bulk_take and saf_bulk_write are wired as in saf_bulk. Everything before them is free: any context,
// any address, any length, any verdict of bitmap and guard, in any order and at any time. So what is proven does not lean
// on how addresses are computed. Assumed: what takes a cycle answers only when asked, and a transfer does not open over a
// block of its context that is being decided upon (the transfer unit waits until the context is settled).
//
// The shadow of each context is kept here, apart from the design's own table.

module saf_bulk_formal
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic set,
    input logic [1:0] set_ctx,
    input logic [AddrBits-1:0] set_base,
    input logic [AddrBits-1:0] set_limit,
    input logic in_valid,
    input logic in_drop,
    input logic in_guarded,
    input logic [1:0] in_ctx,
    input logic [AddrBits-1:0] in_addr,
    input logic [FrameBytesBits-1:0] in_bytes,
    input logic guard_done,
    input logic guard_ok,
    input logic room,
    input logic take_done,
    input logic take_new,
    input logic wr_ready,
    input logic [FrameBytesBits-1:0] pick  // any byte of an object
);

  logic rst_n_q = 1'b0;
  always_ff @(posedge clk_i) rst_n_q <= 1'b1;

  logic in_ready, bound_ok, guard_start, take_valid, go_valid, go_ready, go_write, idle, undecided, drop;
  logic [1:0] ctx;
  logic [BlockBits-2:0] index;
  logic [FrameBytesBits-1:0] bytes;
  logic [AddrBits-1:0] addr, wr_addr;
  logic [4:0] reason;
  logic rd_en, df_done, wr_valid, wr_last;
  logic [BeatBits-1:0] rd_addr;
  logic [15:0] wr_bytes;
  logic [63:0] wr_data;

  saf_bulk_bounds #(
      .TableBits(Contexts * 2 * AddrBits)
  ) u_bounds (
      .clk_i,
      .rst_ni(rst_n_q),
      .set_i(set),
      .set_ctx_i(set_ctx),
      .set_base_i(set_base),
      .set_limit_i(set_limit),
      .rd_en_i(in_valid && !in_drop && in_ready),
      .rd_ctx_i(in_ctx),
      .addr_i(addr),
      .bytes_i(bytes),
      .ok_o(bound_ok)
  );

  saf_bulk_take u_take (
      .clk_i,
      .rst_ni(rst_n_q),
      .in_valid_i(in_valid),
      .in_ready_o(in_ready),
      .in_drop_i(in_drop),
      .in_guarded_i(in_guarded),
      .in_ctx_i(in_ctx),
      .in_index_i('0),
      .in_bytes_i(in_bytes),
      .in_addr_i(in_addr),
      .bound_ok_i(bound_ok),
      .oldest_i(idle),
      .guard_start_o(guard_start),
      .guard_done_i(guard_done),
      .guard_ok_i(guard_ok),
      .room_i(room),
      .take_valid_o(take_valid),
      .take_done_i(take_done),
      .take_new_i(take_new),
      .go_valid_o(go_valid),
      .go_ready_i(go_ready),
      .go_write_o(go_write),
      .ctx_o(ctx),
      .index_o(index),
      .bytes_o(bytes),
      .addr_o(addr),
      .undecided_o(undecided),
      .drop_valid_o(drop),
      .drop_reason_o(reason)
  );

  saf_bulk_write u_write (
      .clk_i,
      .rst_ni(rst_n_q),
      .go_valid_i(go_valid),
      .go_ready_o(go_ready),
      .go_write_i(go_write),
      .go_addr_i(addr),
      .go_bytes_i(bytes),
      .idle_o(idle),
      .rd_en_o(rd_en),
      .rd_addr_o(rd_addr),
      .rd_data_i('0),
      .df_done_o(df_done),
      .wr_valid_o(wr_valid),
      .wr_ready_i(wr_ready),
      .wr_addr_o(wr_addr),
      .wr_bytes_o(wr_bytes),
      .wr_data_o(wr_data),
      .wr_last_o(wr_last)
  );

  // -- shadow: bounds of each context, of the frame that is decided upon, of the block that is written

  logic [Contexts-1:0][AddrBits-1:0] base_q, limit_q;
  logic [Contexts-1:0] open_q;
  logic [AddrBits-1:0] take_base_q, take_limit_q, write_base_q, write_limit_q;
  logic take_open_q, write_open_q;
  logic [BeatBits-1:0] beats_q;  // accepted of the object

  always_ff @(posedge clk_i) begin
    if (!rst_n_q) begin
      open_q <= '0;
      beats_q <= '0;
    end else begin
      if (set) begin
        base_q[set_ctx] <= set_base;
        limit_q[set_ctx] <= set_limit;
        open_q[set_ctx] <= 1'b1;
      end
      if (in_valid && in_ready && !in_drop) begin
        take_base_q <= base_q[in_ctx];
        take_limit_q <= limit_q[in_ctx];
        take_open_q <= open_q[in_ctx];
      end
      if (go_valid && go_ready) begin
        write_base_q <= take_base_q;
        write_limit_q <= take_limit_q;
        write_open_q <= take_open_q;
      end
      if (wr_valid && wr_ready) beats_q <= wr_last ? '0 : beats_q + 1'b1;
    end
  end

  // -- assumptions

  always_ff @(posedge clk_i) begin
    if (rst_n_q) begin
      assume (!take_done || take_valid);
      assume (!guard_done || guard_start);
      assume (!(set && in_valid && set_ctx == in_ctx));
      // frames are shorter than 9,019 bytes
      assume (in_bytes <= FrameBytesBits'(9018));
    end
  end

  // -- what is proven

  logic [AddrBits:0] byte_addr;
  assign byte_addr = {1'b0, wr_addr} + (AddrBits + 1)'(pick);

  always_ff @(posedge clk_i) begin
    if (rst_n_q && wr_valid) begin
      a_open: assert (write_open_q);
      a_not_before: assert (wr_addr >= write_base_q);
      a_not_behind: assert (16'(pick) >= wr_bytes || byte_addr < {1'b0, write_limit_q});
      // as many beats as the bytes take, not one more
      a_beats: assert (wr_last == (beats_q == BeatBits'((wr_bytes - 16'd1) >> 3)));
    end
  end

  // -- what makes it inductive: the design's registers and the shadow's go together

  function automatic logic lies_in(input logic [AddrBits-1:0] at, input logic [FrameBytesBits-1:0] size,
                                  input logic [AddrBits-1:0] base, input logic [AddrBits-1:0] limit);
    return size != '0 && at >= base && {1'b0, at} + (AddrBits + 1)'(size) <= {1'b0, limit};
  endfunction

  logic passed, streaming;
  logic [BeatBits-1:0] stop;
  assign passed = (undecided && u_take.state_q != 3'd1) || (go_valid && go_write);  // 1: bounds are being looked at
  assign streaming = !idle && u_write.write_q;
  assign stop = BeatBits'((u_write.bytes_q + FrameBytesBits'(47)) >> 3);

  always_ff @(posedge clk_i) begin
    if (rst_n_q) begin
      l_known: assert (u_bounds.known_q == open_q);
      for (int unsigned i = 0; i < Contexts; i++) begin
        assert (!open_q[i] || u_bounds.u_table.u_ram.mem[i] == {base_q[i], limit_q[i]});
      end
      if (undecided || (go_valid && go_write)) begin
        l_take_open: assert (u_bounds.open_q == take_open_q);
        l_take: assert (!take_open_q || u_bounds.bounds == {take_base_q, take_limit_q});
      end
      if (passed) begin
        l_passed: assert (take_open_q && lies_in(addr, bytes, take_base_q, take_limit_q));
      end
      if (streaming) begin
        l_write: assert (write_open_q && lies_in(wr_addr, u_write.bytes_q, write_base_q, write_limit_q));
        l_beat: assert (u_write.beat_q == BeatBits'(5) + beats_q + BeatBits'(wr_valid));
        l_stop: assert (u_write.beat_q <= stop && (wr_valid || u_write.beat_q < stop));
      end
      l_bytes: assert (bytes <= FrameBytesBits'(9018) && u_write.bytes_q <= FrameBytesBits'(9018));
      l_idle: assert (streaming || (beats_q == '0 && !wr_valid));
    end
  end

endmodule
