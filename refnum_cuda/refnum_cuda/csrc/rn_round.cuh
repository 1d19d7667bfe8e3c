// Wide pattern -> code: what rounding is, for every format. As refnum/core/pack.py and refnum/core/round.py.
#pragma once
#include "rn_exact.cuh"

namespace rn {

constexpr i32 TAIL_BITS = 63;
constexpr u64 WHOLE = 1ull << TAIL_BITS;
constexpr i32 RANDOM_BITS = 16;  // how many random bits a stochastic rounding reads

// An unrounded pattern: magnitude head + tail / 2**63.
struct Wide {
    i32 sign;      // 0 or -1
    u64 head;      // the bits that the format keeps
    u64 tail;      // the bits that it drops, the lowest sticky; WHOLE stands for all beyond the last code
    bool present;  // the value is not 0
    i32 kind;
};

// In the order of refnum.core.round.RULES.
enum Rounding : i32 {
    NEAREST_EVEN,
    NEAREST_AWAY,
    TOWARD_ZERO,
    TOWARD_POSITIVE,
    TOWARD_NEGATIVE,
    TO_ODD,
    STOCHASTIC,
};

// Whether the head goes up by 1: from the dropped tail, the head's last bit and the sign.
RN_HD u64 carry(Wide w, i32 rounding, u32 random) {
    switch (rounding) {
        case NEAREST_EVEN:
            // R1. tail below half: no carry.  R2. above half: carry.  R3. exactly half: carry if the head is odd.
            return (w.tail + ((WHOLE >> 1) - 1 + (w.head & 1))) >> TAIL_BITS;
        case NEAREST_AWAY:
            return (w.tail + (WHOLE >> 1)) >> TAIL_BITS;
        case TOWARD_POSITIVE:
            return w.sign ? 0 : sticky(w.tail);
        case TOWARD_NEGATIVE:
            return w.sign ? sticky(w.tail) : 0;
        case TO_ODD:
            return sticky(w.tail) & ~w.head;
        case STOCHASTIC:
            // Up when the first 16 bits of the tail exceed the random ones.
            return w.tail >> (TAIL_BITS - RANDOM_BITS) > (random & ((1u << RANDOM_BITS) - 1));
        default:  // TOWARD_ZERO
            return 0;
    }
}

}  // namespace rn
