// The orders in which matrix units want weights and their scales, and the ways back: words, in the order in which units
// want them. Grids have parts of a matrix along x, matrices along y.
#include "rn_orders.cuh"

namespace rn {

// Division by a number of at most 31 bits, of another one, without one: a product's upper half and a shift.
struct Divisor {
    u32 value, factor;  // factor = 2**32 (2**shift - value) / value + 1, rounded down
    i32 shift;          // log2 of the value, rounded up

    RN_HD u32 over(u32 x) const {
        u32 high = static_cast<u32>(static_cast<u64>(x) * factor >> 32);
        return (high + x) >> shift;
    }
};

// A digit of a word's number, from the last one on, and how many rows and columns it stands for.
struct Digit {
    Divisor size;
    i32 down, across;
};

constexpr i32 DIGITS = 6, EACH = 4;  // of a number; words that a thread moves, one after the other

// Matrices row by row, and the same in another order, padded.
struct Order {
    i64 matrices;
    i32 rows, columns, words;  // of a matrix; columns and words are counted in words, words with padding
    Digit digit[DIGITS];
};

template <i32 BYTES>
__device__ void shuffle(const void* from, void* to, const Order& order, u8 pad, i32 back) {
    using Word = Vector<u8, BYTES>;
    Word padding;
#pragma unroll
    for (i32 k = 0; k < BYTES; ++k) padding.lane[k] = pad;
    i64 plain_words = static_cast<i64>(order.rows) * order.columns;
    for (i64 matrix = blockIdx.y; matrix < order.matrices; matrix += gridDim.y) {
#pragma unroll
        for (i32 turn = 0; turn < EACH; ++turn) {
            u32 number = (blockIdx.x * EACH + static_cast<u32>(turn)) * blockDim.x + threadIdx.x;
            if (number >= static_cast<u32>(order.words)) break;
            // 1. Where it lies among rows and columns.
            u32 rest = number;
            i32 row = 0, column = 0;
#pragma unroll
            for (i32 i = 0; i < DIGITS; ++i) {
                u32 next = order.digit[i].size.over(rest);
                i32 digit = static_cast<i32>(rest - next * order.digit[i].size.value);
                row += digit * order.digit[i].down;
                column += digit * order.digit[i].across;
                rest = next;
            }
            // 2. It is moved, if it lies in the matrix.
            bool inside = row < order.rows && column < order.columns;
            i64 plain = matrix * plain_words + static_cast<i64>(row) * order.columns + column;
            i64 ordered = matrix * order.words + number;
            if (!back) {
                static_cast<Word*>(to)[ordered] = inside ? static_cast<const Word*>(from)[plain] : padding;
            } else if (inside) {
                static_cast<Word*>(to)[plain] = static_cast<const Word*>(from)[ordered];
            }
        }
    }
}

}  // namespace rn

#define RN_SHUFFLE(BYTES)                                                                                        \
    extern "C" __global__ void rn_shuffle_##BYTES(const void* from, void* to,                                    \
                                                  const __grid_constant__ rn::Order order, rn::u8 pad,           \
                                                  rn::i32 back) {                                                \
        rn::shuffle<BYTES>(from, to, order, pad, back);                                                          \
    }

RN_SHUFFLE(1)
RN_SHUFFLE(2)
RN_SHUFFLE(4)
RN_SHUFFLE(8)
RN_SHUFFLE(16)
