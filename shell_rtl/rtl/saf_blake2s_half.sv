// One half of BLAKE2s's mixing function G (RFC 7693, 3.1), combinational: one three-input and one two-input 32-bit addition
// behind each other, and nothing else but XORs. Two of them with a register between make G.

module saf_blake2s_half #(
    parameter int unsigned RotateD = 16,
    parameter int unsigned RotateB = 12
) (
    input logic [31:0] a_i,
    input logic [31:0] b_i,
    input logic [31:0] c_i,
    input logic [31:0] d_i,
    input logic [31:0] m_i,
    output logic [31:0] a_o,
    output logic [31:0] b_o,
    output logic [31:0] c_o,
    output logic [31:0] d_o
);

  logic [31:0] b_x, d_x;

  assign a_o = a_i + b_i + m_i;
  assign d_x = d_i ^ a_o;
  assign d_o = {d_x[RotateD-1:0], d_x[31:RotateD]};
  assign c_o = c_i + d_o;
  assign b_x = b_i ^ c_o;
  assign b_o = {b_x[RotateB-1:0], b_x[31:RotateB]};

endmodule
