// Accumulators as tensor cores leave them: 16 rows a warp; of each 8 columns a lane has 2 in row lane / 4 and the same 2
// in the row 8 further.
#pragma once
#include "rn_matrix.cuh"

namespace rn {

// Where the 16 rows lie in a matrix, and how many rows and columns from there on are inside.
struct Part {
    i64 batch, row, column;
    i32 rows, columns;

    RN_HD Part(Extent size, i64 batch, i64 row, i64 column, i32 most)
        : batch(batch), row(row), column(column), rows(static_cast<i32>(least(size.rows - row, 16))),
          columns(static_cast<i32>(least(size.columns - column, most))) {}
};

// From the bias, or from +0 where there is none.
template <i32 COUNT>
__device__ __forceinline__ void seed(float (&sums)[COUNT], const Matrix& bias, const Part& part, i32 lane) {
#pragma unroll
    for (i32 half = 0; half < 2; half++) {
        const i32 r = lane / 4 + 8 * half;
        const bool known = bias.data && r < part.rows;
        const float* from = known ? bias.at<Float32>(part.batch, part.row + r, part.column + lane % 4 * 2) : nullptr;
#pragma unroll
        for (i32 j = 0; j < COUNT / 4; j++) {
#pragma unroll
            for (i32 i = 0; i < 2; i++) {
                const i32 c = 8 * j + i;
                const bool inside = known && lane % 4 * 2 + c < part.columns;
                sums[4 * j + 2 * half + i] = inside ? from[c * bias.column] : 0.0f;
            }
        }
    }
}

// Of 8 columns each, lane t of four has words t of all four; then it has all words of columns 8t to 8t + 7.
__device__ __forceinline__ uint4 gathered(u32 w0, u32 w1, u32 w2, u32 w3, i32 lane) {
    constexpr u32 ALL = 0xffffffff;
    const bool odd = lane & 1, upper = lane & 2;
    // 1. Between neighbours: the even one has columns 0 and 2, the odd one 1 and 3, two words of each.
    const u32 low = __shfl_xor_sync(ALL, odd ? w0 : w1, 1), high = __shfl_xor_sync(ALL, odd ? w2 : w3, 1);
    const uint2 x = odd ? uint2{low, w1} : uint2{w0, low}, y = odd ? uint2{high, w3} : uint2{w2, high};
    // 2. Between pairs.
    const u32 first = __shfl_xor_sync(ALL, upper ? x.x : y.x, 2), second = __shfl_xor_sync(ALL, upper ? x.y : y.y, 2);
    return upper ? uint4{first, second, y.x, y.y} : uint4{x.x, x.y, first, second};
}

// Rounded once, 8 or 16 bytes at a time: all columns are inside, and rows are aligned.
template <class Format, i32 COUNT>
__device__ __forceinline__ void store_whole(const float (&sums)[COUNT], const Matrix& out, const Part& part, i32 lane) {
#pragma unroll
    for (i32 half = 0; half < 2; half++) {
        const i32 r = lane / 4 + 8 * half;
        typename Format::Bits* to = out.at<Format>(part.batch, part.row + r, part.column);
        auto rounded = [&](i32 j, i32 i) { return Format::rounded(sums[4 * j + 2 * half + i]); };
        if constexpr (sizeof(typename Format::Bits) == 4) {
#pragma unroll
            for (i32 j = 0; j < COUNT / 4; j++) {
                const float2 pair{rounded(j, 0), rounded(j, 1)};
                if (r < part.rows) *reinterpret_cast<float2*>(to + 8 * j + lane % 4 * 2) = pair;
            }
        } else {
            auto word = [&](i32 j) { return rounded(j, 0) | static_cast<u32>(rounded(j, 1)) << 16; };
#pragma unroll
            for (i32 j = 0; j < COUNT / 4; j += 4) {
                const uint4 words = gathered(word(j), word(j + 1), word(j + 2), word(j + 3), lane);
                if (r < part.rows) *reinterpret_cast<uint4*>(to + 8 * (j + lane % 4)) = words;
            }
        }
    }
}

// Rounded once, one at a time. Columns move up in turn, so that there is code for a few of them alone.
template <class Format, i32 COUNT>
__device__ __forceinline__ void store_each(float (&sums)[COUNT], const Matrix& out, const Part& part, i32 lane) {
    typename Format::Bits* to = out.at<Format>(part.batch, part.row + lane / 4, part.column + lane % 4 * 2);
#pragma unroll 1
    for (i32 j = 0; j < COUNT / 4; j++, to += 8 * out.column) {
#pragma unroll
        for (i32 e = 0; e < 4; e++) {
            const bool inside = lane / 4 + e / 2 * 8 < part.rows && 8 * j + lane % 4 * 2 + e % 2 < part.columns;
            if (inside) to[e / 2 * 8 * out.row + e % 2 * out.column] = Format::rounded(sums[e]);
        }
#pragma unroll
        for (i32 e = 0; e < COUNT - 4; e++) sums[e] = sums[e + 4];
    }
}

template <class Format, i32 COUNT>
__device__ __forceinline__ void store(float (&sums)[COUNT], const Matrix& out, const Part& part, i32 lane) {
    constexpr i64 SIZE = sizeof(typename Format::Bits);
    const i64 starts = reinterpret_cast<i64>(out.data) | out.batch * SIZE | out.row * SIZE;
    if (COUNT >= 16 && out.column == 1 && starts % 16 == 0 && part.columns == COUNT * 2) {
        if constexpr (COUNT >= 16) store_whole<Format>(sums, out, part, lane);
    } else {
        store_each<Format>(sums, out, part, lane);
    }
}

template <i32 COUNT>
__device__ __forceinline__ void store(float (&sums)[COUNT], const Matrix& out, i32 result, const Part& part, i32 lane) {
    if (result == FLOAT32) store<Float32>(sums, out, part, lane);
    if (result == BFLOAT16) store<BFloat16>(sums, out, part, lane);
    if (result == FLOAT16) store<Float16>(sums, out, part, lane);
}

}  // namespace rn
