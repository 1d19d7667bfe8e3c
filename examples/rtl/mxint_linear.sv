// A fully connected layer of MXInt: OUT outputs of BLOCKS * N inputs, PARALLEL of them a cycle, a block a cycle.
//
// Exact until its end. A block's dot product mo * 2**eo is added to a sum in units of 2**EMIN, so it moves left by
// eo - EMIN. Blocks that are not zero must have EMIN <= eo <= EMAX; `outside` is 1 with a result for which that failed.
// The sum of BLOCKS blocks and the bias fits SUM bits, so nothing can overflow. Then it is rounded once, to nearest
// even, to OW bits with OF of them behind the point, and saturated. The bias is such a number, too.
//
// 1. A row of weights, with its scales and its bias, is written at w_valid.
// 2. Inputs are taken at in_valid, while in_ready is 1. out_valid is 1 for one cycle with all outputs, OUT / PARALLEL *
//    BLOCKS + 1 rising edges after that of in_valid.
// Synchronous reset; it does not touch the weights. PARALLEL divides OUT; EMIN <= -OF.
module mxint_linear #(
    parameter int N = 4,
    parameter int W = 8,
    parameter int F = W - 2,
    parameter int BLOCKS = 4,
    parameter int OUT = 8,
    parameter int PARALLEL = 2,
    parameter int EMIN = -28,
    parameter int EMAX = 4,
    parameter int OW = 16,
    parameter int OF = 8,
    localparam int ROW = OUT > 1 ? $clog2(OUT) : 1
) (
    input  logic                    clk,
    input  logic                    rst,
    input  logic                    w_valid,
    input  logic [ROW-1:0]          w_row,
    input  logic [BLOCKS*N*W-1:0]   mw,
    input  logic [BLOCKS*8-1:0]     ew,
    input  logic signed [OW-1:0]    bias,
    input  logic                    in_valid,
    output logic                    in_ready,
    input  logic [BLOCKS*N*W-1:0]   mx,
    input  logic [BLOCKS*8-1:0]     ex,
    output logic                    out_valid,
    output logic                    outside,
    output logic [OUT*OW-1:0]       y
);
  localparam int MO = 2 * W + $clog2(N);
  localparam int EO = 10;
  localparam int DROP = -OF - EMIN;  // bits of the sum below the output's last
  localparam int PRODUCTS = MO + EMAX - EMIN + $clog2(BLOCKS);
  localparam int SUM = (PRODUCTS > OW + DROP ? PRODUCTS : OW + DROP) + 1;
  localparam int GROUPS = OUT / PARALLEL;

  initial begin
    if (OUT % PARALLEL != 0 || DROP < 0 || EMAX < EMIN) $fatal(1, "mxint_linear has no such parameters");
  end

  logic [BLOCKS*N*W-1:0] weights[OUT];
  logic [BLOCKS*8-1:0] scales[OUT];
  logic signed [OW-1:0] biases[OUT];

  logic [BLOCKS*N*W-1:0] x;
  logic [BLOCKS*8-1:0] x_scales;
  logic busy, first, last, final_group, sum_first, sum_last, sum_final;
  int group, block, sum_group;
  logic [PARALLEL-1:0] dot_valid, wrong;

  always_ff @(posedge clk) begin
    if (w_valid) begin
      weights[w_row] <= mw;
      scales[w_row] <= ew;
      biases[w_row] <= bias;
    end
  end

  // Stage 1: which block of which rows the dot products see.
  assign first = block == 0;
  assign last = block == BLOCKS - 1;
  assign final_group = group == GROUPS - 1;
  assign in_ready = !busy;

  always_ff @(posedge clk) begin
    if (rst) begin
      busy <= 1'b0;
      group <= 0;
      block <= 0;
    end else if (!busy) begin
      busy <= in_valid;
      x <= mx;
      x_scales <= ex;
    end else begin
      block <= last ? 0 : block + 1;
      if (last) begin
        group <= final_group ? 0 : group + 1;
        busy <= !final_group;
      end
    end
  end

  // Stage 2: sums see what the dot products saw one cycle before.
  always_ff @(posedge clk) begin
    sum_group <= group;
    sum_first <= first;
    sum_last <= last;
    sum_final <= last && final_group;
  end

  generate
    for (genvar p = 0; p < PARALLEL; p++) begin : g_row
      logic signed [MO-1:0] mo;
      logic signed [EO-1:0] eo;
      logic signed [31:0] left;
      logic signed [SUM-1:0] sum, start, next;
      logic signed [OW-1:0] rounded;

      mxint_dot #(
          .N(N),
          .W(W),
          .F(F)
      ) dot (
          .clk,
          .rst,
          .in_valid (busy),
          .ma       (x[block*N*W+:N*W]),
          .mb       (weights[group*PARALLEL+p][block*N*W+:N*W]),
          .ea       (x_scales[block*8+:8]),
          .eb       (scales[group*PARALLEL+p][block*8+:8]),
          .out_valid(dot_valid[p]),
          .mo,
          .eo
      );

      assign left = 32'(eo) - EMIN;
      assign wrong[p] = mo != 0 && (left < 0 || left > EMAX - EMIN);
      assign start = sum_first ? SUM'(biases[sum_group*PARALLEL+p]) <<< DROP : sum;
      assign next = start + (mo == 0 ? '0 : SUM'(mo) <<< left);

      fixed_round #(
          .A(SUM),
          .D(DROP),
          .W(OW)
      ) round (
          .x(next),
          .y(rounded)
      );

      always_ff @(posedge clk) begin
        if (dot_valid[p]) sum <= next;
        if (dot_valid[p] && sum_last) y[(sum_group*PARALLEL+p)*OW+:OW] <= rounded;
      end
    end
  endgenerate

  always_ff @(posedge clk) begin
    if (rst) begin
      out_valid <= 1'b0;
      outside <= 1'b0;
    end else begin
      out_valid <= dot_valid[0] && sum_final;
      if (dot_valid[0]) outside <= (outside && !(sum_first && sum_group == 0)) || |wrong;
    end
  end
endmodule
