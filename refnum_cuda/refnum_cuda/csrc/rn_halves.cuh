// Floats as they lie in memory, and float32: widened exactly, rounded once to nearest even, NaN as its largest pattern.
#pragma once
#include "rn_port.cuh"

namespace rn {

RN_HD bool is_nan(float x) { return (bits_of(x) & 0x7fffffff) > 0x7f800000; }

struct Float32 {
    using Bits = float;

    static RN_HD float widened(float x) { return x; }

    static RN_HD float rounded(float x) { return is_nan(x) ? float_of(0x7fffffff) : x; }
};

struct BFloat16 {
    using Bits = u16;
    static constexpr i32 EXPONENT = 8, MANTISSA = 7;  // bits

    static RN_HD float widened(u16 bits) { return float_of(static_cast<u32>(bits) << 16); }

    static RN_HD u16 rounded(float x) {
        u32 bits = bits_of(x);
        u32 kept = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;  // a carry out of the largest one makes Inf
        return static_cast<u16>(is_nan(x) ? 0x7fff : kept);
    }
};

struct Float16 {
    using Bits = u16;
    static constexpr i32 EXPONENT = 5, MANTISSA = 10;  // bits

    static RN_HD float widened(u16 bits) {
#if defined(__CUDA_ARCH__)
        float x;
        asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));  // exact, of subnormal ones, too
        return x;
#else
        u32 sign = static_cast<u32>(bits & 0x8000) << 16, magnitude = bits & 0x7fff;
        // The fields at float32's places mean 2**-112 times the value, a subnormal one, too.
        u32 finite = bits_of(multiply_rn(float_of(magnitude << 13), 0x1p112f));
        return float_of(sign | (magnitude < 0x7c00 ? finite : 0x7f800000 | magnitude << 13));
#endif
    }

    static RN_HD u16 rounded(float x) {
        u32 magnitude = bits_of(x) & 0x7fffffff;
        // 1. Normal ones drop 13 bits; what carries past the largest one, and all beyond it, is Inf.
        u32 normal = ((magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13) - (112 << 10);
        normal = normal < 0x7c00 ? normal : 0x7c00;
        // 2. The last place of 1/2 is that of subnormals, so that a sum with it rounds to them.
        u32 subnormal = bits_of(add_rn(float_of(magnitude), 0.5f)) - bits_of(0.5f);
        u32 kept = magnitude < 0x38800000 ? subnormal : normal;
        return static_cast<u16>(is_nan(x) ? 0x7fff : kept | (bits_of(x) >> 16 & 0x8000));
    }
};

}  // namespace rn
