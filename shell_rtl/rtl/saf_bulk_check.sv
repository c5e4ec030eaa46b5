// Which DATA frames a card takes, as far as that is decided without the bitmap.
//
// Purpose: reasons in the order of the virtual card: session, source, direction, EtherType, transfer, session or group,
// EtherType of the transfer, state, block number, block length, plain block under repair. For a frame that passes, the
// block's address. It also keeps the table of contexts and fills it when a transfer opens.
// Data flow: descriptor (held by its queue while it is looked at) → ids of the contexts one a cycle → the context's entry →
// judge → out_* with the address; a dropped frame goes on as well (out_drop_o), because frames leave the frame RAM in order.
// Latency: 4 to 7 cycles, one frame at a time. Reset: idle, tables unknown (ctx_valid_i masks them).
// Back-pressure: out_ready_i. Constraints: block size a multiple of 64; the open_* fields hold from open_valid_i to done.

`include "saf_assert.svh"

module saf_bulk_check
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,
    input session_view_t session_i,
    input logic [Contexts-1:0] ctx_valid_i,
    input logic [Contexts-1:0] ctx_rx_i,
    input logic [Contexts-1:0] ctx_guarded_i,
    // a transfer opens: ready_o is high once its entry is in force, until open_done_i
    input logic open_valid_i,
    input logic open_done_i,
    output logic open_ready_o,
    input logic [1:0] open_ctx_i,
    input logic [31:0] open_id_i,
    input logic [31:0] open_group_i,
    input etype_e open_etype_i,
    input logic [AddrBits-1:0] open_base_i,
    input logic [15:0] open_block_bytes_i,
    input logic [BlockBits-1:0] open_blocks_i,
    input logic [15:0] open_last_bytes_i,
    output logic bound_set_o,
    output logic [AddrBits-1:0] bound_base_o,
    output logic [AddrBits-1:0] bound_limit_o,
    // frames in
    input logic df_valid_i,
    output logic df_ready_o,
    input data_desc_t df_desc_i,
    // frames out
    output logic out_valid_o,
    input logic out_ready_i,
    output logic out_drop_o,
    output logic out_guarded_o,
    output logic [1:0] out_ctx_o,
    output logic [BlockBits-2:0] out_index_o,
    output logic [FrameBytesBits-1:0] out_bytes_o,
    output logic [AddrBits-1:0] out_addr_o,
    // a frame of out_ctx_o has passed and waits
    output logic passed_o,
    output logic drop_valid_o,
    output logic [4:0] drop_reason_o,
    output logic stranger_valid_o
);

  localparam int unsigned UnitBits = 6;  // saf_pkg::BlockMultiple is 64

  typedef struct packed {
    logic [31:0] group;
    logic image;  // carried by frames of image type; else of input type
    logic [BlockBits-1:0] blocks;
    logic [15-UnitBits:0] block_units;  // of 64 bytes
    logic [FrameBytesBits-1:0] last_bytes;
    logic [AddrBits-1:0] base;
  } entry_t;

  typedef enum logic [2:0] {
    StIdle,
    StFind,
    StJudge,
    StOut,
    StOpenRead,
    StOpenMultiply,
    StOpenSet
  } state_e;

  state_e state_q;
  logic [1:0] ctx_q;
  logic found_q, pass_q, stranger_q, open_ready_q;
  logic [4:0] reason_q;
  logic [AddrBits-UnitBits-1:0] offset_q;  // of the block in the object, in units of 64 bytes

  // -- the table of contexts

  entry_t entry;
  logic [31:0] id;
  logic set, find_rd, entry_rd, match;
  logic [1:0] find_ctx;

  assign set = state_q == StIdle && open_valid_i && !open_ready_q;
  assign find_rd = state_q == StIdle || state_q == StFind;
  assign find_ctx = state_q == StFind ? ctx_q + 1'b1 : '0;
  assign match = ctx_valid_i[ctx_q] && id == df_desc_i.object;
  assign entry_rd = (state_q == StFind && match) || state_q == StOpenRead;

  saf_ram_few #(
      .Width(32),
      .Words(Contexts)
  ) u_ids (
      .clk_i,
      .wr_en_i(set),
      .wr_addr_i(open_ctx_i),
      .wr_data_i(open_id_i),
      .rd_en_i(find_rd),
      .rd_addr_i(find_ctx),
      .rd_data_o(id)
  );

  saf_ram_few #(
      .Width($bits(entry_t)),
      .Words(Contexts)
  ) u_entries (
      .clk_i,
      .wr_en_i(set),
      .wr_addr_i(open_ctx_i),
      .wr_data_i({
        open_group_i,
        open_etype_i == EtImage,
        open_blocks_i,
        open_block_bytes_i[15:UnitBits],
        open_last_bytes_i[FrameBytesBits-1:0],
        open_base_i
      }),
      .rd_en_i(entry_rd),
      .rd_addr_i(ctx_q),
      .rd_data_o(entry)
  );

  // -- the judge: the first reason that holds

  logic own_session, of_group, is_last, bad_index, plain_in_repair;
  logic [BlockBits-1:0] last_block;
  logic [15:0] wanted_bytes;
  logic pass;
  logic [4:0] reason;

  assign own_session = df_desc_i.session == session_i.id;
  assign of_group = entry.group != '0 && df_desc_i.session == entry.group;
  assign last_block = entry.blocks - 1'b1;
  assign bad_index = df_desc_i.index[31:BlockBits] != '0 || !(df_desc_i.index[BlockBits-1:0] < entry.blocks);
  assign is_last = df_desc_i.index[BlockBits-1:0] == last_block;
  assign wanted_bytes = is_last ? 16'(entry.last_bytes) : {entry.block_units, UnitBits'(0)};
  assign plain_in_repair = ctx_guarded_i[ctx_q] && !df_desc_i.guarded;

  always_comb begin
    pass = 1'b0;
    reason = 5'(saf_pkg::DropReasonWrongSession);
    if (!session_i.open) reason = 5'(saf_pkg::DropReasonWrongSession);
    else if (df_desc_i.src != session_i.host) reason = 5'(saf_pkg::DropReasonWrongSource);
    else if (df_desc_i.etype == EtResult) reason = 5'(saf_pkg::DropReasonWrongDirection);
    else if (df_desc_i.etype != EtImage && df_desc_i.etype != EtInput) reason = 5'(saf_pkg::DropReasonWrongEthertype);
    else if (!found_q) reason = own_session ? 5'(saf_pkg::DropReasonNoContext) : 5'(saf_pkg::DropReasonWrongSession);
    else if (!own_session && !of_group) reason = 5'(saf_pkg::DropReasonWrongSession);
    else if ((df_desc_i.etype == EtImage) != entry.image) reason = 5'(saf_pkg::DropReasonWrongEthertype);
    else if (!ctx_rx_i[ctx_q]) reason = 5'(saf_pkg::DropReasonNotReceiving);
    else if (bad_index) reason = 5'(saf_pkg::DropReasonIndexOutOfRange);
    else if (df_desc_i.length != wanted_bytes) reason = 5'(saf_pkg::DropReasonBadBlockLength);
    else if (plain_in_repair) reason = 5'(saf_pkg::DropReasonUnguarded);
    else pass = 1'b1;
  end

  // -- address: base + index × block size; at open the same multiplier finds the last block's

  logic [BlockBits-2:0] factor;
  logic [AddrBits-1:0] addr;

  assign factor = state_q == StOpenMultiply ? last_block[BlockBits-2:0] : df_desc_i.index[BlockBits-2:0];
  assign addr = entry.base + {offset_q, UnitBits'(0)};
  assign bound_set_o = state_q == StOpenSet;
  assign bound_base_o = entry.base;
  assign bound_limit_o = addr + AddrBits'(entry.last_bytes);
  assign open_ready_o = open_ready_q;

  // -- out

  logic leaves;

  assign out_valid_o = state_q == StOut;
  assign out_drop_o = !pass_q;
  assign out_guarded_o = df_desc_i.guarded;
  assign out_ctx_o = ctx_q;
  assign out_index_o = df_desc_i.index[BlockBits-2:0];
  assign out_bytes_o = df_desc_i.length[FrameBytesBits-1:0];
  assign out_addr_o = addr;
  assign passed_o = out_valid_o && pass_q;
  assign leaves = out_valid_o && out_ready_i;
  assign df_ready_o = leaves;
  assign drop_valid_o = leaves && !pass_q;
  assign drop_reason_o = reason_q;
  assign stranger_valid_o = drop_valid_o && stranger_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      ctx_q <= '0;
      found_q <= 1'b0;
      pass_q <= 1'b0;
      stranger_q <= 1'b0;
      open_ready_q <= 1'b0;
      reason_q <= '0;
      offset_q <= '0;
    end else begin
      if (open_done_i) open_ready_q <= 1'b0;
      case (state_q)
        StIdle: begin
          ctx_q <= set ? open_ctx_i : '0;
          found_q <= 1'b0;
          if (set) state_q <= StOpenRead;
          else if (df_valid_i) state_q <= StFind;
        end
        StFind: begin
          found_q <= match;
          if (match || ctx_q == 2'(Contexts - 1)) state_q <= StJudge;
          else ctx_q <= ctx_q + 1'b1;
        end
        StJudge: begin
          pass_q <= pass;
          reason_q <= reason;
          stranger_q <= !session_i.open && !df_desc_i.bcast;
          offset_q <= (AddrBits - UnitBits)'(factor) * (AddrBits - UnitBits)'(entry.block_units);
          state_q <= StOut;
        end
        StOut: if (out_ready_i) state_q <= StIdle;
        StOpenRead: state_q <= StOpenMultiply;
        StOpenMultiply: begin
          offset_q <= (AddrBits - UnitBits)'(factor) * (AddrBits - UnitBits)'(entry.block_units);
          state_q <= StOpenSet;
        end
        StOpenSet: begin
          open_ready_q <= 1'b1;
          state_q <= StIdle;
        end
        default: state_q <= StIdle;
      endcase
    end
  end

  // the guard reads what it needs from the frame; sizes beyond a frame's are refused before a transfer opens
  logic unused_input;
  assign unused_input = ^{df_desc_i.sequence_, df_desc_i.head14, df_desc_i.head22, open_block_bytes_i[UnitBits-1:0],
                          open_last_bytes_i[15:FrameBytesBits], session_i.block_limit, session_i.key_bank};

  `SAF_ASSERT(AssertDescriptorHeld, state_q inside {StIdle, StOpenRead, StOpenMultiply, StOpenSet} || df_valid_i)
  `SAF_ASSERT(AssertBlockMultiple, !set || open_block_bytes_i[UnitBits-1:0] == '0)
  `SAF_ASSERT(AssertOpenWhileQuiet, !set || !ctx_rx_i[open_ctx_i])

endmodule
