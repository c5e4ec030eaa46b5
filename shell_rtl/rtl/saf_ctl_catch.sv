// Fields of a control frame, caught as it passes through the hash engine: what its handler gets to see.
//
// Data flow: beats of the frame -> the first 64 payload bytes in pay_o (zeros behind a shorter payload), object, index and
// sequence in req_o. Of a GROUP's member these come from the member and its role epoch takes the place of the body's, so that
// it looks as if it had come alone. The name (object and index) of a member is caught before the walk, while it is looked for.
//
// Latency: a beat a cycle; full_o when the payload is there. pay_o and req_o hold while handle_i is up, the index from a cycle
// after name_i. Reset: nothing is caught. Back-pressure: none.

module saf_ctl_catch (
  input  logic                            clk_i,
  input  logic                            rst_ni,
  input  saf_shell_pkg::ctl_req_t         cf_req_i,
  input  logic                     [31:0] session_i,
  input  logic                     [63:0] rd_data_i,
  input  logic                            member_i,  // this is a GROUP's member
  input  logic                            is_run_i,  // of a RUN
  // what saf_ctl is at
  input  logic                            first_i,
  input  logic                            name_first_i,  // a member's beat with its object,
  input  logic                            name_second_i,  // and with its index and role epoch
  input  logic                            load_i,
  input  logic                            name_i,
  input  logic                            pad_i,
  input  logic                            handle_i,
  // the walk over the frame
  input  logic                            beat_i,
  input  logic                     [10:0] pos_i,
  input  logic                            is_last_i,  // of a member: its sequence
  input  logic                     [10:0] first_beat_i,  // of the payload, or a GROUP's body
  input  logic                     [10:0] pay_last_i,
  input  logic                     [15:0] pay_bytes_i,
  output logic                            full_o,
  output logic                    [511:0] pay_o,
  output saf_shell_pkg::ctl_req_t         req_o
);

  localparam logic [10:0] PayloadBeat = 11'(saf_pkg::HeaderBytes / 8);
  localparam logic [10:0] SequenceBeat = PayloadBeat - 11'd1;
  localparam logic [10:0] NameBeat = PayloadBeat - 11'd2;

  logic [31:0] object_q, name;
  logic [63:0] sequence_q;
  logic [511:0] pay_q;  // shifted in from the right, always eight beats
  logic [3:0] pay_left_q;  // beats that are still to come
  logic inside_q;  // the beats that pass are payload

  // ---- payload, and how much of its eighth beat is payload

  logic pay_shift;
  logic [7:0] pay_zero;  // bytes
  logic [31:0] pay_high;
  logic caught;
  assign full_o = pay_left_q == '0;
  assign caught = beat_i && load_i && inside_q && !full_o;
  assign pay_shift = caught || (pad_i && !full_o);
  always_comb begin
    // a tail alone may end inside a beat, and none before the eighth
    for (int unsigned b = 0; b < 8; b++) begin
      pay_zero[b] = pad_i || (pay_left_q == 4'd1 && pay_bytes_i < 16'd64 && 3'(b) >= pay_bytes_i[2:0]);
    end
    pay_high = rd_data_i[63:32];
    // the member's role epoch takes the place of the body's
    if (member_i && pay_left_q == (is_run_i ? 4'd8 : 4'd4)) pay_high = sequence_q[31:0];
  end

  always_ff @(posedge clk_i) begin
    if (pay_shift) begin
      pay_q[511:64] <= pay_q[447:0];
      for (int unsigned b = 0; b < 4; b++) begin
        pay_q[63-8*b-:8] <= pay_zero[b] ? '0 : pay_high[31-8*b-:8];
        pay_q[31-8*b-:8] <= pay_zero[b+4] ? '0 : rd_data_i[31-8*b-:8];
      end
    end
    // its low half keeps the member's role epoch until the body has passed
    if (name_second_i || (beat_i && (member_i ? is_last_i : pos_i == SequenceBeat))) sequence_q <= rd_data_i;
    if (name_i) object_q <= name;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      pay_left_q <= '0;
      inside_q <= 1'b0;
    end else begin
      if (first_i) inside_q <= 1'b0;
      else if (beat_i && pos_i == pay_last_i) inside_q <= 1'b0;
      else if (beat_i && pos_i == first_beat_i - 11'd1) inside_q <= 1'b1;

      if (first_i) pay_left_q <= 4'd8;
      else if (pay_shift) pay_left_q <= pay_left_q - 4'd1;
    end
  end

  // ---- name

  // object and index lie in one beat, of a member in the second half of one and the first of the next: both are kept
  // and read back, first the object, then the index for as long as the handler is at it
  localparam int unsigned NameRows = saf_shell_pkg::BlockRamBits / 64;
  localparam int unsigned NameBits = $clog2(NameRows);
  logic asks_index;
  assign asks_index = name_i || pad_i || handle_i;

  saf_ram_2clk_narrow #(
    .Width(64),
    .Depth(NameRows),
    .Parts(2)
  ) u_names (
    .wr_clk_i(clk_i),
    .wr_en_i(name_first_i || name_second_i || (beat_i && !member_i && pos_i == NameBeat)),
    .wr_addr_i(NameBits'(name_second_i)),
    .wr_data_i(rd_data_i),
    .rd_clk_i(clk_i),
    .rd_en_i(1'b1),
    .rd_addr_i({NameBits'(asks_index && member_i), asks_index == member_i}),
    .rd_data_o(name)
  );

  assign pay_o = pay_q;
  always_comb begin
    req_o = cf_req_i;
    req_o.session = session_i;  // what is handed on is the session's
    req_o.sequence_ = sequence_q;
    req_o.object = object_q;
    req_o.index = name;
    if (member_i) begin
      req_o.opcode = is_run_i ? saf_pkg::OpcodeRun : saf_pkg::OpcodeCommit;
      req_o.length = pay_bytes_i;
    end
  end

endmodule
