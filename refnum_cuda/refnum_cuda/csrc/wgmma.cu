// Products of matrices on Hopper's tensor cores, by wgmma: contracts tc.hopper.bf16/v1 and tc.hopper.f16/v1, with the
// bits of matrixcore.cu.
#include "rn_warpgroups.cuh"

namespace rn {

using Wide = Tiling<256, 4>;
using Narrow = Tiling<128, 6>;  // for as few tiles that wider ones would leave processors without

template <class Format, class Tile, bool A_ALONG_TERMS, bool B_ALONG_TERMS>
__device__ __forceinline__ void product(const Boxes& a, const Boxes& b, const Matrix& bias, const Matrix& out,
                                        i32 result, const Extent& size, const void* shared) {
    const Stages<Tile> stages(shared);
    if (threadIdx.x == 0) stages.init();
    __syncthreads();
    if (threadIdx.x < WARPGROUP) {
        fewer_registers<88>();  // 128 * 88 + 256 * 208 is what the block has: 384 * 168
        if (threadIdx.x == 0) produce<Format, Tile, A_ALONG_TERMS, B_ALONG_TERMS>(a, b, size, stages);
    } else {
        more_registers<208>();
        consume<Format, Tile, A_ALONG_TERMS, B_ALONG_TERMS>(bias, out, result, size, stages);
    }
}

}  // namespace rn

// ---- kernels -------------------------------------------------------------------------------------

// One a format, tiling, and along what either operand lies: its terms (t) or its lines (l). A bias may be null; there
// is at least one term.
#define RN_WGMMA(name, format, tiling, a_along_terms, b_along_terms)                                                  \
    extern "C" __global__ void __launch_bounds__(rn::THREADS, 1)                                                      \
        name(const __grid_constant__ rn::Boxes a, const __grid_constant__ rn::Boxes b, rn::Matrix bias,               \
             rn::Matrix out, rn::i32 result, rn::Extent size) {                                                       \
        extern __shared__ float4 rn_shared[];                                                                         \
        RN_BODY(rn::product<rn::format, rn::tiling, a_along_terms, b_along_terms>(                                    \
            a, b, bias, out, result, size, rn_shared));                                                               \
    }
#define RN_LAYOUTS(name, format, tiling)              \
    RN_WGMMA(name##_tt, format, tiling, true, true)   \
    RN_WGMMA(name##_tl, format, tiling, true, false)  \
    RN_WGMMA(name##_lt, format, tiling, false, true)  \
    RN_WGMMA(name##_ll, format, tiling, false, false)
#define RN_TILINGS(name, format)          \
    RN_LAYOUTS(name##_wide, format, Wide) \
    RN_LAYOUTS(name##_narrow, format, Narrow)

RN_TILINGS(rn_wgmma_bfloat16, BFloat16)
RN_TILINGS(rn_wgmma_float16, Float16)
