// Tensor cores on the CPU: what rn_tensorcore.cuh has of PTX, for sim.h. Products are those of refnum's model, written
// down once more from its definition (specs: contract tc/v1).
#pragma once

namespace sim {

// ---- the model -----------------------------------------------------------------------------------

// What the hardware is like: bits below the largest exponent that a term keeps, the terms of a block, the exponent of
// 0, the least that the largest exponent is taken for, and bits of the fraction of a sum.
struct TensorCore { int fraction, terms, zero, least, kept = 23; };
inline TensorCore tensor_core{25, 16, -512, -133};
constexpr TensorCore OF_BYTES{13, 32, -512, -133, 13};

// A number: significand * 2**(exponent - mantissa).
struct Number {
    std::int64_t significand;
    int exponent, mantissa;
    bool nan, infinite;
};

// A float of so many bits of exponent and mantissa. The exponent of a subnormal is the least one, 0 has one of its own.
// Where there is no Inf, the largest pattern alone is NaN.
inline Number number(std::uint32_t bits, int exponent_bits, int mantissa, bool has_infinity = true) {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const int field = bits >> mantissa & ((1 << exponent_bits) - 1);
    const std::int64_t rest = bits & ((1u << mantissa) - 1), one = std::int64_t(field > 0) << mantissa;
    const bool negative = bits >> (exponent_bits + mantissa) & 1, top = field == (1 << exponent_bits) - 1;
    const bool special = top && (has_infinity || rest == (1 << mantissa) - 1);
    const std::int64_t magnitude = rest | one;
    const int exponent = magnitude ? std::max(field, 1) - bias : tensor_core.zero;
    return {negative ? -magnitude : magnitude, exponent, mantissa, special && rest, special && !rest};
}

inline Number number(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return number(bits, 8, 23);
}

// x * 2**shift, cut toward 0.
inline std::int64_t cut(std::int64_t x, int shift) {
    const std::int64_t magnitude = x < 0 ? -x : x;
    if (!magnitude) return 0;  // however far
    const std::int64_t moved = shift >= 0 ? magnitude << shift : shift > -63 ? magnitude >> -shift : 0;
    return x < 0 ? -moved : moved;
}

inline float special(bool nan, bool negative) {
    const std::uint32_t bits = nan ? 0x7fffffff : 0x7f800000u | std::uint32_t(negative) << 31;
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// total * 2**scale, cut toward 0 to float32, or to fewer bits of its fraction; what becomes 0 is +0.
inline float cut_to_float32(std::int64_t total, int scale, int fraction) {
    const std::uint64_t magnitude = total < 0 ? -total : total;
    if (!magnitude) return 0.0f;
    const int leading = 63 - __builtin_clzll(magnitude);
    const int exponent = std::max(leading + scale, -126);
    if (exponent > 127) return special(false, total < 0);
    const std::int64_t kept = cut(total, scale + fraction - exponent);
    return kept ? std::ldexp(static_cast<float>(kept), exponent - fraction) : 0.0f;
}

// One block: c and products of so many a and b.
inline float add_block(float c, const Number* a, const Number* b, int count, const TensorCore& core) {
    const Number accumulator = number(c);
    // 1. Specials, as IEEE 754 adds them.
    bool nan = accumulator.nan, plus = false, minus = false;
    auto infinity = [&](bool negative) { (negative ? minus : plus) = true; };
    if (accumulator.infinite) infinity(accumulator.significand < 0);
    for (int i = 0; i < count; i++) {
        nan = nan || a[i].nan || b[i].nan;
        if (!a[i].infinite && !b[i].infinite) continue;
        nan = nan || !a[i].significand || !b[i].significand;
        infinity((a[i].significand < 0) != (b[i].significand < 0));
    }
    if (nan || plus || minus) return special(nan || (plus && minus), minus);
    // 2. The largest exponent, of products that are not normalised.
    int largest = std::max(accumulator.exponent, core.least);
    for (int i = 0; i < count; i++) largest = std::max(largest, a[i].exponent + b[i].exponent);
    // 3. Terms are cut to that, and added; the sum is cut.
    const int below = core.fraction - largest;
    std::int64_t total = cut(accumulator.significand, accumulator.exponent - accumulator.mantissa + below);
    for (int i = 0; i < count; i++) {
        const int exponent = a[i].exponent + b[i].exponent - a[i].mantissa - b[i].mantissa;
        total += cut(a[i].significand * b[i].significand, exponent + below);
    }
    return cut_to_float32(total, -below, core.kept);
}

// c and all products, block by block.
inline float add_products(float c, const Number* a, const Number* b, int count, const TensorCore& core) {
    for (int i = 0; i < count; i += core.terms) {
        c = add_block(c, a + i, b + i, std::min(core.terms, count - i), core);
    }
    return c;
}

// ---- the lanes of a warp, open to each other for one instruction ---------------------------------

struct Offer {
    std::uint32_t words[6];
    const std::uint16_t* row;
};

inline Offer offers[1024];

template <class Use>
void together(const Offer& own, Site site, Use use) {
    Offer* warp = offers + (self - self->lane - threads.data());
    warp[self->lane] = own;
    wait(State::AT_WARP, site, ALL_LANES);
    use(warp);
    wait(State::AT_WARP, site, ALL_LANES);
}

}  // namespace sim

namespace rn {

inline void copy_or_zero(std::uint16_t* to, const std::uint16_t* from, int bytes) {
    static const std::uint16_t zeros[8] = {};
    if ((reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from)) % 16) {
        sim::fail("an asynchronous copy of 16 bytes is not aligned to them");
    }
    const sim::Copy parts[] = {{to, from, std::size_t(bytes)}, {to + bytes / 2, zeros, std::size_t(16 - bytes)}};
    for (const sim::Copy& copy : parts) {
        if (!sim::options.late) copy.land();
        sim::self->copies.back().push_back(copy);
    }
}

template <bool TRANSPOSED>
void load_matrices(std::uint32_t (&to)[4], const std::uint16_t* row, SIM_HERE) {
    if (reinterpret_cast<std::uintptr_t>(row) % 16) sim::fail("a row of a matrix is not aligned to 16 bytes");
    sim::together({{}, row}, {"load_matrices", file, line}, [&](const sim::Offer* warp) {
        const unsigned outer = sim::self->lane / 4, inner = sim::self->lane % 4 * 2;
        for (unsigned i = 0; i < 4; i++) {
            auto at = [&](unsigned r, unsigned c) { return std::uint32_t(warp[8 * i + r].row[c]); };
            to[i] = TRANSPOSED ? at(inner, outer) | at(inner + 1, outer) << 16
                               : at(outer, inner) | at(outer, inner + 1) << 16;
        }
    });
}

template <class Format>
void multiply_add(Format, float* sums, const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1, SIM_HERE) {
    sim::together({{a[0], a[1], a[2], a[3], b0, b1}, nullptr}, {"multiply_add", file, line}, [&](const auto* warp) {
        auto half = [&](unsigned lane, unsigned word, unsigned k) {
            return sim::number(warp[lane].words[word] >> 16 * (k % 2) & 0xffff, Format::EXPONENT, Format::MANTISSA);
        };
        for (unsigned e = 0; e < 4; e++) {
            const unsigned row = sim::self->lane / 4 + e / 2 * 8, column = sim::self->lane % 4 * 2 + e % 2;
            sim::Number x[16], y[16];
            for (unsigned k = 0; k < 16; k++) {
                x[k] = half(row % 8 * 4 + k % 8 / 2, row / 8 + k / 8 * 2, k);
                y[k] = half(column * 4 + k % 8 / 2, 4 + k / 8, k);
            }
            sums[e] = sim::add_products(sums[e], x, y, 16, sim::tensor_core);
        }
    });
}

}  // namespace rn

// The hardware that is modelled from now on.
extern "C" void sim_tensor_core(int fraction, int terms, int zero, int least) {
    sim::tensor_core = {fraction, terms, zero, least};
}
