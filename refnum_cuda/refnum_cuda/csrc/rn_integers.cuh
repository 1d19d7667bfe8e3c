// Integers of 8 bits on tensor cores (PTX: ldmatrix, mma.sync; wgmma on Hopper), and what is left of sums modulo small
// numbers. On the CPU the simulator has the instructions.
#pragma once
#include "rn_hopper.cuh"

namespace rn {

constexpr i32 MOST_MODULI = 36;

// Coprime numbers from 65 to 256.
struct Moduli {
    i32 number[MOST_MODULI];
    i32 reciprocal[MOST_MODULI];  // 2**32 / number, rounded down
    u32 finer[MOST_MODULI];       // 2**38 / number, rounded down
    u32 offset[MOST_MODULI];      // a multiple of the number, 2**29 or a little more

    // x modulo one of them, of |x| < 2**22, in 8 bits with a sign. Times its reciprocal, x is less than 2**-10 off x /
    // number, so that this is at most number (1/2 + 2**-10) in size; that of 256 is not off at all.
    RN_HD i32 centred(i32 x, i32 i) const {
        i32 quotient = static_cast<i32>((static_cast<i64>(x) * reciprocal[i] + (1ll << 31)) >> 32);
        return x - quotient * number[i];
    }

    // A sum and its offset modulo one of them, of |sum| <= 2**29, in 8 bits. Less than 2**-8 off, the quotient can be 1
    // too small only for a multiple of the number, and leaves the number; that of 256 is not off at all.
    RN_HD u32 rest(i32 sum, i32 i) const {
        u32 x = static_cast<u32>(sum) + offset[i];
        u32 quotient = static_cast<u32>(static_cast<u64>(x) * finer[i] >> 38);
        return x - quotient * static_cast<u32>(number[i]);
    }
};

}  // namespace rn

#if defined(__CUDACC__)
namespace rn {

// Start to copy 16 bytes, aligned to as many, past the first cache.
__device__ __forceinline__ void copy_16(i8* to, const i8* from) {
    u32 place = static_cast<u32>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place), "l"(from) : "memory");
}

// Four matrices of 8 lines of 16 bytes: lane 8i + r names line r of matrix i, and gets bytes 4(lane % 4) to
// 4(lane % 4) + 3 of line lane / 4 of each of them.
__device__ __forceinline__ void load_pieces(u32 (&to)[4], const i8* line) {
    u32 place = static_cast<u32>(__cvta_generic_to_shared(line));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(place)
                 : "memory");
}

// sums [16 x 8] += a [16 x 32] @ b [32 x 8]: lane has rows lane / 4 and 8 further, columns 2(lane % 4) and the next.
__device__ __forceinline__ void multiply_add(i32 (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// ---- Hopper ----------------------------------------------------------------------------------------

// What this thread has copied to shared memory can be read by multiply_add_async after a barrier of the block.
__device__ __forceinline__ void copies_ready() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

template <i32 COUNT>
__device__ __forceinline__ void settle(i32 (&s)[COUNT]) {
#pragma unroll
    for (i32 i = 0; i < COUNT; i++) asm volatile("" : "+r"(s[i])::"memory");
}

// Start sums [64 x 256] += a [64 x 32] @ b [32 x 256], lines along terms. Warp w has rows 16w to 16w + 15, and of each 8
// columns a lane has what it has of multiply_add.
#define RN_INTEGERS_8(i)                                                                                         \
    "+r"(s[i]), "+r"(s[i + 1]), "+r"(s[i + 2]), "+r"(s[i + 3]), "+r"(s[i + 4]), "+r"(s[i + 5]), "+r"(s[i + 6]), \
        "+r"(s[i + 7])
#define RN_INTEGERS_32(i) RN_INTEGERS_8(i), RN_INTEGERS_8(i + 8), RN_INTEGERS_8(i + 16), RN_INTEGERS_8(i + 24)
__device__ __forceinline__ void multiply_add_async(i32 (&s)[128], u64 a, u64 b) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8 {" RN_NUMBERS_128 "}, %128, %129, 1;"
                 : RN_INTEGERS_32(0), RN_INTEGERS_32(32), RN_INTEGERS_32(64), RN_INTEGERS_32(96)
                 : "l"(a), "l"(b));
}

}  // namespace rn
#endif
