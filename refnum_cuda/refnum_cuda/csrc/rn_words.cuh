// Posits of at most 32 bits, taken apart and put together in words of 32 bits: as decode, pack and round_wide with more.
#pragma once
#include "rn_fast.cuh"

namespace rn {

// The value (-1)**sign * (1 + fraction / 2**32) * 2**scale, where there is one: NaR and 0 have none.
struct Parts {
    u32 fraction;
    i32 scale;
    i32 sign;  // 0 or -1
    bool present, nar;

    // Fewer than 31 bits are not 0.
    RN_HD u32 significand() const { return 1u << 30 | fraction >> 2; }
};

RN_HD Parts parts_of(u32 code, Posit fmt) {
    u32 top = code << (32 - fmt.n);
    if (top << 1 == 0) return {0, 0, 0, false, top != 0};
    u32 body = (top & SIGN ? 0 - top : top) << 1;
    u32 ones = body & SIGN ? ~0u : 0;
    i32 run_less_1 = leading_zeros(body ^ ones) - 1;
    i32 k = ones ? run_less_1 : ~run_less_1;
    u32 rest = body << run_less_1 << 2;  // exponent and fraction
    i32 exponent = static_cast<i32>(rest >> 1 >> (31 - fmt.es));
    return {rest << fmt.es, k * (1 << fmt.es) + exponent, top & SIGN ? -1 : 0, true, false};
}

// The pattern, sign-extended, of a value that is not 0; sticky: there is more of it behind the fraction.
RN_HD u32 pattern_of(i32 sign, i32 scale, u32 fraction, bool sticky, Posit fmt) {
    // Steps S1 and S2 of pack.
    scale = scale < -fmt.max_scale() - 1 ? -fmt.max_scale() - 1 : scale > fmt.max_scale() ? fmt.max_scale() : scale;
    i32 k = scale >> fmt.es, cut = 2 + fmt.es;
    u32 regime = k < 0 ? SIGN >> 1 : SIGN;
    u32 exponent = static_cast<u32>(scale & ((1 << fmt.es) - 1)) << (30 - fmt.es);
    u32 string = regime | exponent | fraction >> cut;
    sticky = sticky || fraction << (32 - cut);
    i32 rest = (k < 0 ? ~k : k) + 33 - fmt.n;  // bits behind the cut: 1 to 31
    u32 head = static_cast<u32>(static_cast<i32>(string) >> rest) & static_cast<u32>(fmt.maxpos());
    u32 dropped = string << (32 - rest);
    // To nearest, ties to the even pattern. The ends stay: behind maxpos stands its regime's terminator, a 0.
    head += dropped > SIGN || (dropped == SIGN && (sticky || head & 1));
    head += head == 0;
    return sign ? 0 - head : head;
}

}  // namespace rn
