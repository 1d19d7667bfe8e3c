// Elements of blocks: scaled value -> code, code -> value. As refnum/mx/elements.py, and refnum/fast/elements.py.
#pragma once
#include "rn_halves.cuh"
#include "rn_minifloat.cuh"

namespace rn {

constexpr u32 INF_BITS = 0x7f800000, NAN_BITS = 0x7fc00000, MAGNITUDE_BITS = 0x7fffffff;  // of float32
constexpr i32 FLOAT_MANTISSA = 23, FLOAT_BIAS = 127;

RN_HD constexpr Minifloat float32_row() { return {8, FLOAT_MANTISSA, FLOAT_BIAS, IEEE, TO_INF, 1, 1}; }

RN_HD i64 least_of(i64 a, i64 b) { return a < b ? a : b; }
RN_HD u32 least_of(u32 a, u32 b) { return a < b ? a : b; }
RN_HD u32 most_of(u32 a, u32 b) { return a > b ? a : b; }

// NaN is neither: the other one is.
RN_HD float least_of(float a, float b) {
#if defined(__CUDA_ARCH__)
    return fminf(a, b);
#else
    return __builtin_fminf(a, b);
#endif
}

RN_HD float most_of(float a, float b) {
#if defined(__CUDA_ARCH__)
    return fmaxf(a, b);
#else
    return __builtin_fmaxf(a, b);
#endif
}

RN_HD float magnitude_of(float x) {
#if defined(__CUDA_ARCH__)
    return fabsf(x);
#else
    return __builtin_fabsf(x);
#endif
}

// Of two numbers of 16 bits in a word, each.
RN_HD u32 least_of_pairs(u32 a, u32 b) {
#if defined(__CUDA_ARCH__)
    return __vminu2(a, b);
#else
    return least_of(a & 0xffff, b & 0xffff) | least_of(a >> 16, b >> 16) << 16;
#endif
}

RN_HD u32 most_of_pairs(u32 a, u32 b) {
#if defined(__CUDA_ARCH__)
    return __vmaxu2(a, b);
#else
    return most_of(a & 0xffff, b & 0xffff) | most_of(a >> 16, b >> 16) << 16;
#endif
}

// Four of the eight bytes of two words, by their numbers in the digits of the selector.
RN_HD u32 bytes_of(u32 low, u32 high, u32 selector) {
#if defined(__CUDA_ARCH__)
    return __byte_perm(low, high, selector);
#else
    u64 both = static_cast<u64>(high) << 32 | low;
    u32 out = 0;
    for (i32 k = 0; k < 4; ++k) out |= static_cast<u32>(both >> (selector >> 4 * k & 7) * 8 & 0xff) << 8 * k;
    return out;
#endif
}

// ---- elements ------------------------------------------------------------------------------------

// Minifloats, or two's complement integers in units of 2**-fraction.
struct Element {
    i32 is_fixed;
    Minifloat minifloat;
    i32 width;      // of a code, in bits
    i32 fraction;   // of integers
    i32 symmetric;  // integers whose least code is never written
    float unit;     // 2**-fraction, or 2**(127 - bias): what a code counts, read as the upper bits of a float32

    RN_HD u32 mask() const { return (1u << width) - 1; }
};

// An integer magnitude, and what follows it.
RN_HD Wide pack_integer(Exact x) {
    i32 rest = x.exponent < LIMB - 1 ? LIMB - 1 - x.exponent : 0;
    u64 head = rest < 64 ? x.significand >> rest : 0;
    u64 tail = rest <= TAIL_BITS ? x.significand << (TAIL_BITS - rest) & (WHOLE - 1)
                                 : shift_right_jam(x.significand, rest - TAIL_BITS);
    return {x.sign, head, tail, x.significand != 0, x.kind};
}

// The definition: any element, any rounding.
RN_HD u32 encode(Exact x, const Element& element, i32 rounding, u32 random) {
    if (!element.is_fixed) {
        Wide wide = pack(x, element.minifloat);
        return static_cast<u32>(round_wide(wide, element.minifloat, rounding, random));
    }
    x.exponent += element.fraction;
    Wide wide = pack_integer(x);
    u64 largest = (1ull << (element.width - 1)) - (element.symmetric || !x.sign);
    u64 magnitude = wide.head + carry(wide, rounding, random);
    if (magnitude > largest || x.kind == INFINITE) magnitude = largest;
    if (x.kind == NOT_A_NUMBER) magnitude = 0;
    return static_cast<u32>(x.sign ? 0 - magnitude : magnitude) & element.mask();
}

// The value of a code, which float32 holds.
RN_HD float value_of(u32 code, const Element& element) {
    if (element.is_fixed) {
        i32 above = 32 - element.width;
        return multiply_rn(static_cast<float>(static_cast<i32>(code << above) >> above), element.unit);
    }
    const Minifloat& row = element.minifloat;
    u32 magnitude = code & static_cast<u32>(row.top()), sign = (code >> row.magnitude_bits() & 1) << 31;
    // 1. Fields at float32's places, under another bias: subnormal ones are subnormal there, too.
    float value = multiply_rn(float_of(magnitude << (FLOAT_MANTISSA - row.mantissa)), element.unit);
    // 2. What lies beyond the largest number, or stands for -0.
    i32 kind = minifloat_kind(-static_cast<i32>(sign >> 31), magnitude, row);
    u32 special = kind == INFINITE ? INF_BITS : NAN_BITS;
    return float_of((kind == NUMBER ? bits_of(value) : special) | sign);
}

// ---- elements of the formats that have names, to nearest even, in float32 ------------------------
// EXCESS is what a code counts too much: the sum of several is freed of it at once.

template <i32 EXPONENT, i32 BITS, i32 SPECIALS>
struct MinifloatCodes {
    static constexpr bool HAS_SIGN = true;  // beside a magnitude, which alone is rounded
    static constexpr i32 WIDTH = 1 + EXPONENT + BITS, FIRST = 2 - (1 << (EXPONENT - 1));  // log2 of the least normal one
    static constexpr bool MAY_BE_SPECIAL = SPECIALS != NONE;
    static constexpr bool IN_PAIRS = WIDTH == 8;  // GPUs of compute capability 8.9 or more have an instruction
    static constexpr bool BY_LINES = EXPONENT == 2;
    static constexpr u32 EXCESS = BY_LINES ? 0x4b000000 : (FLOAT_BIAS + FIRST) << BITS;
    // The code of the largest number: the last but NaN, or but Inf and NaNs.
    static constexpr i32 TOP = (1 << (EXPONENT + BITS)) - 1 - (SPECIALS == FN ? 1 : SPECIALS == IEEE ? 1 << BITS : 0);

    static RN_HD u32 code(float x) {
        return (excessive_code(magnitude_of(x)) - EXCESS) | bits_of(x) >> 31 << (WIDTH - 1);
    }

    // Of two numbers, the first one in the low byte.
    static RN_HD u32 pair(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
        u16 out;
        if constexpr (EXPONENT == 4) {
            asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(out) : "f"(high), "f"(low));
        } else {
            asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(out) : "f"(high), "f"(low));
        }
        return out;
#else
        return code(low) | code(high) << 8;
#endif
    }

    // Of a magnitude. NaN has any code.
    static RN_HD u32 excessive_code(float x) {
        if constexpr (BY_LINES) {
            // Three binades: codes grow along three lines, each flatter than the one before, and the least one is right.
            // From 2**23 on the unit is 1, and the product is rounded with the sum, once.
            constexpr float WHOLE_NUMBERS = 0x1p23f;
            u32 first = bits_of(fma_rn(x, 1 << BITS, WHOLE_NUMBERS));
            u32 second = bits_of(fma_rn(x, (1 << BITS) / 2.f, WHOLE_NUMBERS + (1 << BITS)));
            u32 third = bits_of(fma_rn(x, (1 << BITS) / 4.f, WHOLE_NUMBERS + (2 << BITS)));
            return least_of(least_of(least_of(first, second), third), EXCESS + TOP);
        } else {
            // To add 2**(e + 23 - BITS) leaves a multiple of 2**(e - BITS), which is the unit from 2**e on.
            constexpr float LEAST = power(FIRST), LARGEST = largest();
            float bounded = least_of(x, LARGEST);
            u32 binade = bits_of(most_of(bounded, LEAST)) & INF_BITS;
            float lift = float_of(binade + ((FLOAT_MANTISSA - BITS) << FLOAT_MANTISSA));
            return bits_of(add_rn(bounded, lift)) - bits_of(lift) + (binade >> (FLOAT_MANTISSA - BITS));
        }
    }

    // The value of the code whose sign is the first bit of a word.
    static RN_HD float value(u32 head) {
        // Fields at float32's places, under another bias: subnormal ones are subnormal there, too.
        constexpr u32 MAGNITUDE = ((1u << (EXPONENT + BITS)) - 1) << (FLOAT_MANTISSA - BITS);
        u32 fields = static_cast<u32>(static_cast<i32>(head) >> (8 - EXPONENT)) & (0x80000000 | MAGNITUDE);
        float number = multiply_rn(float_of(fields), power(FLOAT_BIAS - 1 + FIRST));
        if constexpr (SPECIALS == NONE) return number;
        u32 magnitude = (fields & MAGNITUDE) >> (FLOAT_MANTISSA - BITS);
        u32 special = SPECIALS == IEEE && magnitude == TOP + 1 ? INF_BITS | (head & 0x80000000) : NAN_BITS;
        return magnitude <= TOP ? number : float_of(special);
    }

    static RN_HD constexpr float power(i32 exponent) {
        float result = 1;
        for (i32 i = 0; i < exponent; ++i) result *= 2;
        for (i32 i = 0; i > exponent; --i) result /= 2;
        return result;
    }

    static RN_HD constexpr float largest() {
        i32 integer = (TOP & ((1 << BITS) - 1)) | 1 << BITS;
        return static_cast<float>(integer) * power((TOP >> BITS) - 1 + FIRST - BITS);
    }
};

using E2M1 = MinifloatCodes<2, 1, NONE>;
using E2M3 = MinifloatCodes<2, 3, NONE>;
using E3M2 = MinifloatCodes<3, 2, NONE>;
using E4M3 = MinifloatCodes<4, 3, FN>;
using E5M2 = MinifloatCodes<5, 2, IEEE>;

// Integers in units of 2**-6, without -128.
struct Int8 {
    static constexpr bool HAS_SIGN = false, MAY_BE_SPECIAL = false, IN_PAIRS = false;
    static constexpr i32 WIDTH = 8;
    static constexpr u32 EXCESS = 0;

    static RN_HD u32 code(float x) { return excessive_code(x); }

    static RN_HD u32 excessive_code(float x) {
        float bounded = most_of(least_of(x, 127 / 64.f), -127 / 64.f);
        return bits_of(add_rn(bounded, 1.5f * 0x1p17f)) & 0xff;
    }

    static RN_HD float value(u32 head) { return multiply_rn(static_cast<float>(static_cast<i32>(head) >> 24), 1 / 64.f); }
};

// ---- what lies in memory -------------------------------------------------------------------------

// Truncated, the last bit 1 where something was cut off: rounded again to fewer bits, it gives what x gives.
RN_HD float to_odd(double x) {
    float nearest = static_cast<float>(x);
    if (static_cast<double>(nearest) == x || is_nan(nearest)) return nearest;
    bool beyond = x < 0 ? static_cast<double>(nearest) < x : static_cast<double>(nearest) > x;
    return float_of((bits_of(nearest) - beyond) | 1);
}

// Values rounded to what lies in memory, NaN as the quiet one without a sign.
struct ToFloat32 {
    using Bits = u32;
    static RN_HD u32 of(float x) { return is_nan(x) ? NAN_BITS : bits_of(x); }
    static RN_HD u32 of(double x) { return of(static_cast<float>(x)); }
};

struct ToBFloat16 {
    using Bits = u16;
    static RN_HD u16 of(float x) { return is_nan(x) ? u16{0x7fc0} : BFloat16::rounded(x); }
    static RN_HD u16 of(double x) { return of(to_odd(x)); }
};

struct ToFloat16 {
    using Bits = u16;
    static RN_HD u16 of(float x) { return is_nan(x) ? u16{0x7e00} : Float16::rounded(x); }
    static RN_HD u16 of(double x) { return of(to_odd(x)); }
};

struct ToFloat64 {
    using Bits = u64;
    static RN_HD u64 of(double x) {
        union {
            double value;
            u64 bits;
        } same{x};
        return x != x ? 0x7ff8000000000000 : same.bits;
    }
};

// ---- pairs of bfloat16 ---------------------------------------------------------------------------

// a b + c, rounded once.
RN_HD u32 fma_of_pairs(u32 a, u32 b, u32 c) {
#if defined(__CUDA_ARCH__)
    u32 out;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(c));
    return out;
#else
    u32 out = 0;
    for (i32 at = 0; at < 32; at += 16) {
        auto half = [&](u32 x) -> double { return BFloat16::widened(static_cast<u16>(x >> at)); };
        // float64 holds the product; what its sum loses lies far below where bfloat16 has a tie.
        out |= static_cast<u32>(ToBFloat16::of(half(a) * half(b) + half(c))) << at;
    }
    return out;
#endif
}

// Two numbers, none of them NaN, rounded.
RN_HD u32 to_bfloat16_pair(float low, float high) {
#if defined(__CUDA_ARCH__)
    u32 out;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
    return out;
#else
    return BFloat16::rounded(low) | static_cast<u32>(BFloat16::rounded(high)) << 16;
#endif
}

RN_HD u32 to_float16_pair(float low, float high) {
#if defined(__CUDA_ARCH__)
    u32 out;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
    return out;
#else
    return Float16::rounded(low) | static_cast<u32>(Float16::rounded(high)) << 16;
#endif
}

// A number that bfloat16 holds, twice.
RN_HD u32 pair_of(float x) { return bytes_of(bits_of(x), bits_of(x), 0x3232); }

}  // namespace rn
