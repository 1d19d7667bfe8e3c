// The orders in which matrix units want weights and their scales, and the ways back: a word a thread, grids of any size.
#include "rn_orders.cuh"

namespace rn {

// Matrices row by row, and the same in another order, padded.
struct Order {
    i64 batch;
    i32 rows, columns, padded_rows, padded_columns;  // in words
    Axis down, across;
};

template <i32 BYTES>
__device__ void shuffle(const void* from, void* to, const Order& order, u8 pad, i32 back) {
    using Word = Vector<u8, BYTES>;
    const Word* source = static_cast<const Word*>(from);
    Word* target = static_cast<Word*>(to);
    Word padding;
#pragma unroll
    for (i32 k = 0; k < BYTES; ++k) padding.lane[k] = pad;
    i64 rows = back ? order.rows : order.padded_rows, columns = back ? order.columns : order.padded_columns;
    for_each(order.batch * rows * columns, [&](i64 i) {
        i64 matrix = i / columns / rows, row = i / columns % rows, column = i % columns;
        i64 plain = (matrix * order.rows + row) * order.columns + column;
        i64 ordered = matrix * order.padded_rows * order.padded_columns + place(static_cast<u32>(row), order.down) +
                      place(static_cast<u32>(column), order.across);
        if (back) {
            target[plain] = source[ordered];
        } else {
            target[ordered] = row < order.rows && column < order.columns ? source[plain] : padding;
        }
    });
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
