// Floats of 8 bits on Hopper's tensor cores (PTX: wgmma), for sm_90a alone. On the CPU the simulator has it.
#pragma once
#include "rn_hopper.cuh"

namespace rn {

struct E4M3 {
    static constexpr i32 EXPONENT = 4, MANTISSA = 3;  // bits
    static constexpr bool INFINITE = false;           // whether there is Inf; else NaN has the largest pattern alone
};

struct E5M2 {
    static constexpr i32 EXPONENT = 5, MANTISSA = 2;
    static constexpr bool INFINITE = true;
};

// Operands of formats of their own.
template <class A, class B>
struct Pair {
    using Bits = u8;
    using Left = A;
    using Right = B;
};

}  // namespace rn

#if defined(__CUDACC__)
namespace rn {

// Start sums [64 x N] += a [64 x 32] @ b [32 x N], both along terms.
#define RN_NUMBERS_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define RN_NUMBERS_32 \
    RN_NUMBERS_8 \
    ", %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23" \
    ", %24, %25, %26, %27, %28, %29, %30, %31"
#define RN_MULTIPLY_ADD_BYTES(A, B, names, count, columns, operands, sums)                                         \
    template <bool, bool>                                                                                          \
    __device__ __forceinline__ void multiply_add_async(Pair<A, B>, float (&s)[count], u64 a, u64 b) {              \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" columns "k32.f32." names " {" RN_NUMBERS_##count "}, "    \
                     operands ", 1, 1, 1;"                                                                         \
                     : sums                                                                                        \
                     : "l"(a), "l"(b));                                                                            \
    }
#define RN_MULTIPLY_ADD_OF(A, B, names)                                                      \
    RN_MULTIPLY_ADD_BYTES(A, B, names, 8, "16", "%8, %9", RN_SUMS_8(0))                      \
    RN_MULTIPLY_ADD_BYTES(A, B, names, 32, "64", "%32, %33", RN_SUMS_32(0))                  \
    RN_MULTIPLY_ADD_BYTES(A, B, names, 64, "128", "%64, %65", RN_SUMS_64)                    \
    RN_MULTIPLY_ADD_BYTES(A, B, names, 128, "256", "%128, %129", RN_SUMS_128)
RN_MULTIPLY_ADD_OF(E4M3, E4M3, "e4m3.e4m3")
RN_MULTIPLY_ADD_OF(E4M3, E5M2, "e4m3.e5m2")
RN_MULTIPLY_ADD_OF(E5M2, E4M3, "e5m2.e4m3")
RN_MULTIPLY_ADD_OF(E5M2, E5M2, "e5m2.e5m2")

}  // namespace rn
#endif
