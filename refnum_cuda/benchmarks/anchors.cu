// Yardsticks of posit_mm: the same tiles and copies, where a product is rounded by arithmetic, without tables.
#include "rn_modes.cuh"
#include "rn_packed.cuh"

namespace rn {

struct Empty {
    RN_HD void fill(i32, Posit) {}
};

// What posit_cuposit/v1 makes of a product, by the operations of CuPosit's loop: the exponent is clamped, its regime
// gives the fraction bits to keep, and the fields are put together again. Written from the published counts and the
// definition; 14.25 instructions a product there, 11.1 of them on the integer pipe.
struct Anchor {
    using Value = float;
    using Table = Empty;
    Posit fmt;
    const Table* table;
    i32 low, high;  // bits of the ends
    u32 ones;       // the fraction bits to keep where the regime is shortest, and all above

    RN_HD Range begun(Range) const { return NOWHERE; }
    RN_HD Range seen(Range before, Range) const { return before; }
    RN_HD Range served() const { return EVERYWHERE; }
    RN_HD Range served_bounded() const { return EVERYWHERE; }

    RN_HD float step(float sum, float x, float y) const {
        const u32 bits = bits_of(multiply_rn(x, y));
        i32 magnitude = static_cast<i32>(bits & ~SIGN);
        magnitude = magnitude < low ? low : magnitude;
        magnitude = magnitude > high ? high : magnitude;
        const i32 k = (magnitude - (BIAS << MANTISSA)) >> (MANTISSA + 2);
        const u32 kept = ones << (k >= 0 ? k : -1 - k);
        return add_rn(sum, float_of((bits & SIGN) | (static_cast<u32>(magnitude) & kept)));
    }

    RN_HD float step_bounded(float sum, float x, float y) const { return step(sum, x, y); }
    RN_HD float step_of_all(float sum, float x, float y) const { return step(sum, x, y); }
};

// Products as they are: what tiles and copies allow.
struct Plain {
    using Value = float;
    using Table = Empty;
    Posit fmt;
    const Table* table;

    RN_HD Range begun(Range) const { return NOWHERE; }
    RN_HD Range seen(Range before, Range) const { return before; }
    RN_HD Range served() const { return EVERYWHERE; }
    RN_HD Range served_bounded() const { return EVERYWHERE; }

    RN_HD float step(float sum, float x, float y) const { return add_rn(sum, multiply_rn(x, y)); }
    RN_HD float step_bounded(float sum, float x, float y) const { return step(sum, x, y); }
    RN_HD float step_of_all(float sum, float x, float y) const { return step(sum, x, y); }
};

}  // namespace rn

// The sums of packed operands: one block of a multiprocessor at a time, as CuPosit's registers allow.
extern "C" __global__ void __launch_bounds__(rn::Square::THREADS, 1)
    rn_anchor(const rn::Panels a, const rn::Panels b, const rn::Matrix out, const rn::Size size, const rn::Posit fmt) {
    extern __shared__ float4 rn_shared[];
    const rn::i32 most = 4 * (fmt.n - 4) - 1;
    rn::Anchor mode{fmt, nullptr, (rn::BIAS - most) << rn::MANTISSA, (rn::BIAS + most) << rn::MANTISSA,
                    ~0u << (28 - fmt.n)};
    rn::product<rn::Anchor, rn::Square>(mode, a, b, rn::Matrix{}, out, size, reinterpret_cast<char*>(rn_shared),
                                         [](float sum, auto, rn::i32, rn::i32) { return sum; });
}

extern "C" __global__ void __launch_bounds__(rn::Square::THREADS, 2)
    rn_plain(const rn::Panels a, const rn::Panels b, const rn::Matrix out, const rn::Size size, const rn::Posit fmt) {
    extern __shared__ float4 rn_shared[];
    rn::product<rn::Plain, rn::Square>(rn::Plain{fmt, nullptr}, a, b, rn::Matrix{}, out, size,
                                        reinterpret_cast<char*>(rn_shared),
                                        [](float sum, auto, rn::i32, rn::i32) { return sum; });
}
