// Values in eights, which become codes together: the parts of the kernels for elements that have names.
#pragma once
#include "rn_blocks.cuh"
#include "rn_copies.cuh"
#include "rn_orders.cuh"

namespace rn {

constexpr i32 WARP = 32, THREADS = 256;             // of a block of the grid
constexpr i32 EIGHT = 8, EIGHTS = 4, VALUES = 32;   // values that are packed together; what a thread has
constexpr u32 ALL = 0xffffffff;

// Scales are codes of 8 bits, or float32 patterns.
RN_HD void store_scale(void* scales, i32 wide, i64 place, u32 scale) {
    if (wide) {
        static_cast<u32*>(scales)[place] = scale;
    } else {
        static_cast<u8*>(scales)[place] = static_cast<u8>(scale);
    }
}

// Eight values as they lie in memory.
template <class Float>
struct alignas(16) Eight {
    static constexpr i32 EACH = sizeof(u32) / sizeof(typename Float::Bits);  // values in a word
    u32 word[EIGHT / EACH];

    RN_HD float value(i32 k) const {
        if constexpr (EACH == 1) return float_of(word[k]);
        return Float::widened(static_cast<u16>(word[k / 2] >> k % 2 * 16));
    }

    // Of values as they lie in memory.
    template <class F>
    RN_HD void fill(F bits) {
#pragma unroll
        for (i32 k = 0; k < EIGHT / EACH; ++k) {
            if constexpr (EACH == 1) {
                word[k] = bits_of(bits(k));
            } else {
                word[k] = static_cast<u32>(bits(2 * k)) | static_cast<u32>(bits(2 * k + 1)) << 16;
            }
        }
    }

    // The largest magnitude: integers are in the order of the values.
    RN_HD u32 amax() const {
        u32 most = 0;
#pragma unroll
        for (i32 k = 0; k < EIGHT / EACH; ++k) {
            most = EACH == 1 ? most_of(most, word[k] & MAGNITUDE_BITS) : most_of_pairs(most, word[k] & 0x7fff7fff);
        }
        return EACH == 1 ? most : most_of(most >> 16, most & 0xffff);
    }

    // The float32 pattern of a magnitude that amax gave.
    static RN_HD u32 widened(u32 magnitude) {
        return EACH == 1 ? magnitude : bits_of(Eight{{magnitude}}.value(0));
    }

    // The signs of four values, at the head of a byte each.
    RN_HD u32 signs(i32 first) const {
        if constexpr (EACH == 2) return bytes_of(word[first / 2], word[first / 2 + 1], 0x7531) & 0x80808080;
        u32 low = bytes_of(word[first], word[first + 1], 0x73), high = bytes_of(word[first + 2], word[first + 3], 0x73);
        return bytes_of(low, high, 0x5410) & 0x80808080;
    }
};

// Codes of eight values.
template <class Codes>
using Packed = Vector<u32, Codes::WIDTH == 4 ? 1 : 2>;

// Of numbers whose signs are kept, multiplied by a factor.
template <class Codes, class Float>
RN_HD Packed<Codes> codes_of(const Eight<Float>& x, float factor) {
    constexpr i32 WORDS = Codes::WIDTH == 4 ? 1 : 2, EACH = EIGHT / WORDS, APART = 4 * WORDS;
    Packed<Codes> out{};
    auto scaled = [&](i32 k) { return multiply_rn(x.value(k), factor); };
#pragma unroll
    for (i32 k = 0; k < EIGHT; ++k) {
        i32 at = k % EACH * APART;
        if constexpr (Codes::IN_PAIRS) {
            if (k % 2 == 0) out.lane[k / EACH] |= Codes::pair(scaled(k), scaled(k + 1)) << at;
        } else {
            float value = Codes::HAS_SIGN ? magnitude_of(scaled(k)) : scaled(k);
            out.lane[k / EACH] += (Codes::excessive_code(value) << at) - (Codes::EXCESS << at);
        }
    }
    if constexpr (Codes::HAS_SIGN && WORDS == 1) {
        u32 low = x.signs(0), high = x.signs(4);  // in bytes: every other one becomes the lower half of one
        out.lane[0] |= bytes_of(low, high, 0x7531) | bytes_of(low, high, 0x6420) >> 4;
    } else if constexpr (Codes::HAS_SIGN && !Codes::IN_PAIRS) {
        for (i32 i = 0; i < 2; ++i) out.lane[i] |= x.signs(4 * i) >> (8 - Codes::WIDTH);
    }
    return out;
}

// The same, but that a factor that is a power of two may multiply two values at a time.
template <class Codes, class Float>
RN_HD Packed<Codes> codes_of(const Eight<Float>& x, float factor, bool, Codes) {
    return codes_of<Codes>(x, factor);
}

// The three lines in bfloat16, whose unit from 64 on is a half: that of codes.
RN_HD Packed<E2M1> codes_of(const Eight<BFloat16>& x, float power, bool is_power, E2M1) {
    if (!is_power) return codes_of<E2M1>(x, power);
    u32 steep = pair_of(power), flat = pair_of(multiply_rn(power, 0.5f)), flatter = pair_of(multiply_rn(power, 0.25f));
    u32 code[EIGHT / 2], sign[2], both[2];
#pragma unroll
    for (i32 k = 0; k < EIGHT / 2; ++k) {
        u32 magnitude = x.word[k] & 0x7fff7fff;
        u32 first = fma_of_pairs(magnitude, steep, pair_of(64.f)), second = fma_of_pairs(magnitude, flat, pair_of(65.f));
        u32 third = fma_of_pairs(magnitude, flatter, pair_of(66.f)), top = pair_of(64.f + E2M1::TOP / 2.f);
        code[k] = least_of_pairs(least_of_pairs(first, second), least_of_pairs(third, top));
    }
    // In bytes, with a sign at the head of each, then in halves of bytes.
#pragma unroll
    for (i32 i = 0; i < 2; ++i) {
        sign[i] = bytes_of(x.word[2 * i], x.word[2 * i + 1], 0x7531);
        both[i] = (sign[i] & 0x80808080) | (bytes_of(code[2 * i], code[2 * i + 1], 0x6420) & 0x7f7f7f7f);
    }
    u32 even = bytes_of(both[0], both[1], 0x6420), odd = bytes_of(both[0], both[1], 0x7531);
    u32 low = (even & 0x07070707) | (even >> 4 & 0xf8f8f8f8), high = (odd & 0x80808080) | (odd << 4 & 0x7f7f7f7f);
    return {{(low & 0x0f0f0f0f) | (high & 0xf0f0f0f0)}};
}

// Of any value: minus 0 plus zero is 0, plus minus zero it is itself.
template <class Codes>
RN_HD u32 careful_code(float x, float factor, u32 care, float zero, const Recipe& recipe) {
    float value = add_rn(scaled(x, factor, recipe.scaling), zero);
    return care == VOID_BLOCK ? 0 : is_nan(value) ? recipe.nan : Codes::code(value);
}

// The values of a warp come in the order in which they lie, sixteen bytes a lane, and change hands in shared memory: a
// lane takes some that lie together. Vectors in a row of 128 bytes are mixed by the row's number, so that lanes that
// take together read from all banks.
template <i32 VECTORS>  // of a lane: 1, 2, 4 or 8
struct Exchange {
    using Sixteen = Vector<u32, 4>;
    static constexpr i32 SIZE = VECTORS * WARP;

    // Start to bring as many as there are into the warp's part of shared memory.
    static __device__ void start(Sixteen* shared, const Sixteen* from, i32 count, i32 lane) {
#pragma unroll
        for (i32 i = 0; i < VECTORS; ++i) {
            // It is in row 4 i + lane / 8.
            Sixteen* to = &shared[i * WARP + (lane ^ lane / 8 ^ i % 2 * 4)];
            if (i * WARP + lane < count) copy_async(to, &from[i * WARP + lane]);
        }
        commit_copies();
    }

    // What is this lane's.
    static RN_HD void take(Sixteen* shared, i32 lane, Sixteen* to) {
#pragma unroll
        for (i32 i = 0; i < VECTORS; ++i) to[i] = own<Sixteen>(shared, lane, i);
    }

    // A lane's i-th thing of a type.
    template <class T>
    static RN_HD T& own(Sixteen* shared, i32 lane, i32 i) {
        constexpr i32 EACH = sizeof(Sixteen) / sizeof(T);  // in a vector
        i32 first = lane * VECTORS;
        return reinterpret_cast<T*>(&shared[first ^ (first / 8 % 8) ^ i / EACH])[i % EACH];
    }

    // The way back: what lanes have made is stored in the order in which it lies. Then other values may come: a lane
    // reads codes where its own ones will.
    static __device__ void give(Sixteen* shared, const Sixteen* made, Sixteen* to, i32 count, i32 lane) {
        __syncwarp();  // all have read their values
        if constexpr (VECTORS == 1) {
            if (lane < count) to[lane] = made[0];
        } else {
#pragma unroll
            for (i32 i = 0; i < VECTORS; ++i) own<Sixteen>(shared, lane, i) = made[i];
            __syncwarp();
#pragma unroll
            for (i32 i = 0; i < VECTORS; ++i) {
                if (i * WARP + lane < count) to[i * WARP + lane] = shared[i * WARP + (lane ^ lane / 8 ^ i % 2 * 4)];
            }
        }
    }
};

// What the values of a thread are multiplied by, and what they have to be told from numbers for.
struct Factors {
    float factor[EIGHTS];
    u32 care[EIGHTS];
};

// The scales of the blocks that a thread has, or the one that it has with others, of which the first one stores it.
template <class Float>
__device__ Factors scale_blocks(const u32* amax, i64 eight, i32 log_eights, const Level& level, const Scaling& scaling,
                                void* scales, i32 wide) {
    Factors out;
#pragma unroll 1
    for (i32 first = 0; first < EIGHTS; first += 1 << log_eights) {
        u32 most = amax[0];
#pragma unroll
        for (i32 e = 1; e < EIGHTS; ++e) most = e == first ? amax[e] : most;
        most = Eight<Float>::widened(most);
        Shared shared = share(most, level, scaling);
        u32 care = care_of(most, shared, scaling);
        if (scales && (eight + first) % (1ll << log_eights) == 0)
            store_scale(scales, wide, (eight + first) >> log_eights, shared.scale);
#pragma unroll
        for (i32 e = 0; e < EIGHTS; ++e) {
            out.factor[e] = e >= first ? shared.factor : out.factor[e];
            out.care[e] = e >= first ? care : out.care[e];
        }
    }
    return out;
}

// The codes of a thread's values. What scaled values are added to, zero, is minus 0 where the sign of a 0 is kept.
template <class Codes, class Float, class Read>
__device__ void make_codes(const Eight<Float>* values, const Factors& by, const Recipe& recipe, float zero, Read read,
                           Packed<Codes>* made) {
    bool numbers = !recipe.scaling.divides, is_signed = bits_of(zero) >> 31;
#pragma unroll
    for (i32 e = 0; e < EIGHTS; ++e) numbers = numbers && by.care[e] == ANY_NUMBER;
    if (numbers && is_signed) {
#pragma unroll
        for (i32 e = 0; e < EIGHTS; ++e)
            made[e] = codes_of(values[e], by.factor[e], recipe.scaling.formula == RULE, Codes{});
        return;
    }
    constexpr i32 BITS = Codes::WIDTH == 4 ? 4 : 8, EACH = 32 / BITS, WORDS = EIGHT / EACH;  // codes in a word
    if constexpr (Codes::WIDTH == 4) {
        if (numbers) {
#pragma unroll
            for (i32 e = 0; e < EIGHTS; ++e) {
                u32 bits = 0;
#pragma unroll
                for (i32 k = 0; k < EIGHT; ++k)
                    bits |= Codes::code(add_rn(multiply_rn(values[e].value(k), by.factor[e]), zero)) << k * BITS;
                made[e].lane[0] = bits;
            }
            return;
        }
    }
    // The others are read again, one after the other.
#pragma unroll
    for (i32 word = 0; word < VALUES / EACH; ++word) {
        u32 bits = 0;
#pragma unroll 1
        for (i32 k = 0; k < EACH; ++k) {
            i32 e = word / WORDS;
            bits |= careful_code<Codes>(read(word * EACH + k), by.factor[e], by.care[e], zero, recipe) << k * BITS;
        }
        made[word / WORDS].lane[word % WORDS] = bits;
    }
}

// The largest magnitudes of the blocks of a thread: each eight's own becomes that of all that share its block here.
RN_HD void join(u32* amax, i32 log_eights) {
#pragma unroll
    for (i32 apart = 1; apart < EIGHTS; apart *= 2) {
        if (apart >> log_eights) break;
#pragma unroll
        for (i32 e = 0; e < EIGHTS; ++e) {
            if (!(e & apart)) amax[e] = amax[e | apart] = most_of(amax[e], amax[e | apart]);
        }
    }
}

}  // namespace rn
