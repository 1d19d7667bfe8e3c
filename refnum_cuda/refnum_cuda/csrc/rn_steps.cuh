// float32 rounded to nearest even by one addition: within a binade the codes of a format are equally far apart, so a
// large number of the right size, added, leaves their number in the last bits of the sum. packed.py says which formats.
#pragma once
#include "rn_fast.cuh"
#include "rn_formats.cuh"

namespace rn {

constexpr u32 CANONICAL_NAN = 0x7FFFFFFF;  // of sum_bits

// 1.5 * 2**(place + 23), the last bit of which is worth 2**place.
RN_HD u32 magic_bits(i32 place) { return static_cast<u32>(place + MANTISSA + BIAS) << MANTISSA | 1u << (MANTISSA - 1); }

// ---- posits --------------------------------------------------------------------------------------

// What float32 values of one sign and binade are rounded with: code = bits(x + magic) + base.
struct Step {
    float magic;
    u32 base;
};

constexpr i32 STEPS = 512;  // a sign and an exponent field

// The code of a whole binade: a sum with Inf is Inf.
RN_HD Step same_code(u32 code) { return {float_of(INFINITY_BITS), code - INFINITY_BITS}; }

// The step of an index, the upper 9 bits of a float32; of zeros it is that of subnormals.
RN_HD Step step_of(i32 index, Posit fmt) {
    u32 minus = index >> 8 ? ~0u : 0;
    auto with_sign = [&](u32 code) { return (code ^ minus) - minus; };
    i32 scale = (index & 0xFF) - BIAS;
    // S1. A sum with NaN is NaN: Inf and NaN are NaR. Beyond the range everything is an end of it.
    if (scale > BIAS) return {float_of(CANONICAL_NAN), ~static_cast<u32>(fmt.maxpos()) - CANONICAL_NAN};
    if (scale >= fmt.max_scale()) return same_code(with_sign(static_cast<u32>(fmt.maxpos())));
    if (scale < -fmt.max_scale()) return same_code(with_sign(1));
    u32 code = static_cast<u32>(pack(Exact{0, HIDDEN, scale, NUMBER}, fmt).head);  // that of 2**scale, or the one below
    i32 fraction = fraction_bits(scale, fmt);
    // S2. Where exponent bits are cut off, all of the binade lies below the middle of two posits, or above, or from it
    //     on: then it is half a unit or more, and its first value is a tie.
    u32 below = code - (1u << (fraction < 0 ? 0 : fraction));
    if (fraction < 0) {
        i32 cut = scale & ((1 << -fraction) - 1), half = 1 << (-fraction - 1);
        if (cut != half) return same_code(with_sign(code + (cut > half)));
        fraction = -1;
        below = code;
    }
    // S3. A tie goes to the even sum, and shall go to the even code.
    u32 magic = magic_bits(scale - fraction) + (below & 1);
    return {float_of(magic), with_sign(below) - magic};
}

// The posit, sign-extended, nearest to a float32.
RN_HD u32 encode_by_steps(float x, const Step* steps) {
    Step step = steps[bits_of(x) >> MANTISSA];
    return x == 0.0f ? 0 : sum_bits(x, step.magic) + step.base;
}

// ---- minifloats ----------------------------------------------------------------------------------

// How float32 values are rounded to a minifloat: codes, and magnitudes as the bits of float32.
struct Grid {
    u32 most;       // the magnitude that stands for all larger ones
    u32 least;      // the least power of 2 with a field of its own
    u32 magic;      // what makes a magic number of a power of 2
    i32 drop;       // bits of float32's mantissa
    u32 sign;       // the code's sign bit; 0 for unsigned formats
    u32 zero;       // that of -0: 0 where 0 has no sign
    u32 nan;        // the code of NaN
    u32 no_number;  // what that code is worth
    u32 largest;    // the largest finite magnitude: a larger one, when it has been rounded, is Inf
};

RN_HD u32 float_bits(Exact x) {
    u64 mantissa = (x.significand - HIDDEN) >> (LIMB - 1 - MANTISSA);
    return static_cast<u32>(x.exponent + BIAS) << MANTISSA | static_cast<u32>(mantissa);
}

RN_HD Grid grid_of(Minifloat fmt) {
    u64 most = fmt.largest() + (fmt.overflow == TO_INF);
    u32 sign = fmt.is_signed ? 1u << fmt.magnitude_bits() : 0;
    Grid grid;
    grid.most = float_bits(decode(most, fmt));
    grid.least = static_cast<u32>(fmt.min_scale() + BIAS) << MANTISSA;
    grid.magic = magic_bits(-fmt.mantissa) - (static_cast<u32>(BIAS) << MANTISSA);
    grid.drop = MANTISSA - fmt.mantissa;
    grid.sign = sign;
    grid.zero = fmt.specials == FNUZ ? 0 : sign;
    grid.nan = static_cast<u32>(fmt.nan());
    grid.no_number = fmt.nan() ? QUIET_NAN : 0;
    grid.largest = float_bits(decode(fmt.largest(), fmt));
    return grid;
}

// A magnitude that is no larger than the grid's, its power of 2, or the least one, and the sum of them.
struct Sum {
    u32 power;
    u32 magic;
    u32 bits;
};

RN_HD Sum sum_on(u32 magnitude, const Grid& grid) {
    u32 kept = magnitude < grid.most ? magnitude : grid.most;
    u32 power = kept & INFINITY_BITS;
    power = power > grid.least ? power : grid.least;
    u32 magic = power + grid.magic;
    return {power, magic, bits_of(add_rn(float_of(kept), float_of(magic)))};
}

// The minifloat nearest to a float32.
RN_HD u32 encode_on(u32 bits, const Grid& grid) {
    u32 magnitude = bits & ~SIGN;
    Sum sum = sum_on(magnitude, grid);
    u32 code = ((sum.power - grid.least) >> grid.drop) + (sum.bits - sum.magic);
    u32 sign = bits & SIGN ? (code ? grid.sign : grid.zero) : 0;
    return magnitude > INFINITY_BITS ? grid.nan : code | sign;
}

// A float32 rounded to a minifloat that it holds.
RN_HD u32 round_on(u32 bits, const Grid& grid) {
    u32 magnitude = bits & ~SIGN;
    Sum sum = sum_on(magnitude, grid);
    u32 rounded = bits_of(add_rn(float_of(sum.bits), -float_of(sum.magic)));
    u32 sign = (rounded ? grid.sign : grid.zero) ? bits & SIGN : 0;
    return magnitude > INFINITY_BITS ? grid.no_number : (rounded > grid.largest ? INFINITY_BITS : rounded) | sign;
}

// ---- formats whose codes are the upper bits of a float32 -------------------------------------------

// A float32 without so many of its last bits, rounded.
RN_HD u32 round_head(u32 bits, i32 below) {
    u32 odd = bits >> below & 1;  // a carry out of the largest one makes Inf
    return (bits & ~SIGN) > INFINITY_BITS ? QUIET_NAN : (bits + (1u << (below - 1)) - 1 + odd) >> below << below;
}

}  // namespace rn
