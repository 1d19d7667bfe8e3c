// What Hopper has beyond rn_tensorcore.cuh (PTX: mbarrier, cp.async.bulk.tensor, wgmma, setmaxnreg), for sm_90a alone.
// On the CPU the simulator has it.
#pragma once
#include "rn_tensorcore.cuh"

namespace rn {

// What the driver makes of a matrix in global memory (CUtensorMap): boxes of it are copied by their coordinates.
struct alignas(64) TensorMap {
    u64 words[16];
};

// Where operands lie in shared memory: rows of 128 bytes, 8 of them at a multiple of 1024. The hardware permutes the
// chunks of 16 bytes of a row: bits 4 to 6 of an address are exclusive-ored with bits 7 to 9.
constexpr i32 ROW = 128, ROWS_8 = 8 * ROW;

// How wgmma finds an operand (PTX ISA, matrix descriptor), in units of 16 bytes:
//   along terms: a row is a line; from 8 lines to the next 8 ROWS_8
//   along lines: a row is a term; from 8 terms to the next 8 ROWS_8, from 64 lines to the next 64 as many terms' rows
template <bool ALONG_TERMS>
RN_HD u64 descriptor(u32 address) {
    constexpr u64 LEADING = ALONG_TERMS ? 16 : 64 * ROW, STRIDE = ROWS_8, PERMUTED_128 = 1;
    return (address & 0x3ffff) >> 4 | LEADING >> 4 << 16 | STRIDE >> 4 << 32 | PERMUTED_128 << 62;
}

// From 16 terms to the next 16.
template <bool ALONG_TERMS>
constexpr u64 NEXT_TERMS = (ALONG_TERMS ? 16 * 2 : 16 * ROW) >> 4;

}  // namespace rn

#if defined(__CUDACC__)
namespace rn {

// ---- barriers, by their addresses in shared memory: a phase ends when all have arrived, and all bytes --

__device__ __forceinline__ void barrier_init(u32 barrier, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// The copying engine sees what was initialised, and other threads do after a barrier of the block.
__device__ __forceinline__ void barriers_ready() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void barrier_arrive(u32 barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrive, and so many bytes are to come in this phase.
__device__ __forceinline__ void barrier_expect(u32 barrier, u32 bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ bool barrier_try(u32 barrier, u32 parity) {
    u32 done;
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
        "selp.u32 %0, 1, 0, done;\n"
        "}"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
    return done;
}

constexpr i64 PATIENCE = i64(1) << 32;  // cycles, some 2 seconds: what cannot end shall fail

// Wait until the phase of this parity has ended.
__device__ __forceinline__ void barrier_wait(u32 barrier, u32 parity) {
    if (barrier_try(barrier, parity)) return;
    const i64 start = clock64();
    while (!barrier_try(barrier, parity)) {
        if (clock64() - start > PATIENCE) asm volatile("trap;");
    }
}

// Start to copy the box at these coordinates, the innermost first; beyond the matrix there is 0. Its bytes arrive at the
// barrier.
__device__ __forceinline__ void copy_box(u32 to, const TensorMap* from, u32 barrier, i32 x, i32 y, i32 z) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
        :
        : "r"(to), "l"(from), "r"(barrier), "r"(x), "r"(y), "r"(z)
        : "memory");
}

// ---- warpgroups: 4 warps -----------------------------------------------------------------------------

// A warpgroup gives registers back, or takes them, until a thread has so many.
template <i32 COUNT>
__device__ __forceinline__ void fewer_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}

template <i32 COUNT>
__device__ __forceinline__ void more_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

// Before multiply_add_async, which takes what was written to accumulators and to shared memory.
__device__ __forceinline__ void operands_ready() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// What was started since the last group is one more group.
__device__ __forceinline__ void commit_sums() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Wait for all groups but the LATER last ones.
template <i32 LATER>
__device__ __forceinline__ void wait_sums() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LATER) : "memory");
}

// Between what the compiler does with accumulators and what runs by itself: it shall hold them in float registers, and
// move none across.
template <i32 COUNT>
__device__ __forceinline__ void settle(float (&s)[COUNT]) {
#pragma unroll
    for (i32 i = 0; i < COUNT; i++) asm volatile("" : "+f"(s[i])::"memory");
}

// Start sums [64 x N] += a [64 x 16] @ b [16 x N]. Warp w has rows 16w to 16w + 15, and of each 8 columns a lane has what
// it has of multiply_add.
#define RN_SUMS_8(i)                                                                                             \
    "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3]), "+f"(s[i + 4]), "+f"(s[i + 5]), "+f"(s[i + 6]), \
        "+f"(s[i + 7])
#define RN_SUMS_32(i) RN_SUMS_8(i), RN_SUMS_8(i + 8), RN_SUMS_8(i + 16), RN_SUMS_8(i + 24)
#define RN_SUMS_64 RN_SUMS_32(0), RN_SUMS_32(32)
#define RN_SUMS_128 RN_SUMS_64, RN_SUMS_32(64), RN_SUMS_32(96)
#define RN_NUMBERS_64 \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15" \
    ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31" \
    ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
    ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define RN_NUMBERS_128 \
    RN_NUMBERS_64 \
    ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79" \
    ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95" \
    ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
    ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define RN_MULTIPLY_ADD_ASYNC(Format, name, count, columns, others)                                               \
    template <bool A_ALONG_TERMS, bool B_ALONG_TERMS>                                                             \
    __device__ __forceinline__ void multiply_add_async(Format, float (&s)[count], u64 a, u64 b) {                 \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" columns "k16.f32." name "." name " {" RN_NUMBERS_##count \
                     "}, " others ";"                                                                             \
                     : RN_SUMS_##count                                                                            \
                     : "l"(a), "l"(b), "n"(!A_ALONG_TERMS), "n"(!B_ALONG_TERMS));                                 \
    }
RN_MULTIPLY_ADD_ASYNC(BFloat16, "bf16", 64, "128", "%64, %65, 1, 1, 1, %66, %67")
RN_MULTIPLY_ADD_ASYNC(BFloat16, "bf16", 128, "256", "%128, %129, 1, 1, 1, %130, %131")
RN_MULTIPLY_ADD_ASYNC(Float16, "f16", 64, "128", "%64, %65, 1, 1, 1, %66, %67")
RN_MULTIPLY_ADD_ASYNC(Float16, "f16", 128, "256", "%128, %129, 1, 1, 1, %130, %131")

}  // namespace rn
#endif
