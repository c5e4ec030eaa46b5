// Unpredictable words for nonces and challenges: the jitter of free-running ring oscillators, sampled in the core clock and
// stirred into a 64-bit linear feedback shift register, so that an attacker who sees outputs still lacks the jitter bits
// that came between.
//
// Data flow: Rings rings of Stages inverters, each sampled by two flops (the first is metastable on purpose), XORed to one
// bit a cycle, shifted into the register; rnd_o is its upper half XOR its lower half. Before good_o rises (2^16 cycles,
// 0.4 ms) too few bits were gathered; the shell is held in reset until then.
// Constraints: rings are combinational loops, kept by attributes; saf_cdc.sdc cuts the way from them to the first flop.
// Simulators cannot run them: under SIMULATION the bit comes from $urandom.

module saf_385a_entropy #(
    parameter int unsigned Rings = 8,
    parameter int unsigned Stages = 5
) (
    input logic clk_i,
    input logic rst_ni,
    output logic [31:0] rnd_o,
    output logic good_o
);

  if (Stages % 2 == 0) begin : gen_bad_stages
    $fatal(1, "a ring oscillates with an odd number of inverters");
  end

  logic [Rings-1:0] sample_d, sample_q, meta_q;

`ifdef SIMULATION
  assign sample_d = Rings'($urandom);
`else
  for (genvar r = 0; r < Rings; r++) begin : gen_ring
    // verilator lint_off UNOPTFLAT
    (* keep = 1 *) logic [Stages-1:0] ring;
    // verilator lint_on UNOPTFLAT
    assign ring[0] = ~ring[Stages-1] | ~rst_ni;
    for (genvar s = 1; s < Stages; s++) begin : gen_stage
      assign ring[s] = ~ring[s-1];
    end
    assign sample_d[r] = ring[Stages-1];
  end
`endif

  logic [63:0] pool_q;
  logic [16:0] warm_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      meta_q <= '0;
      sample_q <= '0;
      pool_q <= 64'd1;
      warm_q <= '0;
    end else begin
      meta_q <= sample_d;
      sample_q <= meta_q;
      // x^64 + x^63 + x^61 + x^60 + 1, maximal length (Xilinx XAPP 052)
      pool_q <= {pool_q[62:0], pool_q[63] ^ pool_q[62] ^ pool_q[60] ^ pool_q[59] ^ (^sample_q)};
      if (!warm_q[16]) warm_q <= warm_q + 17'd1;
    end
  end

  assign rnd_o = pool_q[63:32] ^ pool_q[31:0];
  assign good_o = warm_q[16];

endmodule
