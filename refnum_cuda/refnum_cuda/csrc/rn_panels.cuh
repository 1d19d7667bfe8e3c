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

RN_HD constexpr i32 largest(i32 x, i32 y) { return x > y ? x : y; }

// In the tile, terms of a line (BY_LINE) or lines of a term are side by side. Panels come one after the other, with
// AHEAD of them on their way.
template <class Format, i32 LINES, i32 TERMS, i32 THREADS, bool BY_LINE, i32 AHEAD>
struct Panel {
    using Bits = typename Format::Bits;
    static constexpr i32 SIZE = sizeof(Bits), UNIT = 16 / SIZE, UNITS = LINES * TERMS / UNIT / THREADS;
    static constexpr i32 LINES_APART = THREADS * UNIT / TERMS, TERMS_APART = THREADS * UNIT / LINES;  // a thread's units
    static constexpr i32 PITCH = (BY_LINE ? TERMS : LINES) + 4;  // fewer conflicts of banks; vectors stay aligned
    static constexpr i32 TILE = (BY_LINE ? LINES : TERMS) * PITCH * 4, LANDED = LINES * TERMS * SIZE;
    // Tiles that are copied into, one more than are on their way; or what lands on its way to two tiles, in turns.
    static constexpr i32 BYTES = largest(SIZE == 4 ? (AHEAD + 1) * TILE : 0, AHEAD * LANDED + 2 * TILE);
    static_assert(UNITS * UNIT * THREADS == LINES * TERMS, "every thread has as much to do");

    char* memory;
    bool along_terms, wide, straight;
    i64 line_stride, term_stride;  // in bytes, as all that follows
    i32 lines;                     // those there are
    i32 line, term;                // of this thread's first unit: neighbours in memory go to neighbouring threads
    const char* from;              // where it lies, of the next panel
    i64 apart;                     // from there to the next one
    i32 slot, slots;               // where panels land: the next panel's, and its end
    i32 to, hops;                  // in a slot, where the first unit lands, and from there to the next one
    i32 arrived, turn;             // slot and tile of the panel that comes next

    RN_HD Panel(char* memory, const Operand& x, i64 batch, i64 first, i32 lines, i32 thread)
        : memory(memory), along_terms(x.along_terms), wide(x.wide), straight(SIZE == 4 && along_terms == BY_LINE),
          line_stride(x.line * SIZE), term_stride(x.term * SIZE), lines(lines), slot(0), arrived(0), turn(0) {
        line = along_terms ? thread / (TERMS / UNIT) : thread % (LINES / UNIT) * UNIT;
        term = along_terms ? thread % (TERMS / UNIT) * UNIT : thread / (LINES / UNIT);
        from = static_cast<const char*>(x.data) + batch * x.batch * SIZE + (first + line) * line_stride +
               term * term_stride;
        apart = along_terms ? LINES_APART * line_stride : TERMS_APART * term_stride;
        slots = straight ? (AHEAD + 1) * TILE : AHEAD * LANDED;
        to = straight ? place(line, term) * 4 : thread * 16;
        hops = straight ? (BY_LINE ? place(LINES_APART, 0) : place(0, TERMS_APART)) * 4 : THREADS * 16;
    }

    static RN_HD constexpr i32 place(i32 line, i32 term) { return BY_LINE ? line * PITCH + term : term * PITCH + line; }

    RN_HD i32 after(i32 slot) const {
        slot += straight ? TILE : LANDED;
        return slot == slots ? 0 : slot;
    }

    // Start to bring so many terms. Nothing is read beyond the operand; what is not brought is not used.
    RN_HD void request(i32 count) {
        const char* one = from;
        char* place = memory + slot + to;
        const i32 units = along_terms ? (lines - line + LINES_APART - 1) / LINES_APART
                                      : (count - term + TERMS_APART - 1) / TERMS_APART;
        const i32 elements = along_terms ? count - term : lines - line;
        if (wide) {
            const i32 whole = elements > 0 ? units : 0;
#pragma unroll
            for (i32 i = 0; i < UNITS; i++, one += apart, place += hops) {
                if (i < whole) copy_async(reinterpret_cast<uint4*>(place), reinterpret_cast<const uint4*>(one));
            }
        } else {
            const i64 step = along_terms ? term_stride : line_stride;
#pragma unroll 1
            for (i32 i = 0; i < UNITS && i < units; i++, one += apart, place += hops) {
#pragma unroll
                for (i32 j = 0; j < UNIT; j++) {
                    if (j < elements) bring(place + j * SIZE, one + j * step);
                }
            }
        }
        from += count * term_stride;
        slot = after(slot);
    }

    static RN_HD void bring(char* to, const char* one) {
        if constexpr (SIZE == 4) {
            copy_async(reinterpret_cast<Bits*>(to), reinterpret_cast<const Bits*>(one));
        } else {
            *reinterpret_cast<Bits*>(to) = *reinterpret_cast<const Bits*>(one);
        }
    }

    // Of the panel that comes next; then on to the one after it.
    RN_HD float* tile() const {
        return reinterpret_cast<float*>(memory + (straight ? arrived : AHEAD * LANDED + turn));
    }
    RN_HD void advance() { arrived = after(arrived), turn = TILE - turn; }

    // What this thread has requested of that panel has landed, and is put into its tile.
    RN_HD void put() const {
        if (straight) return;
        const char* landed = memory + arrived + to;
        float* first = tile() + place(line, term);
        if (along_terms) {
            put_units<BY_LINE, place(LINES_APART, 0)>(landed, first);
        } else {
            put_units<!BY_LINE, place(0, TERMS_APART)>(landed, first);
        }
    }

    template <bool SIDE_BY_SIDE, i32 APART>
    static RN_HD void put_units(const char* units, float* to) {
#pragma unroll
        for (i32 i = 0; i < UNITS; i++) {
            float values[UNIT];
            unpack<Format>(values, *reinterpret_cast<const uint4*>(units + i * THREADS * 16));
#pragma unroll
            for (i32 j = 0; j < UNIT; j += SIDE_BY_SIDE ? 4 : 1) {
                float* place = to + i * APART + j * (SIDE_BY_SIDE ? 1 : PITCH);
                if constexpr (SIDE_BY_SIDE) {
                    *reinterpret_cast<float4*>(place) = {values[j], values[j + 1], values[j + 2], values[j + 3]};
                } else {
                    *place = values[j];
                }
            }
        }
    }
};

}  // namespace rn
