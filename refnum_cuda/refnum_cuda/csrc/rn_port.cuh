// The only file that knows the compiler: nvcc, NVRTC or a host C++ compiler. The rest is plain C++17 on these names.
#pragma once

#if defined(__CUDACC__)
#define RN_HD __host__ __device__ __forceinline__
#else
#define RN_HD inline
#endif

namespace rn {

// Of the same width for all three compilers, which differ in what int64_t is.
using i8 = signed char;
using i16 = short;
using i32 = int;
using i64 = long long;
using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;

// ---- bits ----------------------------------------------------------------------------------------

// Zeros above the leading one of x != 0.
RN_HD i32 leading_zeros(u64 x) {
#if defined(__CUDA_ARCH__)
    return __clzll(static_cast<i64>(x));
#else
    return __builtin_clzll(x);
#endif
}

RN_HD i32 leading_zeros(u32 x) {
#if defined(__CUDA_ARCH__)
    return __clz(static_cast<i32>(x));
#else
    return __builtin_clz(x);
#endif
}

// The upper 64 bits of a product.
RN_HD u64 multiply_high(u64 a, u64 b) {
#if defined(__CUDA_ARCH__)
    return __umul64hi(a, b);
#else
    return static_cast<u64>(static_cast<unsigned __int128>(a) * b >> 64);
#endif
}

RN_HD u32 bits_of(float x) {
#if defined(__CUDA_ARCH__)
    return __float_as_uint(x);
#else
    u32 bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
#endif
}

RN_HD float float_of(u32 bits) {
#if defined(__CUDA_ARCH__)
    return __uint_as_float(bits);
#else
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
#endif
}

// ---- float arithmetic, to nearest even, never fused but where it says so --------------------------

RN_HD float add_rn(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fadd_rn(a, b);
#else
    return a + b;
#endif
}

// The bits of a sum; those of NaN are the ones that a GPU writes.
RN_HD u32 sum_bits(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __float_as_uint(__fadd_rn(a, b));
#else
    float sum = a + b;
    return sum == sum ? bits_of(sum) : 0x7fffffff;
#endif
}

RN_HD float multiply_rn(float a, float b) {
#if defined(__CUDA_ARCH__)
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}

RN_HD float fma_rn(float a, float b, float c) {
#if defined(__CUDA_ARCH__)
    return __fmaf_rn(a, b, c);
#else
    return __builtin_fmaf(a, b, c);
#endif
}

RN_HD double square_root_rn(double x) {
#if defined(__CUDA_ARCH__)
    return __dsqrt_rn(x);
#else
    return __builtin_sqrt(x);
#endif
}

}  // namespace rn
