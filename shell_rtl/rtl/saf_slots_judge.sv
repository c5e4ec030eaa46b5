// What can be said of a RUN by looking at its payload: epoch and push, which need neither slot nor role ROM, in the
// reference's order. Combinational. Its work sizes are looked at as they are copied (saf_slots_sizes).

module saf_slots_judge
  import saf_shell_pkg::*;
(
    // verilator lint_off UNUSEDSIGNAL
    input logic [511:0] pay_i,
    // verilator lint_on UNUSEDSIGNAL
    input logic [15:0] length_i,
    // verilator lint_off UNUSEDSIGNAL
    input logic [15:0] block_limit_i,  // a multiple of 64
    // verilator lint_on UNUSEDSIGNAL
    input logic [31:0] epoch_i,
    output logic [15:0] status_o,  // epoch and push
    output logic push_o,
    output logic empty_o,  // the kernel built into the shell
    output logic [15:0] bytes_o  // of arguments
);

  localparam logic [15:0] EmptyKernel = 16'hFFFF;
  localparam int unsigned MaxBit = $clog2(saf_pkg::ReadMaxBytes);
  localparam int unsigned RoleBit = 30;
  localparam logic [AddrBits-RoleBit-1:0] RoleTop = RoleBytes[AddrBits-1:RoleBit];

  if (RoleBytes[RoleBit-1:0] != '0 || saf_pkg::ReadMaxBytes != 1 << MaxBit) begin : gen_bad
    $error("saf_slots_judge: RoleBytes and ReadMaxBytes are not as round as is relied on");
  end

  // verilator lint_off UNUSEDSIGNAL
  logic [31:0] push_bytes;
  logic [63:0] push_address;
  // verilator lint_on UNUSEDSIGNAL
  logic too_large, outside, carries, ends_inside;
  logic [15:0] push_block;

  assign empty_o = pay_i[479:464] == EmptyKernel;
  assign push_o = pay_i[448];
  assign push_address = pay_i[383:320];
  assign push_bytes = pay_i[319:288];
  assign push_block = pay_i[287:272];
  // more than ReadMaxBytes, a power of two
  assign too_large = |push_bytes[31:MaxBit+1] || (push_bytes[MaxBit] && |push_bytes[MaxBit-1:0]);
  // behind RoleBytes, a multiple of 2^RoleBit: from a smaller address only what begins in the last ReadMaxBytes below it gets there
  logic [MaxBit-1:0] last_bytes;
  assign {carries, last_bytes} = {1'b0, push_address[MaxBit-1:0]} + {1'b0, push_bytes[MaxBit-1:0]};
  assign ends_inside = push_bytes[MaxBit] ? push_address[MaxBit-1:0] == '0 : !carries || last_bytes == '0;
  assign outside = |push_address[63:AddrBits] || push_address[AddrBits-1:RoleBit] >= RoleTop
      || (push_address[AddrBits-1:RoleBit] == RoleTop - 1'b1 && &push_address[RoleBit-1:MaxBit] && !ends_inside);
  assign bytes_o = length_i - 16'(saf_pkg::RunBytes);

  always_comb begin
    status_o = saf_pkg::StatusOk;
    if (pay_i[511:480] != epoch_i) begin
      status_o = saf_pkg::StatusBadEpoch;
    end else if (push_o) begin
      if (push_bytes == '0) status_o = saf_pkg::StatusBadParameter;
      else if (too_large) status_o = saf_pkg::StatusTooLarge;
      else if (push_block[5:0] != '0 || push_block == '0 || push_block[15:6] > block_limit_i[15:6])
        status_o = saf_pkg::StatusBadBlockSize;
      else if (outside) status_o = saf_pkg::StatusBadRange;
    end
  end

endmodule
