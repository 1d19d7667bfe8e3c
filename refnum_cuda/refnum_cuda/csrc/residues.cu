// Products of matrices of residues of 8 bits, by tensor cores: an integer is exact whatever the order of its terms.
//
// Each modulus m by itself: int8 [line][term] times int8 [line][term] gives sums modulo m [row][column], 8 bits again.
// Lines and terms are filled up with zeros to multiples of 128, so that no tile ends early.
//
// There are two forms: by the instructions of a warp, which all GPUs from sm_80 on have, and by those of a warpgroup,
// which Hopper has. A thread's sums are of 16 neighbouring columns in both, because the columns of an instruction are
// not neighbours: those that a thread has of it, 2q and 2q + 1 of each 8, are taken from 16q + 2j on.
#include "rn_copies.cuh"
#include "rn_integers.cuh"

namespace rn {

constexpr i32 ROWS = 128, COLUMNS = 256;  // of a tile
constexpr i32 STAGES = 4, THREADS = 256;
constexpr i32 PIECE = 16;  // bytes of a copy

struct Product {
    const i8* a;  // [modulus][row][term]
    const i8* b;  // [modulus][column][term]
    u8* out;      // [modulus][row][column]
    i32 rows, columns, terms;
    const i32* moduli;  // how many of them there are to do; null: as many as the grid has
    i32 continued;      // add to what out has
};

// A block's tile.
struct Tile {
    i32 number;  // of the modulus
    i32 row, column;

    __device__ __forceinline__ explicit Tile(const Product& product) : number(static_cast<i32>(blockIdx.y)) {
        const i32 down = product.rows / ROWS, tile = static_cast<i32>(blockIdx.x);
        row = tile % down * ROWS, column = tile / down * COLUMNS;
    }

    RN_HD const i8* a(const Product& product) const {
        return product.a + (static_cast<i64>(number) * product.rows + row) * product.terms;
    }

    RN_HD const i8* b(const Product& product) const {
        return product.b + (static_cast<i64>(number) * product.columns + column) * product.terms;
    }
};

// Bring BYTES of each of so many lines, from a term on; place says where a piece of a line goes.
template <i32 LINES, i32 BYTES, class Place>
__device__ __forceinline__ void bring(i8* to, const i8* from, i32 lines, i32 terms, i32 term, Place place) {
    constexpr i32 PIECES = BYTES / PIECE;
#pragma unroll
    for (i32 i = 0; i < LINES * PIECES / THREADS; i++) {
        const i32 number = static_cast<i32>(threadIdx.x) + i * THREADS, line = number / PIECES, piece = number % PIECES;
        const i32 inside = line < lines ? line : lines - 1;  // of what is beyond nothing is stored
        copy_16(to + place(line, piece), from + static_cast<i64>(inside) * terms + term + piece * PIECE);
    }
}

// Write 16 neighbouring columns of a row, those of a half of 8 matrices of sums.
__device__ __forceinline__ void store(const Product& product, const Moduli& moduli, i32 number, i32 row, i32 column,
                                      i32 (&sums)[8][4], i32 half) {
    const i64 place = (static_cast<i64>(number) * product.rows + row) * product.columns + column;
    uint4* to = reinterpret_cast<uint4*>(product.out + place);
    auto sum = [&](i32 i) -> i32& { return sums[i / 2][2 * half + i % 2]; };
    if (product.continued) {
        const uint4 four = *to;
        const u32 before[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (i32 i = 0; i < 16; i++) sum(i) += static_cast<i32>(before[i / 4] >> 8 * (i % 4) & 0xff);
    }
    u32 after[4] = {};
#pragma unroll
    for (i32 i = 0; i < 16; i++) after[i / 4] |= moduli.rest(sum(i), number) << 8 * (i % 4);
    *to = uint4{after[0], after[1], after[2], after[3]};
}

// ---- by warps: 64 rows and columns each ------------------------------------------------------------

namespace by_warps {

constexpr i32 TERMS = 64;  // of a stage
constexpr i32 SIDE = 64;
constexpr i32 STAGE = (ROWS + COLUMNS) * TERMS;

// Pieces of a line change places so that the eight lines that are read together lie in different banks. Those of a are
// neighbours; those of b are pairs that are 16 apart.
RN_HD i32 a_place(i32 line, i32 piece) { return line * TERMS + (piece ^ (line >> 1 & 3)) * PIECE; }

RN_HD i32 b_place(i32 line, i32 piece) { return line * TERMS + (piece ^ (line >> 4 & 3)) * PIECE; }

// The line of b that is column c of matrix j.
RN_HD i32 b_line(i32 j, i32 c) { return c / 2 * 16 + 2 * j + c % 2; }

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

__device__ __forceinline__ void make(const Product& product, const Moduli& moduli, i8* stages) {
    // 1. Where.
    const Tile tile(product);
    const i8 *a = tile.a(product), *b = tile.b(product);
    const i32 warp = static_cast<i32>(threadIdx.x) / 32, lane = static_cast<i32>(threadIdx.x) % 32;
    const i32 row = warp / 4 * SIDE, column = warp % 4 * SIDE;
    const bool idle = tile.column + column >= product.columns;

    // 2. Terms: while one stage is multiplied the next ones are on their way.
    Sums sums = {};
    const i32 count = product.terms / TERMS;
    auto request = [&](i32 stage) {
        if (stage < count) {
            i8* to = stages + stage % STAGES * STAGE;
            bring<ROWS, TERMS>(to, a, ROWS, product.terms, stage * TERMS, a_place);
            bring<COLUMNS, TERMS>(to + ROWS * TERMS, b, product.columns - tile.column, product.terms, stage * TERMS,
                                  b_place);
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

    // 3. Modulo m.
    if (idle) return;
#pragma unroll
    for (i32 i = 0; i < 4; i++) {
#pragma unroll
        for (i32 half = 0; half < 2; half++) {
            store(product, moduli, tile.number, tile.row + row + 16 * i + 8 * half + lane / 4,
                  tile.column + column + lane % 4 * 16, sums.of[i], half);
        }
    }
}

}  // namespace by_warps

// ---- by warpgroups: 64 rows each, all columns ------------------------------------------------------

namespace by_warpgroups {

constexpr i32 TERMS = ROW;  // of a stage: 128
constexpr i32 STAGE = (ROWS + COLUMNS) * TERMS;

// As the hardware permutes the pieces of rows of 128 bytes.
RN_HD i32 a_place(i32 line, i32 piece) { return line * ROW + (piece ^ (line & 7)) * PIECE; }

// Line 16q + 2j + p of 64 is column 2q + p of matrix j.
RN_HD i32 b_place(i32 line, i32 piece) {
    return a_place(line / 64 * 64 + line % 16 / 2 * 8 + line % 64 / 16 * 2 + line % 2, piece);
}

__device__ __forceinline__ void make(const Product& product, const Moduli& moduli, i8* stages) {
    // 1. Where.
    const Tile tile(product);
    const i8 *a = tile.a(product), *b = tile.b(product);
    const i32 warp = static_cast<i32>(threadIdx.x) / 32, lane = static_cast<i32>(threadIdx.x) % 32;
    const u32 start = shared_address(stages), group = static_cast<u32>(warp / 4);

    // 2. Terms. A stage is free when the one after it has been started, and all have passed the barrier after that.
    union {
        i32 all[128];
        i32 of[4][8][4];  // 16 rows times 8 columns each, 64 columns after the other
    } sums = {};
    const i32 count = product.terms / TERMS;
    auto request = [&](i32 stage) {
        if (stage < count) {
            i8* to = stages + stage % STAGES * STAGE;
            bring<ROWS, TERMS>(to, a, ROWS, product.terms, stage * TERMS, a_place);
            bring<COLUMNS, TERMS>(to + ROWS * TERMS, b, product.columns - tile.column, product.terms, stage * TERMS,
                                  b_place);
        }
        commit_copies();  // an empty one at the end, too: groups are counted
    };
#pragma unroll 1
    for (i32 stage = 0; stage < STAGES - 2; stage++) request(stage);
    settle(sums.all);
    i32 stage = 0;
    do {  // at least once: else the compiler would wait in each turn
        wait_copies<STAGES - 3>();
        copies_ready();
        __syncthreads();
        request(stage + STAGES - 2);
        const u32 from = start + static_cast<u32>(stage % STAGES * STAGE);
        const u64 left = descriptor<true>(from + group * 64 * ROW), right = descriptor<true>(from + ROWS * ROW);
        operands_ready();
#pragma unroll
        for (i32 k = 0; k < TERMS / 32; k++) {
            multiply_add_async(sums.all, left + k * NEXT_TERMS<true>, right + k * NEXT_TERMS<true>);
        }
        commit_sums();
        wait_sums<1>();
        stage++;
    } while (stage < count);
    wait_sums<0>();
    settle(sums.all);

    // 3. Modulo m.
#pragma unroll
    for (i32 i = 0; i < 4; i++) {
        const i32 column = tile.column + 64 * i + lane % 4 * 16;
        if (column >= product.columns) break;
#pragma unroll
        for (i32 half = 0; half < 2; half++) {
            store(product, moduli, tile.number, tile.row + warp * 16 + 8 * half + lane / 4, column, sums.of[i], half);
        }
    }
}

}  // namespace by_warpgroups

}  // namespace rn

// ---- kernels -------------------------------------------------------------------------------------

// A block makes one tile for one modulus, the number of which is its y.
extern "C" __global__ void __launch_bounds__(rn::THREADS, 1)
    rn_residue_products(const rn::Product product, const __grid_constant__ rn::Moduli moduli) {
    extern __shared__ float4 rn_shared[];
    if (product.moduli && static_cast<rn::i32>(blockIdx.y) >= *product.moduli) return;
    rn::by_warps::make(product, moduli, reinterpret_cast<rn::i8*>(rn_shared));
}

// The same on Hopper; elsewhere the host does not call it. Stages are aligned to 1024 bytes.
extern "C" __global__ void __launch_bounds__(rn::THREADS, 1)
    rn_residue_products_hopper(const rn::Product product, const __grid_constant__ rn::Moduli moduli) {
    extern __shared__ float4 rn_shared[];
    if (product.moduli && static_cast<rn::i32>(blockIdx.y) >= *product.moduli) return;
#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("trap;");
#else
    const rn::u32 beyond = rn::shared_address(rn_shared) % rn::ROWS_8;
    rn::by_warpgroups::make(product, moduli, reinterpret_cast<rn::i8*>(rn_shared) + (rn::ROWS_8 - beyond) % rn::ROWS_8);
#endif
}
