// Single instructions of tensor cores, to see what they compute: D = A B + C for tiles of 64 x 8 results.
//
// A is [tile, 64, K], B is [tile, 8, K], C and D are [tile, 64, 8], all without gaps; C and D in float32 or float16. K is
// as many instructions as there are steps, each of which adds to what the one before it has left. Four warps make a
// tile: together by one wgmma, or 16 rows each by one mma.sync.
#include "rn_port.cuh"

namespace rn {
namespace tensor_core {

constexpr i32 ROWS = 64, COLUMNS = 8, THREADS = 128;

// ---- instructions --------------------------------------------------------------------------------

// An instruction takes WORDS words of 32 bits of each row of A and column of B, and a lane has EACH words of a row of
// accumulators: two of float32, or one of two float16. On the CPU the tests have them.

#if defined(__CUDACC__)
#define RN_FLOATS float f[4] = {float_of(d[0]), float_of(d[1]), float_of(d[2]), float_of(d[3])};
#define RN_IN_FLOATS "+f"(f[0]), "+f"(f[1]), "+f"(f[2]), "+f"(f[3])
#define RN_IN_HALVES "+r"(d[0]), "+r"(d[1])
#define RN_TAKE_FLOATS \
    for (i32 i = 0; i < 4; i++) d[i] = bits_of(f[i]);

#define RN_MMA_8_2(TEXT)                                                                                          \
    RN_FLOATS                                                                                                     \
    asm volatile("mma.sync.aligned." TEXT " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"       \
                 : RN_IN_FLOATS                                                                                   \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                             \
    RN_TAKE_FLOATS
#define RN_MMA_4_2(TEXT)                                                                                          \
    RN_FLOATS                                                                                                     \
    asm volatile("mma.sync.aligned." TEXT " {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"                   \
                 : RN_IN_FLOATS                                                                                   \
                 : "r"(a[0]), "r"(a[1]), "r"(b[0]));                                                              \
    RN_TAKE_FLOATS
#define RN_MMA_8_1(TEXT)                                                                       \
    asm volatile("mma.sync.aligned." TEXT " {%0, %1}, {%2, %3, %4, %5}, {%6, %7}, {%0, %1};"    \
                 : RN_IN_HALVES                                                                \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#define RN_MMA_4_1(TEXT)                                                               \
    asm volatile("mma.sync.aligned." TEXT " {%0, %1}, {%2, %3}, {%4}, {%0, %1};"        \
                 : RN_IN_HALVES                                                        \
                 : "r"(a[0]), "r"(a[1]), "r"(b[0]));

// From the fence, before which accumulators may be written, to the wait, after which they may be read. What follows the
// predicate, which says that D has C in it: the signs of A and B, and for 16 bits that neither is transposed.
#define RN_WGMMA(TEXT, SUMS, TAIL)                                                         \
    "{\n.reg .pred add;\nsetp.ne.b32 add, 1, 0;\n"                                         \
    "wgmma.fence.sync.aligned;\n"                                                          \
    "wgmma.mma_async.sync.aligned." TEXT " " SUMS ", add, " TAIL ";\n"                     \
    "wgmma.commit_group.sync.aligned;\n"                                                   \
    "wgmma.wait_group.sync.aligned 0;\n}"
#define RN_WGMMA_2(TEXT, TAIL)                                                                                    \
    RN_FLOATS                                                                                                     \
    asm volatile(RN_WGMMA(TEXT, "{%0, %1, %2, %3}, %4, %5", TAIL) : RN_IN_FLOATS : "l"(a), "l"(b) : "memory");    \
    RN_TAKE_FLOATS
#define RN_WGMMA_1(TEXT, TAIL) \
    asm volatile(RN_WGMMA(TEXT, "{%0, %1}, %2, %3", TAIL) : RN_IN_HALVES : "l"(a), "l"(b) : "memory");

__device__ __forceinline__ u32 shared_address(const void* place) {
    return static_cast<u32>(__cvta_generic_to_shared(place));
}

// What this thread has written to shared memory, wgmma will see after the next barrier.
__device__ __forceinline__ void show_to_wgmma() {
#if __CUDA_ARCH__ >= 900
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}
#endif

// ---- what a thread holds -------------------------------------------------------------------------

// Of 16 rows of A, or of 8 columns of B, a lane has the words `word` and `word + 4` of row `line`, of A of row `line + 8`,
// too. Of the sums it has words EACH * word and on, in rows line and line + 8. So it is for every type.
struct Lane {
    i32 row, column, word;

    __device__ Lane() {
        i32 thread = static_cast<i32>(threadIdx.x);
        column = thread % 32 / 4;
        row = thread / 32 * 16 + column;
        word = thread % 4;
    }
};

// Call use(i, place) for each word of a thread's sums, of a tile.
template <i32 EACH, class Use>
__device__ __forceinline__ void each_sum(Lane lane, i64 tile, Use use) {
#pragma unroll
    for (i32 i = 0; i < 2 * EACH; i++) {
        i64 row = tile * ROWS + lane.row + i / EACH * 8;
        use(i, row * (4 * EACH) + lane.word * EACH + i % EACH);
    }
}

// ---- tiles ---------------------------------------------------------------------------------------

struct Operands {
    const u32 *a, *b, *c;
    u32* d;
    i64 tiles, steps;
};

// Each tile, from its sums in C to those in D; add(sums, tile, step) takes a step.
template <i32 EACH, class Add>
__device__ __forceinline__ void each_tile(Operands of, Lane lane, Add add) {
    for (i64 tile = blockIdx.x; tile < of.tiles; tile += gridDim.x) {
        u32 sums[2 * EACH];
        each_sum<EACH>(lane, tile, [&](i32 i, i64 place) { sums[i] = of.c[place]; });
        for (i64 step = 0; step < of.steps; step++) add(sums, tile, step);
        each_sum<EACH>(lane, tile, [&](i32 i, i64 place) { of.d[place] = sums[i]; });
    }
}

template <class Instruction>
__device__ void by_warps(Operands of) {
    constexpr i32 WORDS = Instruction::WORDS, EACH = Instruction::EACH;
    Lane lane;
    i64 pitch = of.steps * WORDS;
    each_tile<EACH>(of, lane, [&](u32(&sums)[2 * EACH], i64 tile, i64 step) {
        const u32* row = of.a + (tile * ROWS + lane.row) * pitch + step * WORDS + lane.word;
        const u32* column = of.b + (tile * COLUMNS + lane.column) * pitch + step * WORDS + lane.word;
        u32 a[WORDS / 2], b[WORDS / 4];
#pragma unroll
        for (i32 i = 0; i < WORDS / 2; i++) a[i] = row[i % 2 * 8 * pitch + i / 2 * 4];
#pragma unroll
        for (i32 i = 0; i < WORDS / 4; i++) b[i] = column[i * 4];
        Instruction::add(sums, a, b);
    });
}

// Shared memory as wgmma reads it where it does not swizzle and k is contiguous: pieces of 8 rows x 16 bytes, each in 128
// bytes without gaps; LEADING bytes from one to the next along k, STRIDE to the next 8 rows. An instruction takes two
// pieces along k.
constexpr i32 WORDS = 8, LEADING = 128, STRIDE = 256;

RN_HD i32 place_in_pieces(i32 row, i32 word) {
    return row / 8 * (STRIDE / 4) + word / 4 * (LEADING / 4) + row % 8 * 4 + word % 4;
}

RN_HD u64 encoded(u64 bytes) { return (bytes & 0x3ffff) >> 4; }

// The descriptor of a matrix: its address, and both distances.
RN_HD u64 descriptor(u32 address) { return encoded(address) | encoded(LEADING) << 16 | encoded(STRIDE) << 32; }

// Bring so many rows of a step.
__device__ __forceinline__ void put(u32* pieces, const u32* rows, i32 count, i64 pitch) {
    for (i32 i = static_cast<i32>(threadIdx.x); i < count * WORDS; i += THREADS) {
        pieces[place_in_pieces(i / WORDS, i % WORDS)] = rows[i / WORDS * pitch + i % WORDS];
    }
}

template <class Instruction>
__device__ void by_group(Operands of, u32* shared) {
    constexpr i32 EACH = Instruction::EACH;
    u32 *left = shared, *right = shared + ROWS * WORDS;
    u64 a = descriptor(shared_address(left)), b = descriptor(shared_address(right));
    i64 pitch = of.steps * WORDS;
    each_tile<EACH>(of, Lane(), [&](u32(&sums)[2 * EACH], i64 tile, i64 step) {
        put(left, of.a + tile * ROWS * pitch + step * WORDS, ROWS, pitch);
        put(right, of.b + tile * COLUMNS * pitch + step * WORDS, COLUMNS, pitch);
        show_to_wgmma();
        __syncthreads();
        Instruction::add(sums, a, b);
        __syncthreads();  // all warps have read the pieces
    });
}

}  // namespace tensor_core
}  // namespace rn

// ---- kernels -------------------------------------------------------------------------------------

#define RN_KERNEL(NAME, ...)                                                                                     \
    extern "C" __global__ void __launch_bounds__(rn::tensor_core::THREADS)                                       \
        rn_##NAME(const rn::u32* a, const rn::u32* b, const rn::u32* c, rn::u32* d, rn::i64 tiles, rn::i64 steps) { \
        __VA_ARGS__                                                                                              \
    }

#define RN_PROBE_MMA(NAME, WORDS_, EACH_, TEXT)                                                                        \
    namespace rn::tensor_core {                                                                                       \
    struct NAME {                                                                                                     \
        static constexpr i32 WORDS = WORDS_, EACH = EACH_;                                                            \
        static __device__ void add(u32 (&d)[2 * EACH_], const u32 (&a)[WORDS_ / 2], const u32 (&b)[WORDS_ / 4]) {      \
            RN_MMA_##WORDS_##_##EACH_(TEXT)                                                                           \
        }                                                                                                             \
    };                                                                                                                \
    }                                                                                                                 \
    RN_KERNEL(NAME, rn::tensor_core::by_warps<rn::tensor_core::NAME>({a, b, c, d, tiles, steps});)

#define RN_PROBE_WGMMA(NAME, EACH_, TEXT, TAIL)                                     \
    namespace rn::tensor_core {                                                    \
    struct NAME {                                                                  \
        static constexpr i32 EACH = EACH_;                                         \
        static __device__ void add(u32 (&d)[2 * EACH_], u64 a, u64 b) {            \
            RN_WGMMA_##EACH_(TEXT, TAIL)                                           \
        }                                                                          \
    };                                                                             \
    }                                                                              \
    RN_KERNEL(NAME, extern __shared__ float4 rn_shared[];                          \
              rn::tensor_core::by_group<rn::tensor_core::NAME>({a, b, c, d, tiles, steps}, \
                                                               reinterpret_cast<rn::u32*>(rn_shared));)

RN_PROBE_MMA(mma_bf16_k16, 8, 2, "m16n8k16.row.col.f32.bf16.bf16.f32")
RN_PROBE_MMA(mma_bf16_k8, 4, 2, "m16n8k8.row.col.f32.bf16.bf16.f32")
RN_PROBE_MMA(mma_f16_k16, 8, 2, "m16n8k16.row.col.f32.f16.f16.f32")
RN_PROBE_MMA(mma_f16_k8, 4, 2, "m16n8k8.row.col.f32.f16.f16.f32")
RN_PROBE_MMA(mma_f16_k16_acc16, 8, 1, "m16n8k16.row.col.f16.f16.f16.f16")
RN_PROBE_MMA(mma_f16_k8_acc16, 4, 1, "m16n8k8.row.col.f16.f16.f16.f16")
RN_PROBE_MMA(mma_tf32_k8, 8, 2, "m16n8k8.row.col.f32.tf32.tf32.f32")
RN_PROBE_MMA(mma_tf32_k4, 4, 2, "m16n8k4.row.col.f32.tf32.tf32.f32")

// All there is of 8 bits, for either type of A and B.
#define RN_PROBE_FP8(A, B)                                                                         \
    RN_PROBE_MMA(mma_##A##_##B##_k32, 8, 2, "m16n8k32.row.col.f32." #A "." #B ".f32")              \
    RN_PROBE_MMA(mma_##A##_##B##_k16, 4, 2, "m16n8k16.row.col.f32." #A "." #B ".f32")              \
    RN_PROBE_MMA(mma_##A##_##B##_k32_acc16, 8, 1, "m16n8k32.row.col.f16." #A "." #B ".f16")        \
    RN_PROBE_MMA(mma_##A##_##B##_k16_acc16, 4, 1, "m16n8k16.row.col.f16." #A "." #B ".f16")
#define RN_PROBE_WGMMA_FP8(A, B)                                                                   \
    RN_PROBE_WGMMA(wgmma_##A##_##B##_k32, 2, "m64n8k32.f32." #A "." #B, "1, 1")                    \
    RN_PROBE_WGMMA(wgmma_##A##_##B##_k32_acc16, 1, "m64n8k32.f16." #A "." #B, "1, 1")

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 890
RN_PROBE_FP8(e4m3, e4m3)
RN_PROBE_FP8(e4m3, e5m2)
RN_PROBE_FP8(e5m2, e4m3)
RN_PROBE_FP8(e5m2, e5m2)
#endif

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDACC__)
RN_PROBE_WGMMA(wgmma_bf16_k16, 2, "m64n8k16.f32.bf16.bf16", "1, 1, 0, 0")
RN_PROBE_WGMMA(wgmma_f16_k16, 2, "m64n8k16.f32.f16.f16", "1, 1, 0, 0")
RN_PROBE_WGMMA(wgmma_f16_k16_acc16, 1, "m64n8k16.f16.f16.f16", "1, 1, 0, 0")
RN_PROBE_WGMMA(wgmma_tf32_k8, 2, "m64n8k8.f32.tf32.tf32", "1, 1")
RN_PROBE_WGMMA_FP8(e4m3, e4m3)
RN_PROBE_WGMMA_FP8(e4m3, e5m2)
RN_PROBE_WGMMA_FP8(e5m2, e4m3)
RN_PROBE_WGMMA_FP8(e5m2, e5m2)
#endif
