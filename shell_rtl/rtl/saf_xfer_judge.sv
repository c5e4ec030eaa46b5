// The fields of an XFER_OPEN, in the order in which the first wrong one names the status.
//
// Combinational; product_i is blocks × (block_bytes / 64), made by saf_xfer_mul beforehand. It decides
// blocks = ceil(length / block_bytes) without a division: 0 <= blocks × block_bytes − length < block_bytes.

module saf_xfer_judge
  import saf_shell_pkg::*;
(
    input cfg_t cfg_i,
    input ctl_req_t req_i,
    input saf_pkg::xfer_open_t ask_i,
    input logic [39:0] product_i,
    input logic commit_active_i,
    input logic [1:0] commit_slot_i,
    output logic [5:0] status_o,
    output logic is_image_o,
    output logic [15:0] last_bytes_o,  // of the last block
    output logic [LeafBits-1:0] leaves_o,
    output logic [16:0] last_leaf_bytes_o
);

  logic is_ddr, fits, base_fits, ddr_blocks_fit, image_blocks_fit, image_fits;
  logic [34:0] base_end;
  logic [10:0] mtu_room, asked_room;
  logic [11:0] mtu_left;
  logic [8:0] over_units;
  logic [7:0] units;
  logic [FrameBytesBits-1:0] full;
  logic [46:0] over;  // bytes by which the blocks are more than the object
  logic unused;

  if (RoleBytes != 34'h1_C000_0000 || ImageSlotBytes != 34'h0E00_0000 || saf_pkg::DdrMaxBlocks != 65536
      || saf_pkg::ImageMaxBlocks != 131072) begin : gen_check
    $fatal(1, "the comparisons below are made for other constants");
  end

  assign is_image_o = ask_i.kind == saf_pkg::TransferKindImage;
  assign is_ddr = ask_i.kind == saf_pkg::TransferKindDdr;

  // a frame holds 14 bytes more than the MTU, of which 40 are the header: block_bytes <= mtu - 26, in units of 64
  assign units = ask_i.block_bytes[13:6];
  assign mtu_room = {cfg_i.mtu[15:6], cfg_i.mtu[5:0] >= 6'd26};
  assign asked_room = {ask_i.block_bytes[15:6], 1'b1};
  assign mtu_left = {1'b0, mtu_room} - {1'b0, asked_room};
  // the frame must be as long as a full DATA frame (40 more than the block), or as short as XFER_OPEN can be: 104, 120 with
  // its tag
  assign full = {units, cfg_i.key_valid && units == 8'd1 ? 6'd56 : 6'd40};

  assign over = {1'b0, product_i, 6'd0} - {1'b0, ask_i.length[45:0]};
  assign over_units = {1'b0, over[13:6]} - {1'b0, units};
  assign fits = ask_i.length != '0 && ask_i.length[63:46] == '0 && over[46:14] == '0
      && over_units[8];
  assign last_bytes_o = {2'b00, ask_i.block_bytes[13:0] - over[13:0]};

  // length is at most 65,536 blocks of less than 16 KiB where this counts; RoleBytes is 7 × 2^30
  assign base_end = {1'b0, ask_i.base[33:0]} + {5'd0, ask_i.length[29:0]};
  assign base_fits = ask_i.base[63:34] == '0 && base_end[34:33] == '0
      && (base_end[32:30] != '1 || base_end[29:0] == '0);
  // comparisons with constants, by hand: of so many bits they would become subtractions
  assign ddr_blocks_fit = ask_i.blocks[31:17] == '0 && (!ask_i.blocks[16] || ask_i.blocks[15:0] == '0);
  assign image_blocks_fit = ask_i.blocks[31:18] == '0 && (!ask_i.blocks[17] || ask_i.blocks[16:0] == '0);
  assign image_fits = ask_i.length[45:28] == '0 && (ask_i.length[27:25] != '1 || ask_i.length[24:0] == '0);

  assign leaves_o = ask_i.length[16+:LeafBits] + LeafBits'(|ask_i.length[15:0]);
  assign last_leaf_bytes_o = {ask_i.length[15:0] == '0, ask_i.length[15:0]};

  always_comb begin
    status_o = 6'(saf_pkg::StatusOk);
    if (!is_image_o && !is_ddr) status_o = 6'(saf_pkg::StatusBadParameter);
    else if (ask_i.block_bytes[5:0] != '0 || ask_i.block_bytes == '0 || mtu_left[11]
             || ask_i.block_bytes[15:14] != '0)
      status_o = 6'(saf_pkg::StatusBadBlockSize);
    else if (req_i.frame_bytes != full) status_o = 6'(saf_pkg::StatusBadParameter);
    else if (req_i.etype != (is_image_o ? EtImage : EtInput)) status_o = 6'(saf_pkg::StatusBadParameter);
    else if (!fits) status_o = 6'(saf_pkg::StatusBadParameter);
    else if (is_ddr) begin
      if (!ddr_blocks_fit) status_o = 6'(saf_pkg::StatusTooLarge);
      else if (!base_fits) status_o = 6'(saf_pkg::StatusBadRange);
    end else begin
      if (ask_i.slot >= 8'(saf_pkg::ImageSlots)) status_o = 6'(saf_pkg::StatusBadSlot);
      else if (!image_blocks_fit || !image_fits) status_o = 6'(saf_pkg::StatusTooLarge);
      else if (commit_active_i && commit_slot_i == ask_i.slot[1:0]) status_o = 6'(saf_pkg::StatusBusy);
    end
  end

  assign unused = ^{ask_i, req_i, cfg_i, mtu_left, over_units};

endmodule
