// Sums of products of matrices, k ascending, where a mode's step takes a product into a sum.
//
// First operands are packed: panels of some lines, rows of a or columns of b, and some terms, as shared memory has
// them. Then a block makes a tile of the result, and a thread a few of its elements, each by itself. So their bits know
// nothing of tilings, grids or batches.
#pragma once
#include "rn_copies.cuh"
#include "rn_ranges.cuh"

namespace rn {

constexpr i32 TERMS = 16;  // of a panel

RN_HD constexpr i32 least(i32 x, i32 y) { return x < y ? x : y; }

// How the lines of one operand are shared out: EACH to a thread, in groups of VECTOR side by side, the groups as far
// apart as there are threads for.
template <class Value, i32 LINES_, i32 EACH_>
struct Side {
    static constexpr i32 LINES = LINES_, EACH = EACH_, ACROSS = LINES / EACH, PANEL = LINES * TERMS;
    static constexpr i32 VECTOR = least(EACH, 16 / sizeof(Value));

    struct alignas(VECTOR * sizeof(Value)) Vector {
        Value of[VECTOR];
    };

    static RN_HD i32 place_of(i32 i, i32 rank) {
        return i / VECTOR * (ACROSS * VECTOR) + rank * VECTOR + i % VECTOR;
    }

    // A term's values for a thread, from the i-th on.
    static RN_HD Vector load(const Value* term, i32 i, i32 rank) {
        return *reinterpret_cast<const Vector*>(term + place_of(i, rank));
    }
};

// How a tile is shared out: ROWS x COLUMNS elements, TM x TN a thread, a warp's threads LANES abreast; panels of STAGES
// stages in shared memory, and UNROLL terms side by side.
template <class Value_, i32 ROWS, i32 COLUMNS, i32 TM, i32 TN, i32 LANES_, i32 STAGES_, i32 UNROLL_>
struct Tiling {
    using Value = Value_;
    using Left = Side<Value, ROWS, TM>;
    using Right = Side<Value, COLUMNS, TN>;
    static constexpr i32 THREADS = Left::ACROSS * Right::ACROSS, LANES = LANES_, STAGES = STAGES_, UNROLL = UNROLL_;
};

using Square = Tiling<float, 128, 128, 8, 8, 8, 2, 1>;
using Slim = Tiling<float, 16, 32, 2, 1, 32, 6, 4>;  // for few rows: many terms are on their way
using Doubles = Tiling<double, 64, 64, 4, 4, 8, 2, 1>;

RN_HD i64 rounded_up(i64 count, i64 each) { return (count + each - 1) / each; }

// ---- what the host passes ------------------------------------------------------------------------

struct Matrix {
    void* data;
    i64 batch, row, column;  // strides, in elements

    template <class Value>
    RN_HD Value& at(i64 b, i64 r, i64 c) const {
        return static_cast<Value*>(data)[b * batch + r * row + c * column];
    }
};

// Panels, one after the other: of a batch, of its lines, of all their terms.
struct Panels {
    void* data;
    Range* ranges;  // of each panel
    u32 batch;      // panels from a batch to the next; 0: all have one operand
};

struct Size {
    i64 batches, rows, columns, terms;
};

// ---- operands are packed -------------------------------------------------------------------------

// So many lines and terms of an operand, for panels of `each` lines. Terms from `first` on stand behind a gap of zeros.
struct Source {
    Matrix from;  // [batch][line][term]
    i64 batches, lines, terms, first, gap, each;
};

// A thread packs a line of a panel, a block as many panels as it has threads for; use(value) is what is packed.
template <class Value, class Use>
__device__ __forceinline__ void pack(const Source& x, const Panels& to, i32* shared, Use use) {
    const u32 each = static_cast<u32>(x.each), within = threadIdx.x / each, thread = threadIdx.x % each;
    const u32 stages = static_cast<u32>(rounded_up(x.terms + x.gap, TERMS));
    const u32 down = static_cast<u32>(rounded_up(x.lines, each));
    const u32 panel = blockIdx.x * (blockDim.x / each) + within, batch = panel / stages / down;  // of fewer than 2**31
    const i64 line = static_cast<i64>(panel / stages % down) * each + thread;
    const i64 first = static_cast<i64>(panel % stages) * TERMS;
    const bool inside = batch < x.batches;
    Value* const out = static_cast<Value*>(to.data) + static_cast<i64>(panel) * TERMS * each + thread;
    i32* const ends = shared + 2 * within;
    if (thread == 0) ends[0] = ends[1] = -FAR;
    auto present = [&](i64 term) { return inside && line < x.lines && term - x.gap < x.terms; };
    Value values[TERMS];  // all are on their way before the first one is used
#pragma unroll
    for (i32 k = 0; k < TERMS; k++) {
        const i64 term = first + k, behind = term - x.gap;
        const bool in_gap = term >= x.first && behind < x.first;
        values[k] = present(term) && !in_gap ? x.from.at<Value>(batch, line, term < x.first ? term : behind) : Value(0);
    }
    Range range = NOWHERE;
#pragma unroll
    for (i32 k = 0; k < TERMS; k++) {
        const Value value = present(first + k) ? use(values[k]) : Value(0);
        if (inside) out[k * each] = value;
        range = joined(range, range_of(value));
    }
    __syncthreads();
    atomicMax(&ends[0], -range.least);
    atomicMax(&ends[1], range.most);
    __syncthreads();
    if (thread == 0 && inside) to.ranges[panel] = {-ends[0], ends[1]};
}

// ---- sums ----------------------------------------------------------------------------------------

template <class Tile>
struct Sums {
    using Value = typename Tile::Value;
    using Left = typename Tile::Left;
    using Right = typename Tile::Right;
    Value of[Left::EACH][Right::EACH];
    i32 row_rank, column_rank;

    // So many terms of a stage's two panels, where step(sum, x, y) takes a product into a sum.
    template <class Step>
    RN_HD void add(const Value* stage, i32 terms, Step step) {
        const Value *left = stage, *right = stage + Left::PANEL;
#pragma unroll Tile::UNROLL
        for (i32 k = 0; k < terms; k++, left += Left::LINES, right += Right::LINES) {
            Value y[Right::EACH];
            load_columns(y, right);
#pragma unroll
            for (i32 i = 0; i < Left::EACH; i += Left::VECTOR) {
                const auto x = Left::load(left, i, row_rank);
#pragma unroll
                for (i32 v = 0; v < Left::VECTOR; v++) {
#pragma unroll
                    for (i32 j = 0; j < Right::EACH; j++) of[i + v][j] = step(of[i + v][j], x.of[v], y[j]);
                }
            }
        }
    }

    // The same by a step of many instructions.
    template <class Step>
    RN_HD void add_by_row(const Value* stage, i32 terms, Step step) {
#pragma unroll 1
        for (i32 k = 0; k < terms; k++) {
            Value y[Right::EACH];
            load_columns(y, stage + Left::PANEL + k * Right::LINES);
            each_by_row([&](Value& sum, i32 i, i32 j) {
                sum = step(sum, stage[k * Left::LINES + Left::place_of(i, row_rank)], y[j]);
            });
        }
    }

    RN_HD void load_columns(Value (&y)[Right::EACH], const Value* term) const {
#pragma unroll
        for (i32 j = 0; j < Right::EACH; j += Right::VECTOR) {
            const auto some = Right::load(term, j, column_rank);
#pragma unroll
            for (i32 v = 0; v < Right::VECTOR; v++) y[j + v] = some.of[v];
        }
    }

    // Call use(sum, i, j) for each. The rows move up in turn, so that one row's code serves all of them.
    template <class Use>
    RN_HD void each_by_row(Use use) {
#pragma unroll 1
        for (i32 i = 0; i < Left::EACH; i++) {
#pragma unroll
            for (i32 j = 0; j < Right::EACH; j++) {
                use(of[0][j], i, j);
                const Value first = of[0][j];
#pragma unroll
                for (i32 k = 1; k < Left::EACH; k++) of[k - 1][j] = of[k][j];
                of[Left::EACH - 1][j] = first;
            }
        }
    }

    // Call use(sum, row, column) for each whose place in the tile is inside.
    template <class Inside, class Use>
    RN_HD void each_inside(Inside inside, Use use) {
        each_by_row([&](Value& sum, i32 i, i32 j) {
            const i32 r = Left::place_of(i, row_rank), c = Right::place_of(j, column_rank);
            if (inside(r, c)) use(sum, r, c);
        });
    }
};

// ---- the product ---------------------------------------------------------------------------------

// Where a block's tile lies: in the result, and behind which panels.
struct alignas(16) Place {
    i64 batch, row, column;
    u32 end_of_a, end_of_b;  // tiles are fewer than 2**31, and so are panels
};

constexpr i32 TABLE_BYTES = 12 * FIELDS + 16;  // or fewer

// The sums of all products by a mode, from `start` on, or from 0 where that has no data; finish(sum, here, row,
// column) is what is written, where here(matrix, row, column) is the element at the same place.
template <class Mode, class Tile, class Finish>
__device__ __forceinline__ void product(Mode mode, const Panels& a, const Panels& b, const Matrix& start,
                                        const Matrix& out, const Size& size, char* shared, Finish finish) {
    using Value = typename Tile::Value;
    using Left = typename Tile::Left;
    using Right = typename Tile::Right;
    auto* const table = reinterpret_cast<typename Mode::Table*>(shared);
    static_assert(sizeof *table <= TABLE_BYTES, "it has its place in shared memory");
    struct alignas(16) Stage {
        Value panels[Left::PANEL + Right::PANEL];
        Range left, right;
    };
    auto& place = *reinterpret_cast<Place*>(shared + TABLE_BYTES);
    Stage* const stages = reinterpret_cast<Stage*>(shared + TABLE_BYTES + sizeof place);
    auto stage_of = [&](u32 stage) { return stages + stage % Tile::STAGES; };

    // 1. Where, in shared memory, for registers are few: of a batch, tiles of a row follow each other.
    const u32 count = static_cast<u32>(rounded_up(size.terms, TERMS));
    const i32 thread = static_cast<i32>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    if (thread == 0) {
        const u32 down = static_cast<u32>(rounded_up(size.rows, Left::LINES));
        const u32 across = static_cast<u32>(rounded_up(size.columns, Right::LINES));
        const u32 batch = blockIdx.x / (down * across), row = blockIdx.x / across % down, column = blockIdx.x % across;
        place = {batch, static_cast<i64>(row) * Left::LINES, static_cast<i64>(column) * Right::LINES,
                 batch * a.batch + (row + 1) * count, batch * b.batch + (column + 1) * count};
    }
    for (i32 field = thread; field < FIELDS; field += Tile::THREADS) table->fill(field, mode.fmt);
    mode.table = table;
    __syncthreads();  // all of that is there
    auto here = [&](const Matrix& x, i32 r, i32 c) -> Value& {
        return x.at<Value>(place.batch, place.row + r, place.column + c);
    };
    auto inside = [&](i32 r, i32 c) { return place.row + r < size.rows && place.column + c < size.columns; };

    // 2. From where sums start.
    constexpr i32 WARPS = Right::ACROSS / Tile::LANES;  // abreast
    Sums<Tile> sums = {{},
                       warp / WARPS * (32 / Tile::LANES) + lane / Tile::LANES,
                       warp % WARPS * Tile::LANES + lane % Tile::LANES};
    Range begun = NOWHERE;
    if (start.data) {
        sums.each_inside(inside, [&](Value& sum, i32 r, i32 c) {
            sum = here(start, r, c);
            begun = joined(begun, range_of(sum));
        });
    }
    Range seen = mode.begun(begun);

    // 3. Terms: while one stage is added the next ones are on their way.
    auto bring = [&](auto side, Value* to, const Panels& x, u32 panel) {
        constexpr i32 SIZE = decltype(side)::PANEL, UNIT = 16 / sizeof(Value), STEP = Tile::THREADS * UNIT;
        const Value* from = static_cast<const Value*>(x.data) + static_cast<i64>(panel) * SIZE;
#pragma unroll
        for (i32 i = 0; i < SIZE; i += STEP) {
            const i32 place = i + thread * UNIT;
            if (SIZE % STEP != 0 && place >= SIZE) continue;
            copy_async(reinterpret_cast<float4*>(to + place), reinterpret_cast<const float4*>(from + place));
        }
    };
    auto request = [&](u32 stage) {
        if (stage <= count && stage > 0) {
            Stage* const to = stage_of(stage);
            bring(Left(), to->panels, a, place.end_of_a - stage);
            bring(Right(), to->panels + Left::PANEL, b, place.end_of_b - stage);
            if (thread == 0) copy_async(&to->left, a.ranges + (place.end_of_a - stage));
            if (thread == 0) copy_async(&to->right, b.ranges + (place.end_of_b - stage));
        }
        commit_copies();  // of none, too: groups are counted
    };
#pragma unroll 1
    for (u32 i = 0; i < Tile::STAGES - 1; i++) request(count - i);
    for (u32 stage = count; stage > 0; stage--) {
        wait_copies<Tile::STAGES - 2>();
        __syncthreads();  // all of this stage is there, and the one before it is free
        request(stage - (Tile::STAGES - 1));
        const Stage* const now = stage_of(stage);
        seen = mode.seen(seen, times(now->left, now->right));
        const i32 terms = stage > 1 ? TERMS : static_cast<i32>((size.terms - 1) % TERMS) + 1;
        if (within(seen, mode.served())) {
            sums.add(now->panels, terms, [&](Value s, Value x, Value y) { return mode.step(s, x, y); });
        } else if (within(seen, mode.served_bounded())) {
            sums.add(now->panels, terms, [&](Value s, Value x, Value y) { return mode.step_bounded(s, x, y); });
        } else {
            sums.add_by_row(now->panels, terms, [&](Value s, Value x, Value y) { return mode.step_of_all(s, x, y); });
        }
    }

    // 4. Written.
    sums.each_inside(inside, [&](Value sum, i32 r, i32 c) { here(out, r, c) = finish(sum, here, r, c); });
}

}  // namespace rn
