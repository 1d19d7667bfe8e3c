// Matrices as the host passes them, and in which order blocks make the tiles of a product.
#pragma once
#include "rn_halves.cuh"

namespace rn {

RN_HD i64 least(i64 x, i64 y) { return x < y ? x : y; }

struct Matrix {
    void* data;
    i64 batch, row, column;  // strides, in elements

    template <class Format>
    RN_HD typename Format::Bits* at(i64 b, i64 r, i64 c) const {
        return static_cast<typename Format::Bits*>(data) + b * batch + r * row + c * column;
    }
};

// A product: so many of rows x terms by terms x columns.
struct Extent {
    i64 batches, rows, columns, terms;
};

enum Result : i32 { FLOAT32, BFLOAT16, FLOAT16 };

// ---- tiles ---------------------------------------------------------------------------------------

constexpr i64 GROUP = 16;  // rows of tiles

struct Place {
    i64 batch, row, column;  // the last two: in tiles
};

RN_HD i64 tiles_of(i64 count, i32 each) { return (count + each - 1) / each; }

// Tiles that are made at one time shall be near each other, so that their operands meet in the cache: of a group of
// rows of tiles, column by column.
RN_HD Place place_of_tile(i64 tile, i64 down, i64 across) {
    const i64 batch = tile / (down * across), within = tile % (down * across);
    const i64 first = within / (GROUP * across) * GROUP, rows = least(GROUP, down - first);
    const i64 rest = within - first * across;
    return {batch, first + rest % rows, rest / rows};
}

}  // namespace rn
