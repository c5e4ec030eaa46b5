// What the card is: its role, as other units and the host see it, and the state of the region that holds it.
//
// Data flow: events of the commit -> role_o, freeze, reset. From the drain's end to the release the region is frozen; while
// it holds no role it stays so, and in reset. The image's digest is shown as long as it runs, whole when has_role is;
// it is shifted in just before. Latency: one cycle (digest gone: two). Reset: no role. Back-pressure: none; one event a cycle.

module saf_commit_role
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input logic active_i,  // a commit is under way
    input logic show_i,  // the new image's digest, word by word, the last with release_i
    input logic [63:0] word_i,
    input logic drained_i,
    input logic begin_feed_i,  // from here on the old role is no more
    input logic lose_i,
    input logic [7:0] lost_pr_status_i,
    input logic pass_i,  // the PR controller is content
    input logic open_i,  // the bridges, before the role leaves reset
    input logic release_i,
    input logic give_up_i,  // before the feed: the old role goes on
    input logic forget_i,
    output role_view_t role_o,
    output logic [31:0] pr_count_o,
    output logic freeze_o,
    output logic role_reset_o
);

  logic has_role_q;
  logic [7:0] pr_status_q;
  logic [31:0] epoch_q;
  logic [255:0] digest_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      has_role_q <= 1'b0;
      freeze_o <= 1'b1;
      role_reset_o <= 1'b1;
      pr_status_q <= saf_pkg::PrStatusPowerUp;
      epoch_q <= '0;
      pr_count_o <= '0;
    end else begin
      if (drained_i) freeze_o <= 1'b1;
      if (begin_feed_i) begin
        has_role_q <= 1'b0;
        role_reset_o <= 1'b1;
        pr_status_q <= saf_pkg::PrStatusInProgress;
      end
      if (lose_i) pr_status_q <= lost_pr_status_i;
      if (pass_i) pr_status_q <= saf_pkg::PrStatusSuccess;
      if (open_i || (give_up_i && has_role_q)) freeze_o <= 1'b0;
      if (release_i) begin
        has_role_q <= 1'b1;
        role_reset_o <= 1'b0;
        pr_count_o <= pr_count_o + 32'd1;
      end
      if (forget_i) begin
        has_role_q <= 1'b0;
        freeze_o <= 1'b1;
        role_reset_o <= 1'b1;
      end
      if (release_i || forget_i) epoch_q <= epoch_q + 32'd1;
    end
  end

  // cleared by the flops' own synchronous clear (after a reset too: there is no role then), not by logic before them
  always_ff @(posedge clk_i) begin
    if (show_i) digest_q <= {digest_q[191:0], word_i};
    else if (!has_role_q) digest_q <= '0;
  end

  always_comb begin
    role_o.card_state = saf_pkg::CardStateNoRole;
    if (active_i) role_o.card_state = saf_pkg::CardStateProgramming;
    else if (has_role_q) role_o.card_state = saf_pkg::CardStateReady;
    role_o.pr_status = pr_status_q;
    role_o.epoch = epoch_q;
    role_o.image_digest = digest_q;
    role_o.has_role = has_role_q;
  end

endmodule
