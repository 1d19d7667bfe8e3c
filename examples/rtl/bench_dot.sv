// mxint_dot against hex files alone: run in their folder, with DEPTH words.
module bench_dot #(
    parameter int DEPTH = 1,
    parameter int N = 4,
    parameter int W = 8
);
  localparam int MO = 2 * W + $clog2(N);
  localparam int EO = 10;

  logic clk = 1'b0, rst = 1'b1, in_valid = 1'b0, out_valid;
  logic [N*W-1:0] ma, mb, ma_words[DEPTH], mb_words[DEPTH];
  logic [7:0] ea, eb, ea_words[DEPTH], eb_words[DEPTH];
  logic signed [MO-1:0] mo, mo_words[DEPTH];
  logic signed [EO-1:0] eo, eo_words[DEPTH];
  int wrong = 0;

  mxint_dot #(
      .N(N),
      .W(W)
  ) dut (
      .clk,
      .rst,
      .in_valid,
      .ma,
      .mb,
      .ea,
      .eb,
      .out_valid,
      .mo,
      .eo
  );

  always #5 clk = ~clk;

  initial begin
    $readmemh("mxint_dot.a_elements.hex", ma_words, 0, DEPTH - 1);
    $readmemh("mxint_dot.b_elements.hex", mb_words, 0, DEPTH - 1);
    $readmemh("mxint_dot.a_scale.hex", ea_words, 0, DEPTH - 1);
    $readmemh("mxint_dot.b_scale.hex", eb_words, 0, DEPTH - 1);
    $readmemh("mxint_dot.accumulator.hex", mo_words, 0, DEPTH - 1);
    $readmemh("mxint_dot.exponent.hex", eo_words, 0, DEPTH - 1);
    // Drive and sample on the falling edge: a result is there one rising edge behind its operands.
    @(negedge clk);
    @(negedge clk);
    if (out_valid !== 1'b0) $fatal(1, "bench_dot: out_valid is %b in reset", out_valid);
    rst = 1'b0;
    for (int i = 0; i < DEPTH; i++) begin
      in_valid = 1'b1;
      ma = ma_words[i];
      mb = mb_words[i];
      ea = ea_words[i];
      eb = eb_words[i];
      @(negedge clk);
      if (out_valid !== 1'b1 || mo !== mo_words[i] || eo !== eo_words[i]) begin
        wrong++;
        if (wrong < 10) $display("%0d: got %0d * 2**%0d, want %0d * 2**%0d", i, mo, eo, mo_words[i], eo_words[i]);
      end
    end
    if (wrong != 0) $fatal(1, "bench_dot: %0d of %0d vectors are wrong", wrong, DEPTH);
    $display("bench_dot: %0d vectors, 0 mismatches", DEPTH);
    $finish;
  end
endmodule
