// Between float32 and posits in few instructions of 32 bits: equal to decode, pack and round_wide.
#pragma once
#include "rn_posit.cuh"

namespace rn {

constexpr i32 MANTISSA = 23, BIAS = 127;  // of float32
constexpr u32 SIGN = 0x80000000, QUIET_NAN = 0x7FC00000, INFINITY_BITS = 0x7F800000, MANTISSA_MASK = 0x007FFFFF;

// Fraction bits of posits from 2**scale on; negative where the regime cuts off so many exponent bits.
RN_HD constexpr i32 fraction_bits(i32 scale, Posit fmt) {
    i32 k = scale >> fmt.es;
    return fmt.n - 3 - fmt.es - (k < 0 ? ~k : k);
}

// Whether every posit has a scale of normal float32 values.
RN_HD constexpr bool float32_reaches(Posit fmt) { return fmt.n > 2 && fmt.max_scale() < BIAS; }

// Whether every posit is a normal float32.
RN_HD constexpr bool float32_holds(Posit fmt) { return float32_reaches(fmt) && fmt.n <= MANTISSA + 3 + fmt.es; }

// ---- there and back ------------------------------------------------------------------------------

// The float32 of a posit: all patterns, formats that float32_holds.
RN_HD u32 decode_bits(u32 code, Posit fmt) {
    u32 top = code << (32 - fmt.n);
    if (top << 1 == 0) return top ? QUIET_NAN : 0;
    u32 body = (top & SIGN ? 0 - top : top) << 1;
    u32 ones = body & SIGN ? ~0u : 0;
    i32 run_less_1 = leading_zeros(body ^ ones) - 1;
    i32 k = ones ? run_less_1 : ~run_less_1;
    constexpr u32 low = (1u << 30) - 1;
    u32 rest = body << run_less_1 & low;  // exponent and fraction, from bit 29 on
    i32 scale = k * (1 << fmt.es) + static_cast<i32>(rest >> (30 - fmt.es));
    u32 mantissa = (rest << fmt.es & low) >> (30 - MANTISSA);
    return (top & SIGN) | static_cast<u32>(scale + BIAS) << MANTISSA | mantissa;
}

// The posit, sign-extended, nearest to a float32: all inputs, formats that float32_reaches.
RN_HD u32 encode_bits(u32 bits, Posit fmt) {
    u32 magnitude = bits & ~SIGN, maxpos = static_cast<u32>(fmt.maxpos());
    if (magnitude == 0) return 0;
    if (magnitude >= INFINITY_BITS) return ~maxpos;
    // Steps S1 and S2 of pack. Subnormal values lie below the least posit, wherever they are taken to lie.
    i32 scale = static_cast<i32>(magnitude >> MANTISSA) - BIAS;
    scale = scale < -fmt.max_scale() - 1 ? -fmt.max_scale() - 1 : scale > fmt.max_scale() ? fmt.max_scale() : scale;
    i32 k = scale >> fmt.es;
    u32 regime = k < 0 ? SIGN >> 1 : SIGN;
    u32 exponent = static_cast<u32>(scale & ((1 << fmt.es) - 1)) << (30 - fmt.es);
    u32 string = regime | exponent | (magnitude & MANTISSA_MASK) << (30 - MANTISSA) >> fmt.es;
    i32 rest = (k < 0 ? ~k : k) + 33 - fmt.n;  // bits behind the cut: 1 to 31
    u32 head = static_cast<u32>(static_cast<i32>(string) >> rest) & maxpos;
    // To nearest, ties to the even pattern. The ends stay: behind maxpos stands its regime's terminator, a 0.
    head += string << (32 - rest) > SIGN - (head & 1);
    head += head == 0;
    return bits & SIGN ? 0 - head : head;
}

// The pattern of a float32 rounded to the format, to nearest even: all inputs, formats that float32_holds.
//
// Behind the bias, exponent and mantissa of a float are the posit's exponent and fraction, with the regime's value in
// front of them: a fixed-point logarithm. To round that at the bit where the regime lets the posit end is to round the
// posit. As refnum.fast.magic.round_bits.
RN_HD u32 round_bits(u32 bits, Posit fmt) {
    i32 step = MANTISSA + fmt.es;  // a regime is 2**step long
    // The last regime of either end has no bit left whose parity decides ties: that of the terminator does. It is right
    // for odd n; for even n, counting regimes from the one before makes it so.
    i32 even = 1 - (fmt.n & 1);
    i32 offset = (BIAS << MANTISSA) - (even << step);
    i32 low = (even - (fmt.n - 2)) * (1 << step);
    i32 high = (even + fmt.n - 2) * (1 << step) - 1;
    i32 magnitude = static_cast<i32>(bits & ~SIGN);
    if (magnitude == 0) return 0;
    if (magnitude >= static_cast<i32>(INFINITY_BITS)) return QUIET_NAN;
    i32 logarithm = magnitude - offset;
    logarithm = logarithm < low ? low : logarithm > high ? high : logarithm;
    i32 k = (logarithm >> step) - even;
    i32 cut = (k < 0 ? ~k : k) + MANTISSA + 3 + fmt.es - fmt.n;
    i32 unit = 1 << cut;
    // Half a unit, less 1 where the last kept bit is 0; nothing for a unit of 1.
    i32 rounded = (logarithm + ((unit - 1 + (logarithm >> cut & 1)) >> 1)) & -unit;
    return static_cast<u32>(rounded + offset) | (bits & SIGN);
}

// ---- by a magic number ---------------------------------------------------------------------------

// Whether a float32 lies where posits of the format have all their exponent bits: there round_magic serves.
RN_HD bool magic_serves(u32 bits, Posit fmt) {
    i32 scale = static_cast<i32>(bits >> MANTISSA & 0xFF) - BIAS;
    return fraction_bits(scale, fmt) >= 0;
}

// 2**(scale + drop) with the sign of a float32 of that scale of which the format drops so many bits: to add it rounds
// to a multiple of the last kept bit. 0 where nothing is dropped.
RN_HD float magic_number(u32 bits, Posit fmt) {
    i32 scale = static_cast<i32>(bits >> MANTISSA & 0xFF) - BIAS;
    i32 drop = MANTISSA - fraction_bits(scale, fmt);
    if (drop <= 0) return 0.0f;
    u32 magic = (bits & (SIGN | INFINITY_BITS)) + (static_cast<u32>(drop) << MANTISSA);
    // The tie of a posit without a fraction follows the exponent's last bit: where that is 0 an odd number turns it.
    magic += drop == MANTISSA && scale % 2 == 0;
    return float_of(magic);
}

// A float32 rounded to the format, to nearest even, where magic_serves; es from 1 on. Formats that float32_holds.
RN_HD float round_magic(float x, Posit fmt) {
    float magic = magic_number(bits_of(x), fmt);
    return add_rn(add_rn(x, magic), -magic);
}

// ---- the rule of posit_cuposit/v1, es = 2 ---------------------------------------------------------

// The pattern of a float32 clamped to 2**-emax and 2**emax in magnitude, 0 and NaN included, and truncated to
// posit(n, 2), n from 4 to 28.
RN_HD u32 clip_bits(u32 bits, i32 n) {
    i32 emax = 4 * (n - 4) - 1;
    i32 exponent = static_cast<i32>(bits >> MANTISSA & 0xFF);
    exponent = exponent < BIAS - emax ? BIAS - emax : exponent;
    exponent = exponent > BIAS + emax ? BIAS + emax : exponent;  // last: for n = 4 the bounds have changed places
    i32 k = (exponent - BIAS) >> 2;
    i32 cut = 28 - n + (k < 0 ? ~k : k);
    u32 mantissa = (bits & MANTISSA_MASK) >> cut << cut;
    return (bits & SIGN) | static_cast<u32>(exponent) << MANTISSA | mantissa;
}

}  // namespace rn
