// Exact sums of products of floats, and their rounding: in words that hold any of them, and of 128 bits where they fit.
#pragma once
#include "rn_minifloat.cuh"

namespace rn {

// ---- terms ---------------------------------------------------------------------------------------

// A factor. Finite, it is (-1)**sign * significand * 2**exponent.
struct Factor {
    float value;  // what it is as a float as long as it is Inf or NaN; else perhaps its sign and whether it is 0 alone
    i32 sign;     // 0 or -1
    u32 significand;
    i32 exponent;
    bool special;  // Inf or NaN
};

// A float32 times a power of 2.
RN_HD Factor factor_of(float value, i32 scale) {
    u32 bits = bits_of(value);
    i32 field = static_cast<i32>(bits >> 23 & 0xff);
    u32 significand = (bits & 0x7fffff) | (field ? 1u << 23 : 0);
    i32 exponent = significand ? (field ? field : 1) - 150 + scale : 0;  // words have a place for 0, too
    return {value, -static_cast<i32>(bits >> 31), significand, exponent, field == 255};
}

// A normal float32 of no more than 8 bits, or 0, times any.
RN_HD Factor product(Factor x, Factor y) {
    bool special = x.special || y.special;
    u32 significand = (x.significand >> 16) * y.significand;
    float unit = x.sign == y.sign ? 1.0f : -1.0f, finite = multiply_rn(unit, significand ? 1.0f : 0.0f);
    i32 exponent = significand ? x.exponent + 16 + y.exponent : 0;
    return {special ? multiply_rn(x.value, y.value) : finite, x.sign ^ y.sign, significand, exponent, special};
}

// What terms are besides their sum. A sum that is 0 is -0 if no term has a positive sign: terms that are not 0 and
// cancel are of both.
enum Flag : u32 { A_NAN = 1, A_PLUS_INFINITY = 2, A_MINUS_INFINITY = 4, A_POSITIVE_SIGN = 8 };

RN_HD u32 special_flags(Factor x, Factor y) {
    float product = multiply_rn(x.value, y.value);  // of which one is Inf or NaN: nothing is rounded
    u32 bits = bits_of(product);
    return (bits & 0x7fffffff) > 0x7f800000 ? A_NAN : bits >> 31 ? A_MINUS_INFINITY : A_PLUS_INFINITY;
}

// ---- any sum, in words ---------------------------------------------------------------------------

// Words that lie STRIDE apart, each worth 2**32 times the one before. A term adds less than 2**32 to each, so that
// fewer than 2**31 need no carry. There is room for factors below 2**144 in size whose significands are in units of
// 2**-176 or more: a float32; a value of 32 binades, 2**-16 the least, times 2**-127 to 2**127, or times a float32.
template <i32 STRIDE>
struct Words {
    static constexpr i32 COUNT = 21, LOWEST = -352;

    i64* word;

    RN_HD void clear() const {
#pragma unroll
        for (i32 i = 0; i < COUNT; i++) word[i * STRIDE] = 0;
    }

    RN_HD void add_product(Factor x, Factor y) const {
        // W1. An integer is cut into three words.
        i32 position = x.exponent + y.exponent - LOWEST, shift = position & 31;
        u64 integer = static_cast<u64>(x.significand) * y.significand, low = integer << shift;
        // W2. Each is added with the sign.
        i64 mask = x.sign ^ y.sign;
        i64* first = word + (position >> 5) * STRIDE;
        auto add = [&](i32 i, u64 part) { first[i * STRIDE] += (static_cast<i64>(part) ^ mask) - mask; };
        add(0, low & 0xffffffff);
        add(1, low >> 32);
        add(2, integer >> 32 >> (32 - shift));
    }

    // The sum, jammed to one significand; the words are its magnitude then.
    RN_HD Exact value(u32 flags) const {
        // V1. Carried; what is left beyond the last word is the sign.
        i64 carry = 0;
#pragma unroll 7
        for (i32 i = 0; i < COUNT; i++) {
            carry += word[i * STRIDE];
            word[i * STRIDE] = carry & 0xffffffff;
            carry >>= 32;
        }
        i32 sign = static_cast<i32>(carry);
        // V2. The magnitude.
        u64 mask = static_cast<u32>(sign), up = mask & 1;
#pragma unroll 7
        for (i32 i = 0; i < COUNT; i++) {
            up += static_cast<u64>(word[i * STRIDE]) ^ mask;
            word[i * STRIDE] = static_cast<i64>(up & 0xffffffff);
            up >>= 32;
        }
        // V3. Its first word that is not 0 and the two below; the very last word is always 0.
        i32 top = COUNT - 1;
#pragma unroll 1
        while (top > 2 && word[top * STRIDE] == 0) top--;
        u64 high = static_cast<u64>(word[top * STRIDE]) << 32 | static_cast<u64>(word[(top - 1) * STRIDE]);
        if (high == 0) return ending(0, 0, ZERO_EXPONENT, flags);
        i32 left = leading_zeros(high);
        u64 next = static_cast<u64>(word[(top - 2) * STRIDE]) << left;
        u64 rest = next & 0xffffffff;
#pragma unroll 1
        for (i32 i = top - 3; i >= 0; i--) rest |= static_cast<u64>(word[i * STRIDE]);
        // V4. Jammed to a significand.
        u64 significand = shift_right_jam(high << left | next >> 32, 64 - LIMB) | sticky(rest);
        return ending(sign, significand, LOWEST + 32 * top + 31 - left, flags);
    }

    static RN_HD Exact ending(i32 sign, u64 significand, i32 exponent, u32 flags) {
        bool plus = flags & A_PLUS_INFINITY, minus = flags & A_MINUS_INFINITY;
        if (flags & A_NAN || (plus && minus)) return {0, 0, ZERO_EXPONENT, NOT_A_NUMBER};
        if (plus || minus) return {-static_cast<i32>(minus), 0, ZERO_EXPONENT, INFINITE};
        if (significand == 0) sign = flags & A_POSITIVE_SIGN ? 0 : -1;
        return {sign, significand, exponent, NUMBER};
    }
};

// ---- sums of 128 bits ----------------------------------------------------------------------------

struct Integer128 {
    u64 low, high;  // two's complement
};

RN_HD Integer128 sum(Integer128 x, Integer128 y) {
    u64 low = x.low + y.low;
    return {low, x.high + y.high + (low < x.low)};
}

RN_HD Integer128 negated(Integer128 x) { return {0 - x.low, ~x.high + (x.low == 0)}; }

RN_HD i32 leading_zeros(Integer128 x) { return x.high ? leading_zeros(x.high) : 64 + leading_zeros(x.low | 1); }

RN_HD Integer128 shifted_left(Integer128 x, i32 count) {  // 0 <= count < 128
    if (count >= 64) return {0, x.low << (count - 64)};
    return {x.low << count, x.high << count | x.low >> 1 >> (63 - count)};
}

// x >> count for 0 <= count of x >= 0, what falls out jammed into the lowest bit.
RN_HD Integer128 shifted_right_jam(Integer128 x, i32 count) {
    if (count >= 64) {
        x = {x.high | sticky(x.low), 0};
        count = count - 64 < 63 ? count - 64 : 63;
        return {shift_right_jam(x.low, count), 0};
    }
    u64 low = x.low >> count | x.high << 1 << (63 - count) | sticky(dropped(x.low, count));
    return {low, x.high >> count};
}

// (-1)**sign * magnitude, whose leading one stands at bit 125 and is worth 2**exponent; or 0.
struct Large {
    i32 sign;
    Integer128 magnitude;
    i32 exponent;
};

constexpr i32 LEADING_BIT = 125;

RN_HD Integer128 multiplied(Integer128 x, u64 y) { return {x.low * y, multiply_high(x.low, y) + x.high * y}; }

// An integer times another one, below 2**125 in size, in units of 2**unit.
RN_HD Large large(Integer128 x, u64 times, i32 unit) {
    i32 sign = static_cast<i32>(static_cast<i64>(x.high) >> 63);
    Integer128 magnitude = multiplied(sign ? negated(x) : x, times);
    if ((magnitude.low | magnitude.high) == 0) return {0, magnitude, ZERO_EXPONENT};
    i32 left = leading_zeros(magnitude) - (127 - LEADING_BIT);
    return {sign, shifted_left(magnitude, left), unit + LEADING_BIT - left};
}

// x + y, jammed to one significand; exact but for that if either has no more than 124 bits: as `add` of Exact.
RN_HD Exact total(Large x, Large y) {
    if (x.exponent < y.exponent) {
        Large larger = y;
        y = x;
        x = larger;
    }
    Integer128 small = shifted_right_jam(y.magnitude, x.exponent - y.exponent);
    Integer128 both = sum(x.magnitude, x.sign == y.sign ? small : negated(small));
    i32 flipped = static_cast<i32>(static_cast<i64>(both.high) >> 63);
    if (flipped) both = negated(both);
    if ((both.low | both.high) == 0) return {0, 0, ZERO_EXPONENT, NUMBER};
    i32 left = leading_zeros(both);
    Integer128 top = shifted_left(both, left);
    u64 significand = shift_right_jam(top.high, 64 - LIMB) | sticky(top.low);
    return {x.sign ^ flipped, significand, x.exponent + 127 - LEADING_BIT - left, NUMBER};
}

// ---- results -------------------------------------------------------------------------------------

struct Target {
    Minifloat format;
    i32 bits;  // of a code in memory: 8, 16, 32 or 64
    u64 nan;   // its code
};

RN_HD u64 rounded(Exact x, Target to) {
    return x.kind == NOT_A_NUMBER ? to.nan : round_wide(pack(x, to.format), to.format, NEAREST_EVEN, 0);
}

RN_HD void store(void* out, i64 place, u64 code, Target to) {
    switch (to.bits) {
        case 8:
            static_cast<u8*>(out)[place] = static_cast<u8>(code);
            break;
        case 16:
            static_cast<u16*>(out)[place] = static_cast<u16>(code);
            break;
        case 32:
            static_cast<u32*>(out)[place] = static_cast<u32>(code);
            break;
        default:
            static_cast<u64*>(out)[place] = code;
    }
}

}  // namespace rn
