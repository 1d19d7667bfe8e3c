// Where values lie: the exponents of the least and the largest of them.
#pragma once
#include "rn_doubles.cuh"
#include "rn_fast.cuh"

namespace rn {

// The exponents of those of some values that are neither 0 nor NaN.
struct alignas(8) Range {
    i32 least, most;
};

constexpr i32 FIELDS = 256;   // a table over exponents has an entry for each exponent field of a float32
constexpr i32 FAR = 1 << 20;  // beyond the exponents of all values, and of a few products
constexpr Range NOWHERE = {FAR, -FAR}, EVERYWHERE = {-4 * FAR, 4 * FAR};

RN_HD i32 exponent_of(float x) { return static_cast<i32>(bits_of(x) >> MANTISSA & 0xFF) - BIAS; }
RN_HD i32 exponent_of(double x) { return static_cast<i32>(bits_of(x) >> 52 & 0x7FF) - 1023; }

template <class Value>
RN_HD Range range_of(Value x) {
    const i32 exponent = exponent_of(x);
    return x == 0 || x != x ? NOWHERE : Range{exponent, exponent};
}

RN_HD Range joined(Range a, Range b) {
    return {a.least < b.least ? a.least : b.least, a.most > b.most ? a.most : b.most};
}

RN_HD bool within(Range a, Range b) { return a.least >= b.least && a.most <= b.most; }

// Of products.
RN_HD Range times(Range a, Range b) { return {a.least + b.least, a.most + b.most + 1}; }

}  // namespace rn
