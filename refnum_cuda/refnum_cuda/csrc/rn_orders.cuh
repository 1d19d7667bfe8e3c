// Where things lie: vectors, places in tensors of blocks, and what is a thread's.
#pragma once
#include "rn_port.cuh"

namespace rn {

// Some numbers side by side, loaded and stored together.
template <class T, i32 COUNT>
struct alignas(COUNT * sizeof(T) < 16 ? COUNT * sizeof(T) : 16) Vector {
    T lane[COUNT];
};

// A tensor of blocks has four axes: outer ones, rows and columns of tiles, inner ones. Blocks lie along the columns.
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

// f(i) for the numbers below count that are this thread's.
template <class F>
__device__ void for_each(i64 count, F f) {
    i64 threads = static_cast<i64>(gridDim.x) * blockDim.x;
    for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += threads) f(i);
}

}  // namespace rn
