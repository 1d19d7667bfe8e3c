// Fixed-point registers in which sums of products are exact, and the quire of posits of at most 32 bits. As
// refnum/posit/quire.py.
#pragma once
#include "rn_words.cuh"

namespace rn {

// Two's complement, two limbs at least. They are named by compile-time indices alone, so that they stay in machine
// registers.
template <i32 LIMBS>
struct Register {
    u32 limb[LIMBS];  // least significant first
    i32 lowest;       // log2 of what the lowest bit is worth
    i32 kind;

    RN_HD explicit Register(i32 lowest) : limb{}, lowest(lowest), kind(NUMBER) {}

    // Add (-1)**sign * integer * 2**exponent, a multiple of the lowest bit.
    RN_HD void add(i32 sign, u64 integer, i32 exponent) {
        // Q1. Below the register's lowest bit there are only zeros to lose.
        i32 position = exponent - lowest;
        if (position < 0) {
            integer = position > -64 ? integer >> -position : 0;
            position = 0;
        }
        // Q2. Three words that start with a whole limb.
        i32 shift = position & 31;
        u64 low = integer << shift;
        u32 high = static_cast<u32>(integer >> 32 >> (32 - shift));
        // Q3. Add them with their sign, and carry through.
        i32 first = position >> 5;
        u32 mask = static_cast<u32>(sign);
        u64 carry = mask & 1;
#pragma unroll
        for (i32 i = 0; i < LIMBS; ++i) {
            u32 word = i == first       ? static_cast<u32>(low)
                       : i == first + 1 ? static_cast<u32>(low >> 32)
                       : i == first + 2 ? high
                                        : 0;
            carry += static_cast<u64>(limb[i]) + (word ^ mask);
            limb[i] = static_cast<u32>(carry);
            carry >>= 32;
        }
    }

    RN_HD void add(Exact x) {
        add(x.sign, x.significand, x.exponent - (LIMB - 1));
        kind |= x.kind;
    }

    RN_HD void add_product(Exact a, Exact b) {
        add(a.sign ^ b.sign, (a.significand >> 31) * (b.significand >> 31), a.exponent + b.exponent - 60);
        kind |= a.kind | b.kind;
    }

    RN_HD void add(Parts x) {
        if (x.present) add(x.sign, x.significand(), x.scale - 30);
        if (x.nar) kind = NOT_A_NUMBER;
    }

    RN_HD void add_product(Parts a, Parts b) {
        u64 product = static_cast<u64>(a.significand()) * b.significand();
        if (a.present && b.present) add(a.sign ^ b.sign, product, a.scale + b.scale - 60);
        if (a.nar || b.nar) kind = NOT_A_NUMBER;
    }

    // Add a register of the same lowest bit.
    RN_HD void add(const Register& other) {
        u64 carry = 0;
#pragma unroll
        for (i32 i = 0; i < LIMBS; ++i) {
            carry += static_cast<u64>(limb[i]) + other.limb[i];
            limb[i] = static_cast<u32>(carry);
            carry >>= 32;
        }
        kind |= other.kind;
    }

    // The pattern of a posit of at most 32 bits, rounded once.
    RN_HD u64 pattern(Posit fmt) const {
        if (kind != NUMBER) return ~fmt.maxpos();
        // V1. The magnitude.
        i32 sign = static_cast<i32>(limb[LIMBS - 1]) >> 31;
        u32 mask = static_cast<u32>(sign);
        u64 carry = mask & 1;
        u32 magnitude[LIMBS];
#pragma unroll
        for (i32 i = 0; i < LIMBS; ++i) {
            carry += limb[i] ^ mask;
            magnitude[i] = static_cast<u32>(carry);
            carry >>= 32;
        }
        // V2. Its first limb that is not zero with the one below: 33 bits or more, of which a posit has 30 at most.
        u64 high = 0;
        u32 rest = 0;
        i32 top = 0;
#pragma unroll
        for (i32 i = LIMBS - 1; i > 0; --i) {
            if (high >> 32) {
                rest |= magnitude[i - 1];
            } else {
                high = static_cast<u64>(magnitude[i]) << 32 | magnitude[i - 1];
                top = i;
            }
        }
        // V3. The leading one, 32 bits behind it, and whether there is more.
        if (high == 0) return 0;
        i32 left = leading_zeros(high);
        high <<= left;
        u32 fraction = static_cast<u32>(high >> 31), more = static_cast<u32>(high << 1) | rest;
        u32 pattern = pattern_of(sign, lowest + 32 * top + 31 - left, fraction, more, fmt);
        return static_cast<u64>(static_cast<i64>(static_cast<i32>(pattern)));
    }
};

// Limbs that fewer than 2**31 products of posits never leave, the lowest bit being worth minpos squared.
RN_HD constexpr i32 quire_limbs(Posit fmt) { return fmt.n == 2 ? 2 : (4 * fmt.max_scale() + 32 + 31) / 32; }

template <i32 N, i32 ES>
struct Quire : Register<quire_limbs(Posit{N, ES})> {
    static constexpr Posit FORMAT{N, ES};

    RN_HD Quire() : Register<quire_limbs(FORMAT)>(-2 * FORMAT.max_scale()) {}

    RN_HD u64 pattern() const { return Register<quire_limbs(FORMAT)>::pattern(FORMAT); }
};

}  // namespace rn
