// Operands of a product on their way to shared memory: which thread brings what, and where it lies there.
//
// A panel is so many lines of an operand, rows of a or columns of b, and so many terms of each: in the end a tile of
// float32. A thread brings units: 16 bytes of neighbours, in one copy, or one by one where they do not lie so. Units
// that lie as in the tile are copied into it. Others land where their own thread alone looks, which puts them there.
#pragma once
#include "rn_copies.cuh"
#include "rn_halves.cuh"

namespace rn {

struct Operand {
    const void* data;
    i64 batch, line, term;  // strides, in elements
    i32 along_terms;        // neighbours in memory are terms of a line, else lines of a term
    i32 wide;               // a unit is aligned, and lies in the matrix or beyond it as one
};

// The values of a unit.
template <class Format>
RN_HD void unpack(float (&to)[16 / sizeof(typename Format::Bits)], uint4 unit) {
    const u32 words[4] = {unit.x, unit.y, unit.z, unit.w};
    constexpr i32 PER_WORD = 4 / sizeof(typename Format::Bits);
#pragma unroll
    for (i32 i = 0; i < 4 * PER_WORD; i++) {
        if constexpr (PER_WORD == 1) {
            to[i] = float_of(words[i]);
        } else {
            to[i] = Format::widened(static_cast<u16>(words[i / 2] >> i % 2 * 16));
        }
    }
}

// In the tile, terms of a line (BY_LINE) or lines of a term are side by side.
template <class Format, i32 LINES, i32 TERMS, i32 THREADS, bool BY_LINE, i32 SLOTS>
struct Panel {
    using Bits = typename Format::Bits;
    static constexpr i32 UNIT = 16 / sizeof(Bits), UNITS = LINES * TERMS / UNIT / THREADS;
    static constexpr i32 PITCH = (BY_LINE ? TERMS : LINES) + 4;  // fewer conflicts of banks; vectors stay aligned
    static constexpr i32 TILE = (BY_LINE ? LINES : TERMS) * PITCH * 4;
    static constexpr i32 SLOT = sizeof(Bits) == 4 ? TILE : LINES * TERMS * 2;
    static constexpr i32 BYTES = SLOTS * SLOT + 2 * TILE;
    static_assert(UNITS * UNIT * THREADS == LINES * TERMS, "every thread has as much to do");

    char* memory;
    const Bits* from;  // the first line's term 0
    i64 line_stride, term_stride;
    bool along_terms, wide, straight;
    i32 lines;  // those there are
    i32 thread;

    RN_HD Panel(char* memory, const Operand& x, i64 batch, i64 line, i32 lines, i32 thread)
        : memory(memory), from(static_cast<const Bits*>(x.data) + batch * x.batch + line * x.line),
          line_stride(x.line), term_stride(x.term), along_terms(x.along_terms), wide(x.wide),
          straight(sizeof(Bits) == 4 && along_terms == BY_LINE), lines(lines), thread(thread) {}

    // ---- places ----

    static RN_HD i32 place(i32 line, i32 term) { return BY_LINE ? line * PITCH + term : term * PITCH + line; }

    // Of what has landed in a slot: that slot, or one of two further ones, which take turns.
    RN_HD float* tile(i32 slot, i32 turn) const {
        return reinterpret_cast<float*>(memory + (straight ? slot * SLOT : SLOTS * SLOT + turn * TILE));
    }

    RN_HD Bits* own(i32 slot, i32 unit) const {
        return reinterpret_cast<Bits*>(memory + slot * SLOT) + (unit * THREADS + thread) * UNIT;
    }

    // Call use(i, line, term) for each of this thread's units, by their first elements: neighbours in memory go to
    // neighbouring threads.
    template <class Use>
    RN_HD void each(Use use) const {
        const i32 per = along_terms ? TERMS / UNIT : LINES / UNIT;
        const i32 first = thread % per * UNIT, other = thread / per;
        if (along_terms) {
#pragma unroll
            for (i32 i = 0; i < UNITS; i++) use(i, other + i * (THREADS * UNIT / TERMS), first);
        } else {
#pragma unroll
            for (i32 i = 0; i < UNITS; i++) use(i, first, other + i * (THREADS * UNIT / LINES));
        }
    }

    // ---- what a thread does ----

    // Start to bring so many terms. Nothing is read beyond the operand; what is not brought is not used.
    RN_HD void request(i32 slot, i64 first, i32 count) const {
        each([&](i32 i, i32 line, i32 term) {
            auto* to = straight ? reinterpret_cast<Bits*>(tile(slot, 0) + place(line, term)) : own(slot, i);
            const Bits* one = from + line * line_stride + (first + term) * term_stride;
            if (wide) {
                if (line >= lines || term >= count) return;
                copy_async(reinterpret_cast<uint4*>(to), reinterpret_cast<const uint4*>(one));
            } else {
                const i32 there = along_terms ? (line < lines ? count - term : 0) : (term < count ? lines - line : 0);
                const i64 step = along_terms ? term_stride : line_stride;
#pragma unroll
                for (i32 j = 0; j < UNIT; j++) {
                    if (j < there) bring(to + j, one + j * step);
                }
            }
        });
    }

    static RN_HD void bring(Bits* to, const Bits* one) {
        if constexpr (sizeof(Bits) == 4) {
            copy_async(to, one);
        } else {
            *to = *one;
        }
    }

    // What this thread has requested has landed, and is put into the tile.
    RN_HD void put(i32 slot, i32 turn) const {
        if (straight) return;
        each([&](i32 i, i32 line, i32 term) {
            float values[UNIT];
            unpack<Format>(values, *reinterpret_cast<const uint4*>(own(slot, i)));
            float* to = tile(slot, turn) + place(line, term);
            if (along_terms == BY_LINE) {
#pragma unroll
                for (i32 j = 0; j < UNIT; j += 4) {
                    *reinterpret_cast<float4*>(to + j) = {values[j], values[j + 1], values[j + 2], values[j + 3]};
                }
            } else {
#pragma unroll
                for (i32 j = 0; j < UNIT; j++) to[j * PITCH] = values[j];
            }
        });
    }
};

}  // namespace rn
