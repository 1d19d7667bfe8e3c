// Products on Hopper's tensor cores: tiles of sums, and stages through which operands reach them.
//
// A block makes tiles, one after the other. One warpgroup of it brings operands, as boxes that the copying engine takes
// from global memory; the others multiply them, 64 rows each. A sum is one accumulator in float32, from the bias or +0;
// k ascends. Beyond the operands boxes are 0, which is as good as nothing: see matrixcore.cu.
#pragma once
#include "rn_fragment.cuh"
#include "rn_hopper.cuh"

namespace rn {

constexpr i32 WARPGROUP = 128, CONSUMERS = 2;  // threads; warpgroups that multiply
constexpr i32 THREADS = WARPGROUP * (1 + CONSUMERS);
constexpr i32 TERMS = 64;  // of 16 bits, of a stage: 128 bytes

// 64 rows for each warpgroup and N columns, so many stages.
template <i32 N_, i32 STAGES_>
struct Tiling {
    static constexpr i32 M = 64 * CONSUMERS, N = N_, STAGES = STAGES_;
    static constexpr i32 A_BYTES = M * ROW, STAGE_BYTES = (M + N) * ROW;
};

// Those of a stage.
template <class Format>
RN_HD constexpr i32 terms_of() { return TERMS * 2 / static_cast<i32>(sizeof(typename Format::Bits)); }

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
            barrier_init(full(stage) + 8, Tile::M / 64 * WARPGROUP / 32);
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

template <class Format, class Tile, bool A_ALONG_TERMS, bool B_ALONG_TERMS>
__device__ __forceinline__ void produce(const Boxes& a, const Boxes& b, const Extent& size, Stages<Tile> stages) {
    const i64 down = tiles_of(size.rows, Tile::M), across = tiles_of(size.columns, Tile::N);
    for (i64 tile = blockIdx.x; tile < size.batches * down * across; tile += gridDim.x) {
        const Place place = place_of_tile(tile, down, across);
        const i32 batch = static_cast<i32>(place.batch), terms = static_cast<i32>(size.terms);
        const i32 row = static_cast<i32>(place.row) * Tile::M, column = static_cast<i32>(place.column) * Tile::N;
#pragma unroll 1
        for (i32 term = 0; term < terms; term += terms_of<Format>(), stages.advance()) {
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
            for (i32 k = 0; k < ROW / 32; k++) {
                multiply_add_async<A_ALONG_TERMS, B_ALONG_TERMS>(Format(), sums, a + k * NEXT_TERMS<A_ALONG_TERMS>,
                                                                 b + k * NEXT_TERMS<B_ALONG_TERMS>);
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

        // 3. Rounded once.
        store(sums, out, result, part, lane);
    }
}

}  // namespace rn

// There are kernels where there is wgmma; elsewhere the host does not call them.
#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define RN_BODY(...) asm volatile("trap;")
#else
#define RN_BODY(...) __VA_ARGS__
#endif
