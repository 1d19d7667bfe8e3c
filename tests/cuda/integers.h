// Tensor cores for integers on the CPU: what rn_integers.cuh has of PTX, for sim.h.
#pragma once

namespace sim {

// Words that the lanes of a warp show each other for one instruction, and the line that each of them names.
struct Show {
    std::uint32_t words[6];
    const signed char* line;
};

inline Show shows[1024];

template <class Use>
void shown(const Show& own, Site site, Use use) {
    Show* warp = shows + (self - self->lane - threads.data());
    warp[self->lane] = own;
    wait(State::AT_WARP, site, ALL_LANES);
    use(warp);
    wait(State::AT_WARP, site, ALL_LANES);
}

}  // namespace sim

namespace rn {

inline void copy_16(signed char* to, const signed char* from) {
    copy_async(reinterpret_cast<uint4*>(to), reinterpret_cast<const uint4*>(from));
}

inline void load_pieces(std::uint32_t (&to)[4], const signed char* from, SIM_HERE) {
    if (reinterpret_cast<std::uintptr_t>(from) % 16) sim::fail("a line of a matrix is not aligned to 16 bytes");
    sim::shown({{}, from}, {"load_pieces", file, line}, [&](const sim::Show* warp) {
        for (unsigned i = 0; i < 4; i++) {
            std::memcpy(&to[i], warp[8 * i + sim::self->lane / 4].line + sim::self->lane % 4 * 4, 4);
        }
    });
}

inline void multiply_add(std::int32_t (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                         SIM_HERE) {
    sim::shown({{a[0], a[1], a[2], a[3], b0, b1}, nullptr}, {"multiply_add", file, line}, [&](const auto* warp) {
        auto four = [&](unsigned lane, unsigned word) {
            return reinterpret_cast<const signed char*>(&warp[lane].words[word]);
        };
        for (unsigned e = 0; e < 4; e++) {
            const unsigned row = sim::self->lane / 4 + e / 2 * 8, column = sim::self->lane % 4 * 2 + e % 2;
            for (unsigned k = 0; k < 8; k++) {
                const signed char* x = four(row % 8 * 4 + k % 4, row / 8 + k / 4 * 2);
                const signed char* y = four(column * 4 + k % 4, 4 + k / 4);
                sums[e] += x[0] * y[0] + x[1] * y[1] + x[2] * y[2] + x[3] * y[3];
            }
        }
    });
}

inline void copies_ready() {}
template <int COUNT>
void settle(std::int32_t (&)[COUNT]) {}

inline void multiply_add_async(std::int32_t (&sums)[128], std::uint64_t a, std::uint64_t b) {
    const sim::Described left(a, true), right(b, true);
    auto make = [&sums, left, right, thread = threadIdx.x % 128] {
        // Two bytes at a time, as elements of 16 bits are found.
        auto product = [](unsigned x, unsigned y) {
            return static_cast<signed char>(x) * static_cast<signed char>(y) +
                   static_cast<signed char>(x >> 8) * static_cast<signed char>(y >> 8);
        };
        for (unsigned i = 0; i < 128; i++) {
            const unsigned row = thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + thread % 4 * 2 + i % 2;
            for (unsigned k = 0; k < 16; k++) sums[i] += product(left.at(row, k), right.at(column, k));
        }
    };
    if (!sim::options.late) make();
    sim::self->sums.back().push_back(sim::options.late ? std::function<void()>(make) : [] {});
}

}  // namespace rn
