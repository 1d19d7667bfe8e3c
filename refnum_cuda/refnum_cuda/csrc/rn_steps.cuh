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

constexpr i32 SAME = -2;     // a fraction that stands for: one code for all of a binade
constexpr i32 BINADES = 512;  // of both signs: the upper 9 bits of a float32

// Magnitudes of a binade: their codes are code + RN(magnitude / 2**(scale - fraction)), or all of them code.
struct Binade {
    u32 code;
    i32 fraction;
};

// That from 2**scale on, of normal float32 values; zeros are taken to lie where subnormals do.
RN_HD Binade binade_of(i32 scale, Posit fmt) {
    // B1. Beyond the range everything is an end of it.
    if (scale >= fmt.max_scale()) return {static_cast<u32>(fmt.maxpos()), SAME};
    if (scale < -fmt.max_scale()) return {1, SAME};
    u32 code = static_cast<u32>(pack(Exact{0, HIDDEN, scale, NUMBER}, fmt).head);  // that of 2**scale, or the one below
    i32 fraction = fraction_bits(scale, fmt);
    if (fraction >= 0) return {code - (1u << fraction), fraction};
    // B2. Exponent bits are cut off. All of the binade lies below the middle of two posits, or above it, or from it on:
    //     then it is half to one of a unit, and begins with a tie.
    i32 cut = scale & ((1 << -fraction) - 1), half = 1 << (-fraction - 1);
    if (cut != half) return {code + (cut > half), SAME};
    return {code, -1};
}

// What a sum with it rounds to the unit of a binade. A tie goes to the even sum, and shall go to the even code.
RN_HD u32 magic_of(Binade binade, i32 scale) { return magic_bits(scale - binade.fraction) + (binade.code & 1); }

RN_HD i32 scale_of(i32 index) { return (index & 0xFF) - BIAS; }

RN_HD bool is_minus(i32 index) { return index >> 8 != 0; }

// code = bits(x + magic) + base.
struct Step {
    float magic;
    u32 base;
};

RN_HD Step step_of(i32 index, Posit fmt) {
    i32 scale = scale_of(index);
    // A sum with NaN is NaN: Inf and NaN are NaR. A sum with Inf is Inf, whatever of a binade is added.
    if (scale > BIAS) return {float_of(CANONICAL_NAN), ~static_cast<u32>(fmt.maxpos()) - CANONICAL_NAN};
    Binade binade = binade_of(scale, fmt);
    u32 magic = binade.fraction == SAME ? INFINITY_BITS : magic_of(binade, scale);
    return {float_of(magic), (is_minus(index) ? 0 - binade.code : binade.code) - magic};
}

// The posit, sign-extended, nearest to a float32.
RN_HD u32 encode_by_steps(float x, const Step* steps) {
    Step step = steps[bits_of(x) >> MANTISSA];
    return x == 0.0f ? 0 : sum_bits(x, step.magic) + step.base;
}

// value = ((x + magic) - magic) * factor + base.
struct alignas(16) Level {
    float magic;
    float factor;
    float base;
};

RN_HD Level level_of(i32 index, Posit fmt) {
    i32 scale = scale_of(index);
    if (scale > BIAS) return {0.0f, 0.0f, float_of(QUIET_NAN)};
    Binade binade = binade_of(scale, fmt);
    float low = float_of(decode_bits(binade.code, fmt)), base = is_minus(index) ? -low : low;
    if (binade.fraction == SAME) return {0.0f, 0.0f, base};
    float magic = float_of(magic_of(binade, scale));
    if (binade.fraction >= 0) return {magic, 1.0f, 0.0f};
    float step = add_rn(float_of(decode_bits(binade.code + 1, fmt)), -low);
    return {magic, multiply_rn(step, float_of(static_cast<u32>(BIAS - 1 - scale) << MANTISSA)), base};
}

// The value of the posit nearest to a float32.
RN_HD u32 round_by_levels(float x, const Level* levels) {
    Level level = levels[bits_of(x) >> MANTISSA];
    float value = fma_rn(add_rn(add_rn(x, level.magic), -level.magic), level.factor, level.base);
    return x == 0.0f ? 0 : value == value ? bits_of(value) : QUIET_NAN;
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
