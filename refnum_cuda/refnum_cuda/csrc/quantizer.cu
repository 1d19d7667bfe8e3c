// Blocks that share a scale: values -> elements and scales. Grids have any size. What is written has the axes of a
// tensor of blocks in memory in the order outer, inner, rows, columns.
#include "rn_eights.cuh"

extern __shared__ float4 rn_shared[];

namespace rn {

struct Values {
    const void* data;
    i32 dtype;
    Strides stride;
};

// As float32, which holds them.
RN_HD float load(const Values& x, i64 place) {
    switch (x.dtype) {
        case FLOAT32:
            return static_cast<const float*>(x.data)[place];
        case BFLOAT16:
            return BFloat16::widened(static_cast<const u16*>(x.data)[place]);
        default:
            return Float16::widened(static_cast<const u16*>(x.data)[place]);
    }
}

// ---- any blocks, by the definition: a warp each --------------------------------------------------

// A block's elements, by their number: row by row.
struct Block {
    i64 outer, rows, columns, inner;  // where it begins
    Tile tile;

    RN_HD i64 place(i32 element, const Strides& stride) const {
        return stride.place(outer, rows + element / tile.columns, columns + element % tile.columns, inner);
    }
};

}  // namespace rn

extern "C" __global__ void rn_quantize_blocks(const __grid_constant__ rn::Values x,
                                              const __grid_constant__ rn::Values random,
                                              const __grid_constant__ rn::Extent size, const rn::Tile tile,
                                              const __grid_constant__ rn::Recipe recipe, const float* tensor,
                                              rn::u8* elements, void* scales, rn::i32 wide) {
    using namespace rn;
    i64 across = size.columns / tile.columns, down = size.rows / tile.rows;
    i64 blocks = size.outer * size.inner * down * across, bytes_a_row = size.columns / tile.packed;
    i32 count = tile.rows * tile.columns, bytes = tile.columns / tile.packed;  // of a block, of its rows
    Level level(tensor);
    for_each(blocks * WARP, [&](i64 thread) {
        i64 number = thread / WARP;
        i32 lane = static_cast<i32>(thread % WARP);
        i64 matrix = number / (across * down), row = number / across % down * tile.rows;
        Block block{matrix / size.inner, row, number % across * tile.columns, matrix % size.inner, tile};
        // 1. The largest magnitude.
        u32 amax = 0;
        for (i32 e = lane; e < count; e += WARP)
            amax = most_of(amax, bits_of(load(x, block.place(e, x.stride))) & MAGNITUDE_BITS);
        for (i32 lanes = WARP / 2; lanes > 0; lanes /= 2) amax = most_of(amax, __shfl_xor_sync(ALL, amax, lanes));
        // 2. The scale.
        Shared shared = share(amax, level, recipe.scaling);
        if (lane == 0) store_scale(scales, wide, number, shared.scale);
        // 3. The elements, byte by byte.
        for (i32 byte = lane; byte < count / tile.packed; byte += WARP) {
            u32 bits = 0;
            for (i32 k = 0; k < tile.packed; ++k) {
                i32 e = byte * tile.packed + k;
                u32 threshold = random.data ? static_cast<const u16*>(random.data)[block.place(e, random.stride)] : 0;
                bits |= element_code(load(x, block.place(e, x.stride)), shared, recipe, threshold) << 4 * k;
            }
            i64 at = (matrix * size.rows + row + byte / bytes) * bytes_a_row + block.columns / tile.packed + byte % bytes;
            elements[at] = static_cast<u8>(bits);
        }
    });
}

// ---- blocks of named elements along rows: 32 values a thread ------------------------------------

namespace rn {

// Rows of values one behind the other.
struct Rows {
    const void* data;
    i64 rows, columns;
    i64 stride;  // of rows, in values
};

// A block belongs to a thread, or to some neighbouring ones of a warp; or a thread has several of them. Grids have
// parts of a row along x, rows along y. A warp makes part after part, and the next one's values are on their way
// meanwhile.
template <class Float, class Codes>
__device__ void quantize_rows(const Rows& x, i32 log_eights, const Recipe& recipe, float zero, const float* tensor,
                              u8* elements, void* scales, i32 wide) {
    using Bits = typename Float::Bits;
    using Sixteen = Vector<u32, 4>;
    constexpr i32 VECTORS = VALUES * sizeof(Bits) / sizeof(Sixteen);
    using Part = Exchange<VECTORS>;
    using Made = Exchange<VALUES * (Codes::WIDTH == 4 ? 4 : 8) / 128>;
    i32 lane = static_cast<i32>(threadIdx.x) % WARP, warp = static_cast<i32>(threadIdx.x) / WARP;
    Level level(tensor);
    i64 units = x.columns / VALUES, step = static_cast<i64>(gridDim.x) * THREADS;
    Sixteen* shared = reinterpret_cast<Sixteen*>(rn_shared) + warp * 2 * Part::SIZE;

    for (i64 row = blockIdx.y; row < x.rows; row += gridDim.y) {
        i64 at = static_cast<i64>(blockIdx.x) * THREADS + warp * WARP;
        const Bits* from = static_cast<const Bits*>(x.data) + row * x.stride + at * VALUES;
        auto count = [&](i64 unit) { return unit < units ? static_cast<i32>(least_of(units - unit, i64{WARP})) : 0; };
        i32 stage = 0;
        Part::start(shared, reinterpret_cast<const Sixteen*>(from), count(at) * VECTORS, lane);
        for (; at < units; at += step, from += step * VALUES, stage ^= Part::SIZE) {
            const Sixteen* next = reinterpret_cast<const Sixteen*>(from + step * VALUES);
            Part::start(shared + (stage ^ Part::SIZE), next, count(at + step) * VECTORS, lane);
            wait_copies<1>();
            __syncwarp();
            // 1. The values, and the largest magnitude of each block. Lanes that have none take what is there.
            Eight<Float> values[EIGHTS];
            u32 amax[EIGHTS];
            Sixteen* here = shared + stage;
            Part::take(here, lane, reinterpret_cast<Sixteen*>(values));
#pragma unroll
            for (i32 e = 0; e < EIGHTS; ++e) amax[e] = values[e].amax();
            join(amax, log_eights);
            for (i32 lanes = 1; lanes * EIGHTS < 1 << log_eights; lanes *= 2)
                amax[0] = most_of(amax[0], __shfl_xor_sync(ALL, amax[0], lanes));
            // 2. The scales.
            void* to_scales = lane < count(at) ? scales : nullptr;
            Factors by = scale_blocks<Float>(amax, (row * units + at + lane) * EIGHTS, log_eights, level,
                                             recipe.scaling, to_scales, wide);
            // 3. The elements.
            Packed<Codes> made[EIGHTS];
            auto read = [&](i32 k) { return Float::widened(Part::template own<Bits>(here, lane, k)); };
            make_codes<Codes>(values, by, recipe, zero, read, made);
            Sixteen* to = reinterpret_cast<Sixteen*>(elements) + (row * units + at) * (Made::SIZE / WARP);
            Made::give(here, reinterpret_cast<const Sixteen*>(made), to, count(at) * (Made::SIZE / WARP), lane);
        }
    }
}

// ---- the same along columns: blocks of at most 32 values, each a row below the one before --------

// Matrices of values, rows one behind the other.
struct Columns {
    const void* data;
    i64 matrices, columns, inner;  // how many, how long columns are, and how many lie side by side
    i64 matrix_stride, stride;     // of matrices and of rows, in values
};

constexpr i32 SIDE = 32, DEEP = THREADS;  // of a tile: blocks side by side, values of each

// Grids have tiles along the inner axis along x, along the other one along y, matrices along z.
template <class Float, class Codes>
__device__ void quantize_columns(const Columns& x, i32 log_eights, const Recipe& recipe, float zero,
                                 const float* tensor, u8* elements, void* scales, i32 wide) {
    using Bits = typename Float::Bits;
    using Sixteen = Vector<u32, 4>;
    constexpr i32 EACH = sizeof(Sixteen) / sizeof(Bits), ACROSS = SIDE / EACH;  // values in a vector, vectors in a row
    constexpr i32 UNITS = DEEP / VALUES, VECTORS = VALUES * (Codes::WIDTH == 4 ? 4 : 8) / 128;
    i32 thread = static_cast<i32>(threadIdx.x), side = thread % SIDE, unit = thread / SIDE;
    Level level(tensor);
    i64 units = x.columns / VALUES;
    Bits* tile = reinterpret_cast<Bits*>(rn_shared);
    Sixteen* codes = reinterpret_cast<Sixteen*>(tile + DEEP * SIDE);
    u32* tile_scales = reinterpret_cast<u32*>(codes + SIDE * UNITS * VECTORS);
    auto slot = [](i32 i, i32 vector) { return i * UNITS * VECTORS + (vector ^ i % 8); };  // lanes meet all banks

    for (i64 matrix = blockIdx.z; matrix < x.matrices; matrix += gridDim.z) {
        i64 first = static_cast<i64>(blockIdx.y) * UNITS, step = static_cast<i64>(gridDim.y) * UNITS;
        for (; first < units; first += step) {
            i64 begin = static_cast<i64>(blockIdx.x) * SIDE;
            const Bits* from = static_cast<const Bits*>(x.data) + matrix * x.matrix_stride + begin;
            // 1. The tile comes, row by row.
#pragma unroll
            for (i32 i = 0; i < ACROSS; ++i) {
                i32 row = (i * THREADS + thread) / ACROSS, column = (i * THREADS + thread) % ACROSS * EACH;
                i64 deep = first * VALUES + row;
                if (deep < x.columns && begin + column < x.inner) {
                    copy_async(reinterpret_cast<Sixteen*>(&tile[row * SIDE + column]),
                               reinterpret_cast<const Sixteen*>(&from[deep * x.stride + column]));
                }
            }
            commit_copies();
            wait_copies<0>();
            __syncthreads();
            // 2. The values of a thread lie one below the other.
            auto bits = [&](i32 k) { return tile[(unit * VALUES + k) * SIDE + side]; };
            Eight<Float> values[EIGHTS];
            u32 amax[EIGHTS];
#pragma unroll
            for (i32 e = 0; e < EIGHTS; ++e) {
                values[e].fill([&](i32 k) { return bits(e * EIGHT + k); });
                amax[e] = values[e].amax();
            }
            join(amax, log_eights);
            Factors by = scale_blocks<Float>(amax, (side * UNITS + unit) * EIGHTS, log_eights, level, recipe.scaling,
                                             tile_scales, 1);
            Packed<Codes> made[EIGHTS];
            auto read = [&](i32 k) { return Float::widened(bits(k)); };
            make_codes<Codes>(values, by, recipe, zero, read, made);
#pragma unroll
            for (i32 i = 0; i < VECTORS; ++i)
                codes[slot(side, unit * VECTORS + i)] = reinterpret_cast<const Sixteen*>(made)[i];
            __syncthreads();  // and with the next one all have been stored
            // 3. What lies together is stored by threads that lie together.
            i32 own = thread / UNITS, part = thread % UNITS;
            i64 row = matrix * x.inner + begin + own;
            if (begin + own < x.inner) {
#pragma unroll
                for (i32 i = 0; i < VECTORS; ++i) {
                    i32 vector = i * UNITS + part;
                    if (first + vector / VECTORS < units)
                        reinterpret_cast<Sixteen*>(elements)[(row * units + first) * VECTORS + vector] =
                            codes[slot(own, vector)];
                }
                i32 each = EIGHTS >> log_eights;
                for (i32 i = 0; i < each && first + part < units; ++i)
                    store_scale(scales, wide, (row * units + first + part) * each + i,
                                tile_scales[(own * UNITS + part) * each + i]);
            }
        }
    }
}

// ---- the largest magnitude of all ----------------------------------------------------------------

// Of values one behind the other, eight at a time; amax is 0 before.
template <class Float>
__device__ void find_amax(const void* x, i64 eights, u32* amax) {
    u32 most = 0;
    for_each(eights, [&](i64 i) { most = most_of(most, static_cast<const Eight<Float>*>(x)[i].amax()); });
    for (i32 lanes = WARP / 2; lanes > 0; lanes /= 2) most = most_of(most, __shfl_xor_sync(ALL, most, lanes));
    most = Eight<Float>::widened(most);
    if (threadIdx.x % WARP == 0) atomicMax(amax, most > INF_BITS ? NAN_BITS : most);
}

}  // namespace rn

// AT_ONCE: blocks of the grid that a multiprocessor has registers for.
#define RN_QUANTIZE_ROWS(DTYPE, FLOAT, AT_ONCE, NAME, CODES)                                                        \
    extern "C" __global__ void __launch_bounds__(rn::THREADS, AT_ONCE) rn_quantize_rows_##DTYPE##_##NAME(           \
        const __grid_constant__ rn::Rows x, rn::i32 log_eights, const __grid_constant__ rn::Recipe recipe,          \
        float zero, const float* tensor, rn::u8* elements, void* scales, rn::i32 wide) {                            \
        rn::quantize_rows<rn::FLOAT, rn::CODES>(x, log_eights, recipe, zero, tensor, elements, scales, wide);       \
    }

#define RN_OF_DTYPES(AT_ONCE, NAME, CODES)                     \
    RN_QUANTIZE_ROWS(float32, Float32, 2, NAME, CODES)         \
    RN_QUANTIZE_ROWS(bfloat16, BFloat16, AT_ONCE, NAME, CODES) \
    RN_QUANTIZE_ROWS(float16, Float16, AT_ONCE, NAME, CODES)

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1200
RN_OF_DTYPES(2, e2m1, E2M1)  // which takes some registers more there
#else
RN_OF_DTYPES(3, e2m1, E2M1)
#endif
RN_OF_DTYPES(2, e2m3, E2M3)
RN_OF_DTYPES(2, e3m2, E3M2)
RN_OF_DTYPES(3, e4m3, E4M3)
RN_OF_DTYPES(3, e5m2, E5M2)
RN_OF_DTYPES(3, int8, Int8)

#define RN_QUANTIZE_COLUMNS(DTYPE, FLOAT, NAME, CODES)                                                              \
    extern "C" __global__ void __launch_bounds__(rn::THREADS, 2) rn_quantize_columns_##DTYPE##_##NAME(              \
        const __grid_constant__ rn::Columns x, rn::i32 log_eights, const __grid_constant__ rn::Recipe recipe,       \
        float zero, const float* tensor, rn::u8* elements, void* scales, rn::i32 wide) {                            \
        rn::quantize_columns<rn::FLOAT, rn::CODES>(x, log_eights, recipe, zero, tensor, elements, scales, wide);    \
    }

RN_QUANTIZE_COLUMNS(float32, Float32, e2m1, E2M1)
RN_QUANTIZE_COLUMNS(bfloat16, BFloat16, e2m1, E2M1)
RN_QUANTIZE_COLUMNS(float16, Float16, e2m1, E2M1)
RN_QUANTIZE_COLUMNS(float32, Float32, e4m3, E4M3)
RN_QUANTIZE_COLUMNS(bfloat16, BFloat16, e4m3, E4M3)
RN_QUANTIZE_COLUMNS(float16, Float16, e4m3, E4M3)

#define RN_AMAX(DTYPE, FLOAT)                                                                       \
    extern "C" __global__ void rn_amax_##DTYPE(const void* x, rn::i64 eights, rn::u32* amax) {      \
        rn::find_amax<rn::FLOAT>(x, eights, amax);                                                  \
    }

RN_AMAX(float32, Float32)
RN_AMAX(bfloat16, BFloat16)
RN_AMAX(float16, Float16)
