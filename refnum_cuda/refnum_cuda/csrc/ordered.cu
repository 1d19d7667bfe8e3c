// Products of matrices under the contracts chain/v1 and tree/v1(Kc): sums of float32 in a fixed order.
//
// A block makes tiles of the result, one after the other. A thread makes a few of their elements, and each element by
// itself: k ascends, a fused multiply-add a term. So its bits know nothing of tilings, grids or batches.
#include "rn_copies.cuh"
#include "rn_halves.cuh"

namespace rn {

// How a tile is shared out: M x N elements, TM x TN a thread, a warp's threads LANES abreast; TERMS of k at a time in
// shared memory, up to STAGES times, and UNROLL of them side by side.
template <i32 M_, i32 N_, i32 TM_, i32 TN_, i32 LANES_, i32 TERMS_, i32 STAGES_, i32 UNROLL_>
struct Tiling {
    static constexpr i32 M = M_, N = N_, TM = TM_, TN = TN_, LANES = LANES_;
    static constexpr i32 TERMS = TERMS_, STAGES = STAGES_, UNROLL = UNROLL_;
    static constexpr i32 THREADS = (M / TM) * (N / TN);
};

using Square = Tiling<128, 128, 8, 8, 8, 16, 2, 2>;  // in 128 registers: unrolled further, it would spill
using Slim = Tiling<16, 32, 4, 1, 32, 64, 4, 8>;  // for few rows: many terms are on their way

RN_HD constexpr i32 vector_of(i32 elements) { return elements < 4 ? elements : 4; }  // floats that lie side by side

// ---- what the host passes ------------------------------------------------------------------------

struct Matrix {
    void* data;
    i64 batch, row, column;  // strides, in elements

    template <class Format>
    RN_HD typename Format::Bits* at(i64 b, i64 r, i64 c) const {
        return static_cast<typename Format::Bits*>(data) + b * batch + r * row + c * column;
    }
};

struct Size {
    i64 batches, rows, columns, terms;
    i64 chunk;  // terms of a leaf
};

// Where a tree keeps what waits for its other half: for each block so many sums of every thread.
struct Workspace {
    float* data;
    i64 levels;
};

enum Result : i32 { FLOAT32, BFLOAT16, FLOAT16 };

RN_HD i64 least(i64 x, i64 y) { return x < y ? x : y; }

// ---- terms, in the order in which they are added -------------------------------------------------

template <bool CHUNKED>
struct Terms {
    i64 first;  // of those that are next
    i64 end;    // of its chunk
    Size size;

    RN_HD explicit Terms(Size size) : first(0), end(CHUNKED ? least(size.chunk, size.terms) : size.terms), size(size) {}

    RN_HD bool done() const { return first >= size.terms; }

    RN_HD i32 next(i32 most) const { return static_cast<i32>(least(end - first, most)); }

    // Go past those; whether that ends a chunk.
    RN_HD bool advance(i32 most) {
        first += next(most);
        if (!CHUNKED || first < end) return false;
        end = least(size.chunk, size.terms - end) + end;
        return true;
    }
};

// ---- operands: from global to shared memory ------------------------------------------------------

// A thread's part in bringing an operand: LINES rows of a or columns of b, so many TERMS of each, to a tile
// [term][line] of float32. Elements of float32 are copied; others pass through registers, where they are widened.
template <class Format, i32 LINES, i32 TERMS, i32 THREADS, i32 VECTOR>
struct Side {
    using Bits = typename Format::Bits;
    static constexpr bool COPIED = sizeof(Bits) == 4;
    static constexpr i32 PITCH = LINES + (VECTOR > 1 ? 4 : 1);  // fewer conflicts of banks; vectors stay aligned
    static constexpr i32 SIZE = PITCH * TERMS;
    static constexpr i32 EACH = LINES * TERMS / THREADS;
    static_assert(THREADS % LINES == 0 && THREADS % TERMS == 0, "a thread keeps to one line or to one term");

    const Bits* from;  // its first element of the first terms
    i64 step;          // to its next one
    i64 term_stride;
    bool along_terms;  // neighbours in memory go to neighbouring threads
    i32 lines;         // those there are
    i32 thread;
    Bits held[COPIED ? 1 : EACH];

    RN_HD Side(const Bits* tile, i64 line_stride, i64 term_stride, i32 lines, i32 thread)
        : term_stride(term_stride), along_terms(term_stride < line_stride), lines(lines), thread(thread), held{} {
        from = along_terms ? tile + thread % TERMS * term_stride + thread / TERMS * line_stride
                           : tile + thread / LINES * term_stride + thread % LINES * line_stride;
        step = along_terms ? THREADS / TERMS * line_stride : THREADS / LINES * term_stride;
    }

    // Call use(i, term, line) for each of this thread's elements.
    template <class Use>
    RN_HD void each(Use use) const {
        if (along_terms) {
#pragma unroll
            for (i32 i = 0; i < EACH; i++) use(i, thread % TERMS, thread / TERMS + i * (THREADS / TERMS));
        } else {
#pragma unroll
            for (i32 i = 0; i < EACH; i++) use(i, thread / LINES + i * (THREADS / LINES), thread % LINES);
        }
    }

    // Start to bring so many terms. Nothing is read beyond the operand; what is not brought is not used.
    RN_HD void request(float* tile, i64 first, i32 count) {
        if (count == TERMS && lines == LINES) {
            bring(tile, first, [](i32, i32) { return true; });
        } else {
            bring(tile, first, [&](i32 term, i32 line) { return term < count && line < lines; });
        }
    }

    template <class Inside>
    RN_HD void bring(float* tile, i64 first, Inside inside) {
        const Bits* one = from + first * term_stride;
        each([&](i32 i, i32 term, i32 line) {
            if constexpr (COPIED) {
                if (inside(term, line)) copy_async(tile + term * PITCH + line, one);
            } else {
                held[i] = inside(term, line) ? *one : 0;
            }
            one += step;
        });
    }

    // What was requested last is put there, where it has come through registers.
    RN_HD void put(float* tile) const {
        if constexpr (!COPIED) {
            each([&](i32 i, i32 term, i32 line) { tile[term * PITCH + line] = Format::widened(held[i]); });
        }
    }
};

// ---- sums ----------------------------------------------------------------------------------------

// A thread's elements: in groups of up to 4 side by side, the groups as far apart as there are threads for.
template <i32 ALL, i32 EACH>
RN_HD i32 place_of(i32 i, i32 rank) {
    constexpr i32 VECTOR = vector_of(EACH);
    return i / VECTOR * (ALL / EACH * VECTOR) + rank * VECTOR + i % VECTOR;
}

template <i32 ALL, i32 EACH>
RN_HD void load(float (&into)[EACH], const float* line, i32 rank) {
#pragma unroll
    for (i32 i = 0; i < EACH; i += vector_of(EACH)) {
        const float* from = line + place_of<ALL, EACH>(i, rank);
        if constexpr (vector_of(EACH) == 4) {
            float4 four = *reinterpret_cast<const float4*>(from);
            into[i] = four.x, into[i + 1] = four.y, into[i + 2] = four.z, into[i + 3] = four.w;
        } else {
            static_assert(EACH == 1, "one or a multiple of 4");
            into[i] = *from;
        }
    }
}

template <class Tile>
struct Sums {
    float of[Tile::TM][Tile::TN];

    // One term of each: the only place where products are made.
    template <i32 A_PITCH, i32 B_PITCH>
    RN_HD void add_term(const float* a, const float* b, i32 k, i32 row_rank, i32 column_rank) {
        float x[Tile::TM], y[Tile::TN];
        load<Tile::M>(x, a + k * A_PITCH, row_rank);
        load<Tile::N>(y, b + k * B_PITCH, column_rank);
#pragma unroll
        for (i32 i = 0; i < Tile::TM; i++) {
#pragma unroll
            for (i32 j = 0; j < Tile::TN; j++) of[i][j] = fma_rn(x[i], y[j], of[i][j]);
        }
    }

    // A last stage of fewer terms is not filled up: one more +0 would make +0 of -0.
    template <i32 A_PITCH, i32 B_PITCH>
    RN_HD void add_terms(const float* a, const float* b, i32 count, i32 row_rank, i32 column_rank) {
        if (count == Tile::TERMS) {
#pragma unroll Tile::UNROLL
            for (i32 k = 0; k < Tile::TERMS; k++) add_term<A_PITCH, B_PITCH>(a, b, k, row_rank, column_rank);
        } else {
#pragma unroll 1
            for (i32 k = 0; k < count; k++) add_term<A_PITCH, B_PITCH>(a, b, k, row_rank, column_rank);
        }
    }

    // Call use(sum, i, j) for each.
    template <class Use>
    RN_HD void each(Use use) {
#pragma unroll
        for (i32 i = 0; i < Tile::TM; i++) {
#pragma unroll
            for (i32 j = 0; j < Tile::TN; j++) use(of[i][j], i, j);
        }
    }

    // Call use(sum, row, column) for each whose place in the tile is inside. The rows move up in turn, so that they
    // can be at hand one by one: all at once would need more registers than there are.
    template <class Inside, class Use>
    RN_HD void each_by_row(i32 row_rank, i32 column_rank, Inside inside, Use use) {
#pragma unroll 1
        for (i32 i = 0; i < Tile::TM; i++) {
            i32 r = place_of<Tile::M, Tile::TM>(i, row_rank);
#pragma unroll
            for (i32 j = 0; j < Tile::TN; j++) {
                i32 c = place_of<Tile::N, Tile::TN>(j, column_rank);
                if (inside(r, c)) use(of[0][j], r, c);
                float first = of[0][j];
#pragma unroll
                for (i32 k = 1; k < Tile::TM; k++) of[k - 1][j] = of[k][j];
                of[Tile::TM - 1][j] = first;
            }
        }
    }
};

// The tree as a counter in base 2: two sums of equally many leaves make one, as soon as the second is there. What is
// held lies in global memory, [depth][element][thread].
template <class Tile>
struct Counter {
    float* held;  // this thread's
    i32 depth;
    i64 leaves;

    RN_HD void join(Sums<Tile>& sums, bool last) {
        // Of the last leaf on, what is left descends in height: all of it is joined.
        for (i64 ones = leaves; depth > 0 && (last || (ones & 1)); ones >>= 1) {
            const float* one = at(--depth);
            sums.each([&](float& x, i32 i, i32 j) { x = add_rn(one[(i * Tile::TN + j) * Tile::THREADS], x); });
        }
        leaves++;
        if (last) return;
        float* one = at(depth++);
        sums.each([&](float& x, i32 i, i32 j) {
            one[(i * Tile::TN + j) * Tile::THREADS] = x;
            x = 0.0f;
        });
    }

    RN_HD float* at(i32 level) const { return held + static_cast<i64>(level) * Tile::TM * Tile::TN * Tile::THREADS; }
};

// ---- the product ---------------------------------------------------------------------------------

// a @ b + bias: from the bias on, or with TREE in chunks from +0 on, joined by a tree, then the bias.
template <bool TREE, class Format, class Tile>
__device__ __forceinline__ void product(Matrix a, Matrix b, Matrix bias, Matrix out, i32 result, Size size,
                                        Workspace workspace, float* stages) {
    using Left = Side<Format, Tile::M, Tile::TERMS, Tile::THREADS, vector_of(Tile::TM)>;
    using Right = Side<Format, Tile::N, Tile::TERMS, Tile::THREADS, vector_of(Tile::TN)>;
    constexpr i32 STAGES = Left::COPIED ? Tile::STAGES : 2;  // registers hold one
    auto left_of = [&](i32 stage) { return stages + stage % STAGES * (Left::SIZE + Right::SIZE); };
    auto right_of = [&](i32 stage) { return left_of(stage) + Left::SIZE; };

    const i32 thread = static_cast<i32>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    constexpr i32 WARPS = Tile::N / Tile::TN / Tile::LANES;  // abreast
    const i32 row_rank = warp / WARPS * (32 / Tile::LANES) + lane / Tile::LANES;
    const i32 column_rank = warp % WARPS * Tile::LANES + lane % Tile::LANES;

    const i64 down = (size.rows + Tile::M - 1) / Tile::M, across = (size.columns + Tile::N - 1) / Tile::N;
    for (i64 tile = blockIdx.x; tile < size.batches * down * across; tile += gridDim.x) {
        // 1. Where: of a batch, tiles of a row follow each other.
        const i64 batch = tile / (down * across);
        const i64 row = tile / across % down * Tile::M, column = tile % across * Tile::N;
        const i32 rows_here = static_cast<i32>(least(size.rows - row, Tile::M));
        const i32 columns_here = static_cast<i32>(least(size.columns - column, Tile::N));
        Left left(a.at<Format>(batch, row, 0), a.row, a.column, rows_here, thread);
        Right right(b.at<Format>(batch, 0, column), b.column, b.row, columns_here, thread);
        auto inside = [&](i32 r, i32 c) { return r < rows_here && c < columns_here; };
        auto addend = [&](i32 r, i32 c) { return *bias.at<Float32>(batch, row + r, column + c); };

        // 2. From the bias or from +0.
        Sums<Tile> sums;
        sums.each([](float& x, i32, i32) { x = 0.0f; });
        if (!TREE && bias.data) {
            sums.each_by_row(row_rank, column_rank, inside, [&](float& x, i32 r, i32 c) { x = addend(r, c); });
        }
        Counter<Tile> tree{workspace.data + blockIdx.x * workspace.levels * Tile::M * Tile::N + thread, 0, 0};

        // 3. Terms: while one stage is added the next ones are on their way.
        Terms<TREE> asked(size), at(size);
        auto request = [&](i32 stage) {
            i32 next = asked.next(Tile::TERMS);
            left.request(left_of(stage), asked.first, next);
            right.request(right_of(stage), asked.first, next);
            if constexpr (Left::COPIED) commit_copies();  // an empty one at the end, too: groups are counted
            asked.advance(Tile::TERMS);
        };
        const bool idle = place_of<Tile::M, Tile::TM>(0, row_rank) >= rows_here;
#pragma unroll 1
        for (i32 stage = 0; stage < STAGES - 1; stage++) request(stage);
        for (i32 stage = 0; !at.done(); stage++) {
            if constexpr (Left::COPIED) wait_copies<STAGES - 2>();
            left.put(left_of(stage));
            right.put(right_of(stage));
            __syncthreads();  // all of this stage is there, and the one before it is free
            request(stage + STAGES - 1);
            if (!idle) {
                sums.template add_terms<Left::PITCH, Right::PITCH>(left_of(stage), right_of(stage),
                                                                   at.next(Tile::TERMS), row_rank, column_rank);
            }
            if (at.advance(Tile::TERMS)) tree.join(sums, at.done());
        }
        __syncthreads();  // the last stage is free for the next tile

        // 4. Rounded once.
        sums.each_by_row(row_rank, column_rank, inside, [&](float x, i32 r, i32 c) {
            if (TREE && bias.data) x = add_rn(x, addend(r, c));
            if (result == FLOAT32) *out.at<Float32>(batch, row + r, column + c) = Float32::rounded(x);
            if (result == BFLOAT16) *out.at<BFloat16>(batch, row + r, column + c) = BFloat16::rounded(x);
            if (result == FLOAT16) *out.at<Float16>(batch, row + r, column + c) = Float16::rounded(x);
        });
    }
}

}  // namespace rn

// ---- kernels -------------------------------------------------------------------------------------

// One a contract, format of the operands and tiling. A bias may be null.
#define RN_ORDERED(name, tree, format, tiling)                                                                       \
    extern "C" __global__ void __launch_bounds__(rn::tiling::THREADS, 2)                                             \
        name(rn::Matrix a, rn::Matrix b, rn::Matrix bias, rn::Matrix out, rn::i32 result, rn::Size size,             \
             rn::Workspace workspace) {                                                                              \
        extern __shared__ float4 rn_shared[];                                                                        \
        float* stages = reinterpret_cast<float*>(rn_shared);                                                         \
        rn::product<tree, rn::format, rn::tiling>(a, b, bias, out, result, size, workspace, stages);                 \
    }
#define RN_TILINGS(name, tree, format)              \
    RN_ORDERED(name##_square, tree, format, Square) \
    RN_ORDERED(name##_slim, tree, format, Slim)

RN_TILINGS(rn_chain_float32, false, Float32)
RN_TILINGS(rn_chain_bfloat16, false, BFloat16)
RN_TILINGS(rn_chain_float16, false, Float16)
RN_TILINGS(rn_tree_float32, true, Float32)
RN_TILINGS(rn_tree_bfloat16, true, BFloat16)
RN_TILINGS(rn_tree_float16, true, Float16)
