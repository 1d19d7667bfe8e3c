// Copies from global to shared memory that a thread starts and waits for later. On the CPU the simulator has them.
#pragma once
#include "rn_port.cuh"

#if defined(__CUDACC__)
namespace rn {

// Start a copy of 4, 8 or 16 bytes, aligned to as many. Those of 16 bytes go past the first cache: nobody reads them
// again from there.
template <class T>
__device__ __forceinline__ void copy_async(T* to, const T* from) {
    u32 place = static_cast<u32>(__cvta_generic_to_shared(to));
    if constexpr (sizeof(T) == 16) {
        asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(place), "l"(from) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(place), "l"(from), "n"(sizeof(T)) : "memory");
    }
}

// What this thread has started since the last group is one more group.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Wait for this thread's groups, but for the LATER last ones.
template <i32 LATER>
__device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LATER) : "memory");
}

}  // namespace rn
#endif
