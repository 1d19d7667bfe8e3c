// Minifloats of at most 64 bits, float64 among them: code -> Exact, and Exact -> code. As refnum/core, whose steps have
// the same names.
#pragma once
#include "rn_round.cuh"

namespace rn {

enum Specials : i32 { NONE, FN, IEEE, FNUZ };      // in the order of refnum.formats.SPECIALS
enum Overflow : i32 { SATURATE, TO_INF, TO_NAN };  // in the order of refnum.formats.OVERFLOWS

struct Minifloat {
    i32 exponent;    // bits
    i32 mantissa;    // bits
    i32 bias;
    i32 specials;    // Specials
    i32 overflow;    // Overflow
    i32 is_signed;   // 0 or 1
    i32 subnormals;  // 1: exponent field 0 means subnormal; 0: it is an ordinary one (e8m0)

    RN_HD constexpr i32 magnitude_bits() const { return exponent + mantissa; }
    RN_HD constexpr u64 top() const { return (1ull << magnitude_bits()) - 1; }
    RN_HD constexpr u64 infinity() const { return ((1ull << exponent) - 1) << mantissa; }  // with IEEE
    RN_HD constexpr i32 min_scale() const { return subnormals - bias; }

    // The code of the NaN that is written; 0 where there is none.
    RN_HD constexpr u64 nan() const {
        return specials == FN     ? top()
               : specials == IEEE ? infinity() | 1ull << (mantissa - 1)
               : specials == FNUZ ? top() + 1
                                  : 0;
    }

    // The magnitude code of the largest finite value.
    RN_HD constexpr u64 largest() const {
        return specials == FN ? top() - 1 : specials == IEEE ? infinity() - 1 : top();
    }
};

RN_HD i32 minifloat_kind(i32 sign, u64 magnitude, Minifloat fmt) {
    switch (fmt.specials) {
        case IEEE:
            return magnitude < fmt.infinity() ? NUMBER : magnitude == fmt.infinity() ? INFINITE : NOT_A_NUMBER;
        case FN:
            return magnitude == fmt.nan() ? NOT_A_NUMBER : NUMBER;
        case FNUZ:
            return sign && magnitude == 0 ? NOT_A_NUMBER : NUMBER;
        default:  // NONE
            return NUMBER;
    }
}

// The exact value of a code; only its low bits are read.
RN_HD Exact decode(u64 code, Minifloat fmt) {
    i32 sign = fmt.is_signed ? -static_cast<i32>(code >> fmt.magnitude_bits() & 1) : 0;
    u64 magnitude = code & fmt.top();
    i32 field = static_cast<i32>(magnitude >> fmt.mantissa);
    // M1. The integer significand and the exponent of its unit; a subnormal has no hidden bit and the unit of field 1.
    bool hidden = field > 0 || !fmt.subnormals;
    u64 integer = dropped(magnitude, fmt.mantissa) | static_cast<u64>(hidden) << fmt.mantissa;
    i32 unit = (hidden ? field : 1) - (fmt.bias + fmt.mantissa);
    // M2. Normalise.
    return from_integer(sign, integer, unit, minifloat_kind(sign, magnitude, fmt));
}

// The unrounded code.
RN_HD Wide pack(Exact x, Minifloat fmt) {
    if (x.significand == 0) return {x.sign, 0, 0, false, x.kind};
    // F1. Below the smallest normal value the unit stays: the significand moves down instead.
    i32 down = x.exponent < fmt.min_scale() ? fmt.min_scale() - x.exponent : 0;
    i32 rest = LIMB - 1 - fmt.mantissa + down;  // bits behind the cut: 9 or more
    u64 head = rest < 64 ? x.significand >> rest : 0;
    u64 tail = rest <= TAIL_BITS ? x.significand << (TAIL_BITS - rest) & (WHOLE - 1)
                                 : shift_right_jam(x.significand, rest - TAIL_BITS);
    // F2. The field is added, not joined: the hidden bit counts 1, so field 1 adds 0 and a subnormal needs no case.
    i32 field = (down ? fmt.min_scale() : x.exponent) + fmt.bias - 1;
    head += static_cast<u64>(field) << fmt.mantissa;
    // F3. Beyond the largest value every rounding decides as if a full unit followed it. Heads fit in 64 bits, since
    //     fields of floats and posits, with any bias, fit in 12.
    if (head > fmt.largest()) return {x.sign, fmt.largest(), WHOLE, true, x.kind};
    return {x.sign, head, tail, true, x.kind};
}

// The code of an unrounded one.
RN_HD u64 round_wide(Wide w, Minifloat fmt, i32 rounding, u32 random) {
    u64 magnitude = w.head + carry(w, rounding, random);
    // E1. What rounded past the largest value, and Inf, follow the overflow policy.
    bool over = magnitude > fmt.largest() || w.kind == INFINITE;
    if (over) magnitude = fmt.overflow == TO_INF ? fmt.infinity() : fmt.largest();
    // E2. NaN is written with its one code, or as 0 where the format has none.
    if (w.kind == NOT_A_NUMBER || (over && fmt.overflow == TO_NAN)) return fmt.nan();
    // E3. The sign, which fnuz has no place for at 0.
    bool minus = fmt.is_signed && w.sign && !(fmt.specials == FNUZ && magnitude == 0);
    return magnitude | static_cast<u64>(minus) << fmt.magnitude_bits();
}

}  // namespace rn
