// Blocks that share a scale: values -> elements and scales, and back. Grids have any size. A tensor has four axes here: outer ones, rows and columns of tiles, inner ones. Blocks lie along
// the columns, and what is written has these axes in memory in the order outer, inner, rows, columns.
#include "rn_blocks.cuh"
#include "rn_copies.cuh"
#include "rn_orders.cuh"

namespace rn {

constexpr u32 WARP = 32, ALL = 0xffffffff;

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

// ---- blocks of named elements along rows: sixteen bytes of codes a thread -----------------------

extern __shared__ float4 rn_shared[];

namespace rn {

constexpr i32 EIGHT = 8, THREADS = 256;

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
        u32 low = 0, high = 0;
#pragma unroll
        for (i32 k = 0; k < EIGHT / EACH; ++k) {
            high = most_of(high, word[k] & MAGNITUDE_BITS);  // of two values the lower one is too small to count
            if (EACH == 2) low = most_of(low, word[k] << 17);
        }
        return EACH == 1 ? high : most_of(high >> 16, low >> 17);
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

// Of any eight values, one after the other.
template <class Codes, class Float>
__device__ Packed<Codes> careful_codes(const typename Float::Bits* x, float factor, u32 care, float zero,
                                       const Recipe& recipe) {
    constexpr i32 APART = Codes::WIDTH == 4 ? 4 : 8;
    u64 out = 0;
#pragma unroll 1
    for (i32 k = 0; k < EIGHT && care != VOID_BLOCK; ++k) {
        // Minus 0 plus 0 is 0, plus minus 0 it is itself.
        float value = add_rn(scaled(Float::widened(x[k]), factor, recipe.scaling), zero);
        out |= static_cast<u64>(is_nan(value) ? recipe.nan : Codes::code(value)) << k * APART;
    }
    if constexpr (Codes::WIDTH == 4) {
        return {{static_cast<u32>(out)}};
    } else {
        return {{static_cast<u32>(out), static_cast<u32>(out >> 32)}};
    }
}

// The values of a warp come in the order in which they lie, sixteen bytes a lane, and change hands in shared memory: a
// lane takes some that lie together. Places in a row of 128 bytes are mixed by the row, so that lanes that take
// together read from all banks.
template <i32 VECTORS>
struct Exchange {
    using Sixteen = Vector<u32, 4>;
    static constexpr i32 ALL_OF_THEM = VECTORS * WARP;

    static RN_HD i32 slot(i32 vector) { return vector ^ (vector / 8 % 8); }

    // What this lane takes of so many that there are, in the warp's part of shared memory.
    static __device__ void bring(Sixteen* shared, const Sixteen* from, i64 count, i32 lane, Sixteen* to) {
#pragma unroll
        for (i32 i = 0; i < VECTORS; ++i) {
            i32 vector = i * WARP + lane;
            if (vector < count) copy_async(&shared[slot(vector)], &from[vector]);
        }
        commit_copies();
        wait_copies<0>();
        __syncwarp();
        if (lane * VECTORS >= count) return;
#pragma unroll
        for (i32 i = 0; i < VECTORS; ++i) to[i] = shared[slot(lane * VECTORS + i)];
    }
};

// A block belongs to a thread, or to some neighbouring ones of a warp; or a thread has several of them. Grids have
// parts of a row along x, rows along y.
template <class Float, class Codes>
__device__ void quantize_rows(const Rows& x, i32 log_eights, const Recipe& recipe, float zero, const float* tensor,
                              u8* elements, void* scales, i32 wide) {
    using Bits = typename Float::Bits;
    constexpr i32 EIGHTS = Codes::WIDTH == 4 ? 4 : 2, VALUES = EIGHTS * EIGHT;
    constexpr i32 VECTORS = VALUES * sizeof(Bits) / 16;
    using Bring = Exchange<VECTORS>;
    const Scaling& scaling = recipe.scaling;
    i32 lane = static_cast<i32>(threadIdx.x % WARP), warp = static_cast<i32>(threadIdx.x / WARP);
    i32 eights_a_block = 1 << log_eights;
    float level = tensor ? *tensor : 1.f;
    bool plain = !scaling.divides && bits_of(zero) >> 31;
    i64 units = x.columns / VALUES, begin = static_cast<i64>(blockIdx.x) * THREADS + warp * WARP;
    auto* mine = reinterpret_cast<Vector<u32, 4>*>(rn_shared) + warp * Bring::ALL_OF_THEM;
    for (i64 row = blockIdx.y; row < x.rows; row += gridDim.y) {
        const Bits* from = static_cast<const Bits*>(x.data) + row * x.stride + begin * VALUES;
        // 1. The values, and the largest magnitude of each block.
        Eight<Float> values[EIGHTS] = {};
        u32 amax[EIGHTS];
        Bring::bring(mine, reinterpret_cast<const Vector<u32, 4>*>(from), (units - begin) * VECTORS, lane,
                     reinterpret_cast<Vector<u32, 4>*>(values));
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
        i64 unit = row * units + begin + lane;
        if (begin + lane < units) {
            // 2. The scales.
            float factor[EIGHTS];
            u32 care[EIGHTS];
#pragma unroll 1
            for (i32 first = 0; first < EIGHTS; first += eights_a_block) {
                u32 most = amax[0];
#pragma unroll
                for (i32 e = 1; e < EIGHTS; ++e) most = e == first ? amax[e] : most;
                most = Eight<Float>::widened(most);
                Shared shared = share(most, level, scaling);
                u32 cared = care_of(most, shared, scaling);
                i64 eight = unit * EIGHTS + first;
                if (eight % eights_a_block == 0) store_scale(scales, wide, eight >> log_eights, shared.scale);
#pragma unroll
                for (i32 e = 0; e < EIGHTS; ++e) {
                    factor[e] = e >= first ? shared.factor : factor[e];
                    care[e] = e >= first ? cared : care[e];
                }
            }
            // 3. The elements.
            Vector<Packed<Codes>, EIGHTS> out;
#pragma unroll
            for (i32 e = 0; e < EIGHTS; ++e) {
                out.lane[e] = plain && care[e] == ANY_NUMBER
                                  ? codes_of<Codes>(values[e], factor[e])
                                  : careful_codes<Codes, Float>(from + (lane * EIGHTS + e) * EIGHT, factor[e], care[e],
                                                                zero, recipe);
            }
            reinterpret_cast<Vector<Packed<Codes>, EIGHTS>*>(elements)[unit] = out;
        }
        __syncwarp();  // before the next row's values come
    }
}

}  // namespace rn

#define RN_QUANTIZE_ROWS(DTYPE, FLOAT, NAME, CODES)                                                              \
    extern "C" __global__ void __launch_bounds__(rn::THREADS) rn_quantize_rows_##DTYPE##_##NAME(                                                \
        const __grid_constant__ rn::Rows x, rn::i32 log_eights, const __grid_constant__ rn::Recipe recipe,  \
        float zero, const float* tensor, rn::u8* elements, void* scales, rn::i32 wide) {                         \
        rn::quantize_rows<rn::FLOAT, rn::CODES>(x, log_eights, recipe, zero, tensor, elements, scales, wide); \
    }

#define RN_OF_DTYPES(NAME, CODES)                       \
    RN_QUANTIZE_ROWS(float32, Float32, NAME, CODES)     \
    RN_QUANTIZE_ROWS(bfloat16, BFloat16, NAME, CODES)   \
    RN_QUANTIZE_ROWS(float16, Float16, NAME, CODES)

RN_OF_DTYPES(e2m1, E2M1)
RN_OF_DTYPES(e2m3, E2M3)
RN_OF_DTYPES(e3m2, E3M2)
RN_OF_DTYPES(e4m3, E4M3)
RN_OF_DTYPES(e5m2, E5M2)
RN_OF_DTYPES(int8, Int8)

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

// Whole blocks one behind the other: eight values a thread, of 2**log_threads threads a block.
template <class To, i32 PACKED>
__device__ void dequantize_rows(const Stored& from, i64 eights, i32 log_threads, void* out) {
    using In = Vector<u32, 2 / PACKED>;
    float level = from.tensor ? *from.tensor : 1.f;
    for_each(eights, [&](i64 i) {
        In codes = reinterpret_cast<const In*>(from.elements)[i];
        float scale = scale_at(from, i >> log_threads);
        Vector<typename To::Bits, EIGHT> values;
#pragma unroll
        for (i32 k = 0; k < EIGHT; ++k) {
            constexpr i32 BITS = 8 / PACKED;
            u32 code = codes.lane[k * BITS / 32] >> (k * BITS % 32);
            values.lane[k] = product<To>(value_of(code, from.element), scale, level, from.wide);
        }
        static_cast<Vector<typename To::Bits, EIGHT>*>(out)[i] = values;
    });
}

}  // namespace rn

#define RN_DEQUANTIZE_ROWS(DTYPE, TO, PACKED)                                                                      \
    extern "C" __global__ void rn_dequantize_rows_##DTYPE##_##PACKED(                                              \
        const __grid_constant__ rn::Stored from, rn::i64 eights, rn::i32 log_threads, void* out) {                 \
        rn::dequantize_rows<rn::TO, PACKED>(from, eights, log_threads, out);                                       \
    }

RN_DEQUANTIZE_ROWS(float32, ToFloat32, 1)
RN_DEQUANTIZE_ROWS(float32, ToFloat32, 2)
RN_DEQUANTIZE_ROWS(bfloat16, ToBFloat16, 1)
RN_DEQUANTIZE_ROWS(bfloat16, ToBFloat16, 2)
RN_DEQUANTIZE_ROWS(float16, ToFloat16, 1)
RN_DEQUANTIZE_ROWS(float16, ToFloat16, 2)
RN_DEQUANTIZE_ROWS(float64, ToFloat64, 1)
RN_DEQUANTIZE_ROWS(float64, ToFloat64, 2)
