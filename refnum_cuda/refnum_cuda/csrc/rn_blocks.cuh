// Blocks that share a scale: amax -> scale, and what becomes of the elements. As refnum/mx, whose choices have the same
// names. Nothing here is wider than float32 but the definition, which goes through Exact.
#pragma once
#include "rn_elements.cuh"

namespace rn {

// ---- scales --------------------------------------------------------------------------------------

constexpr u32 NAN_SCALE = 255, TOP_SCALE = 254;  // codes of E8M0: of NaN, and the largest of a number
constexpr u32 TOP_E4M3 = 0x7e;                   // the same of E4M3
constexpr u32 FRACTION_BITS = 0x7fffff, NORMAL_BITS = 0x800000, ONE_BITS = 0x3f800000;  // of float32

enum Formula : i32 { RULE, OCP, STORED, UNROUNDED, FOLDED, UNFOLDED, RAISED, RATIO, CEILING, CAPPED_CEILING, HALF_UP };

// How amax becomes a scale.
struct Scaling {
    i32 formula;
    // Of rules, whose fields have the names of refnum.mx.scales.Rule.
    i32 power;
    u32 carry;
    u32 least;     // 0: the formula alone says it
    i32 overflow;  // the code where the carry takes amax to 2**128
    i32 infinite;
    i32 top;
    // Of quotients.
    float largest, reciprocal;  // of the elements
    i32 in_bfloat16;            // operations in the dtype of the values round to bfloat16
    i32 divides;
};

// What the elements of a block share.
struct Shared {
    u32 scale;     // as it is stored: a code, or a float32 pattern
    float factor;  // by which elements are multiplied, or divided
    bool is_void;  // elements are all code 0
};

// 1 over the value of a code of E8M0.
RN_HD float reciprocal_of(u32 code) {
    i32 field = 2 * FLOAT_BIAS - static_cast<i32>(code);
    return float_of(field > 0 ? static_cast<u32>(field) << FLOAT_MANTISSA : NORMAL_BITS >> 1);
}

RN_HD u32 rule_code(u32 amax, const Scaling& by) {
    i32 field = static_cast<i32>(((amax < INF_BITS ? amax : INF_BITS) + by.carry) >> FLOAT_MANTISSA);
    i32 code = field - by.power;
    code = code < 0 ? 0 : code > by.top ? by.top : code;
    if (by.least) code = amax < by.least ? 0 : code < 1 ? 1 : code;
    if (field == static_cast<i32>(NAN_SCALE)) code = by.overflow;
    return amax >= INF_BITS + (by.infinite != 0) ? NAN_SCALE : static_cast<u32>(code);
}

// Positive numbers as codes of E4M3, and back.
RN_HD u32 scale_code(float x) { return is_nan(x) ? 0x7f : E4M3::pair(x, 0.f) & 0xff; }

RN_HD float scale_value(u32 code) {
    float value = multiply_rn(float_of((code & 0x7f) << 20), 0x1p120f);
    return float_of((code & 0x7f) == 0x7f ? NAN_BITS : bits_of(value) | (code & 0x80) << 24);
}

// The value of a code of E8M0.
RN_HD float power_of(u32 code) {
    return float_of(code == NAN_SCALE ? NAN_BITS : code ? code << FLOAT_MANTISSA : NORMAL_BITS >> 1);
}

RN_HD float finite(float x) { return bits_of(x) == INF_BITS ? float_of(INF_BITS - 1) : x; }
RN_HD float reciprocal_or_zero(float x) { return bits_of(x) == 0 ? 0.f : 1.f / x; }

// a / b for positive numbers, given 1 / b. Where nothing can over- or underflow, one step of correction makes a product
// the quotient, rounded right (Markstein 1990).
RN_HD float quotient(float a, float b, float inverse) {
    constexpr u32 FROM = 0x21800000, COUNT = 0x3c000000;  // 2**-60, and what there is from it up to 2**60
    if (bits_of(a) - FROM < COUNT && bits_of(b) - FROM < COUNT) {
        float near = multiply_rn(a, inverse);
        return fma_rn(fma_rn(-near, b, a), inverse, near);
    }
    return a / b;
}

// The scale of a tensor, 1 where there is none.
struct Level {
    bool given;
    float value, inverse;

    // Read where it lies.
    RN_HD Level(const float* tensor)
        : given(tensor != nullptr), value(tensor ? *tensor : 1.f), inverse(tensor ? 1.f / value : 1.f) {}

    RN_HD float times(float x) const { return given ? multiply_rn(x, value) : x; }
    RN_HD float under(float x) const { return given ? quotient(x, value, inverse) : x; }
    RN_HD float inverse_over(float x) const { return given ? quotient(inverse, x, 1.f / x) : 1.f / x; }
};

// The scale of a block by its largest magnitude, as a float32 pattern, and the tensor's.
RN_HD Shared share(u32 amax_bits, const Level& level, const Scaling& by) {
    if (by.formula == RULE) {
        u32 code = rule_code(amax_bits, by);
        return {code, reciprocal_of(code), code == NAN_SCALE};
    }
    float amax = float_of(amax_bits);
    switch (by.formula) {
        case OCP:
        case STORED: {
            float ratio = level.under(quotient(amax, by.largest, by.reciprocal));
            u32 code = scale_code(ratio < 0x1p-6f ? 0x1p-6f : ratio);
            return {code, level.inverse_over(scale_value(code)), code > TOP_E4M3};
        }
        case UNROUNDED: {
            float ratio = amax / by.largest;
            u32 code = scale_code(ratio);
            return {code, 1.f / ratio, code > TOP_E4M3};
        }
        case FOLDED: {
            u32 code = scale_code(multiply_rn(amax, level.times(by.reciprocal)));
            float product = multiply_rn(scale_value(code), level.inverse);
            return {code, finite(1.f / product), code > TOP_E4M3};
        }
        case UNFOLDED: {
            u32 code = scale_code(level.times(multiply_rn(amax, by.reciprocal)));
            float product = multiply_rn(scale_value(code), reciprocal_or_zero(level.value));
            return {code, reciprocal_or_zero(product), code > TOP_E4M3};
        }
        case RAISED: {
            float ratio = amax / by.largest;
            if (by.in_bfloat16) ratio = BFloat16::widened(BFloat16::rounded(ratio));
            u32 code = scale_code(level.times(ratio));
            code = code == 0 ? 0x20 : code;
            return {code, level.under(scale_value(code)), code > TOP_E4M3};
        }
        case RATIO: {
            u32 scale = bits_of(finite(amax / by.largest));
            scale = (scale & MAGNITUDE_BITS) > INF_BITS ? NAN_BITS : scale == 0 ? ONE_BITS : scale;
            return {scale, float_of(scale), scale > INF_BITS};
        }
        case CEILING: {
            float ratio = multiply_rn(amax, by.reciprocal);
            u32 code = is_nan(ratio) ? 0 : (bits_of(ratio) + FRACTION_BITS) >> FLOAT_MANTISSA;
            return {code, code == 0 || code == NAN_SCALE ? 0.f : reciprocal_of(code), code > TOP_SCALE};
        }
        case CAPPED_CEILING: {
            u32 ratio = bits_of(amax / by.largest);
            u32 code = (ratio + FRACTION_BITS) >> FLOAT_MANTISSA;
            code = code > TOP_SCALE ? TOP_SCALE : code;
            if (ratio <= NORMAL_BITS >> 1 || is_nan(float_of(ratio))) code = 0;
            return {code, code == 0 ? 0.f : reciprocal_of(code), false};
        }
        default: {  // HALF_UP: to two bits, ties up
            u32 field = (amax_bits + (1u << (FLOAT_MANTISSA - 2))) >> FLOAT_MANTISSA;
            i32 code = static_cast<i32>(field) - by.power;
            code = code < 0 ? 0 : code;
            bool lost = field >= NAN_SCALE;
            u32 divisor = lost ? INF_BITS : code ? static_cast<u32>(code) << FLOAT_MANTISSA : NORMAL_BITS >> 1;
            u32 scale = amax_bits > INF_BITS ? NAN_SCALE : static_cast<u32>(lost ? FLOAT_BIAS : code);
            return {scale, float_of(divisor), scale > TOP_SCALE};
        }
    }
}

// ---- values -> codes -----------------------------------------------------------------------------

// All that is to be known of a quantization, but the values.
struct Recipe {
    Element element;
    Scaling scaling;
    i32 rounding;   // Rounding
    i32 underflow;  // log2 of the largest scaled value that counts as 0, without sign; far below that of 0: there is none
    u32 nan;        // the code of an element that is NaN
};

RN_HD float scaled(float x, float factor, const Scaling& by) {
    return by.divides ? x / factor : multiply_rn(x, factor);
}

// The definition: the code of a float32 in a block with this scale.
RN_HD u32 element_code(float x, const Shared& shared, const Recipe& recipe, u32 random) {
    if (shared.is_void) return 0;
    Exact value;
    if (recipe.scaling.formula == RULE) {
        value = decode(bits_of(x), float32_row());  // over a power of two: the same significand with another exponent
        value.exponent -= static_cast<i32>(shared.scale) - FLOAT_BIAS;
    } else {
        value = decode(bits_of(scaled(x, shared.factor, recipe.scaling)), float32_row());
    }
    bool half = value.exponent == recipe.underflow && value.significand == HIDDEN;
    if (half || value.exponent < recipe.underflow) return 0;
    return encode(value, recipe.element, recipe.rounding, random);
}

enum Care : u32 { ANY_NUMBER, NAN_AMONG_THEM, VOID_BLOCK };

// What a block's elements have to be told from numbers for. Powers of two make no NaN, but in void blocks.
RN_HD u32 care_of(u32 amax, const Shared& shared, const Scaling& by) {
    u32 factor = bits_of(shared.factor) & MAGNITUDE_BITS;
    bool nan = by.formula != RULE && (amax >= INF_BITS || factor >= INF_BITS || factor == 0);
    return shared.is_void ? VOID_BLOCK : nan ? NAN_AMONG_THEM : ANY_NUMBER;
}

}  // namespace rn
