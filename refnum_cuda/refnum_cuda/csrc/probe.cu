// What the files and the GPU do with float32 and with arguments, asked once a device before anything else is.
// Four results whose bits tell, from operands that the compiler cannot see:
//   0. x * y + z by separate instructions: a contraction would round once
//   1. fma(x, y, z), rounded once
//   2. tiny / 2, a subnormal: flushing would give 0
//   3. the 64-bit argument's own high and low half, added
extern "C" __global__ void rn_probe(float x, float y, float z, float tiny, long long whole, unsigned *results) {
    if (threadIdx.x != 0 || blockIdx.x != 0) return;
    results[0] = __float_as_uint(x * y + z);
    results[1] = __float_as_uint(__fmaf_rn(x, y, z));
    results[2] = __float_as_uint(tiny * 0.5f);
    results[3] = (unsigned)(whole >> 32) + (unsigned)whole;
}
