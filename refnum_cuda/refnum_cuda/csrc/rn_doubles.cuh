// float64: arithmetic that is never fused but where it says so, results rounded to odd, and values rounded to posits.
#pragma once
#include "rn_posit.cuh"

namespace rn {

RN_HD u64 bits_of(double x) {
#if defined(__CUDA_ARCH__)
    return static_cast<u64>(__double_as_longlong(x));
#else
    u64 bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
#endif
}

RN_HD double double_of(u64 bits) {
#if defined(__CUDA_ARCH__)
    return __longlong_as_double(static_cast<i64>(bits));
#else
    double x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
#endif
}

RN_HD double add_rn(double a, double b) {
#if defined(__CUDA_ARCH__)
    return __dadd_rn(a, b);
#else
    return a + b;
#endif
}

RN_HD double multiply_rn(double a, double b) {
#if defined(__CUDA_ARCH__)
    return __dmul_rn(a, b);
#else
    return a * b;
#endif
}

RN_HD double fma_rn(double a, double b, double c) {
#if defined(__CUDA_ARCH__)
    return __fma_rn(a, b, c);
#else
    return __builtin_fma(a, b, c);
#endif
}

// ---- to odd --------------------------------------------------------------------------------------

// near + error rounded to odd, where near is that sum to nearest: what is rounded to fewer bits afterwards is rounded
// as if once.
RN_HD double to_odd(double near, double error) {
    u64 bits = bits_of(near);
    if (error == 0 || (bits & 1)) return near;
    return double_of((error > 0) == (near > 0) ? bits + 1 : bits - 1);
}

// Of values whose product's last bit is no smaller than the least float64.
RN_HD double multiply_to_odd(double a, double b) {
    double near = multiply_rn(a, b);
    return to_odd(near, fma_rn(a, b, -near));
}

RN_HD double add_to_odd(double a, double b) {
    double near = add_rn(a, b), of_b = add_rn(near, -a), of_a = add_rn(near, -of_b);
    return to_odd(near, add_rn(add_rn(a, -of_a), add_rn(b, -of_b)));
}

// ---- posits --------------------------------------------------------------------------------------

// A float64 rounded to the format, to nearest even: 0, NaN, and what is normal; n from 3 to 32. As round_bits.
RN_HD double rounded(double x, Posit fmt) {
    constexpr i32 MANTISSA_64 = 52, BIAS_64 = 1023;
    constexpr u64 SIGN_64 = 1ull << 63, INFINITY_64 = 0x7FFull << MANTISSA_64;
    const u64 bits = bits_of(x);
    const i64 magnitude = static_cast<i64>(bits & ~SIGN_64);
    if (magnitude == 0) return 0.0;
    if (magnitude >= static_cast<i64>(INFINITY_64)) return double_of(INFINITY_64 | 1ull << (MANTISSA_64 - 1));
    const i32 step = MANTISSA_64 + fmt.es, even = 1 - (fmt.n & 1);
    const i64 offset = (static_cast<i64>(BIAS_64) << MANTISSA_64) - (static_cast<i64>(even) << step);
    const i64 low = (even - (fmt.n - 2)) * (1ll << step), high = (even + fmt.n - 2) * (1ll << step) - 1;
    i64 logarithm = magnitude - offset;
    logarithm = logarithm < low ? low : logarithm > high ? high : logarithm;
    const i32 k = static_cast<i32>(logarithm >> step) - even;
    const i32 cut = (k < 0 ? ~k : k) + MANTISSA_64 + 3 + fmt.es - fmt.n;
    const i64 unit = 1ll << cut;
    const i64 nearest = (logarithm + ((unit - 1 + (logarithm >> cut & 1)) >> 1)) & -unit;
    return double_of(static_cast<u64>(nearest + offset) | (bits & SIGN_64));
}

}  // namespace rn
