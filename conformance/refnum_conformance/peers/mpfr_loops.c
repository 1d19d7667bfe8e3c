/* Columns of elementary functions by MPFR, rounded to odd: what is cut off leaves its mark in the last bit, so that the
 * result rounds on to any format of at most 51 bits as the real number does.
 *
 * Each `<name>_column` takes columns of doubles, and of integers where the function has one, and writes doubles. Results
 * outside 2**-1000 to 2**1000, beyond every format of at most 32 bits, are those ends. NaN, infinities and zeros are
 * MPFR's, which are those of IEEE 754-2019 9.2.1 but for rsqrt(-0). Zeros below keep their sign.
 */
#include <mpfr.h>
#include <stdint.h>
#include <string.h>

#define BITS 53
#define GREATEST 0x1.fffffffffffffp+999 /* both are odd */
#define LEAST 0x1.0000000000001p-1000

/* y is cut off towards zero; inexact has the sign of y - exact, or is 0 */
static double to_odd(mpfr_srcptr y, int inexact) {
    if (!mpfr_regular_p(y)) {
        if (!mpfr_zero_p(y) || !inexact) return mpfr_get_d(y, MPFR_RNDZ);
        return inexact < 0 ? LEAST : -LEAST; /* too small for MPFR itself */
    }
    if (mpfr_get_exp(y) > 1000) return mpfr_signbit(y) ? -GREATEST : GREATEST;
    if (mpfr_get_exp(y) < -998) return mpfr_signbit(y) ? -LEAST : LEAST;
    double value = mpfr_get_d(y, MPFR_RNDZ);
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits |= inexact != 0;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

/* Functions that MPFR has not ----------------------------------------------------------------------------------------
 *
 * Z1. `terms` makes v of p bits with an error of at most 2**lost units in its last place.
 * Z2. mpfr_can_round says whether that decides the cut at 53 bits; if not, p is doubled.
 * Z3. The values are transcendental but at 0, which is taken out before, so some p decides.
 */
typedef void (*terms)(mpfr_ptr v, mpfr_srcptr x);

static int decided(mpfr_ptr y, mpfr_srcptr x, terms f, int lost) {
    for (mpfr_prec_t p = 128;; p *= 2) {
        mpfr_t v;
        mpfr_init2(v, p);
        f(v, x);
        int enough = mpfr_can_round(v, p - lost, MPFR_RNDN, MPFR_RNDZ, BITS);
        int inexact = enough ? mpfr_set(y, v, MPFR_RNDZ) : 0;
        mpfr_clear(v);
        if (enough) return inexact ? inexact : -mpfr_sgn(y);
    }
}

/* a number of the sign of x that is smaller than any other */
static int vanishing(mpfr_ptr y, int sign) {
    mpfr_set_zero(y, sign);
    return -sign; /* y - exact */
}

/* a number beside y, with nothing of 53 bits between them, farther from zero or nearer to it */
static int beside(mpfr_ptr y, int farther) {
    if (!farther && mpfr_sgn(y) > 0) mpfr_nextbelow(y);
    if (!farther && mpfr_sgn(y) < 0) mpfr_nextabove(y);
    return -mpfr_sgn(y);
}

/* 1 / (1 + e**-t), for the t in v */
static void logistic(mpfr_ptr v) {
    mpfr_neg(v, v, MPFR_RNDN);
    mpfr_exp(v, v, MPFR_RNDN);
    mpfr_add_ui(v, v, 1, MPFR_RNDN);
    mpfr_ui_div(v, 1, v, MPFR_RNDN);
}

static void sigmoid_terms(mpfr_ptr v, mpfr_srcptr x) {
    mpfr_set(v, x, MPFR_RNDN);
    logistic(v);
}

static void silu_terms(mpfr_ptr v, mpfr_srcptr x) {
    sigmoid_terms(v, x);
    mpfr_mul(v, v, x, MPFR_RNDN);
}

/* t = 2 sqrt(2 / pi) (x + 0.044715 x**3), its parts of one sign; nine roundings, which e**-t makes |t| < 2**15 as much */
static void gelu_tanh_terms(mpfr_ptr v, mpfr_srcptr x) {
    mpfr_t root;
    mpfr_init2(root, mpfr_get_prec(v));
    mpfr_const_pi(root, MPFR_RNDN);
    mpfr_ui_div(root, 8, root, MPFR_RNDN);
    mpfr_sqrt(root, root, MPFR_RNDN);
    mpfr_sqr(v, x, MPFR_RNDN);
    mpfr_mul_ui(v, v, 44715, MPFR_RNDN);
    mpfr_div_ui(v, v, 1000000, MPFR_RNDN);
    mpfr_add_ui(v, v, 1, MPFR_RNDN);
    mpfr_mul(v, v, x, MPFR_RNDN);
    mpfr_mul(v, v, root, MPFR_RNDN);
    mpfr_clear(root);
    logistic(v);
    mpfr_mul(v, v, x, MPFR_RNDN);
}

/* x erfc(-x / sqrt 2) / 2; two roundings of the argument z, which erfc makes z (z + sqrt(z**2 + 2)) < 2**13 as much */
static void gelu_terms(mpfr_ptr v, mpfr_srcptr x) {
    mpfr_set_ui(v, 2, MPFR_RNDN);
    mpfr_sqrt(v, v, MPFR_RNDN);
    mpfr_div(v, x, v, MPFR_RNDN);
    mpfr_neg(v, v, MPFR_RNDN);
    mpfr_erfc(v, v, MPFR_RNDN);
    mpfr_mul(v, v, x, MPFR_RNDN);
    mpfr_div_2ui(v, v, 1, MPFR_RNDN);
}

/* G1. Beyond `near` 1 - f(x) < 2**-90, and with |x| < 2**-64 |f(x) - 1/2| < 2**-64, of the sign of x. */
static int near_half(mpfr_srcptr x) { return mpfr_get_exp(x) <= -64; }

/* x f(x) with f from 0 to 1, which below -far is smaller than any result */
static int gated(mpfr_ptr y, mpfr_srcptr x, terms f, int lost, long far, long near) {
    if (mpfr_nan_p(x) || mpfr_zero_p(x)) return mpfr_set(y, x, MPFR_RNDZ);
    if (mpfr_inf_p(x)) return mpfr_sgn(x) > 0 ? mpfr_set(y, x, MPFR_RNDZ) : (mpfr_set_zero(y, -1), 0);
    if (mpfr_cmp_si(x, -far) < 0) return vanishing(y, -1);
    if (near_half(x)) return mpfr_div_2ui(y, x, 1, MPFR_RNDZ), beside(y, mpfr_sgn(x) > 0);
    if (mpfr_cmp_si(x, near) > 0) return mpfr_set(y, x, MPFR_RNDZ), beside(y, 0);
    return decided(y, x, f, lost);
}

static int silu(mpfr_ptr y, mpfr_srcptr x) { return gated(y, x, silu_terms, 4, 4096, 64); }
static int gelu(mpfr_ptr y, mpfr_srcptr x) { return gated(y, x, gelu_terms, 17, 64, 12); }
static int gelu_tanh(mpfr_ptr y, mpfr_srcptr x) { return gated(y, x, gelu_tanh_terms, 22, 64, 12); }

static int sigmoid(mpfr_ptr y, mpfr_srcptr x) {
    if (mpfr_nan_p(x)) return mpfr_set(y, x, MPFR_RNDZ);
    if (mpfr_zero_p(x)) return mpfr_set_d(y, 0.5, MPFR_RNDZ);
    if (mpfr_inf_p(x)) return mpfr_set_ui(y, mpfr_sgn(x) > 0, MPFR_RNDZ);
    if (mpfr_cmp_si(x, -4096) < 0) return vanishing(y, 1);
    if (near_half(x)) return mpfr_set_d(y, 0.5, MPFR_RNDZ), beside(y, mpfr_sgn(x) > 0);
    if (mpfr_cmp_si(x, 64) > 0) return mpfr_set_ui(y, 1, MPFR_RNDZ), beside(y, 0);
    return decided(y, x, sigmoid_terms, 4);
}

/* Functions of exact sums ------------------------------------------------------------------------------------------ */

#define EVERY_SUM 2200 /* bits that hold the sum of any two doubles */

static int softmax_exp(mpfr_ptr y, mpfr_srcptr x, mpfr_srcptr m) {
    mpfr_t difference;
    mpfr_init2(difference, 128);
    if (mpfr_sub(difference, x, m, MPFR_RNDZ)) {
        mpfr_set_prec(difference, EVERY_SUM);
        mpfr_sub(difference, x, m, MPFR_RNDZ);
    }
    int inexact = mpfr_exp(y, difference, MPFR_RNDZ);
    mpfr_clear(difference);
    return inexact;
}

/* below -1, where IEEE 754 has none, the power of the sum */
static int compoundn(mpfr_ptr y, mpfr_srcptr x, long k) {
    if (!mpfr_number_p(x) || mpfr_cmp_si(x, -1) >= 0) return mpfr_compound_si(y, x, k, MPFR_RNDZ);
    mpfr_t sum;
    mpfr_init2(sum, EVERY_SUM);
    mpfr_add_ui(sum, x, 1, MPFR_RNDZ);
    int inexact = mpfr_pow_si(y, sum, k, MPFR_RNDZ);
    mpfr_clear(sum);
    return inexact;
}

static int rsqrt(mpfr_ptr y, mpfr_srcptr x) {
    if (!mpfr_zero_p(x)) return mpfr_rec_sqrt(y, x, MPFR_RNDZ);
    mpfr_set_inf(y, mpfr_signbit(x) ? -1 : 1);
    return 0;
}

/* Columns ---------------------------------------------------------------------------------------------------------- */

#define COLUMN(NAME, OPERANDS, LOAD, CALL)                                                                             \
    void NAME##_column(OPERANDS double *out, long count) {                                                             \
        mpfr_t a, b, y;                                                                                                \
        mpfr_inits2(BITS, a, b, y, (mpfr_ptr)0);                                                                       \
        for (long i = 0; i < count; i++) {                                                                             \
            LOAD;                                                                                                      \
            int inexact = CALL;                                                                                        \
            out[i] = to_odd(y, inexact);                                                                               \
        }                                                                                                              \
        mpfr_clears(a, b, y, (mpfr_ptr)0);                                                                             \
    }

#define ONE const double *x,
#define TWO const double *x, const double *z,
#define INTEGER const double *x, const int64_t *k,
#define LOAD_ONE mpfr_set_d(a, x[i], MPFR_RNDZ)
#define LOAD_TWO mpfr_set_d(a, x[i], MPFR_RNDZ), mpfr_set_d(b, z[i], MPFR_RNDZ)
#define UNARY(NAME) COLUMN(NAME, ONE, LOAD_ONE, mpfr_##NAME(y, a, MPFR_RNDZ))
#define BINARY(NAME) COLUMN(NAME, TWO, LOAD_TWO, mpfr_##NAME(y, a, b, MPFR_RNDZ))

UNARY(sqrt)
COLUMN(rsqrt, ONE, LOAD_ONE, rsqrt(y, a))
COLUMN(reciprocal, ONE, LOAD_ONE, mpfr_ui_div(y, 1, a, MPFR_RNDZ))
UNARY(exp) UNARY(expm1) UNARY(exp2) UNARY(exp2m1) UNARY(exp10) UNARY(exp10m1)
UNARY(log) UNARY(log1p) UNARY(log2) UNARY(log2p1) UNARY(log10) UNARY(log10p1)
UNARY(sin) UNARY(cos) UNARY(tan) UNARY(asin) UNARY(acos) UNARY(atan)
UNARY(sinpi) UNARY(cospi) UNARY(tanpi) UNARY(asinpi) UNARY(acospi) UNARY(atanpi)
UNARY(sinh) UNARY(cosh) UNARY(tanh) UNARY(asinh) UNARY(acosh) UNARY(atanh)
BINARY(hypot) BINARY(pow) BINARY(atan2) BINARY(atan2pi)
COLUMN(compoundn, INTEGER, LOAD_ONE, compoundn(y, a, k[i]))
COLUMN(rootn, INTEGER, LOAD_ONE, mpfr_rootn_si(y, a, k[i], MPFR_RNDZ))
COLUMN(sigmoid, ONE, LOAD_ONE, sigmoid(y, a))
COLUMN(silu, ONE, LOAD_ONE, silu(y, a))
COLUMN(gelu, ONE, LOAD_ONE, gelu(y, a))
COLUMN(gelu_tanh, ONE, LOAD_ONE, gelu_tanh(y, a))
COLUMN(softmax_exp, TWO, LOAD_TWO, softmax_exp(y, a, b))
