// The scalar headers over arrays of codes, for tests.
#include "rn_fast.cuh"
#include "rn_formats.cuh"
#include "rn_quire.cuh"

using namespace rn;

extern "C" {

void decode_codes(i64 count, const u64* code, Format fmt, Exact* out) {
    for (i64 i = 0; i < count; ++i) out[i] = decode(code[i], fmt);
}

void encode_values(i64 count, const Exact* x, const u32* random, Format fmt, i32 rounding, u64* out) {
    for (i64 i = 0; i < count; ++i) out[i] = encode(x[i], fmt, rounding, random[i]);
}

void fast_decode_bits(i64 count, const u32* x, Posit fmt, u32* out) {
    for (i64 i = 0; i < count; ++i) out[i] = decode_bits(x[i], fmt);
}

void fast_encode_bits(i64 count, const u32* x, Posit fmt, u32* out) {
    for (i64 i = 0; i < count; ++i) out[i] = encode_bits(x[i], fmt);
}

void fast_round_bits(i64 count, const u32* x, Posit fmt, u32* out) {
    for (i64 i = 0; i < count; ++i) out[i] = round_bits(x[i], fmt);
}

// 0x80000000 where it does not serve: the pattern of -0, which no posit has.
void fast_round_magic(i64 count, const u32* x, Posit fmt, u32* out) {
    for (i64 i = 0; i < count; ++i)
        out[i] = magic_serves(x[i], fmt) ? bits_of(round_magic(float_of(x[i]), fmt)) : SIGN;
}

void fast_clip_bits(i64 count, const u32* x, i32 n, u32* out) {
    for (i64 i = 0; i < count; ++i) out[i] = clip_bits(x[i], n);
}

// Pairs of posits whose sum, or difference, is not the posit nearest to its float32. All signs follow from these.
i64 differing_sums(Posit fmt) {
    i64 differing = 0, maxpos = static_cast<i64>(fmt.maxpos());
    for (i64 i = 1; i <= maxpos; ++i) {
        Exact a = decode(static_cast<u64>(i), fmt);
        float x = float_of(decode_bits(static_cast<u32>(i), fmt));
        for (i64 j = 1; j <= i; ++j) {
            Exact b = decode(static_cast<u64>(j), fmt);
            float y = float_of(decode_bits(static_cast<u32>(j), fmt));
            u64 sum = round_wide(pack(add(a, b), fmt), fmt, NEAREST_EVEN, 0);
            u64 difference = round_wide(pack(add(a, negate(b)), fmt), fmt, NEAREST_EVEN, 0);
            differing += encode_bits(bits_of(x + y), fmt) != static_cast<u32>(sum);
            differing += encode_bits(bits_of(x - y), fmt) != static_cast<u32>(difference);
        }
    }
    return differing;
}

#define QUIRE(N, ES)                                                                                       \
    void quire_dot_##N##_##ES(i64 count, i64 terms, const u64* a, const u64* b, const u64* c, u64* out) {   \
        constexpr Posit fmt{N, ES};                                                                         \
        for (i64 i = 0; i < count; ++i) {                                                                   \
            Quire<N, ES> quire;                                                                             \
            quire.add(decode(c[i], fmt));                                                                   \
            for (i64 k = 0; k < terms; ++k)                                                                 \
                quire.add_product(decode(a[i * terms + k], fmt), decode(b[i * terms + k], fmt));            \
            out[i] = quire.pattern();                                                                       \
        }                                                                                                   \
    }

QUIRE(2, 0)
QUIRE(5, 2)
QUIRE(8, 0)
QUIRE(8, 2)
QUIRE(16, 1)
QUIRE(16, 2)
QUIRE(20, 2)
QUIRE(32, 2)
QUIRE(32, 4)
}
