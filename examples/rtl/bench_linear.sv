// mxint_linear against hex files alone: run in their folder, with DEPTH inputs, as many for each of SETS sets of weights.
module bench_linear #(
    parameter int DEPTH = 8,
    parameter int SETS = 8,
    parameter int N = 4,
    parameter int W = 8,
    parameter int BLOCKS = 4,
    parameter int OUT = 8,
    parameter int PARALLEL = 2,
    parameter int EMIN = -28,
    parameter int EMAX = 4,
    parameter int OW = 16,
    parameter int OF = 8
);
  localparam int ROW = OUT > 1 ? $clog2(OUT) : 1;
  localparam int LATENCY = OUT / PARALLEL * BLOCKS + 1;

  logic clk = 1'b0, rst = 1'b1, w_valid = 1'b0, in_valid = 1'b0, in_ready, out_valid, outside;
  logic [ROW-1:0] w_row;
  logic [BLOCKS*N*W-1:0] mw, mx, mw_words[SETS*OUT], mx_words[DEPTH];
  logic [BLOCKS*8-1:0] ew, ex, ew_words[SETS*OUT], ex_words[DEPTH];
  logic signed [OW-1:0] bias, bias_words[SETS*OUT];
  logic [OUT*OW-1:0] y, y_words[DEPTH];
  logic outside_words[DEPTH];
  int wrong = 0;

  mxint_linear #(
      .N(N),
      .W(W),
      .BLOCKS(BLOCKS),
      .OUT(OUT),
      .PARALLEL(PARALLEL),
      .EMIN(EMIN),
      .EMAX(EMAX),
      .OW(OW),
      .OF(OF)
  ) dut (
      .clk,
      .rst,
      .w_valid,
      .w_row,
      .mw,
      .ew,
      .bias,
      .in_valid,
      .in_ready,
      .mx,
      .ex,
      .out_valid,
      .outside,
      .y
  );

  always #5 clk = ~clk;

  task automatic load(input int set);
    w_valid = 1'b1;
    for (int row = 0; row < OUT; row++) begin
      w_row = row[ROW-1:0];
      mw = mw_words[set*OUT+row];
      ew = ew_words[set*OUT+row];
      bias = bias_words[set*OUT+row];
      @(negedge clk);
    end
    w_valid = 1'b0;
  endtask

  task automatic run(input int i);
    if (in_ready !== 1'b1) $fatal(1, "bench_linear: in_ready is %b before input %0d", in_ready, i);
    in_valid = 1'b1;
    mx = mx_words[i];
    ex = ex_words[i];
    @(negedge clk);
    in_valid = 1'b0;
    mx = '0;
    repeat (LATENCY - 1) begin
      if (out_valid !== 1'b0) $fatal(1, "bench_linear: input %0d is done too early", i);
      @(negedge clk);
    end
    @(negedge clk);
    // Where a block left the range, outputs are not what the layer promises.
    if (out_valid !== 1'b1 || outside !== outside_words[i] || (!outside_words[i] && y !== y_words[i])) begin
      wrong++;
      if (wrong < 10) $display("%0d: got %h, %b, want %h, %b", i, y, outside, y_words[i], outside_words[i]);
    end
  endtask

  initial begin
    $readmemh("mxint_linear_weights.mw.hex", mw_words, 0, SETS * OUT - 1);
    $readmemh("mxint_linear_weights.ew.hex", ew_words, 0, SETS * OUT - 1);
    $readmemh("mxint_linear_weights.bias.hex", bias_words, 0, SETS * OUT - 1);
    $readmemh("mxint_linear.mx.hex", mx_words, 0, DEPTH - 1);
    $readmemh("mxint_linear.ex.hex", ex_words, 0, DEPTH - 1);
    $readmemh("mxint_linear.y.hex", y_words, 0, DEPTH - 1);
    $readmemh("mxint_linear.outside.hex", outside_words, 0, DEPTH - 1);
    @(negedge clk);
    @(negedge clk);
    rst = 1'b0;
    for (int i = 0; i < DEPTH; i++) begin
      if (i % (DEPTH / SETS) == 0) load(i / (DEPTH / SETS));
      run(i);
    end
    if (wrong != 0) $fatal(1, "bench_linear: %0d of %0d vectors are wrong", wrong, DEPTH);
    $display("bench_linear: %0d vectors, 0 mismatches", DEPTH);
    $finish;
  end
endmodule
