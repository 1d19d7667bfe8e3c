// Instructions of tensor cores on the CPU, for csrc/probe_tc.cu: who holds what, and what lies where in shared memory,
// as the PTX ISA has it. Sums are of float64, so they are right where they are exact; rounding is not modelled.
#pragma once
#include "sim.h"
#include "rn_port.cuh"

namespace rn::tensor_core {

struct Format {
    std::string name;
    int exponent, mantissa, size;  // bits
};

inline const Format& format_of(const std::string& name) {
    static const Format all[] = {
        {"bf16", 8, 7, 16}, {"f16", 5, 10, 16}, {"tf32", 8, 23, 32}, {"e4m3", 4, 3, 8}, {"e5m2", 5, 2, 8}};
    for (const Format& one : all) {
        if (one.name == name) return one;
    }
    throw std::logic_error("no type " + name);
}

inline double value_of(u32 code, const Format& format) {
    int exponent = code >> format.mantissa & ((1 << format.exponent) - 1), bias = (1 << (format.exponent - 1)) - 1;
    double fraction = std::ldexp(code & ((1u << format.mantissa) - 1), -format.mantissa);
    double size = std::ldexp(fraction + (exponent > 0), std::max(exponent, 1) - bias);
    return code >> (format.size - 1) & 1 ? -size : size;
}

// The fields of a name like m16n8k16.row.col.f32.bf16.bf16.f32.
inline std::vector<std::string> fields_of(const std::string& text) {
    std::vector<std::string> fields(1);
    for (char each : text) {
        if (each == '.') fields.emplace_back();
        else fields.back() += each;
    }
    return fields;
}

// Adds products of two words of k at a time.
struct Types {
    Format a, b;

    // Of the types of operands, after checking that the instruction takes so many words of each.
    Types(const std::vector<std::string>& fields, unsigned first, int words)
        : a(format_of(fields.at(first))), b(format_of(fields.at(first + 1))) {
        int terms = std::stoi(fields[0].substr(fields[0].find('k') + 1));
        if (terms * a.size != words * 32 || a.size != b.size) throw std::logic_error("wrong words for " + fields[0]);
    }

    double add(double sum, u32 x, u32 y) const {
        for (int bit = 0; bit < 32; bit += a.size) {
            u32 mask = a.size == 32 ? ~0u : (1u << a.size) - 1;
            sum += value_of(x >> bit & mask, a) * value_of(y >> bit & mask, b);
        }
        return sum;
    }
};

// The accumulators of a thread: columns 2 * lane % 4 and the next one, of rows lane / 4 and 8 below.
inline double sum_of(const u32 (&d)[4], int half, int j) { return float_of(d[2 * half + j]); }
inline void set_sum(u32 (&d)[4], int half, int j, double sum) { d[2 * half + j] = bits_of(static_cast<float>(sum)); }
inline double sum_of(const u32 (&d)[2], int half, int j) { return value_of(d[half] >> 16 * j & 0xffff, format_of("f16")); }
inline void set_sum(u32 (&d)[2], int half, int j, double sum) {
    _Float16 x = static_cast<_Float16>(sum);
    u16 bits;
    std::memcpy(&bits, &x, sizeof bits);
    d[half] = (d[half] & ~(0xffffu << 16 * j)) | static_cast<u32>(bits) << 16 * j;
}

template <int WORDS, std::size_t SUMS>
void mma(const char* text, u32 (&d)[SUMS], const u32 (&a)[WORDS / 2], const u32 (&b)[WORDS / 4]) {
    Types types(fields_of(text), 4, WORDS);
    int lane = threadIdx.x % 32;
    for (int half = 0; half < 2; half++) {
        for (int j = 0; j < 2; j++) {
            double sum = sum_of(d, half, j);
            for (int word = 0; word < WORDS; word++) {
                int column = 2 * (lane % 4) + j;
                u32 x = __shfl_sync(sim::ALL_LANES, a[half + word / 4 * 2], lane / 4 * 4 + word % 4);
                u32 y = __shfl_sync(sim::ALL_LANES, b[word / 4], column * 4 + word % 4);
                sum = types.add(sum, x, y);
            }
            set_sum(d, half, j, sum);
        }
    }
}

// A word of a row of a matrix that is not swizzled and has k contiguous, by its descriptor.
inline u32 described(u64 descriptor, int row, int word) {
    u64 address = (descriptor & 0x3fff) << 4, leading = (descriptor >> 16 & 0x3fff) << 4;
    u64 stride = (descriptor >> 32 & 0x3fff) << 4;
    if (descriptor >> 46) throw std::logic_error("a base offset, or swizzled");
    address += row / 8 * stride + word / 4 * leading + row % 8 * 16 + word % 4 * 4;
    u32 bits;
    std::memcpy(&bits, reinterpret_cast<const unsigned char*>(rn_shared) + address, sizeof bits);
    return bits;
}

template <std::size_t SUMS>
void wgmma(const char* text, u32 (&d)[SUMS], u64 a, u64 b) {
    constexpr int WORDS = 8;
    Types types(fields_of(text), 2, WORDS);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int half = 0; half < 2; half++) {
        for (int j = 0; j < 2; j++) {
            double sum = sum_of(d, half, j);
            for (int word = 0; word < WORDS; word++) {
                u32 x = described(a, 16 * warp + 8 * half + lane / 4, word);
                sum = types.add(sum, x, described(b, 2 * (lane % 4) + j, word));
            }
            set_sum(d, half, j, sum);
        }
    }
}

inline u32 shared_address(const void* place) {
    return static_cast<u32>(static_cast<const unsigned char*>(place) - reinterpret_cast<unsigned char*>(rn_shared));
}
inline void show_to_wgmma() {}

}  // namespace rn::tensor_core

#define RN_MMA_8_2(TEXT) mma<8>(TEXT, d, a, b);
#define RN_MMA_4_2(TEXT) mma<4>(TEXT, d, a, b);
#define RN_MMA_8_1(TEXT) mma<8>(TEXT, d, a, b);
#define RN_MMA_4_1(TEXT) mma<4>(TEXT, d, a, b);
#define RN_WGMMA_2(TEXT, TAIL) wgmma(TEXT, d, a, b);
#define RN_WGMMA_1(TEXT, TAIL) wgmma(TEXT, d, a, b);
