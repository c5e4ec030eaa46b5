// OpenCL kernel interface of an Intel board package, with the role's kernels behind it in the simulator (DPI).
//
// Data flow: writes go to the simulator's registers at once; a read gets its data ReadCycles later. What the registers
// are (version, CRA segment, reset, CRA windows, role ROM) is in saf_cosim_kernels.h.
// Latency: ReadCycles. Reset: outstanding reads are forgotten. Back-pressure: none, but for hang_i: a role that hangs the
// bus, which then never answers.

module saf_kernel_model #(
    parameter int unsigned ReadCycles = 4
) (
    input logic clk_i,
    input logic rst_ni,
    input logic [63:0] context_i,  // the simulator's card
    input logic hang_i,
    input logic [15:0] address_i,
    input logic read_i,
    input logic write_i,
    input logic [63:0] writedata_i,
    input logic [7:0] byteenable_i,
    output logic waitrequest_o,
    output logic [63:0] readdata_o,
    output logic readdatavalid_o,
    input logic reset_i,
    output logic busy_o
);

  import "DPI-C" function void saf_dpi_krn_write(
    input longint unsigned card,
    input int unsigned address,
    input longint unsigned data,
    input int unsigned enable
  );
  import "DPI-C" function longint unsigned saf_dpi_krn_read(
    input longint unsigned card,
    input int unsigned address
  );
  import "DPI-C" function void saf_dpi_krn_reset(input longint unsigned card);

  logic [ReadCycles-1:0] valid_q;
  logic [63:0] data_q[ReadCycles];
  logic reset_q;

  assign waitrequest_o = hang_i;
  assign readdatavalid_o = valid_q[ReadCycles-1];
  assign readdata_o = data_q[ReadCycles-1];
  assign busy_o = read_i || write_i || valid_q != '0;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q <= '0;
      reset_q <= 1'b0;
      for (int unsigned i = 0; i < ReadCycles; i++) data_q[i] <= '0;
    end else begin
      reset_q <= reset_i;
      if (reset_i && !reset_q) saf_dpi_krn_reset(context_i);
      for (int unsigned i = 1; i < ReadCycles; i++) data_q[i] <= data_q[i-1];
      valid_q <= {valid_q[ReadCycles-2:0], read_i && !waitrequest_o};
      if (read_i && !waitrequest_o) data_q[0] <= saf_dpi_krn_read(context_i, 32'(address_i));
      if (write_i && !waitrequest_o) saf_dpi_krn_write(context_i, 32'(address_i), writedata_i, 32'(byteenable_i));
    end
  end

endmodule
