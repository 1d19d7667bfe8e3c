// Products of matrices of 8 bits on Hopper's tensor cores, by wgmma: contracts tc.hopper.fp8/v1, and
// tcsplit/v1(inst=tc.hopper.fp8, Kc=..) for chunks of whole stages. Operands lie along their terms.
//
// The first block of 32 terms leaves an accumulator of 13 bits, which blocks of zeros leave as it is: so the terms are
// filled up to whole stages.
#include "rn_hopper_fp8.cuh"
#include "rn_warpgroups.cuh"

namespace rn {

using Wide = Tiling<256, 4>;
using Narrow = Tiling<128, 6>;  // for as few tiles that wider ones would leave processors without

using E4M3_E4M3 = Pair<E4M3, E4M3>;
using E4M3_E5M2 = Pair<E4M3, E5M2>;
using E5M2_E4M3 = Pair<E5M2, E4M3>;
using E5M2_E5M2 = Pair<E5M2, E5M2>;

// 64 rows: for few columns, many terms are on their way.
template <i32 N_, i32 STAGES_>
struct Few {
    static constexpr i32 M = 64, N = N_, STAGES = STAGES_;
    static constexpr i32 A_BYTES = M * ROW, STAGE_BYTES = (M + N) * ROW;
};

using Middle = Few<64, 12>;
using Slim = Few<16, 20>;

template <class Tile>
RN_HD constexpr i32 threads_of() { return WARPGROUP * (1 + Tile::M / 64); }

// ---- sums of chunks, which a tree joins --------------------------------------------------------------

constexpr i32 NEAR = 2;  // so many heights of nodes are held in registers, the others in memory

// The nodes that a thread holds, of its sums each. A counter in base 2: of so many chunks there is one node of each
// height that is a bit of their number.
template <i32 COUNT>
struct Nodes {
    float near[NEAR][COUNT] = {};  // so that none is kept from one tile to the next
    float* far;
    i64 step;  // from one number of a thread to the next

    RN_HD Nodes(float* far, i64 step) : far(far), step(step) {}

    __device__ __forceinline__ float& at(i32 height, i32 i) const {
        return far[(i64(height - NEAR) * COUNT + i) * step];
    }

    // Take the sums of one more chunk, with so many before it: two nodes of one height make one of the next. Behind the
    // last chunk all that is held is added, the lowest first: then these sums are the root.
    __device__ __forceinline__ void take(float (&sums)[COUNT], i32 before, bool last) {
#pragma unroll
        for (i32 height = 0; height < NEAR; height++) {
            const bool held = before >> height & 1;
#pragma unroll
            for (i32 i = 0; i < COUNT; i++) {
                if (held) sums[i] = add_rn(near[height][i], sums[i]);
                if (!held && !last) near[height][i] = sums[i];
            }
            if (!held && !last) return;
        }
        i32 height = NEAR;
#pragma unroll 1
        for (; before >> height && (last || before >> height & 1); height++) {
            if (!(before >> height & 1)) continue;
#pragma unroll
            for (i32 i = 0; i < COUNT; i++) sums[i] = add_rn(at(height, i), sums[i]);
        }
        if (last) return;
#pragma unroll
        for (i32 i = 0; i < COUNT; i++) at(height, i) = sums[i];
    }
};

// Add the terms of a chunk: a stage is free when the one after it has been started and it itself is done.
template <class Format, class Tile>
__device__ __forceinline__ void add_chunk(float (&sums)[Tile::N / 2], i32 terms, Stages<Tile>& stages, i32 group_row,
                                          i32 lane) {
    settle(sums);
    i32 term = 0;
    do {
        barrier_wait(stages.full(), stages.phase);
        const u64 a = descriptor<true>(stages.a() + group_row * ROW), b = descriptor<true>(stages.b());
        operands_ready();
#pragma unroll
        for (i32 k = 0; k < ROW / 32; k++) {
            multiply_add_async<true, true>(Format(), sums, a + k * NEXT_TERMS<true>, b + k * NEXT_TERMS<true>);
        }
        commit_sums();
        wait_sums<1>();
        if (term > 0 && lane == 0) barrier_arrive(stages.free_before());
        stages.advance();
        term += terms_of<Format>();
    } while (term < terms);
    wait_sums<0>();
    settle(sums);
    if (lane == 0) barrier_arrive(stages.free_before());
}

// Sums in float32: those of chunks, each from +0, joined by a tree; then the bias. They are not rounded: there are no
// registers for that.
template <class Format, class Tile>
__device__ __forceinline__ void consume_split(const Matrix& bias, const Matrix& out, const Extent& size,
                                              Stages<Tile> stages, i32 chunk, float* far) {
    constexpr i32 COUNT = Tile::N / 2, OWN = threads_of<Tile>() - WARPGROUP;
    const i32 thread = static_cast<i32>(threadIdx.x) - WARPGROUP, lane = thread % 32;
    const i32 group_row = thread / WARPGROUP * 64, warp_row = thread / 32 * 16;
    const i64 down = tiles_of(size.rows, Tile::M), across = tiles_of(size.columns, Tile::N);
    for (i64 tile = blockIdx.x; tile < size.batches * down * across; tile += gridDim.x) {
        const Place place = place_of_tile(tile, down, across);
        const Part part(size, place.batch, place.row * Tile::M + warp_row, place.column * Tile::N, Tile::N);
        Nodes<COUNT> nodes(far + blockIdx.x * i64(OWN) + thread, gridDim.x * i64(OWN));
        float sums[COUNT];
        i64 first = 0;
#pragma unroll 1
        for (i32 before = 0; first < size.terms; before++, first += chunk) {
#pragma unroll
            for (i32 i = 0; i < COUNT; i++) sums[i] = 0.0f;
            const i32 terms = static_cast<i32>(least(chunk, size.terms - first));
            add_chunk<Format>(sums, terms, stages, group_row, lane);
            nodes.take(sums, before, first + chunk >= size.terms);
        }
        float(&addend)[COUNT] = nodes.near[0];  // of which no node is left
        seed(addend, bias, part, lane);  // +0 where there is none: as no sum is -0, it changes none
#pragma unroll
        for (i32 i = 0; i < COUNT; i++) sums[i] = add_rn(sums[i], addend[i]);
        store<Float32>(sums, out, part, lane);
    }
}

// ---- the block ---------------------------------------------------------------------------------------

// One warpgroup brings operands, the others consume(stages).
template <class Format, class Tile, class Consume>
__device__ __forceinline__ void share_out(const Boxes& a, const Boxes& b, const Extent& size, const void* shared,
                                          Consume consume) {
    constexpr bool SEVERAL = Tile::M > 64;
    const Stages<Tile> stages(shared);
    if (threadIdx.x == 0) stages.init();
    __syncthreads();
    if (threadIdx.x < WARPGROUP) {
        if constexpr (SEVERAL) fewer_registers<40>();  // 128 * 40 + 256 * 232 is what the block has: 384 * 168
        if (threadIdx.x == 0) produce<Format, Tile, true, true>(a, b, size, stages);
    } else {
        if constexpr (SEVERAL) more_registers<232>();
        consume(stages);
    }
}

template <class Format, class Tile>
__device__ __forceinline__ void chains(const Boxes& a, const Boxes& b, const Matrix& bias, const Matrix& out,
                                       i32 result, const Extent& size, const void* shared) {
    share_out<Format, Tile>(a, b, size, shared, [&](const Stages<Tile>& stages) {
        consume<Format, Tile, true, true>(bias, out, result, size, stages);
    });
}

template <class Format, class Tile>
__device__ __forceinline__ void trees(const Boxes& a, const Boxes& b, const Matrix& bias, const Matrix& out,
                                      const Extent& size, i32 chunk, float* far, const void* shared) {
    share_out<Format, Tile>(a, b, size, shared, [&](const Stages<Tile>& stages) {
        consume_split<Format, Tile>(bias, out, size, stages, chunk, far);
    });
}

}  // namespace rn

// ---- kernels -------------------------------------------------------------------------------------

// One for either format, a tiling, and whether terms are split into chunks. A bias may be null; there is at least one
// term. A chunk is a multiple of a stage, or has all terms; far has room for the nodes of all threads that multiply.
#define RN_CHAINS(name, format, tiling)                                                                         \
    extern "C" __global__ void __launch_bounds__(rn::threads_of<rn::tiling>(), 1)                               \
        name(const __grid_constant__ rn::Boxes a, const __grid_constant__ rn::Boxes b, rn::Matrix bias,         \
             rn::Matrix out, rn::i32 result, rn::Extent size) {                                                 \
        extern __shared__ float4 rn_shared[];                                                                   \
        RN_BODY(rn::chains<rn::format, rn::tiling>(a, b, bias, out, result, size, rn_shared));                  \
    }
#define RN_TREES(name, format, tiling)                                                                          \
    extern "C" __global__ void __launch_bounds__(rn::threads_of<rn::tiling>(), 1)                               \
        name(const __grid_constant__ rn::Boxes a, const __grid_constant__ rn::Boxes b, rn::Matrix bias,         \
             rn::Matrix out, rn::Extent size, rn::i32 chunk, float* far) {                                      \
        extern __shared__ float4 rn_shared[];                                                                   \
        RN_BODY(rn::trees<rn::format, rn::tiling>(a, b, bias, out, size, chunk, far, rn_shared));               \
    }
#define RN_TILINGS(name, format)                  \
    RN_CHAINS(name##_wide, format, Wide)          \
    RN_CHAINS(name##_narrow, format, Narrow)      \
    RN_CHAINS(name##_middle, format, Middle)      \
    RN_CHAINS(name##_slim, format, Slim)          \
    RN_TREES(name##_split_narrow, format, Narrow) \
    RN_TREES(name##_split_middle, format, Middle) \
    RN_TREES(name##_split_slim, format, Slim)

RN_TILINGS(rn_wgmma_e4m3_e4m3, E4M3_E4M3)
RN_TILINGS(rn_wgmma_e4m3_e5m2, E4M3_E5M2)
RN_TILINGS(rn_wgmma_e5m2_e4m3, E5M2_E4M3)
RN_TILINGS(rn_wgmma_e5m2_e5m2, E5M2_E5M2)
