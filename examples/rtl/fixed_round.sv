// A two's complement integer of A bits without its last D, rounded to nearest, ties to even, and saturated to W bits:
// what refnum.encode gives for FixedPoint(W, f) of the exact value x * 2**-(f + D). Combinational.
module fixed_round #(
    parameter int A = 32,
    parameter int D = 8,
    parameter int W = 16
) (
    input  logic signed [A-1:0] x,
    output logic signed [W-1:0] y
);
  localparam int Q = (A > W ? A : W) + 1;  // room for the carry of the rounding, and for both ends
  localparam logic signed [Q-1:0] MOST = {{(Q - W + 1) {1'b0}}, {(W - 1) {1'b1}}};
  localparam logic signed [Q-1:0] LEAST = ~MOST;

  logic up;
  logic signed [Q-1:0] q;

  generate
    if (D == 0) begin : g_whole
      assign up = 1'b0;
    end else if (D == 1) begin : g_half
      assign up = x[0] & x[1];
    end else begin : g_tail
      // Above half of the last place: up. Exactly half: up if that makes it even.
      assign up = x[D-1] & (|x[D-2:0] | x[D]);
    end
  endgenerate

  assign q = (Q'(x) >>> D) + $signed({{(Q - 1) {1'b0}}, up});
  assign y = q > MOST ? MOST[W-1:0] : q < LEAST ? LEAST[W-1:0] : q[W-1:0];
endmodule
