// Exact -> Exact: arithmetic that loses nothing that a later rounding could see. As refnum/core/exact.py, in one limb,
// which holds the product of two posits of at most 32 bits, and a float64.
#pragma once
#include "rn_port.cuh"

namespace rn {

constexpr i32 LIMB = 62;                   // bits of a significand: one stays free for a carry, one for a sign
constexpr u64 HIDDEN = 1ull << (LIMB - 1);  // the leading one of a normalised significand
constexpr i32 ZERO_EXPONENT = -(1 << 20);  // that of a decoded 0: far below all others

enum Kind : i32 { NUMBER = 0, INFINITE = 1, NOT_A_NUMBER = -1 };  // the last has every bit set, so that | lets it win

// The value (-1)**sign * significand * 2**exponent, where the significand lies in [1, 2) or is 0. Its lowest bit may be
// sticky: it then says that something not zero follows.
struct Exact {
    i32 sign;         // 0 or -1
    u64 significand;  // leading one at bit 61; 0 for the value 0
    i32 exponent;     // floor(log2 |value|)
    i32 kind;
};

RN_HD i32 floor_log2(u64 x) { return 63 - leading_zeros(x); }

RN_HD u64 sticky(u64 x) { return x != 0; }

// The low bits that x >> count loses, for count < 64.
RN_HD u64 dropped(u64 x, i32 count) { return x & ((1ull << count) - 1); }

// x >> count for 0 <= count, what falls out jammed into the lowest bit.
RN_HD u64 shift_right_jam(u64 x, i32 count) {
    return count < 64 ? (x >> count) | sticky(dropped(x, count)) : sticky(x);
}

// The value of an integer magnitude below 2**62, whose lowest bit is worth 2**unit.
RN_HD Exact from_integer(i32 sign, u64 magnitude, i32 unit, i32 kind) {
    if (magnitude == 0) return {sign, 0, ZERO_EXPONENT, kind};
    i32 scale = floor_log2(magnitude);
    return {sign, magnitude << (LIMB - 1 - scale), scale + unit, kind};
}

RN_HD Exact negate(Exact a) { return {~a.sign, a.significand, a.exponent, a.kind}; }

// a + b, whose two lowest bits are 0: those of posits and of their products are. Two bits below the operands keep a sum
// exact when its exponents differ by at most 1; only then can more than one leading bit cancel.
RN_HD Exact add(Exact a, Exact b) {
    // A1. Order by exponent and align. Both move down one bit first, which makes room for the carry.
    if (a.exponent < b.exponent) {
        Exact larger = b;
        b = a;
        a = larger;
    }
    u64 large = a.significand >> 1;
    u64 small = shift_right_jam(b.significand >> 1, a.exponent - b.exponent);
    // A2. Add as signed numbers. Only where the exponents are equal can the result change sign.
    i64 total = static_cast<i64>(a.sign == b.sign ? large + small : large - small);
    i32 flipped = total < 0 ? -1 : 0;
    u64 magnitude = static_cast<u64>(flipped ? -total : total);
    return from_integer(a.sign ^ flipped, magnitude, a.exponent - (LIMB - 2), a.kind | b.kind);
}

// a * b: exact up to 61 bits, jammed beyond.
RN_HD Exact multiply(Exact a, Exact b) {
    u64 factor = b.significand << 2;  // the high half of a product with it is the product of the significands / 2**62
    u64 product = multiply_high(a.significand, factor) | sticky(a.significand * factor);
    i32 is_short = product < HIDDEN;  // the product of two numbers in [1, 2) lies in [1, 4)
    i32 exponent = product ? a.exponent + b.exponent + 1 - is_short : ZERO_EXPONENT;
    return {a.sign ^ b.sign, product << is_short, exponent, a.kind | b.kind};
}

// a / b with a sticky bit, for significands of at most 31 bits; NaN where b is 0.
RN_HD Exact divide(Exact a, Exact b) {
    // The quotient with 32 places behind the point has at most 33 bits.
    u64 numerator = a.significand >> 31 << 32;
    u64 divisor = (b.significand | HIDDEN) >> 31;  // a zero divisor becomes 1: its result is not used
    u64 quotient = numerator / divisor;
    u64 significand = quotient << (LIMB - 33) | sticky(numerator - quotient * divisor);
    i32 is_short = significand < HIDDEN;  // the quotient of two numbers in [1, 2) lies in (1/2, 2)
    i32 kind = a.kind | b.kind | (b.significand == 0 ? NOT_A_NUMBER : NUMBER);
    i32 exponent = significand ? a.exponent - b.exponent - is_short : ZERO_EXPONENT;
    return {a.sign ^ b.sign, significand << is_short, exponent, kind};
}

// The square root of a with a sticky bit, for a significand of at most 30 bits; NaN for a < 0.
RN_HD Exact square_root(Exact a) {
    if (a.significand == 0) return {0, 0, ZERO_EXPONENT, a.kind};
    // x in [2**60, 2**62) is a float64: the integer part of its rounded root is right or 1 too large.
    u64 x = a.significand >> (1 - (a.exponent & 1));
    u64 root = static_cast<u64>(square_root_rn(static_cast<double>(x)));
    root -= root * root > x;
    u64 remainder = x - root * root;
    return {0, root << 31 | sticky(remainder), a.exponent >> 1, a.kind | a.sign};
}

}  // namespace rn
