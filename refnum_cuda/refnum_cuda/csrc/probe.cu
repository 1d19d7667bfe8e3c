// What a compiled file and a GPU do with float32 and with arguments, asked once a device before anything else is.
#include "rn_port.cuh"

// Four results whose bits tell, from operands that no compiler can see:
//   0. x * y + z in two instructions, which a contraction would round once
//   1. fma(x, y, z), rounded once
//   2. tiny / 2, a subnormal, which flushing would make 0
//   3. the two halves of a 64-bit argument, added
extern "C" __global__ void rn_probe(float x, float y, float z, float tiny, rn::u64 whole, rn::u32* results) {
    if (threadIdx.x != 0 || blockIdx.x != 0) return;
    results[0] = rn::bits_of(x * y + z);
    results[1] = rn::bits_of(rn::fma_rn(x, y, z));
    results[2] = rn::bits_of(tiny * 0.5f);
    results[3] = static_cast<rn::u32>(whole >> 32) + static_cast<rn::u32>(whole);
}
