// What a warp does on tensor cores (PTX: ldmatrix, mma.sync), and the copies that feed it. On the CPU the simulator has
// them; their arithmetic is refnum's model of the hardware.
#pragma once
#include "rn_halves.cuh"

#if defined(__CUDACC__)
namespace rn {

__device__ __forceinline__ u32 shared_address(const void* place) {
    return static_cast<u32>(__cvta_generic_to_shared(place));
}

// Start to copy so many bytes, and zeros behind them, to 16 bytes of shared memory; all of it aligned to 16.
__device__ __forceinline__ void copy_or_zero(u16* to, const u16* from, i32 bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
                 : "memory");
}

// Four matrices of 8 x 8 elements of 16 bits: lane 8i + r names row r of matrix i, and gets elements 2(lane % 4) and
// 2(lane % 4) + 1 of row lane / 4 of each of them; TRANSPOSED, of column lane / 4.
template <bool TRANSPOSED>
__device__ __forceinline__ void load_matrices(u32 (&to)[4], const u16* row) {
    if constexpr (TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(shared_address(row))
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                     : "r"(shared_address(row))
                     : "memory");
    }
}

// sums [16 x 8] += a [16 x 16] @ b [16 x 8]: lane has rows lane / 4 and 8 further, columns 2(lane % 4) and the next.
#define RN_MULTIPLY_ADD(Format, name)                                                                         \
    __device__ __forceinline__ void multiply_add(Format, float* sums, const u32 (&a)[4], u32 b0, u32 b1) {       \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." name "." name                                   \
                     ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                   \
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                             \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                         \
    }
RN_MULTIPLY_ADD(BFloat16, "bf16")
RN_MULTIPLY_ADD(Float16, "f16")

}  // namespace rn
#endif
