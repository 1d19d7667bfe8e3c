// Posits of at most 32 bits: pattern -> Exact, and Exact -> pattern. As refnum/core, whose steps have the same names.
#pragma once
#include "rn_round.cuh"

namespace rn {

struct Posit {
    i32 n;   // width in bits, 2 to 32
    i32 es;  // exponent bits, 0 to 4

    RN_HD constexpr i32 max_scale() const { return (n - 2) << es; }  // log2 of the largest posit
    RN_HD constexpr u64 maxpos() const { return (1ull << (n - 1)) - 1; }
};

// The exact value of a pattern; only its low n bits are read.
RN_HD Exact decode(u64 bits, Posit fmt) {
    // P1. The sign bit at bit 63; the magnitude is the two's complement. Only NaR has none, and is asked for first: of
    //     a magnitude that it made by abs.s64, ptxas takes it that it is not negative.
    i64 top = static_cast<i64>(bits << (64 - fmt.n));
    if (top == 0) return {0, 0, ZERO_EXPONENT, NUMBER};
    if (static_cast<u64>(top) == 1ull << 63) return {-1, 0, ZERO_EXPONENT, NOT_A_NUMBER};
    u64 magnitude = static_cast<u64>(top < 0 ? 0 - static_cast<u64>(top) : top);
    // P2. The regime is a run of equal bits from bit 63 on. Flipped to zeros, the run ends at the leading one.
    u64 body = magnitude << 1;
    u64 ones = body >> 63 ? ~0ull : 0;
    i32 run_less_1 = leading_zeros(body ^ ones) - 1;
    i32 k = ones ? run_less_1 : ~run_less_1;  // run - 1 for ones, -run for zeros
    // P3. With all of the run but one bit shifted out, the exponent starts at bit 61 behind the run and its terminator,
    //     the fraction behind it; bits past the end are 0.
    u64 rest = body << run_less_1 & ((1ull << 62) - 1);
    i32 exponent = k * (1 << fmt.es) + static_cast<i32>(rest >> (62 - fmt.es));
    u64 fraction = rest << fmt.es & ((1ull << 62) - 1);
    return {top < 0 ? -1 : 0, HIDDEN | fraction >> 1, exponent, NUMBER};
}

// The unrounded pattern.
RN_HD Wide pack(Exact x, Posit fmt) {
    bool present = x.significand != 0;
    if (!present) return {x.sign, 0, 0, false, x.kind};
    // S1. One step outside the range is as good as any: the ends of the format are restored by the rounding.
    i32 scale = x.exponent;
    if (scale < -fmt.max_scale() - 1) scale = -fmt.max_scale() - 1;
    if (scale > fmt.max_scale()) scale = fmt.max_scale();
    i32 k = scale >> fmt.es;
    i32 repeat = k < 0 ? ~k : k;  // the regime is a pair of unlike bits, the first of them repeated so often
    // S2. The string with the shortest regime: "10" or "01", exponent bits, fraction. An arithmetic shift then repeats
    //     the first bit.
    u64 regime = k < 0 ? 1ull << 62 : 1ull << 63;
    u64 exponent = static_cast<u64>(scale & ((1 << fmt.es) - 1)) << (62 - fmt.es);
    u64 fraction = shift_right_jam((x.significand & (HIDDEN - 1)) << 1, fmt.es);
    u64 string = regime | exponent | fraction;
    i32 rest = repeat + 65 - fmt.n;  // bits behind the cut: 33 to 63
    u64 head = static_cast<u64>(static_cast<i64>(string) >> rest) & fmt.maxpos();
    return {x.sign, head, string << (TAIL_BITS - rest) & (WHOLE - 1), true, x.kind};
}

// The pattern, sign-extended, of an unrounded one.
RN_HD u64 round_wide(Wide w, Posit fmt, i32 rounding, u32 random) {
    if (w.kind != NUMBER) return ~fmt.maxpos();  // NaN and Inf alike
    // The ends stay: nothing goes up from maxpos to NaR, and a value that is not 0 never becomes 0.
    u64 magnitude = w.head + (w.head < fmt.maxpos() ? carry(w, rounding, random) : 0);
    if (w.present && magnitude == 0) magnitude = 1;
    return w.sign ? 0 - magnitude : magnitude;
}

}  // namespace rn
