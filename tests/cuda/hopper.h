// Hopper on the CPU: what rn_hopper.cuh has of PTX, for sim.h. A launch that waits for ever is an error.
#pragma once

namespace sim {

inline unsigned char* shared_memory() { return reinterpret_cast<unsigned char*>(rn_shared); }

// ---- barriers: a phase ends when all have arrived, and all bytes -----------------------------------

struct Barrier {
    std::uint16_t arrivals, pending : 15, parity : 1;
    std::int32_t bytes;

    void settle() {
        if (pending || bytes) return;
        pending = arrivals, parity ^= 1;
    }
};
static_assert(sizeof(Barrier) == 8, "as the hardware has it");

// Boxes that are on their way to a barrier.
inline std::map<unsigned, std::vector<std::function<void()>>> boxes;

inline void begin_block() { boxes.clear(); }

inline Barrier& barrier_at(unsigned address) {
    if (address % 8) fail("a barrier is not aligned to 8 bytes");
    return *reinterpret_cast<Barrier*>(shared_memory() + address);
}

inline void land(unsigned barrier) {
    for (auto& copy : std::exchange(boxes[barrier], {})) copy();
}

// ---- boxes: what fakecuda.c writes into a tensor map -------------------------------------------------

struct Map {
    std::uint64_t base, size[3], stride[2];  // in elements and bytes
    std::uint32_t box[3], each;              // bytes of an element
};

// Chunks of 16 bytes are permuted within 128 bytes.
inline unsigned permuted(unsigned address) { return address ^ (address >> 7 & 7) << 4; }

inline void copy(unsigned to, const Map& map, const int (&first)[3]) {
    const unsigned row = map.box[0] * map.each;
    for (unsigned z = 0; z < map.box[2]; z++) {
        for (unsigned y = 0; y < map.box[1]; y++) {
            for (unsigned x = 0; x < map.box[0]; x++) {
                const std::int64_t at[] = {first[0] + std::int64_t(x), first[1] + std::int64_t(y), first[2] + std::int64_t(z)};
                bool inside = true;
                for (int axis = 0; axis < 3; axis++) {
                    inside = inside && at[axis] >= 0 && at[axis] < std::int64_t(map.size[axis]);
                }
                std::uint16_t element = 0;
                const std::uint64_t within = at[0] * map.each + at[1] * map.stride[0] + at[2] * map.stride[1];
                if (inside) std::memcpy(&element, reinterpret_cast<const void*>(map.base + within), map.each);
                const unsigned place = to + (z * map.box[1] + y) * row + x * map.each;
                std::memcpy(shared_memory() + permuted(place), &element, map.each);
            }
        }
    }
}

// ---- operands by their descriptors -------------------------------------------------------------------

struct Described {
    unsigned start, leading, stride;
    bool along_terms;

    Described(std::uint64_t bits, bool along_terms)
        : start((bits & 0x3fff) << 4), leading((bits >> 16 & 0x3fff) << 4), stride((bits >> 32 & 0x3fff) << 4),
          along_terms(along_terms) {
        if (bits >> 62 != 1 || (bits >> 49 & 7)) fail("a descriptor of another permutation than that of 128 bytes");
    }

    std::uint16_t at(unsigned line, unsigned k) const { return element<std::uint16_t>(line, k); }

    template <class Bits>
    Bits element(unsigned line, unsigned k) const {
        if (sizeof(Bits) == 1 && !along_terms) fail("bytes do not lie along their lines");
        const unsigned place = along_terms ? line / 8 * stride + line % 8 * 128 + k * sizeof(Bits)
                                           : line / 64 * leading + line % 64 * 2 + k / 8 * stride + k % 8 * 128;
        Bits bits;
        std::memcpy(&bits, shared_memory() + permuted(start + place), sizeof bits);
        return bits;
    }
};

// What an instruction takes: 32 bytes of each line, of 16 bits and one format, or of 8 bits and two formats.
template <class Format>
struct Taken {
    using Bits = typename Format::Bits;
    static constexpr unsigned TERMS = 16;
    static const TensorCore& core() { return tensor_core; }
    static Number left(Bits bits) { return number(bits, Format::EXPONENT, Format::MANTISSA); }
    static Number right(Bits bits) { return left(bits); }
};

template <template <class, class> class Pair, class A, class B>
struct Taken<Pair<A, B>> {
    using Bits = typename Pair<A, B>::Bits;
    static constexpr unsigned TERMS = 32;
    static const TensorCore& core() { return OF_BYTES; }
    static Number left(Bits bits) { return number(bits, A::EXPONENT, A::MANTISSA, A::INFINITE); }
    static Number right(Bits bits) { return number(bits, B::EXPONENT, B::MANTISSA, B::INFINITE); }
};

// A lane's elements of 64 rows.
template <class Format>
void multiply_add(float* sums, unsigned count, unsigned thread, Described a, Described b) {
    using From = Taken<Format>;
    constexpr unsigned TERMS = From::TERMS;
    auto numbers = [](const Described& x, unsigned line, auto read, Number (&to)[TERMS]) {
        for (unsigned k = 0; k < TERMS; k++) to[k] = read(x.element<typename From::Bits>(line, k));
    };
    Number rows[2][TERMS], column[TERMS];
    for (unsigned half = 0; half < 2; half++) {
        numbers(a, thread / 32 * 16 + thread % 32 / 4 + 8 * half, From::left, rows[half]);
    }
    for (unsigned j = 0; j < count / 4; j++) {
        for (unsigned i = 0; i < 2; i++) {
            numbers(b, 8 * j + thread % 4 * 2 + i, From::right, column);
            for (unsigned half = 0; half < 2; half++) {
                float& sum = sums[4 * j + 2 * half + i];
                sum = add_products(sum, rows[half], column, TERMS, From::core());
            }
        }
    }
}

}  // namespace sim

namespace rn {

inline unsigned shared_address(const void* place) {
    return static_cast<unsigned>(static_cast<const unsigned char*>(place) - sim::shared_memory());
}

inline void barrier_init(unsigned barrier, unsigned arrivals) {
    sim::barrier_at(barrier) = {static_cast<std::uint16_t>(arrivals), static_cast<std::uint16_t>(arrivals & 0x7fff), 0, 0};
}

inline void barriers_ready() {}

inline void barrier_arrive(unsigned barrier, SIM_HERE) {
    if (sim::skips({"barrier_arrive", file, line})) return;
    sim::Barrier& it = sim::barrier_at(barrier);
    it.pending--;
    it.settle();
}

inline void barrier_expect(unsigned barrier, unsigned bytes) {
    sim::Barrier& it = sim::barrier_at(barrier);
    it.bytes += static_cast<int>(bytes);
    it.pending--;
    it.settle();
}

inline void barrier_wait(unsigned barrier, unsigned parity, SIM_HERE) {
    const sim::Site site{"barrier_wait", file, line};
    if (sim::skips(site)) return;
    auto ended = [=] {
        sim::land(barrier);
        return sim::barrier_at(barrier).parity != parity;
    };
    if (!ended()) sim::wait_for(ended, site);
}

template <class Map>
void copy_box(unsigned to, const Map* from, unsigned barrier, int x, int y, int z) {
    sim::Map map;
    static_assert(sizeof map <= sizeof *from, "it is written there");
    std::memcpy(&map, from, sizeof map);
    if (to % 1024) sim::fail("a box is not aligned to 1024 bytes");
    sim::boxes[barrier].push_back([=] {
        sim::copy(to, map, {x, y, z});
        sim::Barrier& it = sim::barrier_at(barrier);
        it.bytes -= static_cast<int>(map.box[0] * map.box[1] * map.box[2] * map.each);
        it.settle();
    });
    if (!sim::options.late) sim::land(barrier);
}

template <int>
void fewer_registers() {}
template <int>
void more_registers() {}
inline void operands_ready() {}
template <int COUNT>
void settle(float (&)[COUNT]) {}

template <bool A_ALONG_TERMS, bool B_ALONG_TERMS, class Format, int COUNT>
void multiply_add_async(Format, float (&sums)[COUNT], std::uint64_t a, std::uint64_t b) {
    const sim::Described left(a, A_ALONG_TERMS), right(b, B_ALONG_TERMS);
    auto make = [&sums, left, right, thread = threadIdx.x % 128] {
        sim::multiply_add<Format>(sums, COUNT, thread, left, right);
    };
    if (!sim::options.late) make();
    sim::self->sums.back().push_back(sim::options.late ? std::function<void()>(make) : [] {});
}

inline void commit_sums() { sim::self->sums.emplace_back(); }

template <int LATER>
void wait_sums(SIM_HERE) {
    if (sim::skips({"wait_sums", file, line})) return;
    auto& groups = sim::self->sums;
    while (groups.size() > LATER + 1) {
        for (auto& make : groups[0]) make();
        groups.erase(groups.begin());
    }
}

}  // namespace rn
