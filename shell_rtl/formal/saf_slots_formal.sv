// Proof obligations of the command slots, for any one slot, whatever its users and the role do.
//
// A command is accepted when it is counted. Then: the slot has no other one, no COMMIT is under way, and its number is above
// all that the slot accepted in this session (so that none runs twice). It is launched at most once, between its acceptance
// and its end, and it ends once: until then it is either told as running or in the sequencer's hands, so that none is lost.
// A session's end for another owner (forget) ends all without a word.
// Assumed: a request is held until it is done; a push is done only while one is asked for.
//
// Cut out, their outputs free: saf_kernel_host saf_slots_reply saf_slots_ram saf_slots_time

module saf_slots_formal
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic krn_clk_i,
    input session_view_t session,
    input logic forget,
    input logic [63:0] time_us,
    input logic [63:0] time_ns,
    input ctl_req_t req,
    input logic [511:0] pay,
    input logic h_valid,
    input logic [63:0] fr_data,
    input logic msg_ready,
    input logic kill_all,
    input logic commit_active,
    input logic freeze,
    input role_view_t role,
    input logic role_changed,
    input logic role_fault,
    input logic [2:0] slot_addr,
    input logic push_done,
    input logic [31:0] push_blocks,
    input logic [255:0] push_digest,
    input logic rolereg_valid,
    input logic [8:0] rolereg_addr,
    input logic [2:0] any_slot
);

  logic rst_n_q = 1'b0;
  logic [2:0] watched_q = '0;
  always_ff @(posedge clk_i) begin
    rst_n_q <= 1'b1;
    if (!rst_n_q) watched_q <= any_slot;
  end

  logic h_done, command_count, push_valid;
  logic [7:0] running;

  // verilator lint_off PINMISSING
  saf_slots u_slots (
      .clk_i,
      .rst_ni(rst_n_q),
      .krn_clk_i(clk_i),
      .krn_rst_ni(rst_n_q),
      .session_i(session),
      .session_end_i(1'b0),
      .forget_i(forget),
      .time_us_i(time_us),
      .time_ns_i(time_ns),
      .req_i(req),
      .pay_i(pay),
      .h_valid_i(h_valid),
      .h_done_o(h_done),
      .fr_data_i(fr_data),
      .msg_ready_i(msg_ready),
      .slots_running_o(running),
      .kill_all_i(kill_all),
      .commit_active_i(commit_active),
      .freeze_i(freeze),
      .role_i(role),
      .role_changed_i(role_changed),
      .role_fault_i(role_fault),
      .command_count_o(command_count),
      .slot_addr_i(slot_addr),
      .push_valid_o(push_valid),
      .push_done_i(push_done),
      .push_blocks_i(push_blocks),
      .push_digest_i(push_digest),
      .rolereg_valid_i(rolereg_valid),
      .rolereg_addr_i(rolereg_addr),
      .krn_waitrequest_i(1'b0),
      .krn_readdata_i('0),
      .krn_readdatavalid_i(1'b0),
      .krn_irq_i(1'b0)
  );
  // verilator lint_on PINMISSING

  // ---- what is looked at inside

  slots_state_e state;
  logic [2:0] slot;
  logic here, forgets, accept, launch, ends;
  slot_e watched;
  logic [31:0] kept;
  assign state = u_slots.state;
  assign slot = u_slots.slot;
  assign watched = u_slots.slots[watched_q];
  slot_row_t row;
  assign row = slot_row_t'(u_slots.u_rows.u_newest.mem[{2'd0, watched_q}]);
  assign kept = row.index;
  assign here = slot == watched_q;
  assign forgets = u_slots.u_ctl.u_state.forget_i;
  assign accept = command_count && here;
  assign launch = state == SqLaunch && u_slots.cmd_done && here;
  assign ends = state == SqFinish && here;

  // ---- the shadow

  logic open_q = 1'b0, launched_q = 1'b0, seen_q = 1'b0;
  logic [31:0] newest_q = '0;
  always_ff @(posedge clk_i) begin
    if (rst_n_q) begin
      if (accept) begin
        open_q <= 1'b1;
        launched_q <= 1'b0;
        seen_q <= 1'b1;
        newest_q <= req.index;
      end
      if (launch) launched_q <= 1'b1;
      if (ends) open_q <= 1'b0;
      if (forgets) begin
        open_q <= 1'b0;
        seen_q <= 1'b0;
      end
    end
  end

  logic waits_q = 1'b0;
  ctl_req_t req_q;
  logic [511:0] pay_q;
  always_ff @(posedge clk_i) begin
    waits_q <= rst_n_q && h_valid && !h_done;
    req_q <= req;
    pay_q <= pay;
  end
  always_comb begin
    if (waits_q) assume (h_valid && req == req_q && pay == pay_q);
    assume (!push_done || push_valid);
  end

  // ---- what is proven

  always_comb begin
    if (rst_n_q) begin
      if (accept) begin
        assert (!open_q && !running[watched_q]);
        assert (!commit_active);
        assert (!seen_q || req.index > newest_q);
      end
      if (launch) assert (open_q && !launched_q);
      if (ends) assert (open_q);
      if (running[watched_q]) assert (open_q);
      if (open_q && !here) assert (running[watched_q]);
      if (open_q && state == SqIdle) assert (running[watched_q]);
    end
  end

  // ---- what makes it inductive

  logic takes_in, finishes;
  assign takes_in = state inside {SqRomHead, SqRomKernel, SqRomMask, SqCopyAddr, SqCopy, SqRecord};
  assign finishes = state inside {SqFinishFetch, SqFinish};

  always_comb begin
    if (!rst_n_q) assert (!open_q && !seen_q && !waits_q && !launched_q);
    if (rst_n_q) begin
      // the request
      if (h_done) assert (state == SqIdle);
      if (u_slots.u_ctl.answering) begin
        assert (u_slots.u_ctl.kill_by == KillNone || u_slots.reply.killed);
        assert (state == SqIdle || state == SqInfo || takes_in || finishes || state == SqReply);
      end
      if (state == SqInfo || takes_in) assert (waits_q && slot == req_q.object[2:0]);
      if (state == SqInfo && req.opcode != saf_pkg::OpcodeKill && here) begin
        assert (u_slots.row.index == kept);
        assert (req.object[2:0] == watched_q);
      end
      // the slot
      assert (watched == SlotIdle || watched == SlotQueued || watched == SlotLaunched || watched == SlotPush
              || watched == SlotDone);
      if (seen_q) assert (kept == newest_q);
      if (watched != SlotIdle) assert (seen_q);
      if (seen_q && watched == SlotIdle) assert (here && (takes_in || finishes));
      if (open_q) assert (seen_q && (running[watched_q] || (here && (takes_in || finishes))));
      if (watched == SlotQueued) assert (!launched_q);
      if (watched == SlotLaunched) assert (launched_q);
      // the sequencer
      if (takes_in) assert (req_q.opcode != saf_pkg::OpcodeKill);
      if (takes_in && here) assert (req_q.index == newest_q);
      if (takes_in && here) assert (open_q && !running[watched_q] && !launched_q);
      if (finishes && here) assert (open_q);
      if (here) begin
        if (state inside {SqPollFetch, SqPoll, SqAck, SqStampFetch, SqStamp, SqEnded}) begin
          assert (watched == SlotLaunched);
        end
        if (state inside {SqDeadlineFetch, SqDeadline}) assert (watched == SlotQueued || watched == SlotLaunched);
        if (state inside {SqLaunchFetch, SqLaunchTake, SqWalkFetch, SqWalk, SqLaunch}) begin
          assert (watched == SlotQueued);
        end
        if (state inside {SqPushFetch, SqPushTake}) assert (watched == SlotPush && !push_valid);
      end
      // pushes
      if (u_slots.u_ctl.push_ended) assert (push_valid);
      if (push_valid && !u_slots.u_ctl.push_orphan && u_slots.u_ctl.push_slot == watched_q) begin
        assert (watched == SlotPush || state == SqReply);
        if (state == SqReply && watched != SlotPush) assert (u_slots.reply.pushed);
        if (finishes && here) assert (u_slots.reply.pushed);
      end
    end
  end

endmodule
