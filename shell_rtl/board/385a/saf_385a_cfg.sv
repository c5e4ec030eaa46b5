// What a card is told before it starts: addresses, serial number, key. An Avalon-MM agent of 32-bit words for whoever sits
// on the card's own side (JTAG-to-Avalon bridge, PCIe BAR), never for the network; values of the base image until written.
//
// Words: 0–3 serial (ASCII, first byte in the most significant byte of word 0), 4–5 MAC 0 (word 4: upper 16 bits), 6–7 MAC 1,
// 8–15 card key (write only, reads zero), 16 MTU, 17 control: bit 0 hold (the shell stays in reset while set), bit 1 the
// key counts. Writing while the shell runs takes effect when hold is set and cleared again.
// Latency: writes one cycle, reads one cycle. Reset: the base image's values, not held.

module saf_385a_cfg
  import saf_shell_pkg::*;
#(
    parameter logic [127:0] Serial = '0,
    parameter logic [47:0] Mac0 = 48'h02_53_41_46_00_01,
    parameter logic [47:0] Mac1 = 48'h02_53_41_47_00_01,
    parameter logic [255:0] Key = '0,
    parameter bit KeyValid = 1'b0,
    parameter logic [15:0] Mtu = 16'd9000,
    parameter bit Hold = 1'b0
) (
    input logic clk_i,
    input logic rst_ni,

    input logic [4:0] cfg_address_i,
    input logic cfg_read_i,
    input logic cfg_write_i,
    input logic [31:0] cfg_writedata_i,
    output logic [31:0] cfg_readdata_o,

    output cfg_t cfg_o,
    output logic hold_o
);

  if (Mac0[40] || Mac1[40]) begin : gen_bad_mac
    $fatal(1, "a card's address is a unicast one");
  end
  if (Mtu < 1500 || Mtu > 9000) begin : gen_bad_mtu
    $fatal(1, "MTU from 1500 to 9000");
  end

  // words lie in the order of their bytes: the first is the most significant
  logic [1:0] serial_word;
  logic [2:0] key_word;
  assign serial_word = ~cfg_address_i[1:0];
  assign key_word = ~cfg_address_i[2:0];

  logic [127:0] serial_q;
  logic [63:0] mac0_q, mac1_q;
  logic [255:0] key_q;
  logic [15:0] mtu_q;
  logic hold_q, key_valid_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      serial_q <= Serial;
      mac0_q <= {16'd0, Mac0};
      mac1_q <= {16'd0, Mac1};
      key_q <= Key;
      mtu_q <= Mtu;
      hold_q <= Hold;
      key_valid_q <= KeyValid;
    end else if (cfg_write_i) begin
      unique case (cfg_address_i)
        5'd0, 5'd1, 5'd2, 5'd3: serial_q[{serial_word, 5'd0}+:32] <= cfg_writedata_i;
        5'd4: mac0_q[63:32] <= cfg_writedata_i;
        5'd5: mac0_q[31:0] <= cfg_writedata_i;
        5'd6: mac1_q[63:32] <= cfg_writedata_i;
        5'd7: mac1_q[31:0] <= cfg_writedata_i;
        5'd8, 5'd9, 5'd10, 5'd11, 5'd12, 5'd13, 5'd14, 5'd15: key_q[{key_word, 5'd0}+:32] <= cfg_writedata_i;
        5'd16: mtu_q <= cfg_writedata_i[15:0];
        5'd17: {key_valid_q, hold_q} <= cfg_writedata_i[1:0];
        default: ;  // reserved words take no value
      endcase
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      cfg_readdata_o <= '0;
    end else if (cfg_read_i) begin
      unique case (cfg_address_i)
        5'd0, 5'd1, 5'd2, 5'd3: cfg_readdata_o <= serial_q[{serial_word, 5'd0}+:32];
        5'd4: cfg_readdata_o <= mac0_q[63:32];
        5'd5: cfg_readdata_o <= mac0_q[31:0];
        5'd6: cfg_readdata_o <= mac1_q[63:32];
        5'd7: cfg_readdata_o <= mac1_q[31:0];
        5'd16: cfg_readdata_o <= {16'd0, mtu_q};
        5'd17: cfg_readdata_o <= {30'd0, key_valid_q, hold_q};
        default: cfg_readdata_o <= '0;
      endcase
    end
  end

  assign hold_o = hold_q;

  always_comb begin
    cfg_o = '0;
    cfg_o.serial = serial_q;
    cfg_o.mac0 = mac0_q[47:0];
    cfg_o.mac1 = mac1_q[47:0];
    cfg_o.key = key_q;
    cfg_o.key_valid = key_valid_q;
    cfg_o.mtu = mtu_q;
    cfg_o.receive_rate = 32'd1_250_000_000;  // 10 Gb/s: the receive path never falls behind
    cfg_o.window_blocks = 32'd4096;
    cfg_o.emulated = 1'b0;
    cfg_o.pr_compat_id = saf_pkg::PrCompatId;
    cfg_o.ethertypes[EtDiscovery] = saf_pkg::EthertypeDiscovery;
    cfg_o.ethertypes[EtImage] = saf_pkg::EthertypeImage;
    cfg_o.ethertypes[EtImageAnswer] = saf_pkg::EthertypeImageAnswer;
    cfg_o.ethertypes[EtInput] = saf_pkg::EthertypeInput;
    cfg_o.ethertypes[EtInputAnswer] = saf_pkg::EthertypeInputAnswer;
    cfg_o.ethertypes[EtControl] = saf_pkg::EthertypeControl;
    cfg_o.ethertypes[EtResult] = saf_pkg::EthertypeResult;
  end

  // the upper halves of the words that hold 48-bit addresses
  logic unused;
  assign unused = ^{mac0_q[63:48], mac1_q[63:48]};

endmodule
