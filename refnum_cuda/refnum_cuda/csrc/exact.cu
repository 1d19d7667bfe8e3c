// Products of matrices under the contract exact/v1: sums that are rounded once.
//
// `rn_exact_dots` is the definition: every term is added to words that lose nothing. The other kernels surround those
// of residues.cu, which find the same bits sooner:
//
// 1. The factors of a line, a row of a or a column of b, become integers X in units of a power of 2 of its own:
//    |X| <= 2**window. By how much that rounds them, all together, is the line's loss.
// 2. Of the moduli m, coprime, each leaves residues of 8 bits. Products of matrices of them are residues of the sums S
//    of products of integers, which the Chinese remainder theorem gives back: |S| <= K 2**(2 window) < P / 2.
// 3. a b - X Y = (a - X) b + X (b - Y), so that a sum is off by no more than E = (losses of both lines) 2**window.
//    Where S - E and S + E, with the bias, are rounded alike, so is the sum. Elsewhere it is in doubt: the definition
//    makes it.
#include "rn_totals.cuh"

namespace rn {

constexpr i32 THREADS = 256, WARPS = THREADS / 32;
constexpr i32 MODULI = 14;

// ---- what the host passes ------------------------------------------------------------------------

enum Scales : i32 { WITHOUT, POWERS, FLOATS };  // POWERS are codes of e8m0

// Rows of a, or columns of b: float32 side by side, each times the scale of its block of terms, all times a float32.
// Where scales are FLOATS, or there is that float32, values have no more than 8 bits.
struct Lines {
    const float* values;
    const void* scales;
    const float* whole;  // what all are multiplied by; or null
    i64 batch, line;     // strides
    i64 scale_batch, scale_line;
    i32 block;
    i32 kind;  // Scales

    RN_HD float value(i64 b, i64 i, i64 k) const { return values[b * batch + i * line + k]; }

    // A value of that place with its scale, and times the whole. PLAIN ones have neither.
    template <bool PLAIN>
    RN_HD Factor factor(float value, i64 b, i64 i, i64 k) const {
        if (PLAIN || (kind == WITHOUT && !whole)) return factor_of(value, 0);
        const i64 place = b * scale_batch + i * scale_line + static_cast<u32>(k) / static_cast<u32>(block);
        Factor x = kind == POWERS ? by_power(value, place) : factor_of(value, 0);
        if (kind == FLOATS) x = product(x, factor_of(static_cast<const float*>(scales)[place], 0));
        return whole ? product(x, factor_of(*whole, 0)) : x;
    }

    RN_HD Factor by_power(float value, i64 place) const {
        const i32 code = static_cast<const u8*>(scales)[place];
        return factor_of(code == 255 ? float_of(0x7fffffff) : value, code - 127);
    }
};

// Float32, perhaps broadcast; null where there is none.
struct Bias {
    const float* values;
    i64 batch, row, column;  // strides

    RN_HD float at(i64 b, i64 i, i64 j) const { return values[b * batch + i * row + j * column]; }
};

// What all results are multiplied by, before the bias is added; null is 1.
struct Wholes {
    const float *a, *b;
};

struct Size {
    i64 batches, rows, columns, terms;
};

// Results in doubt: their places in a matrix, and how many they are.
struct Doubts {
    i32* places;
    i32* count;
};

struct Numbers {
    i32 count;
    i32 modulus[MODULI];     // m
    i32 reciprocal[MODULI];  // 2**32 / m, rounded down
    i32 step[MODULI][2];     // 2**DIGIT and 2**(2 DIGIT) modulo m, at most m / 2 in size
    u32 weight[MODULI][4];   // below P; 1 modulo m, and 0 modulo the others
    u32 quotient[MODULI];    // 2**32 weight / P, rounded down
    u32 product[4];          // P
};

constexpr i32 DIGIT = 15;  // bits; an integer has up to three
constexpr i32 LOSS_BITS = 8;

// A line as integers.
struct Line {
    i32 unit;   // log2 of what 1 is worth
    i32 loss;   // in units / 2**LOSS_BITS, each factor's rounded up; -1 where one is Inf or NaN
    u32 signs;  // of the first 32 factors; 1 is negative

    RN_HD bool is_zero() const { return unit < ZERO_EXPONENT / 2; }
};

// ---- the definition ------------------------------------------------------------------------------

// The sum of one result's terms: a warp's lanes share them out.
template <bool PLAIN, class Use>
__device__ __forceinline__ void dot(Words<THREADS> words, i32 lane, const Lines& a, const Lines& b, const Bias& bias,
                                    const Size& size, i64 place, Use use) {
    const i64 column = place % size.columns, row = place / size.columns % size.rows;
    const i64 batch = place / size.columns / size.rows;
    constexpr i32 AHEAD = PLAIN ? 4 : 2;  // terms that a lane reads at once
    // 1. Terms; the bias is one more, times 1.
    words.clear();
    u32 flags = 0;
    if (size.terms == 0 && !bias.values) flags = A_POSITIVE_SIGN;
    auto add = [&](Factor x, Factor y) {
        if (x.sign == y.sign) flags |= A_POSITIVE_SIGN;
        if (x.special || y.special) {
            flags |= special_flags(x, y);
        } else {
            words.add_product(x, y);
        }
    };
#pragma unroll 1
    for (i64 k = lane; k < size.terms; k += 32 * AHEAD) {
        float x[AHEAD], y[AHEAD];
#pragma unroll
        for (i32 i = 0; i < AHEAD; i++) {
            const i64 at = k + 32 * i < size.terms ? k + 32 * i : k;
            x[i] = a.value(batch, row, at), y[i] = b.value(batch, column, at);
        }
#pragma unroll
        for (i32 i = 0; i < AHEAD; i++) {
            const i64 at = k + 32 * i;
            if (at >= size.terms) break;
            add(a.factor<PLAIN>(x[i], batch, row, at), b.factor<PLAIN>(y[i], batch, column, at));
        }
    }
    if (bias.values && lane == 0) add(factor_of(bias.at(batch, row, column), 0), factor_of(1.0f, 0));
    // 2. Each lane adds the words of a place, its own lane's first, and puts the sum where the first lane's was.
    __syncwarp();
    i64 sum = 0;
    i64* first = words.word - lane;
    for (i32 i = 0; i < 32 && lane < words.COUNT; i++) sum += first[lane * THREADS + (i + lane) % 32];
    for (i32 half = 16; half; half /= 2) flags |= __shfl_xor_sync(~0u, flags, half);
    if (lane < words.COUNT) first[lane * THREADS] = sum;
    __syncwarp();
    if (lane == 0) use(words.value(flags));
}

template <bool PLAIN>
__device__ __forceinline__ void dots(const Lines& a, const Lines& b, const Bias& bias, void* out, const Target& to,
                                     const Size& size, const Doubts& doubts, i64* shared) {
    const i32 thread = static_cast<i32>(threadIdx.x);
    const i64 count = doubts.count ? *doubts.count : size.batches * size.rows * size.columns;
    const i64 first = blockIdx.x * static_cast<i64>(WARPS) + thread / 32, warps = gridDim.x * static_cast<i64>(WARPS);
    for (i64 i = first; i < count; i += warps) {
        const i64 place = doubts.places ? doubts.places[i] : i;
        dot<PLAIN>(Words<THREADS>{shared + thread}, thread % 32, a, b, bias, size, place,
                   [&](Exact x) { store(out, place, rounded(x, to), to); });
    }
}

// ---- lines as residues ---------------------------------------------------------------------------

struct Rounded {
    u64 magnitude;
    i32 loss;
};

// In units of 2**unit, to nearest.
RN_HD Rounded integer_of(Factor x, i32 unit) {
    i32 up = x.exponent - unit;
    u64 significand = x.significand;
    if (up >= 0) return {significand << up, 0};
    i32 down = up > -40 ? -up : 40;  // so far down that the result is 0, and the loss the least one
    u64 magnitude = (significand + (1ull << (down - 1))) >> down, back = magnitude << down;
    u64 rest = back > significand ? back - significand : significand - back;
    return {magnitude, static_cast<i32>(((rest << LOSS_BITS) + (1ull << down) - 1) >> down)};
}

// An integer in three digits, which have its sign; the last one is at most 2**14 in size.
struct Digits {
    i32 of[3];

    RN_HD Digits(u64 magnitude, i32 sign) {
        const u32 mask = (1u << DIGIT) - 1;
        const u32 digits[3] = {static_cast<u32>(magnitude) & mask, static_cast<u32>(magnitude >> DIGIT) & mask,
                               static_cast<u32>(magnitude >> 2 * DIGIT)};
#pragma unroll
        for (i32 i = 0; i < 3; i++) of[i] = (static_cast<i32>(digits[i]) ^ sign) - sign;
    }

    // Modulo m, in 8 bits: |x| is less than 2**23, and its quotient, rounded, less than 2**-9 off; that by 256 is not.
    RN_HD i32 residue(const Numbers& numbers, i32 i) const {
        i32 x = of[0] + of[1] * numbers.step[i][0] + of[2] * numbers.step[i][1];
        i32 quotient = static_cast<i32>((static_cast<i64>(x) * numbers.reciprocal[i] + (1ll << 31)) >> 32);
        return x - quotient * numbers.modulus[i];
    }
};

// Four neighbours of a line, of which there may be fewer.
template <bool PLAIN>
__device__ __forceinline__ i32 digits_of(Digits (&to)[4], const Lines& from, i64 line, i64 k, i64 terms, i32 unit) {
    i32 loss = 0;
#pragma unroll
    for (i32 i = 0; i < 4; i++) {
        Rounded found = {0, 0};
        Factor x = {};
        if (k + i < terms) x = from.factor<PLAIN>(from.value(0, line, k + i), 0, line, k + i);
        if (x.significand && !x.special) found = integer_of(x, unit);
        to[i] = Digits(found.magnitude, x.sign);
        loss += found.loss;
    }
    return loss;
}

// Residues [modulus][line][term] of a block's line, as four bytes side by side; and what the line is.
template <bool PLAIN>
__device__ __forceinline__ void residues(const Lines& from, i64 lines, i64 terms, i64 padded, const Numbers& numbers,
                                         i32 window, u32* to, Line* found, i32* shared) {
    const i32 thread = static_cast<i32>(threadIdx.x);
    const i64 line = blockIdx.x;
    terms = line < lines ? terms : 0;
    // 1. Where the line ends above, whether something is Inf or NaN, and the first signs.
    i32 &end = shared[0], &special = shared[1], &signs = shared[2], &loss = shared[3];
    if (thread == 0) end = ZERO_EXPONENT, special = signs = loss = 0;
    __syncthreads();
    i32 own_end = ZERO_EXPONENT, own_special = 0, own_loss = 0;
    for (i64 k = thread; k < terms; k += THREADS) {
        Factor x = from.factor<PLAIN>(from.value(0, line, k), 0, line, k);
        own_special |= x.special;
        if (k < 32 && x.sign) atomicOr(&signs, 1 << k);
        i32 above = x.exponent + (PLAIN ? 24 : 32 - leading_zeros(x.significand | 1));
        if (x.significand && above > own_end) own_end = above;
    }
    atomicMax(&end, own_end);
    atomicOr(&special, own_special);
    __syncthreads();
    // 2. Integers of at most 2**window, four at a time.
    const i32 unit = end - window;
    for (i64 k = 4 * thread; k < padded; k += 4 * THREADS) {
        Digits digits[4] = {{0, 0}, {0, 0}, {0, 0}, {0, 0}};
        own_loss += digits_of<PLAIN>(digits, from, line, k, terms, unit);
#pragma unroll
        for (i32 m = 0; m < MODULI; m++) {
            if (m >= numbers.count) break;
            u32 packed = 0;
#pragma unroll
            for (i32 i = 0; i < 4; i++) packed |= (static_cast<u32>(digits[i].residue(numbers, m)) & 0xff) << 8 * i;
            to[((m * static_cast<i64>(gridDim.x) + line) * padded + k) / 4] = packed;
        }
    }
    atomicAdd(&loss, own_loss);
    __syncthreads();
    if (thread == 0) found[line] = {unit, special ? -1 : loss, static_cast<u32>(signs)};
}

// ---- sums from residues --------------------------------------------------------------------------

RN_HD Integer128 sum_of(const u8* residues, i64 stride, const Numbers& numbers) {
    u32 residue[MODULI];
#pragma unroll
    for (i32 i = 0; i < MODULI; i++) residue[i] = i < numbers.count ? residues[i * stride] : 0;
    // S is the sum of residues times weights, less as many times P as the quotient by P says, rounded: that is not
    // nearly half-way, for S is below 0.49 P.
    u64 quotient = 1ull << 31, words[4] = {};
#pragma unroll
    for (i32 i = 0; i < MODULI; i++) {
        if (i >= numbers.count) continue;
        quotient += static_cast<u64>(residue[i]) * numbers.quotient[i];
#pragma unroll
        for (i32 w = 0; w < 4; w++) words[w] += static_cast<u64>(residue[i]) * numbers.weight[i][w];
    }
    const u32 times = static_cast<u32>(quotient >> 32);
    u32 limb[4];
    i64 carry = 0;
#pragma unroll
    for (i32 w = 0; w < 4; w++) {
        carry += static_cast<i64>(words[w] - static_cast<u64>(times) * numbers.product[w]);
        limb[w] = static_cast<u32>(carry);
        carry >>= 32;
    }
    return {static_cast<u64>(limb[1]) << 32 | limb[0], static_cast<u64>(limb[3]) << 32 | limb[2]};
}

struct Decision {
    u64 code;
    bool sure;
};

// Most results: x is off by no more than so many of its last bits, but rounded to one normal float, since all that it
// may be lies between that one and the middle to a neighbour.
RN_HD Decision decide_soon(Exact x, u64 error, const Minifloat& to) {
    const i32 cut = LIMB - 1 - to.mantissa, last = static_cast<i32>(to.largest() >> to.mantissa) - to.bias;
    const u64 rest = dropped(x.significand, cut), half = 1ull << (cut - 1);
    const u64 from = rest > half ? half + 1 : 0, end = rest > half ? 2 * half : half;
    const bool within = error < half && rest >= from + error && rest + error < end;
    const bool normal = x.significand && x.exponent >= to.min_scale() && x.exponent < last;
    const u64 field = static_cast<u64>(x.exponent + to.bias - 1), sign = x.sign & 1;
    return {(field << to.mantissa) + (x.significand >> cut) + (rest > half) + (sign << to.magnitude_bits()),
            normal && within};
}

constexpr u64 ENDLESS = 1ull << LIMB;

// An error in units of 2**unit, in units of x's last bit, rounded up, and one more for what that bit may stand for; or
// ENDLESS.
RN_HD u64 error_of(Exact x, Integer128 error, i32 unit) {
    const i32 down = x.exponent - (LIMB - 1) - unit;
    if (down < 0 && (error.high || leading_zeros(error.low | 1) <= -down + 1)) return ENDLESS;
    const Integer128 there = down < 0 ? Integer128{error.low << -down, 0} : shifted_right_jam(error, down);
    return there.high || there.low >= ENDLESS ? ENDLESS : there.low + 2;
}

// The sum is x in units of 2**unit, off by no more than an error, times a number, plus the bias; all its terms but that
// one have these signs as far as they are known.
RN_HD Decision decide(Integer128 x, u64 error, i32 unit, u64 times, bool has_bias, Factor bias, bool negative,
                      bool known, const Target& to) {
    if (bias.special) return {0, false};
    Integer128 addend = {bias.significand, 0};
    Large z = large(bias.sign ? negated(addend) : addend, 1, bias.exponent);
    // 1. The middle: its last bit may be sticky.
    Exact middle = total(large(x, times, unit), z);
    u64 off = error ? error_of(middle, multiplied({error, 0}, times), unit) : 0;
    Decision soon = decide_soon(middle, off, to.format);
    if (soon.sure) return soon;
    // 2. Without an error, a 0 needs its sign.
    if (error == 0) {
        if (middle.significand == 0) middle.sign = -static_cast<i32>(negative && !(has_bias && bias.sign == 0));
        return {rounded(middle, to), middle.significand || !middle.sign || known};
    }
    // 3. Both ends.
    Exact low = total(large(sum(x, negated({error, 0})), times, unit), z);
    Exact high = total(large(sum(x, {error, 0}), times, unit), z);
    u64 code = rounded(low, to);
    return {code, low.significand && high.significand && code == rounded(high, to)};
}

}  // namespace rn

// ---- kernels -------------------------------------------------------------------------------------

// Results by the definition: all of them, or those of one matrix that are in doubt. A warp makes one at a time.
#define RN_DOTS(name, plain)                                                                                       \
    extern "C" __global__ void __launch_bounds__(rn::THREADS, 4)                                                   \
        name(rn::Lines a, rn::Lines b, rn::Bias bias, void* out, rn::Target to, rn::Size size, rn::Doubts doubts) { \
        extern __shared__ float4 rn_shared[];                                                                      \
        rn::dots<plain>(a, b, bias, out, to, size, doubts, reinterpret_cast<rn::i64*>(rn_shared));                 \
    }
RN_DOTS(rn_exact_dots, true)
RN_DOTS(rn_exact_dots_scaled, false)

// Residues of so many lines, filled up with zeros. A block makes one line.
#define RN_RESIDUES(name, plain)                                                                                       \
    extern "C" __global__ void __launch_bounds__(rn::THREADS)                                                          \
        name(rn::Lines from, rn::i64 lines, rn::i64 terms, rn::i64 padded, rn::Numbers numbers, rn::i32 window,        \
             rn::u32* to, rn::Line* found) {                                                                           \
        extern __shared__ float4 rn_shared[];                                                                          \
        rn::i32* shared = reinterpret_cast<rn::i32*>(rn_shared);                                                       \
        rn::residues<plain>(from, lines, terms, padded, numbers, window, to, found, shared);                           \
    }
RN_RESIDUES(rn_exact_residues, true)
RN_RESIDUES(rn_exact_residues_scaled, false)

// Results [rows][columns] from sums modulo each modulus, [row][width] that lie a stride apart; those in doubt are
// listed instead. Blocks lie abreast, and below each other as far as the grid goes.
extern "C" __global__ void __launch_bounds__(rn::THREADS)
    rn_exact_combine(const rn::u8* residues, rn::i64 width, rn::i64 stride, const rn::Line* a, const rn::Line* b,
                     rn::Wholes wholes, rn::Bias bias, void* out, rn::Target to, rn::Size size, rn::Numbers numbers,
                     rn::i32 window, rn::Doubts doubts) {
    using namespace rn;
    const i64 column = blockIdx.x * static_cast<i64>(THREADS) + threadIdx.x;
    if (column >= size.columns) return;
    const Line y = b[column];
    const u32 known_signs = size.terms < 32 ? (1u << size.terms) - 1 : ~0u;
    const Factor one = {1.0f, 0, 1, 0, false};
    const Factor u = wholes.a ? factor_of(*wholes.a, 0) : one, v = wholes.b ? factor_of(*wholes.b, 0) : one;
    const u64 times = static_cast<u64>(u.significand) * v.significand;
    const bool usual = !u.special && !v.special && y.loss >= 0;
    for (i64 row = blockIdx.y; row < size.rows; row += gridDim.y) {
        const Line x = a[row];
        Decision found{0, false};
        if (usual && x.loss >= 0) {
            Integer128 sum = sum_of(residues + row * width + column, stride, numbers);
            if (u.sign != v.sign) sum = negated(sum);
            u64 error = x.is_zero() || y.is_zero() ? 0 : static_cast<u64>(x.loss + y.loss) << (window - LOSS_BITS);
            u32 negative = x.signs ^ y.signs ^ static_cast<u32>(u.sign ^ v.sign);
            Factor addend = factor_of(bias.values ? bias.at(0, row, column) : 0.0f, 0);
            found = decide(sum, error, x.unit + y.unit + u.exponent + v.exponent, times, bias.values, addend,
                           (negative & known_signs) == known_signs, size.terms <= 32, to);
        }
        const i64 place = row * size.columns + column;
        if (found.sure) {
            store(out, place, found.code, to);
        } else {
            doubts.places[atomicAdd(doubts.count, 1)] = static_cast<i32>(place);
        }
    }
}
