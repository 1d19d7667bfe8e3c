// CUDA kernels on the CPU, unchanged: include this file before theirs. A thread is a fiber, and blocks run one by one.
//
// What a GPU leaves open is chosen here: in which order blocks, warps and the lanes of a warp run, and how late
// asynchronous copies land. A right kernel has the same results however that is chosen, and a kernel that lacks a
// barrier has others for some choice. A warp runs until all of it waits for the block, so that a barrier of the warp
// orders nothing between warps.
//
// Shared memory is `extern __shared__ float4 rn_shared[]`: all of it is NaN when a block starts. Static shared memory
// works, but holds what the block before left. Not modelled: the order in which other threads see global memory within
// a launch, conflicts of banks.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cfenv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#define __device__
#define __host__
#define __global__ [[gnu::used]]
#define __shared__ thread_local
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace sim {

constexpr std::size_t SHARED = 227 << 10, STACK = 64 << 10;
constexpr unsigned char NAN_BYTE = 0xff;
constexpr unsigned ALL_LANES = 0xffffffffu;

// A place in a kernel where it orders something: a barrier, a commit or a wait.
struct Site {
    const char *what, *file;
    int line;
    bool operator==(const Site& other) const {
        return line == other.line && !std::strcmp(what, other.what) && !std::strcmp(file, other.file);
    }
    std::string text() const { return std::string(what) + " " + file + ":" + std::to_string(line); }
};

struct Copy {
    void* to;
    const void* from;
    std::size_t size;
    void land() const { std::memcpy(to, from, size); }
};

enum class State { READY, AT_WARP, AT_BLOCK, AT_EVENT, FAILED, DONE };

struct Thread {
    ucontext_t start;
    jmp_buf where;
    std::unique_ptr<char[]> stack{new char[STACK]};
    bool started = false;
    State state;
    uint3 index;
    unsigned lane;
    Site site;                              // of the barrier at which it waits
    unsigned mask;                          // the lanes it waits for
    std::uint64_t offered;                  // to a shuffle
    std::vector<std::vector<Copy>> copies;  // groups; the last one is open
    std::function<bool()> event;            // for which it waits
    std::vector<std::vector<std::function<void()>>> sums;  // that tensor cores make, as the copies
    std::string error;
};

struct Options {
    int order;    // of blocks, warps and lanes: 0 ascending, 1 descending, others at random
    int late;     // copies land when they are waited for, not when they start
    int without;  // the site that does nothing; -1: none
};

inline std::vector<Thread> threads;
inline Thread* self;
inline jmp_buf scheduler;
inline std::vector<Site> sites;  // in the order in which they were first met
inline Options options;
inline void (*body)(void**);
inline void** arguments;

inline std::vector<unsigned> ordered(unsigned count) {
    std::vector<unsigned> order(count);
    std::iota(order.begin(), order.end(), 0u);
    if (options.order == 1) std::reverse(order.begin(), order.end());
    if (options.order < 2) return order;
    std::mt19937 random(static_cast<unsigned>(options.order));
    for (unsigned i = count; i > 1; i--) std::swap(order[i - 1], order[random() % i]);
    return order;
}

// ---- in a fiber ----------------------------------------------------------------------------------

// Let others run; what makes this thread READY again is theirs.
[[gnu::noinline]] inline void pause(State state) {
    self->state = state;
    if (!_setjmp(self->where)) _longjmp(scheduler, 1);
}

[[noreturn]] inline void fail(std::string error) {
    self->error = std::move(error);
    for (;;) pause(State::FAILED);
}

// Whether the site is one that does nothing.
inline bool skips(Site site) {
    auto found = std::find(sites.begin(), sites.end(), site);
    if (found == sites.end()) found = sites.insert(found, site);
    return found - sites.begin() == options.without;
}

inline void wait(State state, Site site, unsigned mask) {
    self->site = site, self->mask = mask;
    pause(state);
}

// Until something has happened that other threads of the block do.
inline void wait_for(std::function<bool()> event, Site site) {
    self->event = std::move(event), self->site = site;
    pause(State::AT_EVENT);
}

inline std::uint64_t exchange(std::uint64_t value, unsigned source, Site site, unsigned mask) {
    if (!(mask >> self->lane & 1) || !(mask >> source & 1)) fail(site.text() + " names a lane that is not in its mask");
    self->offered = value;
    wait(State::AT_WARP, site, mask);
    value = (self - self->lane + source)->offered;
    wait(State::AT_WARP, site, mask);
    return value;
}

template <class T>
T shuffle(T value, unsigned source, Site site, unsigned mask) {
    static_assert(sizeof(T) <= 8, "32 or 64 bits");
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = exchange(bits, source, site, mask);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline void fiber() {
    for (;;) {
        body(arguments);
        for (const auto& group : self->copies) {
            if (!group.empty()) fail("a thread returns while copies are on their way");
        }
        for (const auto& group : self->sums) {
            if (!group.empty()) fail("a thread returns while its sums are made");
        }
        pause(State::DONE);
    }
}

// ---- the scheduler -------------------------------------------------------------------------------

[[gnu::noinline]] inline void resume(Thread& thread) {
    self = &thread;
    threadIdx = thread.index;
    if (_setjmp(scheduler)) return;
    if (thread.started) _longjmp(thread.where, 1);
    thread.started = true;
    getcontext(&thread.start);
    thread.start.uc_stack.ss_sp = thread.stack.get();
    thread.start.uc_stack.ss_size = STACK;
    thread.start.uc_link = nullptr;
    makecontext(&thread.start, fiber, 0);
    setcontext(&thread.start);
}

// Lanes go on whose whole mask waits at one site.
inline bool release_lanes(Thread* warp, unsigned lanes) {
    bool any = false;
    for (unsigned lane = 0; lane < lanes; lane++) {
        Thread& one = warp[lane];
        if (one.state != State::AT_WARP) continue;
        auto with = [&](auto act) {
            for (unsigned other = 0; other < lanes; other++) {
                if (one.mask >> other & 1) act(warp[other]);
            }
        };
        bool all = true;
        with([&](Thread& other) {
            all = all && other.state == State::AT_WARP && other.mask == one.mask && other.site == one.site;
        });
        if (!all) continue;
        any = true;
        with([](Thread& other) { other.state = State::READY; });
    }
    return any;
}

inline void run_warp(Thread* warp, unsigned lanes) {
    do {
        for (unsigned lane : ordered(lanes)) {
            if (warp[lane].state == State::READY) resume(warp[lane]);
            if (warp[lane].state == State::FAILED) throw std::runtime_error(warp[lane].error);
        }
    } while (release_lanes(warp, lanes));
    if (std::any_of(warp, warp + lanes, [](const Thread& thread) { return thread.state == State::AT_EVENT; })) return;
    for (unsigned lane = 0; lane < lanes; lane++) {
        if (warp[lane].state != State::AT_WARP) continue;
        throw std::runtime_error("divergent: lane " + std::to_string(lane) + " waits for others at " +
                                 warp[lane].site.text());
    }
}

// Threads go on whose event has happened.
inline bool release_events(unsigned count) {
    bool any = false;
    for (unsigned i = 0; i < count; i++) {
        if (threads[i].state != State::AT_EVENT || !threads[i].event()) continue;
        threads[i].state = State::READY;
        any = true;
    }
    return any;
}

// All threads of a block wait at one barrier, or have returned; true as long as it goes on.
inline bool release_block(unsigned count) {
    auto waiting = std::find_if(threads.begin(), threads.begin() + count,
                                [](const Thread& thread) { return thread.state == State::AT_BLOCK; });
    if (waiting == threads.begin() + count) return false;
    for (unsigned i = 0; i < count; i++) {
        if (threads[i].state == State::AT_BLOCK && threads[i].site == waiting->site) continue;
        throw std::runtime_error(
            "divergent: thread " + std::to_string(waiting - threads.begin()) + " waits at " + waiting->site.text() +
            (threads[i].state == State::DONE ? ", and thread " + std::to_string(i) + " has returned"
                                             : ", thread " + std::to_string(i) + " at " + threads[i].site.text()));
    }
    for (unsigned i = 0; i < count; i++) threads[i].state = State::READY;
    return true;
}

}  // namespace sim

inline thread_local float4 rn_shared[sim::SHARED / sizeof(float4)];

namespace sim {

void begin_block();  // in hopper.h

inline void run_block(std::size_t shared) {
    auto* memory = reinterpret_cast<unsigned char*>(rn_shared);
    std::memset(memory, NAN_BYTE, SHARED);
    unsigned count = blockDim.x * blockDim.y * blockDim.z;
    for (unsigned i = 0; i < count; i++) {
        Thread& thread = threads[i];
        thread.state = State::READY;
        thread.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
        thread.lane = i % 32;
        thread.copies.assign(1, {});
        thread.sums.assign(1, {});
    }
    begin_block();
    do {
        for (unsigned warp : ordered((count + 31) / 32)) {
            run_warp(&threads[warp * 32], std::min(32u, count - warp * 32));
        }
    } while (release_events(count) || release_block(count));
    for (unsigned i = 0; i < count; i++) {
        if (threads[i].state == State::DONE) continue;
        throw std::runtime_error("thread " + std::to_string(i) + " waits for ever at " + threads[i].site.text());
    }
    if (std::any_of(memory + shared, memory + SHARED, [](unsigned char byte) { return byte != NAN_BYTE; })) {
        throw std::runtime_error("the kernel writes beyond its " + std::to_string(shared) + " bytes of shared memory");
    }
}

inline void run(std::size_t shared) {
    unsigned count = blockDim.x * blockDim.y * blockDim.z;
    if (!count || count > 1024 || shared > SHARED) throw std::runtime_error("no GPU launches such a block");
    threads.clear();
    threads.resize((count + 31) / 32 * 32);
    for (unsigned block : ordered(gridDim.x * gridDim.y * gridDim.z)) {
        blockIdx = {block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y};
        run_block(shared);
    }
}

// ---- kernels by name -----------------------------------------------------------------------------

struct Kernel {
    void (*body)(void**);
    std::string parameters;  // a letter each, as Python's struct has them
};

inline std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

template <class T>
constexpr char letter() {
    if (std::is_pointer_v<T>) return 'P';
    if (std::is_same_v<T, float>) return 'f';
    if (std::is_same_v<T, double>) return 'd';
    if (!std::is_integral_v<T>) return 's';  // a struct
    constexpr char letters[] = "bBhHiIqQ";
    return letters[2 * (sizeof(T) >= 2) + 2 * (sizeof(T) >= 4) + 2 * (sizeof(T) >= 8) + std::is_unsigned_v<T>];
}

template <auto KERNEL>
struct Called;

template <class... T, void (*KERNEL)(T...)>
struct Called<KERNEL> {
    template <std::size_t... I>
    static void with(void** values, std::index_sequence<I...>) {
        KERNEL(*static_cast<T*>(values[I])...);
    }
    static void run(void** values) { with(values, std::index_sequence_for<T...>()); }
    static Kernel row() { return {run, {letter<T>()...}}; }
};

#define SIM_KERNEL(name) \
    static const bool sim_has_##name = sim::kernels().emplace(#name, sim::Called<&name>::row()).second;

}  // namespace sim

// ---- CUDA's names, and rn_copies.cuh -------------------------------------------------------------

#define SIM_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(SIM_HERE) {
    sim::Site site{"__syncthreads", file, line};
    if (!sim::skips(site)) sim::wait(sim::State::AT_BLOCK, site, sim::ALL_LANES);
}

inline void __syncwarp(unsigned mask = sim::ALL_LANES, SIM_HERE) {
    sim::Site site{"__syncwarp", file, line};
    if (!sim::skips(site)) sim::wait(sim::State::AT_WARP, site, mask);
}

// Beyond the segment a lane keeps its own value, as in CUDA.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIM_HERE) {
    unsigned first = sim::self->lane / width * width;
    return sim::shuffle(value, first + source % width, {"__shfl_sync", file, line}, mask);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, SIM_HERE) {
    unsigned own = sim::self->lane, other = own ^ lanes;
    return sim::shuffle(value, other / width > own / width ? own : other, {"__shfl_xor_sync", file, line}, mask);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes, int width = 32, SIM_HERE) {
    unsigned own = sim::self->lane;
    return sim::shuffle(value, own % width < lanes ? own : own - lanes, {"__shfl_up_sync", file, line}, mask);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int width = 32, SIM_HERE) {
    unsigned own = sim::self->lane;
    return sim::shuffle(value, own % width + lanes < unsigned(width) ? own + lanes : own,
                        {"__shfl_down_sync", file, line}, mask);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, SIM_HERE) {
    sim::Site site{"__ballot_sync", file, line};
    if (!(mask >> sim::self->lane & 1)) sim::fail(site.text() + " names a lane that is not in its mask");
    sim::self->offered = predicate != 0;
    sim::wait(sim::State::AT_WARP, site, mask);
    unsigned votes = 0;
    for (unsigned lane = 0; lane < 32; lane++) {
        if (mask >> lane & 1) votes |= unsigned((sim::self - sim::self->lane + lane)->offered) << lane;
    }
    sim::wait(sim::State::AT_WARP, site, mask);
    return votes;
}

// One fiber runs at a time: what it does is atomic.
template <class T>
T atomicAdd(T* place, T value) {
    return std::exchange(*place, *place + value);
}

template <class T>
T atomicOr(T* place, T value) {
    return std::exchange(*place, *place | value);
}

template <class T>
T atomicMax(T* place, T value) {
    return std::exchange(*place, std::max(*place, value));
}

namespace rn {

template <class T>
void copy_async(T* to, const T* from) {
    if ((reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from)) % sizeof(T)) {
        sim::fail("an asynchronous copy of " + std::to_string(sizeof(T)) + " bytes is not aligned to them");
    }
    sim::Copy copy{to, from, sizeof(T)};
    if (!sim::options.late) copy.land();
    sim::self->copies.back().push_back(copy);
}

inline void commit_copies(SIM_HERE) {
    if (!sim::skips({"commit_copies", file, line})) sim::self->copies.emplace_back();
}

template <int LATER>
void wait_copies(SIM_HERE) {
    if (sim::skips({"wait_copies", file, line})) return;
    auto& groups = sim::self->copies;
    while (groups.size() > LATER + 1) {
        if (sim::options.late) std::for_each(groups[0].begin(), groups[0].end(), [](auto& copy) { copy.land(); });
        groups.erase(groups.begin());
    }
}

}  // namespace rn

#include "tensorcore.h"  // tensor cores
#include "hopper.h"  // those of sm_90a, and what feeds them
#include "integers.h"  // both for integers of 8 bits

// ---- from Python ---------------------------------------------------------------------------------

// Run a kernel: null, or what is wrong with it.
extern "C" const char* sim_run(const char* name, dim3 grid, dim3 block, std::size_t shared, sim::Options options,
                               void** arguments) {
    static std::string error;
    std::fenv_t environment;
    std::feholdexcept(&environment);
    std::fesetenv(FE_DFL_ENV);  // a GPU flushes nothing, whatever the caller's settings
    gridDim = grid, blockDim = block;
    sim::options = options, sim::arguments = arguments, sim::body = sim::kernels().at(name).body;
    error.clear();
    try {
        sim::run(shared);
    } catch (const std::runtime_error& failure) {
        error = failure.what();
    }
    std::fesetenv(&environment);
    return error.empty() ? nullptr : error.c_str();
}

// The letters of a kernel's parameters.
extern "C" const char* sim_parameters(const char* name) { return sim::kernels().at(name).parameters.c_str(); }

// The site of a number, in the order in which they were first met; null beyond the last one.
extern "C" const char* sim_site(int number) {
    static std::string text;
    if (number >= static_cast<int>(sim::sites.size())) return nullptr;
    text = sim::sites[number].text();
    return text.c_str();
}
