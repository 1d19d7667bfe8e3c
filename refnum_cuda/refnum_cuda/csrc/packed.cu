// Conversions at the speed of memory: to nearest even, of elements that follow one another from a multiple of 16 bytes
// on, between formats of which packed.py tells. They equal those of elementwise.cu, which have the rest.
#include "rn_halves.cuh"
#include "rn_steps.cuh"

namespace rn {

constexpr i32 ACCESS = 16;  // bytes that a thread reads or writes at once
constexpr i32 AHEAD = 4;    // packs that it has read before it works on the first of them
constexpr i32 BLOCK = 256;  // threads; the host starts no others

template <class T, i32 N>
struct alignas(N * sizeof(T)) Pack {
    T lane[N];
};

// As many operands.
template <i32 ARITY>
struct Operands {
    const void* data[ARITY];

    template <class T>
    __device__ __forceinline__ const T* of(i32 k) const {
        return static_cast<const T*>(data[k]);
    }
};

// out[i] = f(the elements i of operands x) for numbers i that are this thread's, so many of which are read together.
template <i32 TOGETHER, class In, class Out, i32 ARITY, class F>
__device__ __forceinline__ i64 map_some(const Operands<ARITY>& x, Out* out, i64 first, i64 count, F f) {
    i64 threads = static_cast<i64>(gridDim.x) * blockDim.x, i = first;
#pragma unroll 1
    for (; i + (TOGETHER - 1) * threads < count; i += TOGETHER * threads) {
        In some[TOGETHER][ARITY];
#pragma unroll
        for (i32 j = 0; j < TOGETHER; ++j)
#pragma unroll
            for (i32 k = 0; k < ARITY; ++k) some[j][k] = x.template of<In>(k)[i + j * threads];
#pragma unroll
        for (i32 j = 0; j < TOGETHER; ++j) out[i + j * threads] = f(some[j]);
    }
    return i;
}

// out[i] = f(x[i]), where f takes an array of one element of each operand.
template <class In, class Out, i32 ARITY, class F>
__device__ __forceinline__ void map(const Operands<ARITY>& x, void* out, i64 count, F f) {
    constexpr i32 LANES = ACCESS / static_cast<i32>(sizeof(In) > sizeof(Out) ? sizeof(In) : sizeof(Out));
    using Source = Pack<In, LANES>;
    using Target = Pack<Out, LANES>;
    auto pack = [&](const Source(&some)[ARITY]) {
        Target result;
#pragma unroll
        for (i32 j = 0; j < LANES; ++j) {
            In lanes[ARITY];
#pragma unroll
            for (i32 k = 0; k < ARITY; ++k) lanes[k] = some[k].lane[j];
            result.lane[j] = f(lanes);
        }
        return result;
    };
    i64 packs = count / LANES, first = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
    Target* to = static_cast<Target*>(out);
    i64 next = map_some<AHEAD / ARITY, Source>(x, to, first, packs, pack);
    map_some<1, Source>(x, to, next, packs, pack);
    map_some<1, In>(x, static_cast<Out*>(out), packs * LANES + first, count, f);
}

// The same for one operand, of which f takes an element.
template <class In, class Out, class F>
__device__ __forceinline__ void map(const void* x, void* out, i64 count, F f) {
    map<In, Out>(Operands<1>{{x}}, out, count, [&](const In(&lane)[1]) { return static_cast<Out>(f(lane[0])); });
}

// table[i] = f(i), for the whole block; each in so many copies.
template <i32 COPIES = 1, class T, class F>
__device__ __forceinline__ void tabulate(T* table, i32 size, F f) {
    for (i32 i = static_cast<i32>(threadIdx.x); i < size; i += static_cast<i32>(blockDim.x)) {
        T entry = f(i);
        for (i32 j = 0; j < COPIES; ++j) table[i * COPIES + (i + j) % COPIES] = entry;  // in any order: lanes go apart
    }
    __syncthreads();
}

// The float32 of posits in codes of so many bits.
template <i32 BITS>
struct Values {
    Posit fmt;

    __device__ explicit Values(Posit fmt) : fmt(fmt) {}

    __device__ float operator[](u32 code) const { return float_of(decode_bits(code, fmt)); }
};

// By a table of all, in a copy for each lane of a warp: lanes that look up other codes are not in each other's way.
template <>
struct Values<8> {
    static constexpr i32 COPIES = 32;

    const float* table;

    __device__ explicit Values(Posit fmt) {
        __shared__ float all[256 * COPIES];
        tabulate<COPIES>(all, 256, [&](i32 code) { return float_of(decode_bits(static_cast<u32>(code), fmt)); });
        table = all + threadIdx.x % COPIES;
    }

    __device__ float operator[](u32 code) const { return table[code * COPIES]; }
};

// Of 9 to 16 bits, by their upper 8: where the regime ends in these, exponent and fraction follow as they do in a
// float32, whose bits are a line. Others, those at both ends of the range, are all in a table.
template <>
struct Values<16> {
    struct Line {
        u32 base, slope;
    };

    const Line* lines;
    const float* ends;
    i32 low;  // bits below the upper 8

    __device__ explicit Values(Posit fmt) : low(fmt.n - 8) {
        __shared__ Line all_lines[256];
        __shared__ float all_ends[4 * 256];
        tabulate(all_lines, 256, [&](i32 upper) {
            u32 first = static_cast<u32>(upper) << low, base = decode_bits(first, fmt);
            return Line{base, decode_bits(first + 1, fmt) - base};
        });
        tabulate(all_ends, 4 << low, [&](i32 i) {
            u32 which = static_cast<u32>(i) >> low, upper = (which >> 1) * 0x80 + (which & 1) * 0x7F;
            return float_of(decode_bits(upper << low | (static_cast<u32>(i) & mask()), fmt));
        });
        lines = all_lines;
        ends = all_ends;
    }

    __device__ u32 mask() const { return (1u << low) - 1; }

    __device__ float operator[](u32 code) const {
        u32 upper = code >> low & 0xFF, rest = code & mask();
        Line line = lines[upper];
        bool is_end = ((upper + 1) & 0x7F) <= 1;  // 0x00, 0x7F, 0x80 or 0xFF
        return is_end ? ends[(upper >> 7 << 1 | (upper & 1)) << low | rest] : float_of(line.base + rest * line.slope);
    }
};

}  // namespace rn

#define RN_PACKED(NAME)                                                                                       \
    extern "C" __global__ void __launch_bounds__(rn::BLOCK)                                                   \
        rn_##NAME(const void* x, void* out, rn::i64 count,                                                    \
                  [[maybe_unused]] const __grid_constant__ rn::Format from,                                   \
                  [[maybe_unused]] const __grid_constant__ rn::Format to)

// ---- floats to codes -----------------------------------------------------------------------------

#define RN_ENCODE(ROW, TRAITS, BITS, OUT)                                                                     \
    RN_PACKED(encode_posit_##ROW##_##BITS) {                                                                  \
        using namespace rn;                                                                                   \
        __shared__ Step steps[BINADES];                                                                         \
        tabulate(steps, BINADES, [&](i32 i) { return step_of(i, to.posit); });                                  \
        map<TRAITS::Bits, OUT>(x, out, count, [&](TRAITS::Bits code) {                                        \
            return encode_by_steps(TRAITS::widened(code), steps);                           \
        });                                                                                                   \
    }                                                                                                         \
    RN_PACKED(encode_minifloat_##ROW##_##BITS) {                                                              \
        using namespace rn;                                                                                   \
        Grid grid = grid_of(to.minifloat);                                                                    \
        map<TRAITS::Bits, OUT>(x, out, count, [&](TRAITS::Bits code) {                                        \
            return static_cast<OUT>(encode_on(bits_of(TRAITS::widened(code)), grid));                         \
        });                                                                                                   \
    }

#define RN_ENCODE_ROW(ROW, TRAITS)                                                                            \
    RN_ENCODE(ROW, TRAITS, 8, u8)                                                                             \
    RN_ENCODE(ROW, TRAITS, 16, u16)                                                                           \
    RN_PACKED(encode_posit_##ROW##_32) {                                                                      \
        using namespace rn;                                                                                   \
        map<TRAITS::Bits, u32>(x, out, count, [&](TRAITS::Bits code) {                                        \
            return encode_bits(bits_of(TRAITS::widened(code)), to.posit);                                     \
        });                                                                                                   \
    }

RN_ENCODE_ROW(float32, Float32)
RN_ENCODE_ROW(bfloat16, BFloat16)
RN_ENCODE_ROW(float16, Float16)

RN_PACKED(encode_head_float32_16) {
    using namespace rn;
    i32 below = MANTISSA - to.minifloat.mantissa;
    map<u32, u16>(x, out, count, [&](u32 bits) { return static_cast<u16>(round_head(bits, below) >> below); });
}

// ---- codes to floats -----------------------------------------------------------------------------

// Codes of at most 8 bits.
#define RN_DECODE_TABLE(BITS, OUT)                                                                            \
    RN_PACKED(decode_table_##BITS) {                                                                          \
        using namespace rn;                                                                                   \
        __shared__ OUT values[256];                                                                           \
        tabulate(values, 256, [&](i32 code) {                                                                 \
            return static_cast<OUT>(encode(decode(static_cast<u64>(code), from), to, NEAREST_EVEN, 0));       \
        });                                                                                                   \
        map<u8, OUT>(x, out, count, [&](u8 code) { return values[code]; });                                   \
    }

RN_DECODE_TABLE(16, u16)
RN_DECODE_TABLE(32, u32)
RN_DECODE_TABLE(64, u64)

#define RN_DECODE(BITS, IN)                                                                                   \
    RN_PACKED(decode_posit_##BITS) {                                                                          \
        using namespace rn;                                                                                   \
        Values<BITS> values(from.posit);                                                                      \
        map<IN, u32>(x, out, count, [&](IN code) { return bits_of(values[code]); });                          \
    }

RN_DECODE(16, u16)
RN_DECODE(32, u32)

// ---- floats to floats ----------------------------------------------------------------------------
// Of the upper bits of a float32, and those bits of what is rounded.

#define RN_QUANTIZE(ROW, IN)                                                                                  \
    RN_PACKED(quantize_posit_##ROW) {                                                                         \
        using namespace rn;                                                                                   \
        constexpr i32 below = 8 * (sizeof(u32) - sizeof(IN));                                                 \
        __shared__ Level levels[BINADES];                                                                     \
        tabulate(levels, BINADES, [&](i32 i) { return level_of(i, to.posit); });                              \
        map<IN, IN>(x, out, count, [&](IN code) {                                                             \
            return static_cast<IN>(round_by_levels(float_of(static_cast<u32>(code) << below), levels) >> below); \
        });                                                                                                   \
    }                                                                                                         \
    RN_PACKED(quantize_minifloat_##ROW) {                                                                     \
        using namespace rn;                                                                                   \
        constexpr i32 below = 8 * (sizeof(u32) - sizeof(IN));                                                 \
        Grid grid = grid_of(to.minifloat);                                                                    \
        map<IN, IN>(x, out, count, [&](IN code) {                                                             \
            return static_cast<IN>(round_on(static_cast<u32>(code) << below, grid) >> below);                 \
        });                                                                                                   \
    }

RN_QUANTIZE(float32, u32)
RN_QUANTIZE(bfloat16, u16)

RN_PACKED(quantize_head_float32) {
    using namespace rn;
    i32 below = MANTISSA - to.minifloat.mantissa;
    map<u32, u32>(x, out, count, [&](u32 bits) { return round_head(bits, below); });
}

// ---- arithmetic of posits ------------------------------------------------------------------------
// Of two operands: exact in float32, or so near that it rounds to the same posit.

#define RN_ARITHMETIC(NAME, BITS, TYPE, RESULT)                                                               \
    extern "C" __global__ void __launch_bounds__(rn::BLOCK)                                                   \
        rn_##NAME##_##BITS(const void* a, const void* b, void* out, rn::i64 count, const rn::Posit fmt) {     \
        using namespace rn;                                                                                   \
        __shared__ Step steps[BINADES];                                                                         \
        tabulate(steps, BINADES, [&](i32 i) { return step_of(i, fmt); });                                       \
        Values<BITS> values(fmt);                                                                             \
        map<TYPE, TYPE>(Operands<2>{{a, b}}, out, count, [&](const TYPE(&codes)[2]) {                         \
            float x = values[codes[0]], y = values[codes[1]];                                                 \
            return static_cast<TYPE>(encode_by_steps(RESULT, steps));                                         \
        });                                                                                                   \
    }

#define RN_ARITHMETIC_OF(BITS, TYPE)                \
    RN_ARITHMETIC(add, BITS, TYPE, add_rn(x, y))    \
    RN_ARITHMETIC(sub, BITS, TYPE, add_rn(x, -y))   \
    RN_ARITHMETIC(mul, BITS, TYPE, multiply_rn(x, y))

RN_ARITHMETIC_OF(8, u8)
RN_ARITHMETIC_OF(16, u16)
