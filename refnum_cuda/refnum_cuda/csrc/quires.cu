// Sums of products of posits in quires, contract posit_quire/v1: exact, and rounded once.
//
// By registers, the definition: every product is added to a fixed-point register. By residues, for large products:
//
// 1. An operand's posits are integers in a unit of its own, the largest power of 2 that divides them all. It is found,
//    with the largest magnitude, by a survey: so the sums S, in units of both, are known to be at most 2**bits. Where
//    that is too much, which short formats exclude, the residues are left, and registers make the product.
// 2. Of so many coprime moduli m that 2**bits <= 0.49 P, P being their product, each leaves residues of 8 bits of the
//    integers, whose products are sums modulo m (residues.cu).
// 3. These make S: sum_m y_m w_m = S + q P, where w_m is 1 modulo m and 0 modulo the others. The sum of y_m w_m / P
//    rounds to q.
#include "rn_integers.cuh"
#include "rn_numbers.cuh"
#include "rn_quire.cuh"

namespace rn {

constexpr i32 THREADS = 256;
constexpr i32 LINES = 32, TERMS = 128;  // of a tile of an operand
constexpr i32 PITCH = TERMS + 4;        // patterns; four of them lie side by side
constexpr i32 GROUPS = MOST_MODULI / 4;  // four moduli have a product below 2**32
constexpr i32 SHIFTS = 288;  // more than a plan with room can ask for
constexpr i32 OFFSET = 1 << 10;  // makes exponents positive

RN_HD Parts parts_at(const Numbers& x, i64 place, Posit fmt) {
    return parts_of(static_cast<u32>(load(x, place, fmt)), fmt);
}

struct Extent {
    i64 batches, lines, terms;
};

// ---- a survey of operands ------------------------------------------------------------------------

// Of the posits that are not 0: OFFSET less the log2 of their unit, and OFFSET and the log2 of a bound. 0 for none.
struct Span {
    i32 unit, bound;
};

struct Scheme {
    const Span* spans;   // of a, b and c
    i32 growth;          // log2 of how many terms there are, rounded up
    i32 room[GROUPS];    // bits of sums for which so many groups of moduli are enough
};

struct Plan {
    i32 a_unit, b_unit, groups;
};

RN_HD Plan plan_of(const Scheme& scheme) {
    auto unit = [&](i32 i) { return scheme.spans[i].unit ? OFFSET - scheme.spans[i].unit : 0; };
    auto bound = [&](i32 i) { return scheme.spans[i].bound ? scheme.spans[i].bound - OFFSET : 0; };
    // P1. Sums are in units of both. With c they may have to be smaller: that of a gives way.
    i32 a_unit = unit(0), b_unit = unit(1), bits = bound(0) + bound(1) + scheme.growth;
    if (scheme.spans[2].unit) {
        a_unit = a_unit < unit(2) - b_unit ? a_unit : unit(2) - b_unit;
        bits = (bits > bound(2) ? bits : bound(2)) + 1;
    }
    bits -= a_unit + b_unit;
    // P2. The fewest groups that have room; 0 where none have.
    i32 groups = 1;
    while (groups <= GROUPS && scheme.room[groups - 1] < bits) groups++;
    return {a_unit, b_unit, groups <= GROUPS ? groups : 0};
}

// Call use(line, term, pattern) for a thread's elements of a tile, 0 beyond the operand: neighbours in memory go to
// neighbouring threads. The pattern at a place is what at(place) is.
template <class At, class Use>
__device__ __forceinline__ void each_of_tile(const Numbers& x, Extent size, i64 batch, i64 line, i64 term, At at, Use use) {
    const bool across = x.line < x.term;
#pragma unroll 4
    for (i32 i = 0; i < LINES * TERMS / THREADS; i++) {
        const i32 number = static_cast<i32>(threadIdx.x) + i * THREADS;
        const i32 l = across ? number % LINES : number / TERMS, t = across ? number / LINES : number % TERMS;
        const bool inside = line + l < size.lines && term + t < size.terms;
        use(l, t, inside ? static_cast<u32>(at(x.place(batch, line + l, term + t))) : 0);
    }
}

// The same of any kind of numbers; the usual ones are told once, not for each element.
template <class Use>
__device__ __forceinline__ void each_of_tile(const Numbers& x, Extent size, i64 batch, i64 line, i64 term, Posit fmt,
                                             Use use) {
    if (x.kind == FLOAT32 && float32_reaches(fmt)) {
        each_of_tile(x, size, batch, line, term, [&](i64 i) { return encode_bits(x.at<u32>(i), fmt); }, use);
    } else if (x.kind == CODES16) {
        each_of_tile(x, size, batch, line, term, [&](i64 i) { return x.at<u16>(i); }, use);
    } else {
        each_of_tile(x, size, batch, line, term, [&](i64 i) { return load(x, i, fmt); }, use);
    }
}

// ---- residues ------------------------------------------------------------------------------------

constexpr i32 HALF = 15;  // bits

// 2**exponent modulo one of the numbers, for exponents below 512.
RN_HD i32 power_of_2(i32 exponent, const Moduli& moduli, i32 i) {
    i32 power = 1;
    for (i32 bit = 8; bit >= 0; bit--) power = moduli.centred((power * power) << (exponent >> bit & 1), i);
    return power;
}

// A posit as an integer, in two halves so that each fits the powers: (high * 2**15 + low) * 2**shift.
struct Integer {
    i32 high, low;
    i32 shift;

    // In a unit that divides it.
    RN_HD Integer(u32 code, i32 unit, Posit fmt) : high(0), low(0), shift(0) {
        Parts x = parts_of(code, fmt);
        if (!x.present) return;  // NaR, too, counts 0: its lines are known
        i32 most = fraction_bits(0, fmt), fraction = most > 0 ? most : 0;
        u32 integer = 1u << fraction | x.fraction >> 1 >> (31 - fraction);
        shift = x.scale - fraction - unit;
        if (shift < 0) integer >>= -shift, shift = 0;
        high = static_cast<i32>(integer >> HALF), low = static_cast<i32>(integer & ((1u << HALF) - 1));
        if (x.sign) high = -high, low = -low;
    }

    // Modulo a number, of which the powers of 2 are known.
    RN_HD u32 residue(i8 high_power, i8 low_power, const Moduli& moduli, i32 i) const {
        return static_cast<u32>(moduli.centred(high * high_power + low * low_power, i)) & 0xff;
    }
};

// ---- sums from residues --------------------------------------------------------------------------

// What makes integers of residues, for each count of groups: of each modulus the words of its weight, and 2**32 of it by
// the product, rounded down; and the product.
struct Basis {
    static constexpr RN_HD i32 size(i32 groups) { return 4 * groups * groups + 5 * groups; }

    static constexpr RN_HD i32 start(i32 groups) {
        i32 total = 0;
        for (i32 i = 1; i < groups; i++) total += size(i);
        return total;
    }

    u32 words[2 * GROUPS * (GROUPS + 1) * (2 * GROUPS + 1) / 3 + 5 * GROUPS * (GROUPS + 1) / 2];
};

// The integer below P / 2 in size that has these residues, a stride apart.
template <i32 WORDS>
RN_HD void set_from_residues(Register<GROUPS>& sum, const u8* residues, i64 stride, const Basis& basis) {
    constexpr i32 ALL = 4 * WORDS;
    const u32* weights = basis.words + Basis::start(WORDS);
    const u32* product = weights + ALL * (WORDS + 1);
    u64 words[WORDS] = {}, quotient = 1ull << 31;
#pragma unroll
    for (i32 i = 0; i < ALL; i++) {
        const u32 y = residues[i * stride], *weight = weights + i * (WORDS + 1);
#pragma unroll
        for (i32 w = 0; w < WORDS; w++) words[w] += static_cast<u64>(y) * weight[w];
        quotient += static_cast<u64>(y) * weight[WORDS];
    }
    const u64 whole = quotient >> 32;
    i64 carry = 0;
#pragma unroll
    for (i32 w = 0; w < GROUPS; w++) {
        if (w < WORDS) carry += static_cast<i64>(words[w] - whole * product[w]);
        sum.limb[w] = static_cast<u32>(carry);
        carry >>= 32;
    }
}

struct Sums {
    const u8* residues;  // [modulus][row][column], filled up
    i32 rows, columns;   // of these
    const u8* a_nar;     // of each row whether it has a NaR
    const u8* b_nar;     // of each column
};

RN_HD void set_from_residues(Register<GROUPS>& sum, const u8* residues, i64 stride, i32 groups, const Basis& basis) {
    switch (groups) {
#define RN_GROUPS(n) \
    case n:          \
        return set_from_residues<n>(sum, residues, stride, basis);
        RN_GROUPS(1)
        RN_GROUPS(2)
        RN_GROUPS(3)
        RN_GROUPS(4)
        RN_GROUPS(5)
        RN_GROUPS(6)
        RN_GROUPS(7)
        RN_GROUPS(8)
        RN_GROUPS(9)
    }
}

// ---- sums by registers ---------------------------------------------------------------------------

// Results [batch][row][column] from the first one on, each in so many segments of its terms.
struct Work {
    i64 rows, columns, terms;
    i64 first, count;
    i64 segments, length;
    const i32* done;  // not 0: by residues; or null

    RN_HD bool is_done() const { return done && *done; }
};

struct Place {
    i64 batch, row, column;

    RN_HD Place(i64 number, const Work& work)
        : batch(number / work.columns / work.rows), row(number / work.columns % work.rows), column(number % work.columns) {}
};

// Halves of a warp are added until each lane has it all.
template <i32 LIMBS>
__device__ __forceinline__ void add_across_warp(Register<LIMBS>& sum) {
#pragma unroll 1
    for (i32 half = 16; half; half /= 2) {
        Register<LIMBS> other(sum.lowest);
#pragma unroll
        for (i32 i = 0; i < LIMBS; i++) other.limb[i] = __shfl_xor_sync(~0u, sum.limb[i], half);
        other.kind = __shfl_xor_sync(~0u, sum.kind, half);
        sum.add(other);
    }
}

// Words [segment][limb][result], the last one its kind.
template <i32 LIMBS>
__device__ __forceinline__ void add_in_registers(const Numbers& a, const Numbers& b, const Work& work, Posit fmt,
                                                 u32* sums) {
    const i32 lane = static_cast<i32>(threadIdx.x) % 32;
    const i64 warps = static_cast<i64>(gridDim.x) * (THREADS / 32);
    for (i64 item = blockIdx.x * static_cast<i64>(THREADS / 32) + threadIdx.x / 32; item < work.count * work.segments;
         item += warps) {
        // A warp makes one segment of one result; its lanes share the terms out.
        const i64 number = item % work.count, segment = item / work.count, from = segment * work.length;
        const Place at(work.first + number, work);
        const i64 end = from + work.length < work.terms ? from + work.length : work.terms;
        Register<LIMBS> sum(-2 * fmt.max_scale());
        for (i64 k = from + lane; k < end; k += 32) {
            sum.add_product(parts_at(a, a.place(at.batch, at.row, k), fmt),
                            parts_at(b, b.place(at.batch, at.column, k), fmt));
        }
        add_across_warp(sum);
        if (lane > 0) continue;
        u32* to = sums + segment * (LIMBS + 1) * work.count + number;
#pragma unroll
        for (i32 i = 0; i < LIMBS; i++) to[i * work.count] = sum.limb[i];
        to[LIMBS * work.count] = static_cast<u32>(sum.kind);
    }
}

template <i32 LIMBS>
__device__ __forceinline__ void round_registers(const u32* sums, const Numbers& c, const Numbers& out, const Work& work,
                                                Posit fmt) {
    const i32 lanes = work.segments > 1 ? 32 : 1;  // that share out a result's segments
    const i64 threads = static_cast<i64>(gridDim.x) * THREADS;
    for (i64 item = blockIdx.x * static_cast<i64>(THREADS) + threadIdx.x; item < work.count * lanes; item += threads) {
        const i64 number = item / lanes, lane = item % lanes;
        Register<LIMBS> sum(-2 * fmt.max_scale());
        for (i64 segment = lane; segment < work.segments; segment += lanes) {
            const u32* from = sums + segment * (LIMBS + 1) * work.count + number;
            Register<LIMBS> part(sum.lowest);
#pragma unroll
            for (i32 i = 0; i < LIMBS; i++) part.limb[i] = from[i * work.count];
            part.kind = static_cast<i32>(from[LIMBS * work.count]);
            sum.add(part);
        }
        if (lanes > 1) add_across_warp(sum);
        if (lane > 0) continue;
        const Place at(work.first + number, work);
        if (c.data) sum.add(parts_at(c, c.place(at.batch, at.row, at.column), fmt));
        store(out, out.place(at.batch, at.row, at.column), sum.pattern(fmt), fmt);
    }
}

}  // namespace rn

// ---- kernels -------------------------------------------------------------------------------------

// The span of an operand, and of each of its lines whether it has a NaR; both are 0 before.
extern "C" __global__ void __launch_bounds__(rn::THREADS)
    rn_quire_survey(rn::Numbers x, rn::Extent size, rn::Posit fmt, rn::Span* span, rn::u8* nar) {
    using namespace rn;
    const i64 down = (size.lines + LINES - 1) / LINES, across = (size.terms + TERMS - 1) / TERMS;
    Span own{0, 0};
    for (i64 tile = blockIdx.x; tile < size.batches * down * across; tile += gridDim.x) {
        const i64 batch = tile / (down * across), line = tile / across % down * LINES, term = tile % across * TERMS;
        each_of_tile(x, size, batch, line, term, fmt, [&](i32 l, i32, u32 code) {
            Parts value = parts_of(code, fmt);
            if (value.nar && nar) nar[batch * size.lines + line + l] = 1;
            if (!value.present) return;
            i32 trailing = 31 - leading_zeros(value.fraction & (0 - value.fraction));  // where there is a fraction
            i32 unit = OFFSET - value.scale + (value.fraction ? 32 - trailing : 0);
            i32 bound = OFFSET + value.scale + (value.fraction != 0);
            own.unit = own.unit > unit ? own.unit : unit;
            own.bound = own.bound > bound ? own.bound : bound;
        });
    }
    for (i32 half = 16; half; half /= 2) {
        i32 unit = __shfl_xor_sync(~0u, own.unit, half), bound = __shfl_xor_sync(~0u, own.bound, half);
        own.unit = own.unit > unit ? own.unit : unit;
        own.bound = own.bound > bound ? own.bound : bound;
    }
    if (threadIdx.x % 32 == 0 && own.unit) {
        atomicMax(&span->unit, own.unit);
        atomicMax(&span->bound, own.bound);
    }
}

// Residues [modulus][line][term] of an operand, which is a (0) or b (1), filled up with zeros to a multiple of LINES and
// TERMS; and how many moduli there are.
extern "C" __global__ void __launch_bounds__(rn::THREADS)
    rn_quire_residues(rn::Numbers x, rn::Extent size, rn::Extent filled, rn::i32 side, rn::Posit fmt,
                      const __grid_constant__ rn::Scheme scheme, const __grid_constant__ rn::Moduli moduli,
                      rn::u32* residues, rn::i32* count) {
    using namespace rn;
    extern __shared__ float4 rn_shared[];
    u32* powers = reinterpret_cast<u32*>(rn_shared);  // [group][shift], a modulus a byte
    u32* tile = powers + GROUPS * SHIFTS;
    const i32 thread = static_cast<i32>(threadIdx.x);
    // 1. Powers of 2.
    const bool long_format = fraction_bits(0, fmt) >= HALF;
    const Plan plan = plan_of(scheme);
    if (blockIdx.x == 0 && thread == 0) *count = 4 * plan.groups;
    if (plan.groups == 0) return;
    for (i32 i = thread; i < plan.groups * SHIFTS; i += THREADS) {
        u32 packed = 0;
        for (i32 j = 0; j < 4; j++) {
            packed |= (static_cast<u32>(power_of_2(i % SHIFTS, moduli, i / SHIFTS * 4 + j)) & 0xff) << 8 * j;
        }
        powers[i] = packed;
    }
    const i32 across = static_cast<i32>(filled.terms / TERMS), down = static_cast<i32>(filled.lines / LINES);
    const i64 stride = filled.lines * filled.terms / 4;
    for (i32 number = static_cast<i32>(blockIdx.x); number < down * across; number += static_cast<i32>(gridDim.x)) {
        // 2. A tile of posits.
        const i64 line = number / across * LINES, term = number % across * TERMS;
        __syncthreads();  // the one before it is done
        each_of_tile(x, size, 0, line, term, fmt, [&](i32 l, i32 t, u32 code) { tile[l * PITCH + t] = code; });
        __syncthreads();
        // 3. Four neighbouring terms at a time, for one modulus after the other.
        for (i32 i = thread; i < LINES * TERMS / 4; i += THREADS) {
            const i32 l = i / (TERMS / 4), t = i % (TERMS / 4) * 4;
            const uint4 code = *reinterpret_cast<const uint4*>(tile + l * PITCH + t);
            const i32 unit = side ? plan.b_unit : plan.a_unit;
            const Integer four[4] = {{code.x, unit, fmt}, {code.y, unit, fmt}, {code.z, unit, fmt}, {code.w, unit, fmt}};
            u32* to = residues + ((line + l) * filled.terms + term + t) / 4;
            for (i32 group = 0; group < plan.groups; group++) {
                u32 low[4], high[4];
#pragma unroll
                for (i32 e = 0; e < 4; e++) {
                    const u32* power = powers + group * SHIFTS + four[e].shift;
                    low[e] = power[0], high[e] = long_format ? power[HALF] : 0;
                }
#pragma unroll
                for (i32 m = 0; m < 4; m++, to += stride) {
                    u32 packed = 0;
#pragma unroll
                    for (i32 e = 0; e < 4; e++) {
                        const i8 upper = static_cast<i8>(high[e] >> 8 * m), lower = static_cast<i8>(low[e] >> 8 * m);
                        packed |= four[e].residue(upper, lower, moduli, 4 * group + m) << 8 * e;
                    }
                    *to = packed;
                }
            }
        }
    }
}

// Results of a row, which is the block's y, and so many columns from sums modulo the moduli; c may be null.
extern "C" __global__ void __launch_bounds__(rn::THREADS)
    rn_quire_reconstruct(rn::Sums sums, rn::Numbers c, rn::Numbers out, rn::i32 columns, rn::Posit fmt,
                         const __grid_constant__ rn::Scheme scheme, const __grid_constant__ rn::Basis basis) {
    using namespace rn;
    const Plan plan = plan_of(scheme);
    const i64 stride = static_cast<i64>(sums.rows) * sums.columns;
    if (plan.groups == 0) return;
    const i32 row = static_cast<i32>(blockIdx.y);
    for (i32 column = static_cast<i32>(blockIdx.x * THREADS + threadIdx.x); column < columns;
         column += static_cast<i32>(gridDim.x) * THREADS) {
        Register<GROUPS> sum(plan.a_unit + plan.b_unit);
        set_from_residues(sum, sums.residues + row * sums.columns + column, stride, plan.groups, basis);
        if (sums.a_nar[row] | sums.b_nar[column]) sum.kind = NOT_A_NUMBER;
        if (c.data) sum.add(parts_at(c, c.place(0, row, column), fmt));
        store(out, out.place(0, row, column), sum.pattern(fmt), fmt);
    }
}

// Formats whose quires have at most so many limbs.
#define RN_REGISTERS(limbs)                                                                                           \
    extern "C" __global__ void __launch_bounds__(rn::THREADS)                                                         \
        rn_quire_add_##limbs(rn::Numbers a, rn::Numbers b, rn::Work work, rn::Posit fmt, rn::u32* sums) {             \
        if (!work.is_done()) rn::add_in_registers<limbs>(a, b, work, fmt, sums);                                                           \
    }                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(rn::THREADS)                                                         \
        rn_quire_round_##limbs(const rn::u32* sums, rn::Numbers c, rn::Numbers out, rn::Work work, rn::Posit fmt) {   \
        if (!work.is_done()) rn::round_registers<limbs>(sums, c, out, work, fmt);                                                          \
    }

RN_REGISTERS(4)
RN_REGISTERS(8)
RN_REGISTERS(16)
