// Products of matrices on Hopper's tensor cores, by wgmma: contracts tc.hopper.bf16/v1 and tc.hopper.f16/v1, with the
// bits of matrixcore.cu.
//
// A block makes tiles, one after the other. One warpgroup of it brings operands, as boxes that the copying engine takes
// from global memory; the other two multiply them, 64 rows each. A sum is one accumulator in float32, from the bias or
// +0; k ascends. Beyond the operands boxes are 0, which is as good as nothing: see matrixcore.cu.
#include "rn_fragment.cuh"
#include "rn_hopper.cuh"

namespace rn {

constexpr i32 WARPGROUP = 128, CONSUMERS = 2;  // threads; warpgroups that multiply
constexpr i32 THREADS = WARPGROUP * (1 + CONSUMERS);
constexpr i32 TERMS = 64;  // of a stage: 128 bytes

// 128 rows and N columns, so many stages.
template <i32 N_, i32 STAGES_>
struct Tiling {
    static constexpr i32 M = 64 * CONSUMERS, N = N_, STAGES = STAGES_;
    static constexpr i32 A_BYTES = M * TERMS * 2, STAGE_BYTES = (M + N) * TERMS * 2;
};

using Wide = Tiling<256, 4>;
using Narrow = Tiling<128, 6>;  // for as few tiles that wider ones would leave processors without

// An operand as the copying engine has it, and what its last coordinate is multiplied by: 0 if all of a batch have one.
struct Boxes {
    TensorMap map;
    i32 batched;
};

// ---- stages: a ring that is filled and used in turn ------------------------------------------------

// Addresses in shared memory; 64-bit pointers would take registers that accumulators need.
template <class Tile>
struct Stages {
    u32 data;
    i32 at = 0;
    u32 phase = 0;

    __device__ __forceinline__ explicit Stages(const void* shared)
        : data((shared_address(shared) + ROWS_8 - 1) / ROWS_8 * ROWS_8) {}

    RN_HD u32 a() const { return data + at * Tile::STAGE_BYTES; }
    RN_HD u32 b() const { return a() + Tile::A_BYTES; }
    RN_HD u32 full(i32 stage) const { return data + Tile::STAGES * Tile::STAGE_BYTES + 16 * stage; }
    RN_HD u32 full() const { return full(at); }
    RN_HD u32 free() const { return full() + 8; }
    RN_HD u32 free_before() const { return full(at ? at - 1 : Tile::STAGES - 1) + 8; }

    __device__ __forceinline__ void init() const {
        for (i32 stage = 0; stage < Tile::STAGES; stage++) {
            barrier_init(full(stage), 1);
            barrier_init(full(stage) + 8, CONSUMERS * WARPGROUP / 32);
        }
        barriers_ready();
    }

    RN_HD void advance() {
        at = at + 1 < Tile::STAGES ? at + 1 : 0;
        phase ^= at == 0;
    }
};

// ---- the warpgroup that brings operands -------------------------------------------------------------

template <bool ALONG_TERMS, i32 LINES>
__device__ __forceinline__ void bring(u32 to, const Boxes& from, u32 barrier, i32 batch, i32 line, i32 term) {
    if constexpr (ALONG_TERMS) {
        copy_box(to, &from.map, barrier, term, line, batch * from.batched);
    } else {
#pragma unroll
        for (i32 i = 0; i < LINES; i += 64) {
            copy_box(to + i * ROW, &from.map, barrier, line + i, term, batch * from.batched);
        }
    }
}

template <class Tile, bool A_ALONG_TERMS, bool B_ALONG_TERMS>
__device__ __forceinline__ void produce(const Boxes& a, const Boxes& b, const Extent& size, Stages<Tile> stages) {
    const i64 down = tiles_of(size.rows, Tile::M), across = tiles_of(size.columns, Tile::N);
    for (i64 tile = blockIdx.x; tile < size.batches * down * across; tile += gridDim.x) {
        const Place place = place_of_tile(tile, down, across);
        const i32 batch = static_cast<i32>(place.batch), terms = static_cast<i32>(size.terms);
        const i32 row = static_cast<i32>(place.row) * Tile::M, column = static_cast<i32>(place.column) * Tile::N;
#pragma unroll 1
        for (i32 term = 0; term < terms; term += TERMS, stages.advance()) {
            barrier_wait(stages.free(), stages.phase ^ 1);  // at first all are free
            barrier_expect(stages.full(), Tile::STAGE_BYTES);
            bring<A_ALONG_TERMS, Tile::M>(stages.a(), a, stages.full(), batch, row, term);
            bring<B_ALONG_TERMS, Tile::N>(stages.b(), b, stages.full(), batch, column, term);
        }
    }
}

// ---- the warpgroups that multiply -------------------------------------------------------------------

template <class Format, class Tile, bool A_ALONG_TERMS, bool B_ALONG_TERMS>
__device__ __forceinline__ void consume(const Matrix& bias, const Matrix& out, i32 result, const Extent& size,
                                        Stages<Tile> stages) {
    const i32 thread = static_cast<i32>(threadIdx.x) - WARPGROUP, lane = thread % 32;
    const i32 group_row = thread / WARPGROUP * 64, warp_row = thread / 32 * 16;
    const i64 down = tiles_of(size.rows, Tile::M), across = tiles_of(size.columns, Tile::N);
    for (i64 tile = blockIdx.x; tile < size.batches * down * across; tile += gridDim.x) {
        // 1. From the bias or from +0.
        const Place place = place_of_tile(tile, down, across);
        const Part part(size, place.batch, place.row * Tile::M + warp_row, place.column * Tile::N, Tile::N);
        float sums[Tile::N / 2];
        seed(sums, bias, part, lane);
        settle(sums);

        // 2. Terms: a stage is free when the one after it has been started and it itself is done.
        const i32 terms = static_cast<i32>(size.terms);
        i32 term = 0;
        do {  // at least once: else the compiler would wait in each turn
            barrier_wait(stages.full(), stages.phase);
            const u64 a = descriptor<A_ALONG_TERMS>(stages.a() + group_row * ROW);
            const u64 b = descriptor<B_ALONG_TERMS>(stages.b());
            operands_ready();
#pragma unroll
            for (i32 k = 0; k < TERMS / 16; k++) {
                multiply_add_async<A_ALONG_TERMS, B_ALONG_TERMS>(Format(), sums, a + k * NEXT_TERMS<A_ALONG_TERMS>,
                                                                 b + k * NEXT_TERMS<B_ALONG_TERMS>);
            }
            commit_sums();
            wait_sums<1>();
            if (term > 0 && lane == 0) barrier_arrive(stages.free_before());
            stages.advance();
            term += TERMS;
        } while (term < terms);
        wait_sums<0>();
        settle(sums);
        if (lane == 0) barrier_arrive(stages.free_before());

        // 3. Rounded once.
        store(sums, out, result, part, lane);
    }
}

template <class Format, class Tile, bool A_ALONG_TERMS, bool B_ALONG_TERMS>
__device__ __forceinline__ void product(const Boxes& a, const Boxes& b, const Matrix& bias, const Matrix& out, i32 result,
                                        const Extent& size, const void* shared) {
    const Stages<Tile> stages(shared);
    if (threadIdx.x == 0) stages.init();
    __syncthreads();
    if (threadIdx.x < WARPGROUP) {
        fewer_registers<88>();  // 128 * 88 + 256 * 208 is what the block has: 384 * 168
        if (threadIdx.x == 0) produce<Tile, A_ALONG_TERMS, B_ALONG_TERMS>(a, b, size, stages);
    } else {
        more_registers<208>();
        consume<Format, Tile, A_ALONG_TERMS, B_ALONG_TERMS>(bias, out, result, size, stages);
    }
}

}  // namespace rn

// ---- kernels -------------------------------------------------------------------------------------

// There is a kernel where there is wgmma; elsewhere the host does not call it.
#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define RN_BODY(...) asm volatile("trap;")
#else
#define RN_BODY(...) __VA_ARGS__
#endif

// One a format, tiling, and along what either operand lies: its terms (t) or its lines (l). A bias may be null; there is
// at least one term.
#define RN_WGMMA(name, format, tiling, a_along_terms, b_along_terms)                                                  \
    extern "C" __global__ void __launch_bounds__(rn::THREADS, 1)                                                      \
        name(const __grid_constant__ rn::Boxes a, const __grid_constant__ rn::Boxes b, rn::Matrix bias,               \
             rn::Matrix out, rn::i32 result, rn::Extent size) {                                                       \
        extern __shared__ float4 rn_shared[];                                                                         \
        RN_BODY(rn::product<rn::format, rn::tiling, a_along_terms, b_along_terms>(                                    \
            a, b, bias, out, result, size, rn_shared));                             \
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
