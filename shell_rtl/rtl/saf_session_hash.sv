// What saf_session asks of the hash engine: the session's two keys, the tag of SESSION_OPEN, the digest of HELLO.
//
// Data flow: which of them -> request and walk. Keys are made of the card's, into the bank that is not in force; SESSION_OPEN
// is checked with the one made for frames of the host; HELLO's digest is made with the card's new one, then in force.
// Combinational.

module saf_session_hash (
  input  logic                              suite_i,
  input  logic                              bank_i,  // in force
  input  logic                              keys_i,
  input  logic                              key_c2h_i,  // the card's, else the host's
  input  logic                              hello_i,  // if neither: SESSION_OPEN's tag
  output saf_shell_pkg::ctl_source_e        source_o,
  output logic                       [10:0] last_o,
  output saf_shell_pkg::hash_req_t          req_o
);

  always_comb begin
    req_o = '0;
    req_o.keyed = suite_i;
    req_o.key_index = saf_shell_pkg::key_of(!bank_i, 1'b0);
    req_o.person = saf_pkg::PersonFrameTag;
    req_o.bytes = 14'(saf_pkg::HeaderBytes + saf_pkg::SessionOpenBytes);
    req_o.digest_bytes = 6'(saf_pkg::TagBytes);
    source_o = saf_shell_pkg::SrcFrame;
    last_o = 11'((saf_pkg::HeaderBytes + saf_pkg::SessionOpenBytes) / 8 - 1);
    if (keys_i) begin
      source_o = saf_shell_pkg::SrcKeys;
      last_o = 11'd7;
      req_o.key_index = saf_shell_pkg::KeyCard;
      req_o.bytes = 14'd60;  // two nonces, owner, generation, two MAC addresses
      req_o.digest_bytes = 6'(saf_pkg::KeyBytes);
      req_o.store = 1'b1;
      req_o.store_index = saf_shell_pkg::key_of(!bank_i, key_c2h_i);
      req_o.person = key_c2h_i ? saf_pkg::PersonSessionKeyC2h : saf_pkg::PersonSessionKeyH2c;
    end else if (hello_i) begin
      source_o = saf_shell_pkg::SrcHello;
      last_o = 11'(saf_pkg::HelloFixedBytes / 8 - 1);
      req_o.key_index = saf_shell_pkg::key_of(bank_i, 1'b1);
      req_o.bytes = 14'(saf_pkg::HelloFixedBytes);
      req_o.digest_bytes = 6'd4;
      req_o.person = saf_pkg::PersonHelloTag;
    end
  end

endmodule
