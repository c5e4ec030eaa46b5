// Proof obligations of who asks the replay window: saf_control keeps what saf_replay_formal assumes of it.
//
// A number is marked as seen only when the window is loaded and says that it is fresh, in a cycle in which it has been
// asked for a cycle and nothing was written meanwhile; while the window is cleared after a load, the number and the card's
// suite hold.
// Assumed: the configuration stays; a frame is held until it is popped; the window is busy only after a load; the answer
// that follows a load is not done before the window is cleared (OPENED takes some 300 cycles, the window 64); a GROUP's
// member is found only while it is looked for.
//
// Cut out, their outputs free: saf_replay saf_ctl_say saf_discovery saf_ctl_group

module saf_window_formal
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input cfg_t any_cfg,
    input logic [63:0] time_us,
    input logic [31:0] rnd,
    input logic cf_valid,
    input ctl_req_t cf_req,
    input logic [63:0] cf_data,
    input logic [3:0] h_done,
    input logic hash_ready,
    input logic hash_dready,
    input logic hash_done,
    input logic [255:0] hash_digest,
    input logic forget_busy
);

  logic rst_n_q = 1'b0;
  cfg_t cfg_q;
  always_ff @(posedge clk_i) begin
    rst_n_q <= 1'b1;
    if (!rst_n_q) cfg_q <= any_cfg;
  end

  logic cf_pop;
  logic [3:0] h_valid;
  ctl_req_t asked;

  // verilator lint_off PINMISSING
  saf_control u_control (
      .clk_i,
      .rst_ni(rst_n_q),
      .cfg_i(cfg_q),
      .link_up_i(1'b1),
      .time_us_i(time_us),
      .rnd_i(rnd),
      .cf_valid_i(cf_valid),
      .cf_req_i(cf_req),
      .cf_rd_data_i(cf_data),
      .cf_pop_o(cf_pop),
      .h_valid_o(h_valid),
      .h_done_i(h_done),
      .fr_addr_i('0),
      .req_o(asked),
      .hash_ready_i(hash_ready),
      .hash_dready_i(hash_dready),
      .hash_done_i(hash_done),
      .hash_digest_i(hash_digest),
      .forget_busy_i(forget_busy)
  );
  // verilator lint_on PINMISSING

  logic commit, load, busy, fresh, suite, open;
  assign commit = u_control.ctl_commit || u_control.ses_commit;
  assign load = u_control.ses_load;
  assign busy = u_control.window_busy;
  assign fresh = u_control.fresh;
  assign suite = u_control.suite;
  assign open = u_control.session_o.open;

  // states by their numbers: names of an enumeration inside a module cannot be used from outside
  typedef enum logic [3:0] {
    CtlIdle = 4'd0,
    CtlGroup = 4'd3,
    CtlMember = 4'd4,
    CtlStart = 4'd5,
    CtlLoad = 4'd6,
    CtlWindow = 4'd7
  } ctl_state_e;
  typedef enum logic [3:0] {
    SesIdle = 4'd0,
    SesKeyH2c = 4'd3,
    SesKeyC2h = 4'd4,
    SesTag = 4'd5,
    SesHold = 4'd10,
    SesPrepare = 4'd11,
    SesReply = 4'd12,
    SesEnd = 4'd13
  } ses_state_e;

  // ---- what was before

  logic loaded_q = 1'b0, load_q = 1'b0, busy_q = 1'b0, wrote_q = 1'b1, held_q = 1'b0, suite_q = 1'b0;
  logic left_q = 1'b0;  // the frame was done with, or a lease ran out
  logic [63:0] before_q = '0;
  ctl_req_t req_q;
  always_ff @(posedge clk_i) begin
    loaded_q <= rst_n_q && (loaded_q || load);
    load_q <= rst_n_q && load;
    busy_q <= rst_n_q && busy;
    wrote_q <= !rst_n_q || busy || commit || load;
    held_q <= rst_n_q && cf_valid && !cf_pop;
    left_q <= rst_n_q && (cf_pop || u_control.expire);
    before_q <= asked.sequence_;
    suite_q <= suite;
    req_q <= cf_req;
  end

  always_comb begin
    if (held_q) assume (cf_valid && cf_req == req_q);
    assume (busy == (load_q || (busy_q && busy)));
    if (busy || busy_q) assume (!u_control.reply_done);
    if (u_control.u_ctl.group_found) assume (u_control.u_ctl.state_q == CtlGroup);
  end

  // ---- what is proven

  always_comb begin
    if (rst_n_q) begin
      if (commit) assert (loaded_q && fresh && !busy && !wrote_q && before_q == asked.sequence_);
      if (busy) assert (before_q == asked.sequence_ && suite == suite_q);
    end
  end

  // ---- what makes it inductive

  logic [3:0] ctl, ses;
  assign ctl = u_control.u_ctl.state_q;
  assign ses = u_control.u_session.state_q;

  logic in_load, in_handle, ctl_idle, ses_idle, ses_reads, after_load, stream_idle, sealed;
  assign ctl_idle = ctl == CtlIdle || left_q;
  assign in_load = ctl == CtlLoad;
  assign in_handle = h_valid != '0 || u_control.is_session;
  assign sealed = ctl == CtlWindow
      || ((in_load || ctl inside {CtlStart, CtlMember})
          && cf_req.opcode != saf_pkg::OpcodeSessionOpen);
  assign ses_idle = ses == SesIdle;
  assign ses_reads = ses inside {
    SesKeyH2c, SesKeyC2h, SesTag, SesPrepare};
  assign after_load = ses inside {
    SesHold, SesPrepare, SesReply};
  assign stream_idle = !u_control.stream_active;

  always_comb begin
    if (!rst_n_q) assert (!loaded_q && !load_q && !busy_q && !held_q && wrote_q);
    if (rst_n_q) begin
      if (!ctl_idle) assert (held_q);
      if (left_q) assert (!in_handle && !cf_pop && !(ctl inside {[4'd1 : 4'd10]}));
      if (!ses_idle) assert (in_handle && u_control.is_session);
      if (!stream_idle) assert (in_load || ses_reads);
      if (open || sealed || ctl == CtlGroup) assert (loaded_q);
      if (after_load || ses == SesEnd) assert (u_control.u_session.kind_q != ReplyOpened || loaded_q);
      if (load_q || busy_q) assert (after_load);
      if (busy_q) assert (suite == suite_q);
    end
  end

endmodule
