// Products of matrices on tensor cores, by mma.sync: contracts tc.<architecture>.bf16/v1 and tc.<architecture>.f16/v1.
//
// A sum is one accumulator in float32, from the bias or +0; k ascends, 16 terms an instruction. So its bits know
// nothing of tilings, grids or batches. The last terms are filled up with +0: to a whole instruction by the contract,
// and to a whole stage because products of zeros leave an accumulator as it is. (Their exponent, -252 or none, is below
// any accumulator's, of which so no bit is cut; and after a first instruction none is -0.)
#include "rn_copies.cuh"
#include "rn_fragment.cuh"
#include "rn_tensorcore.cuh"

namespace rn {

// How a tile is shared out: M x N elements, WM x WN a warp; K terms a stage, so many STAGES.
template <i32 M_, i32 N_, i32 K_, i32 WM_, i32 WN_, i32 STAGES_>
struct Tiling {
    static constexpr i32 M = M_, N = N_, K = K_, WM = WM_, WN = WN_, STAGES = STAGES_;
    static constexpr i32 THREADS = (M / WM) * (N / WN) * 32;
};

using Square = Tiling<128, 128, 32, 64, 32, 3>;
using Middle = Tiling<32, 64, 64, 16, 32, 8>;   // for few columns: many terms are on their way,
using Slim = Tiling<32, 16, 128, 16, 16, 8>;  // and many blocks

// An operand whose elements lie side by side along its terms or along its lines, which are rows of a or columns of b.
// 16 bytes are at a time, to which all of it is aligned.
struct Operand {
    const u16* data;
    i64 batch, stride;
};

// ---- operands: from global to shared memory to registers -----------------------------------------

// LINES x TERMS elements: rows of up to 64 neighbours, in which 8 are a chunk. Chunks are permuted so that those of one
// number of 8 rows that follow each other lie in different banks.
template <bool ALONG_TERMS, i32 LINES, i32 TERMS>
struct Panel {
    static constexpr i32 OUTER = ALONG_TERMS ? LINES : TERMS, INNER = ALONG_TERMS ? TERMS : LINES;
    static constexpr i32 WIDTH = INNER < 64 ? INNER : 64, CHUNKS = WIDTH / 8;
    static constexpr i32 SIZE = LINES * TERMS;

    static RN_HD i32 place(i32 outer, i32 inner) {
        const i32 chunk = inner % WIDTH / 8 ^ outer / (8 / CHUNKS) % CHUNKS;
        return (inner / WIDTH * OUTER + outer) * WIDTH + chunk * 8;
    }

    // 16 lines x 16 terms, as multiply_add has them: lines of a, or two times 8 of b.
    static __device__ __forceinline__ void load(u32 (&to)[4], const u16* panel, i32 line, i32 term, i32 lane) {
        if constexpr (ALONG_TERMS) {
            load_matrices<false>(to, panel + place(line + lane % 16, term + lane / 16 * 8));
        } else {
            load_matrices<true>(to, panel + place(term + lane / 16 * 8 + lane % 8, line + lane / 8 % 2 * 8));
        }
    }
};

// A thread's part in bringing an operand's panels.
template <bool ALONG_TERMS, i32 LINES, i32 TERMS, i32 THREADS>
struct Side {
    using Here = Panel<ALONG_TERMS, LINES, TERMS>;
    static constexpr i32 ACROSS = Here::INNER / 8, STEP = THREADS / ACROSS;
    static_assert(THREADS % ACROSS == 0 && Here::OUTER % STEP == 0, "a thread keeps to one chunk of a row");

    const u16* from;  // the first line and term of the tile
    i64 stride;
    i64 lines, terms;  // those there are from there on
    i32 outer, inner;  // this thread's

    RN_HD Side(Operand x, i64 batch, i64 line, i64 lines, i64 terms, i32 thread)
        : from(x.data + batch * x.batch + line * (ALONG_TERMS ? x.stride : 1)), stride(x.stride),
          lines(lines - line), terms(terms), outer(thread / ACROSS), inner(thread % ACROSS * 8) {}

    // Start to bring the terms from a first one on; beyond the operand nothing is read, and there is +0.
    __device__ __forceinline__ void request(u16* panel, i64 first) const {
        const u16* origin = from + first * (ALONG_TERMS ? 1 : stride);
        const i64 outers = ALONG_TERMS ? lines : terms - first, inners = (ALONG_TERMS ? terms - first : lines) - inner;
        const i32 bytes = inners <= 0 ? 0 : static_cast<i32>(least(inners, 8)) * 2;
#pragma unroll
        for (i32 i = outer; i < outer + Here::OUTER; i += STEP) {
            const bool inside = i < outers && bytes > 0;
            copy_or_zero(panel + Here::place(i, inner), inside ? origin + i * stride + inner : from, inside ? bytes : 0);
        }
    }
};

// ---- sums ----------------------------------------------------------------------------------------

// A warp's accumulators.
template <class Format, class Tile>
struct Sums {
    float of[Tile::WM / 16][Tile::WN / 2];

    template <class A, class B>
    __device__ __forceinline__ void add_stage(const u16* a, const u16* b, i32 row, i32 column, i32 lane) {
#pragma unroll
        for (i32 k = 0; k < Tile::K; k += 16) {
            u32 x[Tile::WM / 16][4], y[Tile::WN / 16][4];
#pragma unroll
            for (i32 i = 0; i < Tile::WM / 16; i++) A::load(x[i], a, row + 16 * i, k, lane);
#pragma unroll
            for (i32 j = 0; j < Tile::WN / 16; j++) B::load(y[j], b, column + 16 * j, k, lane);
#pragma unroll
            for (i32 i = 0; i < Tile::WM / 16; i++) {
#pragma unroll
                for (i32 j = 0; j < Tile::WN / 8; j++) {
                    multiply_add(Format(), of[i] + 4 * j, x[i], y[j / 2][j % 2], y[j / 2][j % 2 + 2]);
                }
            }
        }
    }

    // Call use(16 rows of sums, which ones). They move up in turn, so that there is code for the first ones alone.
    template <class Use>
    __device__ __forceinline__ void each_rows(Use use) {
#pragma unroll 1
        for (i32 i = 0; i < Tile::WM / 16; i++) {
            use(of[0], i);
#pragma unroll
            for (i32 j = 0; j < Tile::WN / 2; j++) {
                const float first = of[0][j];
#pragma unroll
                for (i32 k = 1; k < Tile::WM / 16; k++) of[k - 1][j] = of[k][j];
                of[Tile::WM / 16 - 1][j] = first;
            }
        }
    }
};

// ---- the product ---------------------------------------------------------------------------------

template <class Format, class Tile, bool A_ALONG_TERMS, bool B_ALONG_TERMS>
__device__ __forceinline__ void product(Operand a, Operand b, Matrix bias, Matrix out, i32 result, Extent size,
                                        u16* stages) {
    using Left = Side<A_ALONG_TERMS, Tile::M, Tile::K, Tile::THREADS>;
    using Right = Side<B_ALONG_TERMS, Tile::N, Tile::K, Tile::THREADS>;
    auto left_of = [&](i64 stage) { return stages + stage % Tile::STAGES * (Left::Here::SIZE + Right::Here::SIZE); };
    auto right_of = [&](i64 stage) { return left_of(stage) + Left::Here::SIZE; };

    const i32 thread = static_cast<i32>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    constexpr i32 ABREAST = Tile::N / Tile::WN;
    const i32 warp_row = warp / ABREAST * Tile::WM, warp_column = warp % ABREAST * Tile::WN;

    const i64 down = tiles_of(size.rows, Tile::M), across = tiles_of(size.columns, Tile::N);
    for (i64 tile = blockIdx.x; tile < size.batches * down * across; tile += gridDim.x) {
        // 1. Where.
        const Place place = place_of_tile(tile, down, across);
        const i64 batch = place.batch, row = place.row * Tile::M, column = place.column * Tile::N;
        const Left left(a, batch, row, size.rows, size.terms, thread);
        const Right right(b, batch, column, size.columns, size.terms, thread);
        auto part = [&](i32 i) { return Part(size, batch, row + warp_row + 16 * i, column + warp_column, Tile::WN); };

        // 2. From the bias or from +0.
        Sums<Format, Tile> sums;
        sums.each_rows([&](float(&rows)[Tile::WN / 2], i32 i) { seed(rows, bias, part(i), lane); });

        // 3. Terms: while one stage is added the next ones are on their way.
        const i64 count = tiles_of(size.terms, Tile::K);
        auto request = [&](i64 stage) {
            if (stage < count) {
                left.request(left_of(stage), stage * Tile::K);
                right.request(right_of(stage), stage * Tile::K);
            }
            commit_copies();  // an empty one at the end, too: groups are counted
        };
#pragma unroll 1
        for (i64 stage = 0; stage < Tile::STAGES - 1; stage++) request(stage);
#pragma unroll 1
        for (i64 stage = 0; stage < count; stage++) {
            wait_copies<Tile::STAGES - 2>();
            __syncthreads();  // all of this stage is there, and the one before it is free
            request(stage + Tile::STAGES - 1);
            sums.template add_stage<typename Left::Here, typename Right::Here>(left_of(stage), right_of(stage),
                                                                               warp_row, warp_column, lane);
        }
        __syncthreads();  // the last stage is free for the next tile

        // 4. Rounded once.
        sums.each_rows([&](float(&rows)[Tile::WN / 2], i32 i) { store(rows, out, result, part(i), lane); });
    }
}

}  // namespace rn

// ---- kernels -------------------------------------------------------------------------------------

// One a format, tiling, and along what either operand lies: its terms (t) or its lines (l). A bias may be null.
#define RN_MMA(name, format, tiling, a_along_terms, b_along_terms)                                                    \
    extern "C" __global__ void __launch_bounds__(rn::tiling::THREADS)                                                 \
        name(rn::Operand a, rn::Operand b, rn::Matrix bias, rn::Matrix out, rn::i32 result, rn::Extent size) {        \
        extern __shared__ float4 rn_shared[];                                                                         \
        rn::u16* stages = reinterpret_cast<rn::u16*>(rn_shared);                                                      \
        rn::product<rn::format, rn::tiling, a_along_terms, b_along_terms>(a, b, bias, out, result, size, stages);     \
    }
#define RN_LAYOUTS(name, format, tiling)            \
    RN_MMA(name##_tt, format, tiling, true, true)   \
    RN_MMA(name##_tl, format, tiling, true, false)  \
    RN_MMA(name##_lt, format, tiling, false, true)  \
    RN_MMA(name##_ll, format, tiling, false, false)
#define RN_TILINGS(name, format)              \
    RN_LAYOUTS(name##_square, format, Square) \
    RN_LAYOUTS(name##_middle, format, Middle) \
    RN_LAYOUTS(name##_slim, format, Slim)

RN_TILINGS(rn_mma_bfloat16, BFloat16)
RN_TILINGS(rn_mma_float16, Float16)
