// First chaining value of a message: BLAKE2s's initial vector and the parameter block (RFC 7693, 2.5 and 2.8; the tree's as
// in safhost/wire/digest.py: fanout unlimited, depth 2, leaves of 64 KiB, inner digests of 32 bytes). Combinational.

module saf_hash_init
  import saf_shell_pkg::*;
(
    input logic tree_i,  // of job_i, else of req_i
    input hash_req_t req_i,
    input leaf_job_t job_i,
    output logic [7:0][31:0] h_o
);

  logic [7:0][31:0] parameters;

  always_comb begin
    parameters = '0;
    if (tree_i) begin
      parameters[0] = {8'd2, 8'd0, 8'd0, 8'(saf_pkg::DigestBytes)};  // depth, fanout, key bytes, digest bytes
      parameters[1] = saf_pkg::LeafBytes;
      parameters[2] = job_i.root ? '0 : job_i.node;
      parameters[3] = {8'(saf_pkg::DigestBytes), 7'd0, job_i.root, 16'd0};  // inner digest, node depth
    end else begin
      parameters[0] = {8'd1, 8'd1, req_i.keyed ? 8'(saf_pkg::KeyBytes) : 8'd0, 2'd0, req_i.digest_bytes};
      parameters[6] = swap32(req_i.person[63:32]);
      parameters[7] = swap32(req_i.person[31:0]);
    end
  end

  assign h_o = Blake2sIv ^ parameters;

  // the rest of a request says how its message is read and where its digest goes
  logic unused;
  assign unused = &{1'b0, req_i, job_i};

endmodule
