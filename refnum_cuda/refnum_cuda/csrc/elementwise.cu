// Elementwise kernels: conversions between scalar formats, rounding of floats there and back, arithmetic of posits.
// packed.cu has faster ones for much of what is rounded to nearest even.
// Grids have one dimension and any size. Operands have any strides and may be broadcast; results are contiguous.
#include "rn_formats.cuh"

namespace rn {

// ---- where elements lie --------------------------------------------------------------------------

constexpr i32 DIMS = 8;

// That of the result.
struct Shape {
    i64 count;       // of elements
    i32 dims;        // 0: every operand lies as the result does
    i64 size[DIMS];  // the last one the fastest
};

struct Operand {
    const void* data;
    i32 bits;          // of an element: 8, 16, 32 or 64
    i64 stride[DIMS];  // in elements; 0 where it is broadcast
};

struct Result {
    void* data;
    i32 bits;
};

RN_HD i64 place(i64 index, const Operand& x, const Shape& shape) {
    if (shape.dims == 0) return index;
    i64 total = 0;
    for (i32 d = shape.dims - 1; d > 0; --d) {
        total += index % shape.size[d] * x.stride[d];
        index /= shape.size[d];
    }
    return total + index * x.stride[0];
}

RN_HD u64 load(const Operand& x, i64 index, const Shape& shape) {
    i64 i = place(index, x, shape);
    switch (x.bits) {
        case 8:
            return static_cast<const u8*>(x.data)[i];
        case 16:
            return static_cast<const u16*>(x.data)[i];
        case 32:
            return static_cast<const u32*>(x.data)[i];
        default:
            return static_cast<const u64*>(x.data)[i];
    }
}

RN_HD void store(const Result& out, i64 i, u64 bits) {
    switch (out.bits) {
        case 8:
            static_cast<u8*>(out.data)[i] = static_cast<u8>(bits);
            break;
        case 16:
            static_cast<u16*>(out.data)[i] = static_cast<u16>(bits);
            break;
        case 32:
            static_cast<u32*>(out.data)[i] = static_cast<u32>(bits);
            break;
        default:
            static_cast<u64*>(out.data)[i] = bits;
    }
}

// ---- how they are shared out ---------------------------------------------------------------------

// f(i) for the numbers that are this thread's.
template <class F>
__device__ void for_each(i64 count, F f) {
    i64 threads = static_cast<i64>(gridDim.x) * blockDim.x;
    for (i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += threads) f(i);
}

}  // namespace rn

// ---- conversions ---------------------------------------------------------------------------------
// Random bits are the low 16 of an element, so that int8 must be widened before. They have no data where none are read.

// encode, decode, and from one posit format to another.
extern "C" __global__ void rn_convert(const __grid_constant__ rn::Operand x,
                                      const __grid_constant__ rn::Operand random,
                                      const rn::Result out, const __grid_constant__ rn::Shape shape,
                                      const __grid_constant__ rn::Format from, const __grid_constant__ rn::Format to,
                                      rn::i32 rounding) {
    using namespace rn;
    for_each(shape.count, [&](i64 i) {
        u32 threshold = random.data ? static_cast<u32>(load(random, i, shape)) : 0;
        store(out, i, encode(decode(load(x, i, shape), from), to, rounding, threshold));
    });
}

// quantize: values of a row of floats rounded to a format that the row keeps, as values of the row.
extern "C" __global__ void rn_quantize(const __grid_constant__ rn::Operand x,
                                       const __grid_constant__ rn::Operand random,
                                       const rn::Result out, const __grid_constant__ rn::Shape shape,
                                       const __grid_constant__ rn::Format row, const __grid_constant__ rn::Format fmt,
                                       rn::i32 rounding) {
    using namespace rn;
    for_each(shape.count, [&](i64 i) {
        u32 threshold = random.data ? static_cast<u32>(load(random, i, shape)) : 0;
        u64 code = encode(decode(load(x, i, shape), row), fmt, rounding, threshold);
        store(out, i, encode(decode(code, fmt), row, NEAREST_EVEN, 0));
    });
}

// ---- arithmetic of posits ------------------------------------------------------------------------

// rn_posit_<name>: VALUE, made of the operands x(0), x(1), x(2), rounded once.
#define RN_POSIT(NAME, VALUE)                                                                                         \
    extern "C" __global__ void rn_posit_##NAME(                                                                       \
        const __grid_constant__ rn::Operand a, const __grid_constant__ rn::Operand b,                                 \
        const __grid_constant__ rn::Operand c, const rn::Result out, const __grid_constant__ rn::Shape shape,         \
        const rn::Posit fmt) {                                                                                        \
        rn::for_each(shape.count, [&](rn::i64 i) {                                                                    \
            auto x = [&](int k) { return rn::decode(rn::load(k == 0 ? a : k == 1 ? b : c, i, shape), fmt); };         \
            rn::store(out, i, rn::round_wide(rn::pack(VALUE, fmt), fmt, rn::NEAREST_EVEN, 0));                        \
        });                                                                                                           \
    }

RN_POSIT(add, rn::add(x(0), x(1)))
RN_POSIT(sub, rn::add(x(0), rn::negate(x(1))))
RN_POSIT(mul, rn::multiply(x(0), x(1)))
RN_POSIT(div, rn::divide(x(0), x(1)))
RN_POSIT(sqrt, rn::square_root(x(0)))
RN_POSIT(fma, rn::add(rn::multiply(x(0), x(1)), x(2)))
RN_POSIT(fmm, rn::multiply(rn::multiply(x(0), x(1)), x(2)))
