// Gives leaf jobs to lanes: takes turns between clients, writes the job's initial chaining value (init_*), gives the read
// command, and only then takes the job from its client, so that nothing of it needs to be kept here.
//
// Latency: three cycles from job_valid_i to the read command. Reset: idle. Back-pressure: a job waits while both lanes have
// one, so a client has up to two in flight.

module saf_leaf_dispatch
  import saf_shell_pkg::*;
(
    input logic clk_i,
    input logic rst_ni,

    input logic [1:0] job_valid_i,
    output logic [1:0] job_ready_o,
    input leaf_job_t [1:0] job_i,

    output logic init_valid_o,
    input logic init_ready_i,

    output logic [1:0] rd_valid_o,
    input logic [1:0] rd_ready_i,

    // the job under dispatch, its lane and client
    output leaf_job_t job_o,
    output logic lane_o,
    output logic client_o,
    input logic [1:0] lane_free_i,
    output logic [1:0] lane_start_o
);

  typedef enum logic [1:0] {
    StPick,
    StInit,
    StRead
  } state_e;

  state_e state_q;
  logic client_q, lane_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StPick;
      client_q <= 1'b0;
      lane_q <= 1'b0;
    end else begin
      case (state_q)
        StPick:
        if (|job_valid_i && |lane_free_i) begin
          state_q <= StInit;
          client_q <= job_valid_i[!client_q] ? !client_q : client_q;
          lane_q <= !lane_free_i[0];
        end
        StInit: if (init_ready_i) state_q <= StRead;
        default: if (rd_ready_i[lane_q]) state_q <= StPick;
      endcase
    end
  end

  assign job_o = job_i[client_q];
  assign lane_o = lane_q;
  assign client_o = client_q;
  assign init_valid_o = state_q == StInit;

  always_comb begin
    rd_valid_o = '0;
    lane_start_o = '0;
    job_ready_o = '0;
    rd_valid_o[lane_q] = state_q == StRead;
    if (state_q == StRead && rd_ready_i[lane_q]) begin
      lane_start_o[lane_q] = 1'b1;
      job_ready_o[client_q] = 1'b1;
    end
  end

endmodule
