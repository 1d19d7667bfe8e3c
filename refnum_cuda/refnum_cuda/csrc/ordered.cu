// Products of matrices under the contracts chain/v1 and tree/v1(Kc): sums of float32 in a fixed order.
//
// A block makes tiles of the result, one after the other. A thread makes a few of their elements, and each element by
// itself: k ascends, a fused multiply-add a term. So its bits know nothing of tilings, grids or batches.
#include "rn_matrix.cuh"
#include "rn_panels.cuh"

namespace rn {

// ---- tilings -------------------------------------------------------------------------------------

// How a tile is shared out: M x N elements, TM x TN a thread, a warp's threads LANES abreast. TERMS come at a time, by
// line or by term as the threads take them, AHEAD times before they are added, brought by the same threads or, APART, by
// as many others. BLOCKS blocks find room on a multiprocessor.
template <i32 M_, i32 N_, i32 TM_, i32 TN_, i32 LANES_, i32 TERMS_, bool BY_LINE_, i32 AHEAD_, bool APART_, i32 BLOCKS_>
struct Tiling {
    static constexpr i32 M = M_, N = N_, TM = TM_, TN = TN_, LANES = LANES_, TERMS = TERMS_, BLOCKS = BLOCKS_;
    static constexpr bool BY_LINE = BY_LINE_, APART = APART_;
    static constexpr i32 THREADS = (M / TM) * (N / TN);  // that add
    static constexpr i32 BLOCK = APART ? 2 * THREADS : THREADS;

    template <class Format>
    static constexpr i32 AHEAD = AHEAD_ * 4 / sizeof(typename Format::Bits);  // as many bytes

    template <class Format, i32 LINES>
    using Side = Panel<Format, LINES, TERMS, THREADS, BY_LINE, AHEAD<Format>>;
};

using Square = Tiling<128, 128, 16, 8, 8, 32, false, 1, false, 2>;  // many products for each element that is read
using Middle = Tiling<64, 64, 8, 4, 8, 32, false, 2, false, 3>;     // where squares are too few for all multiprocessors
using Slim = Tiling<16, 32, 4, 1, 32, 64, true, 5, true, 1>;        // for few rows: what counts is how much is coming

constexpr i64 BAND = 16;  // rows of tiles that are made column by column: what blocks read at a time overlaps

RN_HD constexpr i32 vector_of(i32 elements) { return elements < 4 ? elements : 4; }  // floats that lie side by side

// A thread's elements: in groups of up to 4 side by side, the groups as far apart as there are threads for.
template <i32 ALL, i32 EACH>
RN_HD i32 place_of(i32 i, i32 rank) {
    constexpr i32 VECTOR = vector_of(EACH);
    return i / VECTOR * (ALL / EACH * VECTOR) + rank * VECTOR + i % VECTOR;
}

// Where in a tile a thread's elements are. Lanes go down in pairs: then of the lanes that are served together the even
// ones read one part of a's lines, and pairs one part of b's, which takes half the time.
template <class Tile>
struct Seat {
    i32 row_rank, column_rank;

    RN_HD explicit Seat(i32 thread) {
        constexpr i32 ABREAST = Tile::N / Tile::TN / Tile::LANES, PAIR = Tile::LANES < 32 ? 2 : 1;
        const i32 warp = thread / 32, lane = thread % 32;
        row_rank = warp / ABREAST * (32 / Tile::LANES) + lane / (PAIR * Tile::LANES) * PAIR + lane % PAIR;
        column_rank = warp % ABREAST * Tile::LANES + lane / PAIR % Tile::LANES;
    }

    RN_HD i32 row(i32 i) const { return place_of<Tile::M, Tile::TM>(i, row_rank); }
    RN_HD i32 column(i32 j) const { return place_of<Tile::N, Tile::TN>(j, column_rank); }
};

// ---- what the host passes ------------------------------------------------------------------------

struct Size {
    i64 batches, rows, columns, terms;
    i64 chunk;  // terms of a leaf
};

// Where a tree keeps what waits for its other half: for each block so many sums of every thread.
struct Workspace {
    float* data;
    i64 levels;
};

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

// ---- sums ----------------------------------------------------------------------------------------

template <class Tile>
struct Sums {
    float of[Tile::TM][Tile::TN];

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
    RN_HD void each_by_row(Seat<Tile> place, Inside inside, Use use) {
#pragma unroll 1
        for (i32 i = 0; i < Tile::TM; i++) {
            i32 r = place.row(i);
#pragma unroll
            for (i32 j = 0; j < Tile::TN; j++) {
                i32 c = place.column(j);
                if (inside(r, c)) use(of[0][j], r, c);
                float first = of[0][j];
#pragma unroll
                for (i32 k = 1; k < Tile::TM; k++) of[k - 1][j] = of[k][j];
                of[Tile::TM - 1][j] = first;
            }
        }
    }
};

// The only place where products are made.
RN_HD void add_product(float& sum, float x, float y) { sum = fma_rn(x, y, sum); }

// ---- the terms of a tile -------------------------------------------------------------------------

RN_HD void load(float* into, const float* from) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    into[0] = four.x, into[1] = four.y, into[2] = four.z, into[3] = four.w;
}

// Lines side by side: what a thread takes of a term.
template <class Tile>
struct Term {
    float x[Tile::TM], y[Tile::TN];

    // From where its first row and its first column are.
    RN_HD void read(const float* left, const float* right) {
#pragma unroll
        for (i32 i = 0; i < Tile::TM; i += 4) load(x + i, left + place_of<Tile::M, Tile::TM>(i, 0));
#pragma unroll
        for (i32 j = 0; j < Tile::TN; j += 4) load(y + j, right + place_of<Tile::N, Tile::TN>(j, 0));
    }

    // Rows to and fro: from each product to the next one an element stays, and two registers are read, not three.
    RN_HD void add_to(Sums<Tile>& sums) const {
#pragma unroll
        for (i32 i = 0; i < Tile::TM; i++) {
#pragma unroll
            for (i32 step = 0; step < Tile::TN; step++) {
                const i32 j = i % 2 ? Tile::TN - 1 - step : step;
                add_product(sums.of[i][j], x[i], y[j]);
            }
        }
    }
};

// Terms side by side: a thread takes four terms of few lines, of the first ROWS rows.
template <i32 ROWS, class Tile, class Left, class Right>
RN_HD void add_four_terms(Sums<Tile>& sums, const float* left, const float* right, i32 k, Seat<Tile> place) {
    float x[ROWS][4], y[4];
    load(y, right + Right::place(place.column(0), k));
#pragma unroll
    for (i32 i = 0; i < ROWS; i++) load(x[i], left + Left::place(place.row(i), k));
#pragma unroll
    for (i32 j = 0; j < 4; j++) {
#pragma unroll
        for (i32 i = 0; i < ROWS; i++) add_product(sums.of[i][0], x[i][j], y[j]);
    }
}

template <i32 ROWS, class Tile, class Left, class Right>
RN_HD void add_few_rows(Sums<Tile>& sums, const float* left, const float* right, i32 count, Seat<Tile> place) {
    static_assert(Tile::TN == 1, "a column a thread");
    if (count == Tile::TERMS) {
#pragma unroll
        for (i32 k = 0; k < Tile::TERMS; k += 4) {
            add_four_terms<ROWS, Tile, Left, Right>(sums, left, right, k, place);
        }
    } else {
#pragma unroll 1
        for (i32 k = 0; k < count; k++) {
            const float y = right[Right::place(place.column(0), k)];
#pragma unroll
            for (i32 i = 0; i < ROWS; i++) add_product(sums.of[i][0], left[Left::place(place.row(i), k)], y);
        }
    }
}

// A last stage of fewer terms is not filled up: one more +0 would make +0 of -0.
template <class Tile, class Left, class Right>
RN_HD void add_terms(Sums<Tile>& sums, const float* left, const float* right, i32 count, i32 rows, Seat<Tile> place) {
    if constexpr (Tile::BY_LINE) {
        if (place.row(1) < rows) {
            add_few_rows<Tile::TM, Tile, Left, Right>(sums, left, right, count, place);
        } else {
            add_few_rows<1, Tile, Left, Right>(sums, left, right, count, place);
        }
    } else {
        left += Left::place(place.row(0), 0), right += Right::place(place.column(0), 0);
        auto add_term = [&](i32 k) {
            Term<Tile> term;
            term.read(left + k * Left::PITCH, right + k * Right::PITCH);
            term.add_to(sums);
        };
        if (count == Tile::TERMS) {
#pragma unroll 4
            for (i32 k = 0; k < Tile::TERMS; k++) add_term(k);
        } else {
#pragma unroll 1
            for (i32 k = 0; k < count; k++) add_term(k);
        }
    }
}

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
__device__ __forceinline__ void product(const Operand& a, const Operand& b, const Matrix& bias, const Matrix& out,
                                        i32 result, const Size& size, const Workspace& workspace, char* memory) {
    using Left = typename Tile::template Side<Format, Tile::M>;
    using Right = typename Tile::template Side<Format, Tile::N>;
    constexpr i32 TERMS = Tile::TERMS, AHEAD = Tile::template AHEAD<Format>;
    const i32 thread = static_cast<i32>(threadIdx.x) % Tile::THREADS;
    const bool brings = static_cast<i32>(threadIdx.x) >= Tile::BLOCK - Tile::THREADS;
    const bool adds = static_cast<i32>(threadIdx.x) < Tile::THREADS;
    const Seat<Tile> place(thread);

    const i64 down = (size.rows + Tile::M - 1) / Tile::M, across = (size.columns + Tile::N - 1) / Tile::N;
    for (i64 tile = blockIdx.x; tile < size.batches * down * across; tile += gridDim.x) {
        // 1. Where: of a batch, bands follow each other, and in a band columns.
        const i64 batch = tile / (down * across), band = tile % (down * across) / (BAND * across);
        const i64 high = least(down - band * BAND, BAND), number = tile - (batch * down + band * BAND) * across;
        const i64 row = (band * BAND + number % high) * Tile::M, column = number / high * Tile::N;
        const i32 rows_here = static_cast<i32>(least(size.rows - row, Tile::M));
        const i32 columns_here = static_cast<i32>(least(size.columns - column, Tile::N));
        Left left(memory, a, batch, row, rows_here, thread);
        Right right(memory + Left::BYTES, b, batch, column, columns_here, thread);
        auto inside = [&](i32 r, i32 c) { return adds && r < rows_here && c < columns_here; };
        auto addend = [&](i32 r, i32 c) { return *bias.at<Float32>(batch, row + r, column + c); };

        // 2. From the bias or from +0.
        Sums<Tile> sums;
        sums.each([](float& x, i32, i32) { x = 0.0f; });
        if (!TREE && bias.data) sums.each_by_row(place, inside, [&](float& x, i32 r, i32 c) { x = addend(r, c); });
        Counter<Tile> tree{workspace.data + blockIdx.x * workspace.levels * Tile::M * Tile::N + thread, 0, 0};

        // 3. Terms: while some are added the next ones are on their way.
        Terms<TREE> asked(size), at(size);
        auto request = [&] {
            const i32 count = asked.next(TERMS);
            left.request(count);
            right.request(count);
            commit_copies();  // an empty one at the end, too: groups are counted
            asked.advance(TERMS);
        };
        auto arrive = [&] {
            if (brings) {
                wait_copies<AHEAD - 1>();
                left.put();
                right.put();
            }
            __syncthreads();  // all of the next tiles is there, and those before them are free
        };
        const bool idle = !inside(place.row(0), place.column(0));
#pragma unroll 1
        for (i32 i = 0; i < AHEAD; i++) {
            if (brings) request();
        }
        arrive();
        while (!at.done()) {
            const float *x = left.tile(), *y = right.tile();
            left.advance(), right.advance();
            if (brings) request();
            if (!idle) add_terms<Tile, Left, Right>(sums, x, y, at.next(TERMS), rows_here, place);
            if (at.advance(TERMS) && adds) tree.join(sums, at.done());
            arrive();
        }

        // 4. Rounded once.
        sums.each_by_row(place, inside, [&](float x, i32 r, i32 c) {
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
    extern "C" __global__ void __launch_bounds__(rn::tiling::BLOCK, rn::tiling::BLOCKS)                              \
        name(rn::Operand a, rn::Operand b, rn::Matrix bias, rn::Matrix out, rn::i32 result, rn::Size size,           \
             rn::Workspace workspace) {                                                                              \
        extern __shared__ float4 rn_shared[];                                                                        \
        char* memory = reinterpret_cast<char*>(rn_shared);                                                           \
        rn::product<tree, rn::format, rn::tiling>(a, b, bias, out, result, size, workspace, memory);                 \
    }
#define RN_TILINGS(name, tree, format)              \
    RN_ORDERED(name##_square, tree, format, Square) \
    RN_ORDERED(name##_middle, tree, format, Middle) \
    RN_ORDERED(name##_slim, tree, format, Slim)

RN_TILINGS(rn_chain_float32, false, Float32)
RN_TILINGS(rn_chain_bfloat16, false, BFloat16)
RN_TILINGS(rn_chain_float16, false, Float16)
RN_TILINGS(rn_tree_float32, true, Float32)
RN_TILINGS(rn_tree_bfloat16, true, BFloat16)
RN_TILINGS(rn_tree_float16, true, Float16)
