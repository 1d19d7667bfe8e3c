// What posit_mm does with one more product, in each of its modes but quire: for all values, and in few instructions
// where a table over the product's exponent serves.
#pragma once
#include "rn_ranges.cuh"

namespace rn {

// ---- rounding by a table -------------------------------------------------------------------------

// Where posits have all their exponent bits. Each there is a multiple of 2**least.
RN_HD Range with_exponent_bits(Posit fmt) {
    const i32 regimes = fmt.n - 2 - fmt.es;
    return {-regimes * (1 << fmt.es), regimes * (1 << fmt.es) - 1};
}

// A number that makes posits of float32 of an exponent field, when it is added and taken away again. Where a posit has
// one bit less than they, it must have their sign.
RN_HD float magic_of(i32 field, Posit fmt) {
    const i32 scale = field - BIAS, drop = MANTISSA - fraction_bits(scale, fmt);
    if (drop <= 0 || !within({scale, scale}, with_exponent_bits(fmt))) return 0.0f;
    // 1. 2**(scale + drop), and what is up to 2**(scale + 1) larger, have the last place that is kept; and so have what
    //    are up to 2**(scale + drop - 1) smaller or larger than 1.5 times that.
    const u32 magic = static_cast<u32>(field + drop) << MANTISSA | (drop > 1 ? 1u << (MANTISSA - 1) : 0);
    // 2. Without a fraction ties follow the pattern's last bit, which is that of the exponent, or without one 0 behind
    //    a regime of ones: where that is 0 an odd number turns them.
    const bool even = fmt.es ? scale % 2 == 0 : scale >= 0;
    return float_of(magic + (drop == MANTISSA && even));
}

// Where magic_of serves both signs: for formats of at least two bits less than float32.
RN_HD Range served_by_magic(Posit fmt) { return fmt.n - 3 - fmt.es > MANTISSA - 2 ? NOWHERE : with_exponent_bits(fmt); }

// The same where exponent bits are cut off, too, with the least magnitude of a result.
struct Bounded {
    float magic, least;
};

// Where bounded_of serves: everywhere, of formats of at most 2 exponent bits. But of 2 bits a binade is left out whose
// values go to 4 times its lower end, and that to a quarter of it.
RN_HD Range served_by_bounds(Posit fmt) {
    if (fmt.es > 2) return NOWHERE;
    return {EVERYWHERE.least, fmt.es < 2 ? EVERYWHERE.most : fmt.max_scale() - 3};
}

// Of formats whose products are exact in float32.
RN_HD Bounded bounded_of(i32 field, Posit fmt) {
    if (within({field - BIAS, field - BIAS}, with_exponent_bits(fmt))) return {magic_of(field, fmt), 0.0f};
    // 1. A binade beyond has one result, but for its lower end perhaps, which may be a tie. Of 0, and of NaN, too.
    const u32 end = static_cast<u32>(field) << MANTISSA;
    const u32 of_end = round_bits(end, fmt), of_others = round_bits(end | 1u << (MANTISSA - 1), fmt);
    // 2. If all have one result, Inf, added and taken away, gives NaN, and the least result is taken for it.
    if (field == 0 || of_end == of_others) return {float_of(INFINITY_BITS), float_of(of_end)};
    // 3. Else a number whose last place is worth twice the lower end rounds that end to 0, and others to twice it.
    return {float_of(static_cast<u32>(field + 1 + MANTISSA) << MANTISSA | 1u << (MANTISSA - 1)), float_of(of_end)};
}

// What makes float32 of an exponent field what posit_cuposit/v1 makes of them: (bits & keep) | put.
struct Masks {
    u32 keep, put;
};

// Where nothing is put: of posit(4, 2) nowhere.
RN_HD Range kept(i32 n) { return {1 - 4 * (n - 4), 4 * (n - 4) - 1}; }

RN_HD Masks masks_of(i32 field, i32 n) {
    const u32 least = clip_bits(static_cast<u32>(field) << MANTISSA, n);  // of a mantissa of zeros
    const bool clamped = static_cast<i32>(least >> MANTISSA) != field;
    const u32 ones = static_cast<u32>(field) << MANTISSA | MANTISSA_MASK;
    return clamped ? Masks{SIGN, least} : Masks{SIGN | INFINITY_BITS | clip_bits(ones, n), 0};
}

// The larger of |a| and b; of NaN and a number the number.
RN_HD float largest_magnitude(float a, float b) {
#if defined(__CUDA_ARCH__)
    return fmaxf(fabsf(a), b);
#else
    return __builtin_fmaxf(__builtin_fabsf(a), b);
#endif
}

// A magnitude with the sign of x.
RN_HD float with_sign(float magnitude, float x) { return float_of(bits_of(magnitude) | (bits_of(x) & SIGN)); }

// The entry for the exponent of x: one shift and one mask make an offset in bytes.
template <class Entry>
RN_HD Entry entry_of(const Entry (&table)[FIELDS], float x) {
    static_assert(sizeof(Entry) == 4, "an offset is a multiple of 4");
    const u32 offset = bits_of(x) >> (MANTISSA - 2) & (FIELDS - 1) << 2;
    return *reinterpret_cast<const Entry*>(reinterpret_cast<const char*>(table) + offset);
}

// ---- modes ---------------------------------------------------------------------------------------

// Each takes a product of two values into a sum: step() and step_bounded() where tables serve, step_of_all() always.
// What decides is seen(): the range of a stage's products, and of what went before where that matters.

// The tables of a format. They are of single words, for pairs of registers are hard to find.
struct Magics {
    Range by_magic, by_bounds;  // what they serve
    float magic[FIELDS], bounded[FIELDS], least[FIELDS];

    RN_HD void fill(i32 field, Posit fmt) {
        if (field == 0) by_magic = served_by_magic(fmt), by_bounds = served_by_bounds(fmt);
        const Bounded entry = bounded_of(field, fmt);
        magic[field] = magic_of(field, fmt), bounded[field] = entry.magic, least[field] = entry.least;
    }

    RN_HD float nearest(float x) const {
        const float number = entry_of(magic, x);
        return add_rn(add_rn(x, number), -number);
    }

    RN_HD float nearest_bounded(float x) const {
        const float number = entry_of(bounded, x), near = add_rn(add_rn(x, number), -number);
        return with_sign(largest_magnitude(near, entry_of(least, x)), x);
    }
};

// Every product is rounded to the format, one whose products are exact in float32, and added in float32.
struct Products {
    using Value = float;
    using Table = Magics;
    Posit fmt;
    const Table* table;

    RN_HD Range begun(Range) const { return NOWHERE; }
    RN_HD Range seen(Range, Range now) const { return now; }
    RN_HD Range served() const { return table->by_magic; }
    RN_HD Range served_bounded() const { return table->by_bounds; }

    RN_HD float step(float sum, float x, float y) const { return add_rn(sum, table->nearest(multiply_rn(x, y))); }

    RN_HD float step_bounded(float sum, float x, float y) const {
        return add_rn(sum, table->nearest_bounded(multiply_rn(x, y)));
    }

    RN_HD float step_of_all(float sum, float x, float y) const {
        return add_rn(sum, float_of(round_bits(bits_of(multiply_rn(x, y)), fmt)));
    }
};

// The same of formats whose products are longer. The float32 next to a product tells its exponent, or the next one's
// power of 2, where both round to; what is rounded is the product.
struct LongProducts {
    using Value = float;
    struct Table {
        float magic[FIELDS];

        RN_HD void fill(i32 field, Posit fmt) { magic[field] = magic_of(field, fmt); }
    };
    Posit fmt;
    const Table* table;

    RN_HD Range begun(Range) const { return NOWHERE; }
    RN_HD Range seen(Range, Range now) const { return now; }
    RN_HD Range served() const { return served_by_magic(fmt); }
    RN_HD Range served_bounded() const { return with_exponent_bits(fmt); }

    RN_HD float step(float sum, float x, float y) const {
        const float magic = entry_of(table->magic, multiply_rn(x, y));
        return add_rn(sum, add_rn(fma_rn(x, y, magic), -magic));
    }

    RN_HD float step_bounded(float sum, float x, float y) const {
        const float product = multiply_rn(x, y), magic = with_sign(entry_of(table->magic, product), product);
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
    using Table = Magics;
    Posit fmt;
    const Table* table;
    i32 growth;  // 2**growth terms or fewer

    // 1. If all values so far are multiples of the least posit that magic_of serves, no sum but 0 lies below it.
    // 2. A rounded product is at most 2**(most + 1), and moves a sum by at most twice that; all of them by 2**grown.
    //    A start of less than 2**grown at most doubles that, and then it is the next power of 2: which is a posit.
    RN_HD Range begun(Range start) const { return {start.least, start.most + 1}; }
    RN_HD Range seen(Range before, Range now) const {
        return joined(before, {now.least, now.most + growth + 2});
    }
    RN_HD Range served() const { return table->by_magic; }
    RN_HD Range served_bounded() const { return table->by_bounds; }

    RN_HD float step(float sum, float x, float y) const {
        return table->nearest(add_rn(sum, table->nearest(multiply_rn(x, y))));
    }

    RN_HD float step_bounded(float sum, float x, float y) const {
        return table->nearest_bounded(add_rn(sum, table->nearest_bounded(multiply_rn(x, y))));
    }

    RN_HD float step_of_all(float sum, float x, float y) const {
        const float product = float_of(round_bits(bits_of(multiply_rn(x, y)), fmt));
        return float_of(round_bits(bits_of(add_rn(sum, product)), fmt));
    }
};

// The same for all formats, in float64.
struct RoundedDoubles {
    using Value = double;
    struct Table {
        RN_HD void fill(i32, Posit) {}
    };
    Posit fmt;
    const Table* table;
    i32 growth;

    RN_HD Range begun(Range) const { return EVERYWHERE; }
    RN_HD Range seen(Range before, Range) const { return before; }
    RN_HD Range served() const { return NOWHERE; }
    RN_HD Range served_bounded() const { return NOWHERE; }

    RN_HD double step(double sum, double x, double y) const { return step_of_all(sum, x, y); }
    RN_HD double step_bounded(double sum, double x, double y) const { return step_of_all(sum, x, y); }

    RN_HD double step_of_all(double sum, double x, double y) const {
        return rounded(add_to_odd(sum, rounded(multiply_to_odd(x, y), fmt)), fmt);
    }
};

// Products are rounded to float32 and then truncated, and added in float32.
struct Truncated {
    using Value = float;
    struct Table {
        u32 keep[FIELDS], put[FIELDS];

        RN_HD void fill(i32 field, Posit fmt) {
            const Masks masks = masks_of(field, fmt.n);
            keep[field] = masks.keep, put[field] = masks.put;
        }
    };
    Posit fmt;
    const Table* table;

    RN_HD Range begun(Range) const { return NOWHERE; }
    RN_HD Range seen(Range, Range now) const { return now; }
    RN_HD Range served() const { return kept(fmt.n); }
    RN_HD Range served_bounded() const { return EVERYWHERE; }

    RN_HD float step(float sum, float x, float y) const {
        const float product = multiply_rn(x, y);
        return add_rn(sum, float_of(bits_of(product) & entry_of(table->keep, product)));
    }

    RN_HD float step_bounded(float sum, float x, float y) const {
        const float product = multiply_rn(x, y);
        const u32 keep = entry_of(table->keep, product), put = entry_of(table->put, product);
        return add_rn(sum, float_of((bits_of(product) & keep) | put));
    }

    RN_HD float step_of_all(float sum, float x, float y) const { return step_bounded(sum, x, y); }
};

}  // namespace rn
