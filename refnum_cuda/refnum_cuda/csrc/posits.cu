// Products of matrices of posits in the modes of posit_mm that round as they go: products, posit and cuposit.
#include "rn_modes.cuh"
#include "rn_packed.cuh"

namespace rn {

// What is packed of an operand's values.
enum Taken : i32 { AS_THEY_ARE, ROUNDED, CLIPPED };

RN_HD float canonical(float x) { return x == x ? x : float_of(QUIET_NAN); }

}  // namespace rn

// ---- kernels -------------------------------------------------------------------------------------

// Operands as they are, rounded to the format, or clipped as cuposit does.
extern "C" __global__ void rn_pack_float32(const rn::Source x, const rn::Panels to, rn::i32 taken,
                                           const rn::Posit fmt) {
    extern __shared__ float4 rn_shared[];
    rn::pack<float>(x, to, reinterpret_cast<rn::i32*>(rn_shared), [&](float value) {
        const rn::u32 bits = rn::bits_of(value);
        return rn::float_of(taken == rn::ROUNDED   ? rn::round_bits(bits, fmt)
                            : taken == rn::CLIPPED ? rn::clip_bits(bits, fmt.n)
                                                   : bits);
    });
}

extern "C" __global__ void rn_pack_float64(const rn::Source x, const rn::Panels to, rn::i32 taken,
                                           const rn::Posit fmt) {
    extern __shared__ float4 rn_shared[];
    rn::pack<double>(x, to, reinterpret_cast<rn::i32*>(rn_shared),
                     [&](double value) { return taken == rn::ROUNDED ? rn::rounded(value, fmt) : value; });
}

// out = a @ b + c, where c may have no data.
#define RN_PRODUCTS(name, Mode, Tile)                                                                               \
    extern "C" __global__ void __launch_bounds__(rn::Tile::THREADS, 2)                                              \
        name(const rn::Panels a, const rn::Panels b, const rn::Matrix c, const rn::Matrix out, const rn::Size size, \
             const rn::Posit fmt) {                                                                                 \
        extern __shared__ float4 rn_shared[];                                                                       \
        rn::Mode mode{fmt, nullptr};                                                                                \
        rn::product<rn::Mode, rn::Tile>(                                                                            \
            mode, a, b, rn::Matrix{}, out, size, reinterpret_cast<char*>(rn_shared),                                \
            [&](float sum, auto here, rn::i32 row, rn::i32 column) {                                                \
                return rn::canonical(c.data ? rn::add_rn(sum, here(c, row, column)) : sum);                         \
            });                                                                                                     \
    }

RN_PRODUCTS(rn_products_square, Products, Square)
RN_PRODUCTS(rn_products_slim, Products, Slim)
RN_PRODUCTS(rn_long_products_square, LongProducts, Square)
RN_PRODUCTS(rn_long_products_slim, LongProducts, Slim)

// out = alpha * (a @ b) + beta * c, where c has no data if it is not read: -0 changes no product, not even its sign.
#define RN_CUPOSIT(name, Tile)                                                                                      \
    extern "C" __global__ void __launch_bounds__(rn::Tile::THREADS, 2)                                              \
        name(const rn::Panels a, const rn::Panels b, const rn::Matrix c, const rn::Matrix out, const rn::Size size, \
             const rn::Posit fmt, float alpha, float beta) {                                                        \
        extern __shared__ float4 rn_shared[];                                                                       \
        rn::Truncated mode{fmt, nullptr};                                                                           \
        rn::product<rn::Truncated, rn::Tile>(                                                                       \
            mode, a, b, rn::Matrix{}, out, size, reinterpret_cast<char*>(rn_shared),                                \
            [&](float sum, auto here, rn::i32 row, rn::i32 column) {                                                \
                const float addend = c.data ? rn::multiply_rn(beta, here(c, row, column)) : -0.0f;                  \
                return rn::canonical(rn::fma_rn(alpha, sum, addend));                                               \
            });                                                                                                     \
    }

RN_CUPOSIT(rn_cuposit_square, Square)
RN_CUPOSIT(rn_cuposit_slim, Slim)

// Sums from c, or 0, on, as floats that hold the format; 2**growth terms or fewer.
#define RN_ROUNDED(name, Mode, Tile)                                                                                \
    extern "C" __global__ void __launch_bounds__(rn::Tile::THREADS, 2)                                              \
        name(const rn::Panels a, const rn::Panels b, const rn::Matrix c, const rn::Matrix out, const rn::Size size, \
             const rn::Posit fmt, rn::i32 growth) {                                                                 \
        extern __shared__ float4 rn_shared[];                                                                       \
        rn::Mode mode{fmt, nullptr, growth};                                                                        \
        rn::product<rn::Mode, rn::Tile>(mode, a, b, c, out, size, reinterpret_cast<char*>(rn_shared),               \
                                        [](rn::Tile::Value sum, auto, rn::i32, rn::i32) { return sum; });           \
    }

RN_ROUNDED(rn_posit_square, Rounded, Square)
RN_ROUNDED(rn_posit_slim, Rounded, Slim)
RN_ROUNDED(rn_posit_doubles, RoundedDoubles, Doubles)
