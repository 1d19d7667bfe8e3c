// Blocks that share a scale: elements and scales -> values. Grids have any size.
#include "rn_eights.cuh"

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
