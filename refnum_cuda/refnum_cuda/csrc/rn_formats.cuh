// Any scalar format: code -> Exact, and Exact -> code.
#pragma once
#include "rn_minifloat.cuh"
#include "rn_posit.cuh"

namespace rn {

// Of two members the one that is_posit names.
struct Format {
    i32 is_posit;
    Posit posit;
    Minifloat minifloat;
};

RN_HD Exact decode(u64 bits, const Format& fmt) {
    return fmt.is_posit ? decode(bits, fmt.posit) : decode(bits, fmt.minifloat);
}

RN_HD u64 encode(Exact x, const Format& fmt, i32 rounding, u32 random) {
    return fmt.is_posit ? round_wide(pack(x, fmt.posit), fmt.posit, rounding, random)
                        : round_wide(pack(x, fmt.minifloat), fmt.minifloat, rounding, random);
}

}  // namespace rn
