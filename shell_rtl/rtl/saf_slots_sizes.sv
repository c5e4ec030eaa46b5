// Looks at RUN's payload as it is copied: are its work sizes in order, has it a deadline?
//
// Data flow: words 0 to 6 of the payload (`word_i`) with `valid_i`, in order. Sizes: as many globals as dimensions, none of them
// zero; of the locals all or none. `bad_o` is valid with word 6. Latency, back-pressure: none. Reset: nothing seen.

module saf_slots_sizes (
    input logic clk_i,
    input logic rst_ni,
    input logic valid_i,
    input logic [2:0] word_i,
    input logic [63:0] data_i,
    input logic [7:0] work_dim_i,
    output logic bad_o,
    output logic deadline_o
);

  logic high, low;  // not zero
  logic more;  // dimensions than there are
  logic [2:0] used;
  logic deadline_q, no_global_q, local_q, no_local_q;

  assign high = |data_i[63:32];
  assign low = |data_i[31:0];
  assign more = |work_dim_i[7:2];
  assign used = {more || &work_dim_i[1:0], more || work_dim_i[1], more || |work_dim_i[1:0]};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      deadline_q <= 1'b0;
      no_global_q <= 1'b0;
      local_q <= 1'b0;
      no_local_q <= 1'b0;
    end else if (valid_i) begin
      case (word_i)
        3'd1: deadline_q <= high;
        3'd4: no_global_q <= (used[0] && !high) || (used[1] && !low);
        3'd5: begin
          if (used[2] && !high) no_global_q <= 1'b1;
          local_q <= used[0] && low;
          no_local_q <= used[0] && !low;
        end
        default: ;
      endcase
    end
  end

  assign deadline_o = deadline_q;
  assign bad_o = more || no_global_q
      || ((local_q || (used[1] && high) || (used[2] && low)) && (no_local_q || (used[1] && !high) || (used[2] && !low)));

endmodule
