// The dot product of two blocks of N integers of W bits that share a scale each: MXInt.
//
// Exact: mo * 2**eo is the sum of all products. There is no rounding, and no sum can overflow:
//   |ma * mb| <= 2**(2W-2), so that N of them need 2W - 2 + clog2(N) bits, one more to hold that bound itself,
//   and one for the sign: 2W + clog2(N).
// Scales are codes of E8M0, biased by 127; integers have F bits behind the point. So eo = ea + eb - 2 * (127 + F).
// The testbench's side gives no scale of 255, which is NaN.
//
// Registered outputs: a result comes one rising edge behind its operands. Synchronous reset.
module mxint_dot #(
    parameter int N = 4,
    parameter int W = 8,
    parameter int F = W - 2,
    localparam int MO = 2 * W + $clog2(N),
    localparam int EO = 10
) (
    input  logic                 clk,
    input  logic                 rst,
    input  logic                 in_valid,
    input  logic [N*W-1:0]       ma,
    input  logic [N*W-1:0]       mb,
    input  logic [7:0]           ea,
    input  logic [7:0]           eb,
    output logic                 out_valid,
    output logic signed [MO-1:0] mo,
    output logic signed [EO-1:0] eo
);
  logic signed [MO-1:0] sum;
  logic signed [W-1:0] a, b;

  always_comb begin
    sum = '0;
    a = '0;
    b = '0;
    for (int i = 0; i < N; i++) begin
      a = ma[i*W+:W];
      b = mb[i*W+:W];
      sum = sum + MO'(a) * MO'(b);
    end
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      out_valid <= 1'b0;
      mo <= '0;
      eo <= '0;
    end else begin
      out_valid <= in_valid;
      mo <= sum;
      eo <= EO'($signed({2'b00, ea})) + EO'($signed({2'b00, eb})) - EO'(2 * (127 + F));
    end
  end
endmodule
