// What becomes of a commit in this cycle, by its phase and what it waits for. Combinational.

module saf_commit_step (
    input logic step_i,
    input logic [7:0] phase_i,
    input logic late_i,
    input logic drained_i,
    input logic kill_option_i,
    input logic frozen_i,  // and the kernel bus quiet
    input logic can_feed_i,
    input logic feed_done_i,
    input logic [2:0] feed_status_i,
    input logic fed_all_i,
    input logic released_i,
    output logic ends_o,  // the old role goes on, or the new one runs
    output logic loses_o,  // there is no role any more
    output logic begin_feed_o,
    output logic enter_check_o,
    output logic wins_o,  // the PR controller is content
    output logic [5:0] status_o,
    output logic [7:0] lost_pr_status_o
);

  // verilator lint_off UNUSEDSIGNAL
  logic [15:0] status;  // six bits hold any
  // verilator lint_on UNUSEDSIGNAL
  assign status_o = status[5:0];

  always_comb begin
    ends_o = 1'b0;
    loses_o = 1'b0;
    begin_feed_o = 1'b0;
    enter_check_o = 1'b0;
    wins_o = 1'b0;
    status = saf_pkg::StatusOk;
    lost_pr_status_o = saf_pkg::PrStatusPowerUp;
    if (step_i) begin
      case (phase_i)
        saf_pkg::CommitPhaseDrain:
        if (!drained_i && late_i && !kill_option_i) begin
          ends_o = 1'b1;
          status = saf_pkg::StatusDrainTimeout;
        end
        saf_pkg::CommitPhaseFreeze:
        if (!frozen_i && late_i) begin
          ends_o = 1'b1;
          status = saf_pkg::StatusFreezeTimeout;
        end
        saf_pkg::CommitPhaseWaitDdrIdle:
        if (can_feed_i) begin
          begin_feed_o = 1'b1;
        end else if (late_i) begin
          ends_o = 1'b1;
          status = saf_pkg::StatusDdrTimeout;
        end
        saf_pkg::CommitPhaseFeed, saf_pkg::CommitPhaseCheck:
        if (feed_done_i && feed_status_i != saf_pkg::PrStatusSuccess[2:0]) begin
          loses_o = 1'b1;
          lost_pr_status_o = {5'd0, feed_status_i};
          case (feed_status_i)
            saf_pkg::PrStatusCrcError[2:0]: status = saf_pkg::StatusPrCrcError;
            saf_pkg::PrStatusIncompatible[2:0]: status = saf_pkg::StatusPrIncompatible;
            default: begin
              status = saf_pkg::StatusPrError;
              lost_pr_status_o = saf_pkg::PrStatusPrError;
            end
          endcase
        end else if (phase_i == saf_pkg::CommitPhaseFeed && (feed_done_i || fed_all_i)) begin
          enter_check_o = 1'b1;
        end else if (feed_done_i) begin
          wins_o = 1'b1;
        end else if (late_i) begin
          loses_o = 1'b1;
          status = saf_pkg::StatusPrTimeout;
        end
        default: ends_o = released_i;
      endcase
    end
  end

endmodule
