// Posits in tensors: patterns or floats there, patterns here.
#pragma once
#include "rn_fast.cuh"
#include "rn_halves.cuh"
#include "rn_minifloat.cuh"

namespace rn {

enum Element : i32 { CODES8, CODES16, CODES32, CODES64, FLOAT16, BFLOAT16, FLOAT32, FLOAT64 };

// A batch of matrices.
struct Numbers {
    void* data;
    i64 batch, line, term;  // strides, in elements
    i32 kind;

    RN_HD i64 place(i64 b, i64 i, i64 k) const { return b * batch + i * line + k * term; }

    template <class T>
    RN_HD T& at(i64 i) const {
        return static_cast<T*>(data)[i];
    }
};

RN_HD Minifloat float_of_kind(i32 kind) {
    switch (kind) {
        case FLOAT16:
            return {5, 10, 15, IEEE, TO_INF, 1, 1};
        case BFLOAT16:
            return {8, 7, 127, IEEE, TO_INF, 1, 1};
        case FLOAT32:
            return {8, 23, 127, IEEE, TO_INF, 1, 1};
        default:  // FLOAT64
            return {11, 52, 1023, IEEE, TO_INF, 1, 1};
    }
}

RN_HD u64 pattern_of(Exact x, Posit fmt) { return round_wide(pack(x, fmt), fmt, NEAREST_EVEN, 0); }

// A float of at most 32 bits, widened.
RN_HD float widened(const Numbers& x, i64 i) {
    return x.kind == FLOAT16    ? Float16::widened(x.at<u16>(i))
           : x.kind == BFLOAT16 ? BFloat16::widened(x.at<u16>(i))
                                : x.at<float>(i);
}

// The pattern of a number: what is above its n bits means nothing.
RN_HD u64 load(const Numbers& x, i64 i, Posit fmt) {
    if (x.kind == CODES8) return x.at<u8>(i);
    if (x.kind == CODES16) return x.at<u16>(i);
    if (x.kind == CODES32) return x.at<u32>(i);
    if (x.kind == CODES64) return x.at<u64>(i);
    const bool is_double = x.kind == FLOAT64;
    const u64 bits = is_double ? x.at<u64>(i) : bits_of(widened(x, i));
    if (!is_double && float32_reaches(fmt)) return encode_bits(static_cast<u32>(bits), fmt);
    return pattern_of(decode(bits, float_of_kind(is_double ? FLOAT64 : FLOAT32)), fmt);
}

RN_HD u64 float_code(Exact x, Minifloat fmt) { return round_wide(pack(x, fmt), fmt, NEAREST_EVEN, 0); }

// Write a pattern, sign-extended, or its value where a dtype of floats holds the format.
RN_HD void store(const Numbers& out, i64 i, u64 code, Posit fmt) {
    if (out.kind == FLOAT32 && float32_holds(fmt)) {
        out.at<u32>(i) = decode_bits(static_cast<u32>(code), fmt);
        return;
    }
    u64 bits = out.kind < FLOAT16 ? code : float_code(decode(code, fmt), float_of_kind(out.kind));
    switch (out.kind) {
        case CODES8:
            out.at<u8>(i) = static_cast<u8>(bits);
            break;
        case CODES16:
        case FLOAT16:
        case BFLOAT16:
            out.at<u16>(i) = static_cast<u16>(bits);
            break;
        case CODES32:
        case FLOAT32:
            out.at<u32>(i) = static_cast<u32>(bits);
            break;
        default:  // CODES64, FLOAT64
            out.at<u64>(i) = bits;
    }
}

}  // namespace rn
