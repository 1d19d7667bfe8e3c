// Sums of products of matrices, k ascending, where a mode's step takes a product into a sum.
//
// First operands are packed: panels of some lines, rows of a or columns of b, and some terms, as shared memory has
// them. Then a block makes a tile of the result, and a thread a few of its elements, each by itself. So their bits know
// nothing of tilings, grids or batches.
#pragma once
#include "rn_copies.cuh"
#include "rn_ranges.cuh"

namespace rn {

// How a tile is shared out: LINES x LINES elements, EACH x EACH a thread; TERMS of k at a time in shared memory.
template <class Value_, i32 LINES_, i32 EACH_>
struct Tiling {
    using Value = Value_;
    static constexpr i32 LINES = LINES_, EACH = EACH_, TERMS = 16, STAGES = 2;
    static constexpr i32 ACROSS = LINES / EACH, THREADS = ACROSS * ACROSS;
    static constexpr i32 PANEL = LINES * TERMS;         // values
    static constexpr i32 VECTOR = 16 / sizeof(Value);  // values that lie side by side
};

using Singles = Tiling<float, 128, 8>;
using Doubles = Tiling<double, 64, 4>;

RN_HD i64 rounded_up(i64 count, i32 each) { return (count + each - 1) / each; }

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

// So many lines and terms of an operand. Terms from `first` on stand behind a gap of zeros.
struct Source {
    Matrix from;  // [batch][line][term]
    i64 batches, lines, terms, first, gap;
};

// The value of a packed term, or 0 in the gap and beyond the operand.
template <class Value, class Use>
RN_HD Value packed(const Source& x, i64 batch, i64 line, i64 term, Use use) {
    const i64 source = term < x.first ? term : term - x.gap;
    const bool inside = line < x.lines && source < x.terms && (term < x.first || source >= x.first);
    return inside ? use(x.from.at<Value>(batch, line, source)) : Value(0);
}

// A block packs a panel, a thread a line of it.
template <class Tile, class Use>
__device__ __forceinline__ void pack(const Source& x, const Panels& to, i32* shared, Use use) {
    using Value = typename Tile::Value;
    const i64 panel = blockIdx.x, thread = threadIdx.x;
    const i64 stages = rounded_up(x.terms + x.gap, Tile::TERMS), down = rounded_up(x.lines, Tile::LINES);
    const i64 batch = panel / stages / down, line = panel / stages % down * Tile::LINES + thread;
    Value* const out = static_cast<Value*>(to.data) + panel * Tile::PANEL + thread;
    if (thread == 0) shared[0] = shared[1] = -FAR;
    Range range = NOWHERE;
    for (i32 k = 0; k < Tile::TERMS; k++) {
        const Value value = packed<Value>(x, batch, line, panel % stages * Tile::TERMS + k, use);
        out[k * Tile::LINES] = value;
        range = joined(range, range_of(value));
    }
    __syncthreads();
    atomicMax(&shared[0], -range.least);
    atomicMax(&shared[1], range.most);
    __syncthreads();
    if (thread == 0) to.ranges[panel] = {-shared[0], shared[1]};
}

// ---- sums ----------------------------------------------------------------------------------------

// A thread's elements: in groups of VECTOR side by side, the groups as far apart as there are threads for.
template <class Tile>
RN_HD i32 place_of(i32 i, i32 rank) {
    return i / Tile::VECTOR * (Tile::ACROSS * Tile::VECTOR) + rank * Tile::VECTOR + i % Tile::VECTOR;
}

template <class Tile>
struct alignas(16) Vector {
    typename Tile::Value of[Tile::VECTOR];
};

// The values of a term that belong to a thread's elements from the i-th on.
template <class Tile>
RN_HD Vector<Tile> load(const typename Tile::Value* line, i32 i, i32 rank) {
    return *reinterpret_cast<const Vector<Tile>*>(line + place_of<Tile>(i, rank));
}

template <class Tile>
struct Sums {
    using Value = typename Tile::Value;
    static constexpr i32 EACH = Tile::EACH;
    Value of[EACH][EACH];
    i32 row_rank, column_rank;

    template <class Step>
    RN_HD void add_term(const Value* a, const Value* b, Step step) {
        Value y[EACH];
        load_columns(y, b);
#pragma unroll
        for (i32 i = 0; i < EACH; i += Tile::VECTOR) {
            const Vector<Tile> x = load<Tile>(a, i, row_rank);
#pragma unroll
            for (i32 v = 0; v < Tile::VECTOR; v++) {
#pragma unroll
                for (i32 j = 0; j < EACH; j++) of[i + v][j] = step(of[i + v][j], x.of[v], y[j]);
            }
        }
    }

    template <class Mode>
    RN_HD void add_any_term(const Mode& mode, const Value* a, const Value* b) {
        Value y[EACH];
        load_columns(y, b);
        each_by_row([&](Value& sum, i32 i, i32 j) {
            sum = mode.step_of_all(sum, a[place_of<Tile>(i, row_rank)], y[j]);
        });
    }

    RN_HD void load_columns(Value (&y)[EACH], const Value* b) const {
#pragma unroll
        for (i32 j = 0; j < EACH; j += Tile::VECTOR) {
            const Vector<Tile> some = load<Tile>(b, j, column_rank);
#pragma unroll
            for (i32 v = 0; v < Tile::VECTOR; v++) y[j + v] = some.of[v];
        }
    }

    // Call use(sum, i, j) for each. The rows move up in turn, so that one row's code serves all of them.
    template <class Use>
    RN_HD void each_by_row(Use use) {
#pragma unroll 1
        for (i32 i = 0; i < EACH; i++) {
#pragma unroll
            for (i32 j = 0; j < EACH; j++) {
                use(of[0][j], i, j);
                const Value first = of[0][j];
#pragma unroll
                for (i32 k = 1; k < EACH; k++) of[k - 1][j] = of[k][j];
                of[EACH - 1][j] = first;
            }
        }
    }

    // Call use(sum, row, column) for each whose place in the tile is inside.
    template <class Inside, class Use>
    RN_HD void each_inside(Inside inside, Use use) {
        each_by_row([&](Value& sum, i32 i, i32 j) {
            const i32 r = place_of<Tile>(i, row_rank), c = place_of<Tile>(j, column_rank);
            if (inside(r, c)) use(sum, r, c);
        });
    }
};

// ---- the product ---------------------------------------------------------------------------------

constexpr i32 TABLE_BYTES = 12 * FIELDS;  // or fewer

// The sums of all products by a mode, from `start` on, or from 0 where that has no data; finish(sum, here, row,
// column) is what is written, where here(matrix, row, column) is the element at the same place.
template <class Mode, class Tile, class Finish>
__device__ __forceinline__ void product(Mode mode, const Panels& a, const Panels& b, const Matrix& start,
                                        const Matrix& out, const Size& size, char* shared, Finish finish) {
    using Value = typename Tile::Value;
    auto* const table = reinterpret_cast<typename Mode::Table*>(shared);
    static_assert(sizeof *table <= TABLE_BYTES, "it has its place in shared memory");
    Value* const stages = reinterpret_cast<Value*>(shared + TABLE_BYTES);
    auto left_of = [&](u32 stage) { return stages + stage % Tile::STAGES * (2 * Tile::PANEL); };
    auto right_of = [&](u32 stage) { return left_of(stage) + Tile::PANEL; };

    const i32 thread = static_cast<i32>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    for (i32 field = thread; field < FIELDS; field += Tile::THREADS) table->fill(field, mode.fmt);
    mode.table = table;

    // 1. Where: of a batch, tiles of a row follow each other. All of them are fewer than 2**31, and so are panels.
    const u32 count = static_cast<u32>(rounded_up(size.terms, Tile::TERMS));
    const u32 down = static_cast<u32>(rounded_up(size.rows, Tile::LINES));
    const u32 across = static_cast<u32>(rounded_up(size.columns, Tile::LINES));
    const u32 batch = blockIdx.x / (down * across), row = blockIdx.x / across % down, column = blockIdx.x % across;
    const u32 end_of_a = batch * a.batch + (row + 1) * count, end_of_b = batch * b.batch + (column + 1) * count;
    auto here = [&](const Matrix& x, i32 r, i32 c) -> Value& {
        return x.at<Value>(batch, static_cast<i64>(row) * Tile::LINES + r, static_cast<i64>(column) * Tile::LINES + c);
    };
    auto inside = [&](i32 r, i32 c) {
        return static_cast<i64>(row) * Tile::LINES + r < size.rows &&
               static_cast<i64>(column) * Tile::LINES + c < size.columns;
    };

    // 2. From where sums start.
    Sums<Tile> sums = {{}, warp / 2 * 4 + lane / 8, warp % 2 * 8 + lane % 8};
    Range begun = NOWHERE;
    if (start.data) {
        sums.each_inside(inside, [&](Value& sum, i32 r, i32 c) {
            sum = here(start, r, c);
            begun = joined(begun, range_of(sum));
        });
    }
    Range seen = mode.begun(begun);

    // 3. Terms: while one stage is added the next one is on its way.
    auto bring = [&](Value* to, const Panels& x, u32 panel) {
        const Value* from = static_cast<const Value*>(x.data) + static_cast<i64>(panel) * Tile::PANEL;
#pragma unroll
        for (i32 i = 0; i < Tile::PANEL; i += Tile::THREADS * Tile::VECTOR) {
            const i32 place = i + thread * Tile::VECTOR;
            copy_async(reinterpret_cast<float4*>(to + place), reinterpret_cast<const float4*>(from + place));
        }
    };
    auto request = [&](u32 stage) {
        if (stage > 0) {
            bring(left_of(stage), a, end_of_a - stage);
            bring(right_of(stage), b, end_of_b - stage);
        }
        commit_copies();
    };
    request(count);
    for (u32 stage = count; stage > 0; stage--) {
        wait_copies<0>();
        __syncthreads();  // all of this stage is there, and the one before it is free
        request(stage - 1);
        seen = mode.seen(seen, times(a.ranges[end_of_a - stage], b.ranges[end_of_b - stage]));
        const i32 terms = stage > 1 ? Tile::TERMS : static_cast<i32>((size.terms - 1) % Tile::TERMS) + 1;
        const Value *term = left_of(stage), *const end = term + terms * Tile::LINES;
        if (within(seen, mode.served())) {
#pragma unroll 1
            for (; term < end; term += Tile::LINES) {
                sums.add_term(term, term + Tile::PANEL, [&](Value s, Value x, Value y) { return mode.step(s, x, y); });
            }
        } else if (within(seen, mode.served_bounded())) {
#pragma unroll 1
            for (; term < end; term += Tile::LINES) {
                sums.add_term(term, term + Tile::PANEL,
                              [&](Value s, Value x, Value y) { return mode.step_bounded(s, x, y); });
            }
        } else {
#pragma unroll 1
            for (; term < end; term += Tile::LINES) sums.add_any_term(mode, term, term + Tile::PANEL);
        }
    }

    // 4. Written.
    sums.each_inside(inside, [&](Value sum, i32 r, i32 c) { here(out, r, c) = finish(sum, here, r, c); });
}

}  // namespace rn
