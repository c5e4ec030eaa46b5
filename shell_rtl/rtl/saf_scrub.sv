// Zeroes what was written of the role's DDR since the last scrub, in regions of 1 MiB. DDR clock.
//
// Data flow: writes below RoleBytes set their region's bit in the dirty map (touch_*); a scrub reads the map, a bit a cycle, and
// writes zeros over each region whose bit is set, a row a cycle. What is written meanwhile makes it go over the map again.
// Reset: the map is cleared, 7,168 cycles, and the word at ZeroBase is set to zero; until then ready_o is low and nobody may
// write. Nothing counts as dirty then: DDR from before the reset is not scrubbed.
// Back-pressure: a row holds until the port takes it.

module saf_scrub
  import saf_shell_pkg::*;
#(
    parameter int unsigned Regions = 7168,  // RoleBytes / 1 MiB
    parameter int unsigned RegionRowBits = 14
) (
    input logic ddr_clk_i,
    input logic ddr_rst_ni,

    input logic want_i,  // held until done_o
    output logic done_o,  // held until want_i falls
    output logic busy_o,
    output logic ready_o,
    input logic zeros_i,  // the row of zeros is there

    input logic touch_i,  // a row was written
    input logic [DdrWordBits-1:0] touch_addr_i,

    output logic out_valid_o,
    input logic out_ready_i,
    output logic [DdrWordBits-1:0] out_addr_o
);

  localparam int unsigned RegionBits = $clog2(Regions);
  localparam logic [DdrWordBits-1:0] ZeroWord = ZeroBase[AddrBits-1:$clog2(DdrBytes)];
  localparam logic [DdrWordBits-1:0] RoleRows = RoleBytes[AddrBits-1:$clog2(DdrBytes)];

  typedef enum logic [2:0] {
    StClear,
    StZero,
    StIdle,
    StFirst,
    StScan,
    StClean,
    StRegion
  } state_e;

  state_e state_q, state_d;
  logic [RegionBits-1:0] region_q, region_d;
  logic [RegionRowBits-1:0] row_q, row_d;
  logic again_q, done_q, done;
  logic map_we, map_set, map_re, map_bit, touched, is_end;
  logic [RegionBits-1:0] map_wr_addr, map_rd_addr;

  assign touched = touch_i && touch_addr_i < RoleRows;
  assign map_set = touched;
  assign map_wr_addr = touched ? touch_addr_i[RegionRowBits+:RegionBits] : region_q;
  assign is_end = region_q == RegionBits'(Regions - 1);
  assign ready_o = state_q != StClear && state_q != StZero;
  assign busy_o = ready_o && (state_q != StIdle || (want_i && !done_q));
  assign done_o = done_q;
  assign out_addr_o = state_q == StZero ? ZeroWord : DdrWordBits'({region_q, row_q});

  saf_ram_1r1w #(
      .Width(1),
      .Depth(Regions)
  ) u_map (
      .clk_i(ddr_clk_i),
      .wr_en_i(map_we || touched),
      .wr_addr_i(map_wr_addr),
      .wr_data_i(map_set),
      .rd_en_i(map_re),
      .rd_addr_i(map_rd_addr),
      .rd_data_o(map_bit)
  );

  always_comb begin
    state_d = state_q;
    region_d = region_q;
    row_d = row_q;
    map_we = 1'b0;
    map_re = 1'b0;
    map_rd_addr = region_q;
    out_valid_o = 1'b0;
    done = 1'b0;
    case (state_q)
      StClear: begin
        map_we = 1'b1;
        region_d = is_end ? '0 : region_q + 1'b1;
        if (is_end) state_d = StZero;
      end
      StZero: begin
        out_valid_o = zeros_i;
        if (zeros_i && out_ready_i) state_d = StIdle;
      end
      StIdle: if (want_i && !done_q) state_d = StFirst;
      StFirst: begin  // asks for region_q's bit
        map_re = 1'b1;
        state_d = StScan;
      end
      StScan: begin  // region_q's bit is there; asks for the next one's
        map_re = 1'b1;
        map_rd_addr = region_q + 1'b1;
        if (map_bit) begin
          state_d = StClean;
        end else begin
          region_d = is_end ? '0 : region_q + 1'b1;
          if (is_end) begin
            state_d = again_q ? StFirst : StIdle;
            done = !again_q;
          end
        end
      end
      StClean: begin  // the bit before the rows: what is written from now on counts again
        map_we = 1'b1;
        if (!touched) state_d = StRegion;
      end
      StRegion: begin
        out_valid_o = 1'b1;
        if (out_ready_i) begin
          row_d = row_q + 1'b1;
          if (&row_q) begin
            region_d = is_end ? '0 : region_q + 1'b1;
            state_d = StFirst;
            if (is_end && !again_q) begin
              state_d = StIdle;
              done = 1'b1;
            end
          end
        end
      end
      default: state_d = StClear;
    endcase
  end

  always_ff @(posedge ddr_clk_i or negedge ddr_rst_ni) begin
    if (!ddr_rst_ni) begin
      state_q <= StClear;
      region_q <= '0;
      row_q <= '0;
      again_q <= 1'b0;
      done_q <= 1'b0;
    end else begin
      state_q <= state_d;
      region_q <= region_d;
      row_q <= row_d;
      done_q <= done || (done_q && want_i);
      // a pass that saw a write is followed by another
      if (state_q == StIdle) again_q <= 1'b0;
      else if (is_end && region_d == '0) again_q <= touched;
      else if (touched) again_q <= 1'b1;
    end
  end

endmodule
