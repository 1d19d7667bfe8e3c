// Blocks that share a scale: values -> elements and scales, and back. Grids have any size. A tensor has four axes here: outer ones, rows and columns of tiles, inner ones. Blocks lie along
// the columns, and what is written has these axes in memory in the order outer, inner, rows, columns.
#include "rn_blocks.cuh"
#include "rn_copies.cuh"
#include "rn_orders.cuh"

namespace rn {

constexpr i32 WARP = 32;
constexpr u32 ALL = 0xffffffff;

struct Extent {
    i64 outer, rows, columns, inner;
};

// Where an element of the four axes lies.
struct Strides {
    i64 outer, rows, columns, inner;

    RN_HD i64 place(i64 o, i64 r, i64 c, i64 i) const { return o * outer + r * rows + c * columns + i * inner; }
};

// How large a block is, and how many of its codes are in a byte.
struct Tile {
    i32 rows, columns, packed;
};

enum DType : i32 { FLOAT32, BFLOAT16, FLOAT16, FLOAT64 };  // in the order of refnum_cuda.blocks.DTYPES

struct Values {
    const void* data;
    i32 dtype;
    Strides stride;
};

// As float32, which holds them.
RN_HD float load(const Values& x, i64 place) {
    switch (x.dtype) {
        case FLOAT32:
            return static_cast<const float*>(x.data)[place];
        case BFLOAT16:
            return BFloat16::widened(static_cast<const u16*>(x.data)[place]);
        default:
            return Float16::widened(static_cast<const u16*>(x.data)[place]);
    }
}

// Scales are codes of 8 bits, or float32 patterns.
RN_HD void store_scale(void* scales, i32 wide, i64 place, u32 scale) {
    if (wide) {
        static_cast<u32*>(scales)[place] = scale;
    } else {
        static_cast<u8*>(scales)[place] = static_cast<u8>(scale);
    }
}

// ---- any blocks, by the definition: a warp each --------------------------------------------------

// A block's elements, by their number: row by row.
struct Block {
    i64 outer, rows, columns, inner;  // where it begins
    Tile tile;

    RN_HD i64 place(i64 element, const Strides& stride) const {
        return stride.place(outer, rows + element / tile.columns, columns + element % tile.columns, inner);
    }
};

}  // namespace rn

extern "C" __global__ void rn_quantize_blocks(const __grid_constant__ rn::Values x,
                                              const __grid_constant__ rn::Values random,
                                              const __grid_constant__ rn::Extent size, const rn::Tile tile,
                                              const __grid_constant__ rn::Recipe recipe, const float* tensor,
                                              rn::u8* elements, void* scales, rn::i32 wide) {
    using namespace rn;
    i64 across = size.columns / tile.columns, down = size.rows / tile.rows;
    i64 blocks = size.outer * size.inner * down * across, count = static_cast<i64>(tile.rows) * tile.columns;
    i64 bytes_a_row = size.columns / tile.packed;
    float level = tensor ? *tensor : 1.f;
    for_each(blocks * WARP, [&](i64 thread) {
        i64 number = thread / WARP, lane = thread % WARP;
        i64 matrix = number / (across * down), row = number / across % down * tile.rows;
        Block block{matrix / size.inner, row, number % across * tile.columns, matrix % size.inner, tile};
        // 1. The largest magnitude.
        u32 amax = 0;
        for (i64 e = lane; e < count; e += WARP)
            amax = most_of(amax, bits_of(load(x, block.place(e, x.stride))) & MAGNITUDE_BITS);
        for (i32 lanes = WARP / 2; lanes > 0; lanes /= 2) amax = most_of(amax, __shfl_xor_sync(ALL, amax, lanes));
        // 2. The scale.
        Shared shared = share(amax, level, recipe.scaling);
        if (lane == 0) store_scale(scales, wide, number, shared.scale);
        // 3. The elements, byte by byte.
        for (i64 byte = lane; byte < count / tile.packed; byte += WARP) {
            u32 bits = 0;
            for (i32 k = 0; k < tile.packed; ++k) {
                i64 e = byte * tile.packed + k;
                u32 threshold = random.data ? static_cast<const u16*>(random.data)[block.place(e, random.stride)] : 0;
                bits |= element_code(load(x, block.place(e, x.stride)), shared, recipe, threshold) << 4 * k;
            }
            i64 bytes = tile.columns / tile.packed, r = row + byte / bytes;
            i64 at = (matrix * size.rows + r) * bytes_a_row + block.columns / tile.packed + byte % bytes;
            elements[at] = static_cast<u8>(bits);
        }
    });
}

// ---- blocks of named elements along rows: 32 values a thread ------------------------------------

extern __shared__ float4 rn_shared[];

namespace rn {

constexpr i32 EIGHT = 8, EIGHTS = 4, THREADS = 256;  // values that are packed together, how many of them a thread has

// Rows of values one behind the other.
struct Rows {
    const void* data;
    i64 rows, columns;
    i64 stride;  // of rows, in values
};

// Eight values as they lie in memory.
template <class Float>
struct alignas(16) Eight {
    static constexpr i32 EACH = sizeof(u32) / sizeof(typename Float::Bits);  // values in a word
    u32 word[EIGHT / EACH];

    RN_HD float value(i32 k) const {
        if constexpr (EACH == 1) return float_of(word[k]);
        return Float::widened(static_cast<u16>(word[k / 2] >> k % 2 * 16));
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
    constexpr i32 WORDS = Codes::WIDTH == 4 ? 1 : 2, APART = 4 * WORDS;
    Packed<Codes> out{};
#pragma unroll
    for (i32 k = 0; k < EIGHT; ++k) {
        float value = Codes::HAS_SIGN ? magnitude_of(x.value(k)) : x.value(k);
        i32 at = k * APART % 32;
        out.lane[k * WORDS / EIGHT] += (Codes::excessive_code(multiply_rn(value, factor)) << at) - (Codes::EXCESS << at);
    }
    if constexpr (Codes::HAS_SIGN && WORDS == 1) {
        u32 low = x.signs(0), high = x.signs(4);  // in bytes: every other one becomes the lower half of one
        out.lane[0] |= bytes_of(low, high, 0x7531) | bytes_of(low, high, 0x6420) >> 4;
    } else if constexpr (Codes::HAS_SIGN) {
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

    // The way back: what lanes have made is stored in the order in which it lies.
    static __device__ void give(Sixteen* shared, const Sixteen* made, Sixteen* to, i32 count, i32 lane) {
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

    RN_HD bool easy() const { return !(care[0] | care[1] | care[2] | care[3]); }

    // Of an eight whose number the compiler need not know.
    RN_HD float factor_of(i32 e) const { return e < 2 ? e < 1 ? factor[0] : factor[1] : e < 3 ? factor[2] : factor[3]; }
    RN_HD u32 care_of(i32 e) const { return e < 2 ? e < 1 ? care[0] : care[1] : e < 3 ? care[2] : care[3]; }
};

// The scales of the blocks that a thread has, or the one that it has with others, of which the first one stores it.
template <class Float>
__device__ Factors scale_blocks(const u32* amax, i64 eight, i32 log_eights, float level, const Scaling& scaling,
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

// A block belongs to a thread, or to some neighbouring ones of a warp; or a thread has several of them. Grids have
// parts of a row along x, rows along y. A warp makes part after part, and the next one's values are on their way
// meanwhile.
template <class Float, class Codes>
__device__ void quantize_rows(const Rows& x, i32 log_eights, const Recipe& recipe, float zero, const float* tensor,
                              u8* elements, void* scales, i32 wide) {
    using Bits = typename Float::Bits;
    using Sixteen = Vector<u32, 4>;
    constexpr i32 VALUES = EIGHTS * EIGHT, VECTORS = VALUES * sizeof(Bits) / sizeof(Sixteen);
    using Part = Exchange<VECTORS>;
    using Made = Exchange<EIGHTS * static_cast<i32>(sizeof(Packed<Codes>) / 4) / 4>;
    const Scaling& scaling = recipe.scaling;
    i32 lane = static_cast<i32>(threadIdx.x) % WARP, warp = static_cast<i32>(threadIdx.x) / WARP;
    i32 eights_a_block = 1 << log_eights;
    float level = tensor ? *tensor : 1.f;
    bool plain = !scaling.divides && bits_of(zero) >> 31;
    i64 units = x.columns / VALUES, step = static_cast<i64>(gridDim.x) * THREADS;
    Sixteen* shared = reinterpret_cast<Sixteen*>(rn_shared) + warp * 2 * Part::SIZE;

    for (i64 row = blockIdx.y; row < x.rows; row += gridDim.y) {
        i64 at = static_cast<i64>(blockIdx.x) * THREADS + warp * WARP;
        const Bits* from = static_cast<const Bits*>(x.data) + row * x.stride + at * VALUES;
        auto count = [&](i64 unit) { return unit < units ? static_cast<i32>(least_of(units - unit, i64{WARP})) : 0; };
        i32 stage = 0;
        Part::start(shared, reinterpret_cast<const Sixteen*>(from), count(at) * VECTORS, lane);
        for (; at < units; at += step, from += step * VALUES, stage ^= Part::SIZE) {
            const Sixteen* next = reinterpret_cast<const Sixteen*>(from + step * VALUES);
            Part::start(shared + (stage ^ Part::SIZE), next, count(at + step) * VECTORS, lane);
            wait_copies<1>();
            __syncwarp();
            // 1. The values, and the largest magnitude of each block. Lanes that have none take what is there.
            Eight<Float> values[EIGHTS];
            u32 amax[EIGHTS];
            Sixteen* here = shared + stage;
            Part::take(here, lane, reinterpret_cast<Sixteen*>(values));
#pragma unroll
            for (i32 e = 0; e < EIGHTS; ++e) amax[e] = values[e].amax();
#pragma unroll
            for (i32 apart = 1; apart < EIGHTS; apart *= 2) {
                if (apart >= eights_a_block) break;
#pragma unroll
                for (i32 e = 0; e < EIGHTS; ++e) {
                    if (!(e & apart)) amax[e] = amax[e | apart] = most_of(amax[e], amax[e | apart]);
                }
            }
            for (i32 lanes = 1; lanes * EIGHTS < eights_a_block; lanes *= 2)
                amax[0] = most_of(amax[0], __shfl_xor_sync(ALL, amax[0], lanes));
            // 2. The scales.
            bool present = lane < count(at);
            i64 eight = (row * units + at + lane) * EIGHTS;
            Factors by = scale_blocks<Float>(amax, eight, log_eights, level, scaling, present ? scales : nullptr, wide);
            // 3. The elements.
            Packed<Codes> made[EIGHTS];
            if (plain && by.easy()) {
#pragma unroll
                for (i32 e = 0; e < EIGHTS; ++e)
                    made[e] = codes_of(values[e], by.factor[e], scaling.formula == RULE, Codes{});
            } else {
                // One after the other, in memory: codes come where values were that are done with.
                constexpr i32 BITS = Codes::WIDTH == 4 ? 4 : 8;
                u32 word = 0;
#pragma unroll 1
                for (i32 k = 0; k < VALUES; ++k) {
                    float one = Float::widened(Part::template own<Bits>(here, lane, k));
                    word |= careful_code<Codes>(one, by.factor_of(k / EIGHT), by.care_of(k / EIGHT), zero, recipe)
                            << k * BITS % 32;
                    if (k * BITS % 32 + BITS == 32) {
                        Part::template own<u32>(here, lane, k * BITS / 32) = word;
                        word = 0;
                    }
                }
#pragma unroll
                for (i32 i = 0; i < VALUES * BITS / 32; ++i)
                    reinterpret_cast<u32*>(made)[i] = Part::template own<u32>(here, lane, i);
            }
            __syncwarp();  // before codes come to where values of others were
            Sixteen* to = reinterpret_cast<Sixteen*>(elements) + (row * units + at) * (Made::SIZE / WARP);
            Made::give(here, reinterpret_cast<const Sixteen*>(made), to, count(at) * (Made::SIZE / WARP), lane);
            __syncwarp();  // before values come to where codes were
        }
        wait_copies<0>();
        __syncwarp();  // before the next row's first ones come
    }
}

}  // namespace rn

// AT_ONCE: blocks of the grid that a multiprocessor has registers for.
#define RN_QUANTIZE_ROWS(DTYPE, FLOAT, AT_ONCE, NAME, CODES)                                                        \
    extern "C" __global__ void __launch_bounds__(rn::THREADS, AT_ONCE) rn_quantize_rows_##DTYPE##_##NAME(           \
        const __grid_constant__ rn::Rows x, rn::i32 log_eights, const __grid_constant__ rn::Recipe recipe,          \
        float zero, const float* tensor, rn::u8* elements, void* scales, rn::i32 wide) {                            \
        rn::quantize_rows<rn::FLOAT, rn::CODES>(x, log_eights, recipe, zero, tensor, elements, scales, wide);       \
    }

#define RN_OF_DTYPES(AT_ONCE, NAME, CODES)                     \
    RN_QUANTIZE_ROWS(float32, Float32, 2, NAME, CODES)         \
    RN_QUANTIZE_ROWS(bfloat16, BFloat16, AT_ONCE, NAME, CODES) \
    RN_QUANTIZE_ROWS(float16, Float16, AT_ONCE, NAME, CODES)

RN_OF_DTYPES(2, e2m1, E2M1)
RN_OF_DTYPES(3, e2m3, E2M3)
RN_OF_DTYPES(3, e3m2, E3M2)
RN_OF_DTYPES(3, e4m3, E4M3)
RN_OF_DTYPES(3, e5m2, E5M2)
RN_OF_DTYPES(3, int8, Int8)

// ---- elements and scales -> values ---------------------------------------------------------------

namespace rn {

enum ScaleKind : i32 { POWERS, CODES_OF_E4M3, FLOATS };  // in the order of refnum_cuda.blocks.SCALES

// What is stored, and how it is read.
struct Stored {
    const u8* elements;
    const void* scales;
    const float* tensor;
    Element element;
    i32 scale;  // ScaleKind
    i32 wide;   // products are made in float64, which holds them
};

RN_HD float scale_at(const Stored& from, i64 place) {
    switch (from.scale) {
        case POWERS:
            return power_of(static_cast<const u8*>(from.scales)[place]);
        case CODES_OF_E4M3:
            return scale_value(static_cast<const u8*>(from.scales)[place]);
        default:
            return static_cast<const float*>(from.scales)[place];
    }
}

// Element times scale times the tensor's scale, rounded once: float32 holds the first product where it is used.
template <class To>
RN_HD typename To::Bits product(float element, float scale, float level, i32 wide) {
    return wide ? To::of(static_cast<double>(element) * scale * level)
                : To::of(multiply_rn(multiply_rn(element, scale), level));
}

RN_HD void store(void* out, i32 dtype, i64 i, float element, float scale, float level, i32 wide) {
    switch (dtype) {
        case FLOAT32:
            static_cast<u32*>(out)[i] = product<ToFloat32>(element, scale, level, wide);
            break;
        case BFLOAT16:
            static_cast<u16*>(out)[i] = product<ToBFloat16>(element, scale, level, wide);
            break;
        case FLOAT16:
            static_cast<u16*>(out)[i] = product<ToFloat16>(element, scale, level, wide);
            break;
        default:
            static_cast<u64*>(out)[i] = product<ToFloat64>(element, scale, level, wide);
    }
}

}  // namespace rn

// Any blocks, anywhere: a value a thread. Values lie in the order outer, rows, columns, inner.
extern "C" __global__ void rn_dequantize_blocks(const __grid_constant__ rn::Stored from,
                                                const __grid_constant__ rn::Strides element_stride,
                                                const __grid_constant__ rn::Strides scale_stride,
                                                const __grid_constant__ rn::Extent size, const rn::Tile tile,
                                                void* out, rn::i32 dtype) {
    using namespace rn;
    i64 count = size.outer * size.rows * size.columns * size.inner;
    float level = from.tensor ? *from.tensor : 1.f;
    for_each(count, [&](i64 i) {
        i64 inner = i % size.inner, column = i / size.inner % size.columns;
        i64 row = i / size.inner / size.columns % size.rows, outer = i / size.inner / size.columns / size.rows;
        u32 byte = from.elements[element_stride.place(outer, row, column / tile.packed, inner)];
        u32 code = byte >> 4 * (column % tile.packed);
        float scale = scale_at(from, scale_stride.place(outer, row / tile.rows, column / tile.columns, inner));
        store(out, dtype, i, value_of(code, from.element), scale, level, from.wide);
    });
}

namespace rn {

// Eight values, side by side: none of them is NaN, and float32 holds them, or holds them but for one rounding.
RN_HD void store_eight(const float* value, ToFloat32, void* out, i64 i) {
    static_cast<Vector<float, EIGHT>*>(out)[i] = *reinterpret_cast<const Vector<float, EIGHT>*>(value);
}

template <class F>
RN_HD void store_pairs(const float* value, void* out, i64 i, F pair) {
    Vector<u32, EIGHT / 2> pairs;
#pragma unroll
    for (i32 k = 0; k < EIGHT / 2; ++k) pairs.lane[k] = pair(value[2 * k], value[2 * k + 1]);
    static_cast<Vector<u32, EIGHT / 2>*>(out)[i] = pairs;
}

RN_HD void store_eight(const float* value, ToBFloat16, void* out, i64 i) {
    store_pairs(value, out, i, [](float low, float high) { return to_bfloat16_pair(low, high); });
}

RN_HD void store_eight(const float* value, ToFloat16, void* out, i64 i) {
    store_pairs(value, out, i, [](float low, float high) { return to_float16_pair(low, high); });
}

// Whole blocks one behind the other: eight values a thread at a time, of 2**log_eights such in a block.
template <class To, class Codes>
__device__ void dequantize_rows(const Stored& from, i64 eights, i32 log_eights, void* out) {
    constexpr i32 BITS = Codes::WIDTH == 4 ? 4 : 8;
    float level = from.tensor ? *from.tensor : 1.f;
    bool finite_level = (bits_of(level) & MAGNITUDE_BITS) < INF_BITS;
    for_each(eights, [&](i64 i) {
        Packed<Codes> codes = reinterpret_cast<const Packed<Codes>*>(from.elements)[i];
        float scale = scale_at(from, i >> log_eights);
        alignas(16) float element[EIGHT];
        bool easy = !from.wide && finite_level && (bits_of(scale) & MAGNITUDE_BITS) < INF_BITS;
#pragma unroll
        for (i32 k = 0; k < EIGHT; ++k) {
            u32 head = codes.lane[k * BITS / 32] << (32 - Codes::WIDTH - k * BITS % 32);
            element[k] = Codes::value(head);
            if constexpr (Codes::MAY_BE_SPECIAL) easy = easy && (bits_of(element[k]) & MAGNITUDE_BITS) < INF_BITS;
        }
        if (easy) {
#pragma unroll
            for (i32 k = 0; k < EIGHT; ++k) element[k] = multiply_rn(multiply_rn(element[k], scale), level);
            store_eight(element, To{}, out, i);
        } else {
            Vector<typename To::Bits, EIGHT> values;
#pragma unroll
            for (i32 k = 0; k < EIGHT; ++k) values.lane[k] = product<To>(element[k], scale, level, from.wide);
            static_cast<Vector<typename To::Bits, EIGHT>*>(out)[i] = values;
        }
    });
}

}  // namespace rn

#define RN_DEQUANTIZE_ROWS(DTYPE, TO, NAME, CODES)                                                             \
    extern "C" __global__ void rn_dequantize_rows_##DTYPE##_##NAME(                                            \
        const __grid_constant__ rn::Stored from, rn::i64 eights, rn::i32 log_eights, void* out) {              \
        rn::dequantize_rows<rn::TO, rn::CODES>(from, eights, log_eights, out);                                 \
    }

#define RN_TO_DTYPES(NAME, CODES)                          \
    RN_DEQUANTIZE_ROWS(float32, ToFloat32, NAME, CODES)    \
    RN_DEQUANTIZE_ROWS(bfloat16, ToBFloat16, NAME, CODES)  \
    RN_DEQUANTIZE_ROWS(float16, ToFloat16, NAME, CODES)

RN_TO_DTYPES(e2m1, E2M1)
RN_TO_DTYPES(e2m3, E2M3)
RN_TO_DTYPES(e3m2, E3M2)
RN_TO_DTYPES(e4m3, E4M3)
RN_TO_DTYPES(e5m2, E5M2)
RN_TO_DTYPES(int8, Int8)
