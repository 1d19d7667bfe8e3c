// What posit_mm does with one more product, in each of its modes but quire: for all values, and in few instructions
// where a table over the product's exponent serves.
#pragma once
#include "rn_ranges.cuh"

namespace rn {

// ---- rounding by a table -------------------------------------------------------------------------

// Where posits have all their exponent bits, and at least two bits less than float32: there magic_of serves, of both
// signs. Every posit there is a multiple of 2**least.
RN_HD Range served_by_magic(Posit fmt) {
    const i32 regimes = fmt.n - 2 - fmt.es;
    if (regimes > MANTISSA - 1) return {FAR, -FAR};
    return {-regimes * (1 << fmt.es), regimes * (1 << fmt.es) - 1};
}

// The exponent of the largest of some values, or FAR where the least lies below what magic_of serves.
RN_HD i32 reach_of(Range values, Posit fmt) {
    return values.least < served_by_magic(fmt).least ? FAR : values.most;
}

// A number that makes float32 of an exponent field posits, when it is added and taken away again; 0 where none does.
RN_HD float magic_of(i32 field, Posit fmt) {
    const i32 scale = field - BIAS;
    const Range served = served_by_magic(fmt);
    if (scale < served.least || scale > served.most) return 0.0f;
    const i32 drop = MANTISSA - fraction_bits(scale, fmt);
    // 1. 1.5 * 2**(scale + drop), and what is less far from it than 2**(scale + 1), have the last place that is kept.
    const u32 magic = static_cast<u32>(field + drop) << MANTISSA | 1u << (MANTISSA - 1);
    // 2. Without a fraction ties follow the pattern's last bit, which is that of the exponent, or without one 0 behind
    //    a regime of ones: where that is 0 an odd number turns them.
    const bool even = fmt.es ? scale % 2 == 0 : scale >= 0;
    return float_of(magic + (drop == MANTISSA && even));
}

// What makes float32 of an exponent field what posit_cuposit/v1 makes of them: (bits & keep) | put.
struct Masks {
    u32 keep, put;
};

RN_HD Masks masks_of(i32 field, i32 n) {
    const u32 least = clip_bits(static_cast<u32>(field) << MANTISSA, n);  // of a mantissa of zeros
    const bool clamped = static_cast<i32>(least >> MANTISSA) != field;
    const u32 ones = static_cast<u32>(field) << MANTISSA | MANTISSA_MASK;
    return clamped ? Masks{SIGN, least} : Masks{SIGN | INFINITY_BITS | clip_bits(ones, n), 0};
}

template <class Entry>
RN_HD Entry entry_of(const Entry* table, float x) {
    static_assert(sizeof(Entry) == 4 || sizeof(Entry) == 8, "fields times a power of 2");
    constexpr i32 SHIFT = sizeof(Entry) == 4 ? 2 : 3;  // one shift and one mask make an offset in bytes
    const u32 offset = bits_of(x) >> (MANTISSA - SHIFT) & (FIELDS - 1) << SHIFT;
    return *reinterpret_cast<const Entry*>(reinterpret_cast<const char*>(table) + offset);
}

// ---- modes ---------------------------------------------------------------------------------------

// Each has step(), which takes a product of two values into a sum where it serves, and step_of_all(), which always does.
// step() serves where reached(), the exponent of the largest value of a stage and of what went before, or FAR where a
// value is too small, is at most most().

// Every product is rounded to the format, and added in float32.
struct Products {
    using Value = float;
    using Entry = float;
    Posit fmt;
    const Entry* table;

    static RN_HD Entry entry(i32 field, Posit fmt) { return magic_of(field, fmt); }

    RN_HD i32 begun(Range) const { return -FAR; }
    RN_HD i32 reached(i32, Range now) const { return reach_of(now, fmt); }
    RN_HD i32 most() const { return served_by_magic(fmt).most; }

    // The product that is rounded is the exact one; the float32 next to it tells its exponent, or the next one's power
    // of 2, where both round to.
    RN_HD float step(float sum, float x, float y) const {
        const float magic = entry_of(table, multiply_rn(x, y));
        return add_rn(sum, add_rn(fma_rn(x, y, magic), -magic));
    }

    RN_HD float step_of_all(float sum, float x, float y) const {
        const double product = multiply_rn(static_cast<double>(x), static_cast<double>(y));  // exact: of 24 bits each
        return add_rn(sum, static_cast<float>(rounded(product, fmt)));
    }
};

// Every product and every sum is rounded to the format, one whose products are exact in float32, and whose sums are
// rounded alike whether or not they are rounded to float32 before.
struct Rounded {
    using Value = float;
    using Entry = float;
    Posit fmt;
    const Entry* table;
    i32 growth;  // 2**growth terms or fewer

    static RN_HD Entry entry(i32 field, Posit fmt) { return magic_of(field, fmt); }

    // 1. If all values so far are multiples of the least posit that the table serves, no sum but 0 lies below it.
    // 2. A rounded product is at most 2**(most + 1), and moves a sum by at most twice that; all of them by 2**grown.
    //    A start of less than 2**grown at most doubles that, and then it is the next power of 2: which is a posit.
    RN_HD i32 begun(Range start) const { return reach_of(start, fmt) + 1; }
    RN_HD i32 reached(i32 before, Range now) const {
        const i32 grown = reach_of(now, fmt) + growth + 2;
        return before > grown ? before : grown;
    }
    RN_HD i32 most() const { return served_by_magic(fmt).most; }

    RN_HD float nearest(float x) const {
        const float magic = entry_of(table, x);
        return add_rn(add_rn(x, magic), -magic);
    }

    RN_HD float step(float sum, float x, float y) const { return nearest(add_rn(sum, nearest(multiply_rn(x, y)))); }

    RN_HD float step_of_all(float sum, float x, float y) const {
        const float product = float_of(round_bits(bits_of(multiply_rn(x, y)), fmt));
        return float_of(round_bits(bits_of(add_rn(sum, product)), fmt));
    }
};

// The same for all formats, in float64.
struct RoundedDoubles {
    using Value = double;
    using Entry = float;
    Posit fmt;
    const Entry* table;
    i32 growth;

    static RN_HD Entry entry(i32, Posit) { return 0.0f; }

    RN_HD i32 begun(Range) const { return FAR; }
    RN_HD i32 reached(i32 before, Range) const { return before; }
    RN_HD i32 most() const { return 0; }

    RN_HD double step(double sum, double x, double y) const { return step_of_all(sum, x, y); }

    RN_HD double step_of_all(double sum, double x, double y) const {
        return rounded(add_to_odd(sum, rounded(multiply_to_odd(x, y), fmt)), fmt);
    }
};

// Products are rounded to float32 and then truncated, and added in float32.
struct Truncated {
    using Value = float;
    using Entry = Masks;
    Posit fmt;
    const Entry* table;

    static RN_HD Entry entry(i32 field, Posit fmt) { return masks_of(field, fmt.n); }

    RN_HD i32 begun(Range) const { return -FAR; }
    RN_HD i32 reached(i32 before, Range) const { return before; }
    RN_HD i32 most() const { return 0; }

    RN_HD float step(float sum, float x, float y) const {
        const float product = multiply_rn(x, y);
        const Masks masks = entry_of(table, product);
        return add_rn(sum, float_of((bits_of(product) & masks.keep) | masks.put));
    }

    RN_HD float step_of_all(float sum, float x, float y) const { return step(sum, x, y); }
};

}  // namespace rn
