// State of the four transfer contexts, and what goes with it in single bits.
//
// The handlers set a context's state (set_*, while they hold the lock); the verifier ends VERIFYING (outcome_*). When that
// happens after a CLOSE was answered with `running` (set_closing_i), a VERDICT is due: due_o, until told_i.
// It also says which context a new transfer gets: one that is unused, or else the one that was opened the longest ago of
// those whose transfer is verified, so that late questions about younger ones still find everything.
// Reset and clear_i: all unused. A session's end drops what is due: nobody is left to be told.

module saf_xfer_states
(
    input logic clk_i,
    input logic rst_ni,
    input logic clear_i,
    input logic session_end_i,
    input logic [1:0] ctx_i,
    input logic set_i,
    input saf_shell_pkg::xfer_state_t set_state_i,
    input logic set_guarded_i,  // with set_i: only guarded blocks from here on (else what it was)
    input logic set_new_i,  // with set_i: another transfer begins
    input logic set_closing_i,
    input logic told_i,
    input logic outcome_valid_i,
    input logic [1:0] outcome_ctx_i,
    input logic outcome_ok_i,
    input logic image_i,  // which kind of context is wanted
    output logic choice_valid_o,
    output logic [1:0] choice_o,
    output saf_shell_pkg::xfer_state_t [saf_shell_pkg::Contexts-1:0] state_o,
    output logic [saf_shell_pkg::Contexts-1:0] used_o,
    output logic [saf_shell_pkg::Contexts-1:0] receiving_o,
    output logic [saf_shell_pkg::Contexts-1:0] guarded_o,
    output logic [saf_shell_pkg::Contexts-1:0] hashed_o,
    output logic [saf_shell_pkg::Contexts-1:0] due_o
);

  logic [saf_shell_pkg::Contexts-1:0] closing_q, over;
  logic older12_q, older13_q, older23_q;  // context 1 was opened before context 2, …

  always_comb begin
    for (int i = 0; i < saf_shell_pkg::Contexts; i++) begin
      used_o[i] = state_o[i] != saf_shell_pkg::XsUnused;
      receiving_o[i] = state_o[i] == saf_shell_pkg::XsReceiving;
      over[i] = state_o[i] == saf_shell_pkg::XsVerified;
    end
  end

  always_comb begin
    choice_o = 2'd0;
    choice_valid_o = 1'b1;
    if (image_i) choice_valid_o = !used_o[0] || over[0];
    else if (!used_o[1]) choice_o = 2'd1;
    else if (!used_o[2]) choice_o = 2'd2;
    else if (!used_o[3]) choice_o = 2'd3;
    else if (over[1] && (!over[2] || older12_q) && (!over[3] || older13_q)) choice_o = 2'd1;
    else if (over[2] && (!over[3] || older23_q)) choice_o = 2'd2;
    else begin
      choice_o = 2'd3;
      choice_valid_o = over[3];
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_o <= '0;
      guarded_o <= '0;
      hashed_o <= '0;
      due_o <= '0;
      closing_q <= '0;
      older12_q <= 1'b0;
      older13_q <= 1'b0;
      older23_q <= 1'b0;
    end else begin
      if (outcome_valid_i) begin
        state_o[outcome_ctx_i] <= outcome_ok_i ? saf_shell_pkg::XsVerified : saf_shell_pkg::XsBad;
        hashed_o[outcome_ctx_i] <= 1'b1;
        if (outcome_ok_i) guarded_o[outcome_ctx_i] <= 1'b0;
        due_o[outcome_ctx_i] <= closing_q[outcome_ctx_i];
        closing_q[outcome_ctx_i] <= 1'b0;
      end
      if (set_closing_i) closing_q[ctx_i] <= 1'b1;
      if (told_i) due_o[ctx_i] <= 1'b0;
      if (set_i) begin
        state_o[ctx_i] <= set_state_i;
        if (set_guarded_i) guarded_o[ctx_i] <= 1'b1;
        if (set_guarded_i || set_new_i || set_state_i == saf_shell_pkg::XsUnused) closing_q[ctx_i] <= 1'b0;
      end
      if (set_i && set_new_i) begin
        guarded_o[ctx_i] <= 1'b0;
        hashed_o[ctx_i] <= 1'b0;
        due_o[ctx_i] <= 1'b0;
        case (ctx_i)
          2'd1: {older12_q, older13_q} <= 2'b00;
          2'd2: {older12_q, older23_q} <= 2'b10;
          2'd3: {older13_q, older23_q} <= 2'b11;
          default: ;
        endcase
      end
      if (session_end_i) begin
        due_o <= '0;
        closing_q <= '0;
      end
      if (clear_i) begin
        state_o <= '0;
        guarded_o <= '0;
        due_o <= '0;
        closing_q <= '0;
      end
    end
  end

endmodule
