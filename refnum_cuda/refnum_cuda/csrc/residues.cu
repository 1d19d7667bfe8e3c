// Products of matrices of residues of 8 bits, by tensor cores: an integer is exact whatever the order of its terms.
//
// Each modulus m by itself: int8 [line][term] times int8 [line][term] gives sums modulo m [row][column], 8 bits again.
// Lines are filled up with zeros to multiples of 128, terms to multiples of 64, so that no tile ends early.
#include "rn_copies.cuh"
#include "rn_integers.cuh"

namespace rn {

constexpr i32 ROWS = 128, COLUMNS = 256, TERMS = 64;  // of a tile; terms are bytes
constexpr i32 STAGES = 4, THREADS = 256;
constexpr i32 SIDE = 64;  // rows and columns of a warp
constexpr i32 STAGE = (ROWS + COLUMNS) * TERMS;
constexpr i32 PIECE = 16;  // bytes of a copy

struct Product {
    const i8* a;  // [modulus][row][term]
    const i8* b;  // [modulus][column][term]
    u8* out;      // [modulus][row][column]
    i32 rows, columns, terms;
    const i32* moduli;  // how many of them there are to do; null: as many as the grid has
    i32 continued;      // add to what out has
};

// ---- a tile in shared memory: lines of 64 bytes ----------------------------------------------------
// Pieces of a line change places so that the eight lines that are read together lie in different banks. Those of a are
// neighbours; those of b are the pairs 16 apart that give a thread neighbouring columns of the result.

RN_HD i32 a_place(i32 line, i32 piece) { return line * TERMS + (piece ^ (line >> 1 & 3)) * PIECE; }

RN_HD i32 b_place(i32 line, i32 piece) { return line * TERMS + (piece ^ (line >> 4 & 3)) * PIECE; }

// The line of b that is column c of matrix j, of the eight that a warp multiplies by: a thread, which has columns 2q and
// 2q + 1 of each, so has 16 neighbours.
RN_HD i32 b_line(i32 j, i32 c) { return c / 2 * 16 + 2 * j + c % 2; }

template <i32 LINES, class Place>
__device__ __forceinline__ void bring(i8* to, const i8* from, i32 lines, i32 terms, i32 term, Place place) {
#pragma unroll
    for (i32 i = 0; i < LINES * TERMS / PIECE / THREADS; i++) {
        const i32 number = static_cast<i32>(threadIdx.x) + i * THREADS, line = number / 4, piece = number % 4;
        const i32 inside = line < lines ? line : lines - 1;  // of what is beyond nothing is stored
        const i8* one = from + static_cast<i64>(inside) * terms + term + piece * PIECE;
        copy_16(to + place(line, piece), one);
    }
}

struct Sums {
    i32 of[4][8][4];  // 16 rows times 8 columns each

    __device__ __forceinline__ void add(const i8* a, const i8* b, i32 row, i32 column, i32 lane) {
#pragma unroll
        for (i32 k = 0; k < TERMS / 32; k++) {
            u32 x[4][4], y[4][4];
#pragma unroll
            for (i32 i = 0; i < 4; i++) load_pieces(x[i], a + a_place(row + 16 * i + lane % 16, 2 * k + lane / 16));
#pragma unroll
            for (i32 j = 0; j < 4; j++) {
                load_pieces(y[j], b + b_place(column + b_line(2 * j + lane / 16, lane % 8), 2 * k + lane / 8 % 2));
            }
#pragma unroll
            for (i32 i = 0; i < 4; i++) {
#pragma unroll
                for (i32 j = 0; j < 8; j++) multiply_add(of[i][j], x[i], y[j / 2][j % 2 * 2], y[j / 2][j % 2 * 2 + 1]);
            }
        }
    }
};

}  // namespace rn

// A block makes one tile for one modulus, the number of which is its y.
extern "C" __global__ void __launch_bounds__(rn::THREADS, 1)
    rn_residue_products(const rn::Product product, const __grid_constant__ rn::Moduli moduli) {
    using namespace rn;
    extern __shared__ float4 rn_shared[];
    const i32 number = static_cast<i32>(blockIdx.y);
    if (product.moduli && number >= *product.moduli) return;
    i8* stages = reinterpret_cast<i8*>(rn_shared);
    const i32 thread = static_cast<i32>(threadIdx.x), warp = thread / 32, lane = thread % 32;

    // 1. Where.
    const i32 down = product.rows / ROWS, tile = static_cast<i32>(blockIdx.x);
    const i32 first_row = tile % down * ROWS, first_column = tile / down * COLUMNS;
    const i64 place = static_cast<i64>(number) * product.rows + first_row;
    const i8* a = product.a + place * product.terms;
    const i8* b = product.b + (static_cast<i64>(number) * product.columns + first_column) * product.terms;
    const i32 row = warp / 4 * SIDE, column = warp % 4 * SIDE;
    const bool idle = first_column + column >= product.columns;

    // 2. Terms: while one stage is multiplied the next ones are on their way.
    Sums sums = {};
    const i32 count = product.terms / TERMS;
    auto request = [&](i32 stage) {
        if (stage < count) {
            i8* to = stages + stage % STAGES * STAGE;
            bring<ROWS>(to, a, ROWS, product.terms, stage * TERMS, a_place);
            bring<COLUMNS>(to + ROWS * TERMS, b, product.columns - first_column, product.terms, stage * TERMS, b_place);
        }
        commit_copies();  // an empty one at the end, too: groups are counted
    };
#pragma unroll 1
    for (i32 stage = 0; stage < STAGES - 1; stage++) request(stage);
#pragma unroll 1
    for (i32 stage = 0; stage < count; stage++) {
        wait_copies<STAGES - 2>();
        __syncthreads();  // all of this stage is there, and the one before it is free
        request(stage + STAGES - 1);
        const i8* from = stages + stage % STAGES * STAGE;
        if (!idle) sums.add(from, from + ROWS * TERMS, row, column, lane);
    }

    // 3. Modulo m: 16 neighbouring columns of a row together.
    if (idle) return;
    const i32 own_column = first_column + column + lane % 4 * 16;
#pragma unroll
    for (i32 i = 0; i < 4; i++) {
#pragma unroll
        for (i32 half = 0; half < 2; half++) {
            const i64 own_row = place + row + 16 * i + 8 * half + lane / 4;
            uint4* to = reinterpret_cast<uint4*>(product.out + own_row * product.columns + own_column);
            uint4 old = product.continued ? *to : uint4{0, 0, 0, 0};
            auto four = [&](u32 before, i32 j) {
                u32 packed = 0;
#pragma unroll
                for (i32 e = 0; e < 4; e++) {
                    u32 sum = static_cast<u32>(sums.of[i][2 * j + e / 2][2 * half + e % 2]) + (before >> 8 * e & 0xff);
                    packed |= moduli.rest(sum + moduli.offset[number], number) << 8 * e;
                }
                return packed;
            };
            *to = uint4{four(old.x, 0), four(old.y, 1), four(old.z, 2), four(old.w, 3)};
        }
    }
}
