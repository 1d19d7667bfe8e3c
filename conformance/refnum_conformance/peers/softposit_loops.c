/* Loops over the functions that SoftPosit's extension exports, handed in as pointers: nothing of SoftPosit is linked.
 *
 * Patterns travel right-aligned and sign-extended in int32. p8, p16 and p32 fill their word; pX2 is left-aligned in 32
 * bits and takes its width n with every call. `*_differences` compare instead of writing: they return how many elements
 * of `got` differ from the peer's and put the index of the first one into `first`.
 *
 * Build with -fwrapv: SoftPosit is built so by Python's own flags, and the shifts below are plain two's complement.
 */
#include <stdint.h>

typedef struct { uint8_t v; } p8;
typedef struct { uint16_t v; } p16;
typedef struct { uint32_t v; } p32;
typedef struct { uint32_t v; } pX2;
typedef struct { uint32_t v; } q8;
typedef struct { uint64_t v[2]; } q16;
typedef struct { uint64_t v[8]; } q32;
typedef struct { uint64_t v[8]; } qX2;

/* One comparison of a `differences` loop: `want` against got[i]. */
#define DIFFER(want)                                                                                                   \
    if ((want) != got[i] && !different++) *first = i

/* FAMILY writes the loops of one posit type.
 *   P, Q     the posit and its quire          S        the signed word of P's size
 *   SHIFT    how far left the pattern sits    SIZED    `, int` where the functions take the width, else nothing
 *   SIZE     `, n` likewise */
#define FAMILY(P, Q, S, SHIFT, SIZED, SIZE)                                                                            \
    static inline P P##_in(int32_t x, int n) { (void)n; return (P){(uint32_t)x << (SHIFT)}; }                          \
    static inline int32_t P##_out(P x, int n) { (void)n; return (S)x.v >> (SHIFT); }                                   \
                                                                                                                       \
    void P##_unary(P (*f)(P SIZED), int n, const int32_t *a, int32_t *out, long count) {                               \
        for (long i = 0; i < count; i++) out[i] = P##_out(f(P##_in(a[i], n) SIZE), n);                                 \
    }                                                                                                                  \
    void P##_binary(P (*f)(P, P SIZED), int n, const int32_t *a, const int32_t *b, int32_t *out, long count) {         \
        for (long i = 0; i < count; i++) out[i] = P##_out(f(P##_in(a[i], n), P##_in(b[i], n) SIZE), n);                \
    }                                                                                                                  \
    void P##_ternary(P (*f)(P, P, P SIZED), int n, const int32_t *a, const int32_t *b, const int32_t *c,               \
                     int32_t *out, long count) {                                                                       \
        for (long i = 0; i < count; i++)                                                                               \
            out[i] = P##_out(f(P##_in(a[i], n), P##_in(b[i], n), P##_in(c[i], n) SIZE), n);                            \
    }                                                                                                                  \
    void P##_from_double(P (*f)(double SIZED), int n, const double *x, int32_t *out, long count) {                     \
        for (long i = 0; i < count; i++) out[i] = P##_out(f(x[i] SIZE), n);                                            \
    }                                                                                                                  \
    void P##_to_double(double (*f)(P), int n, const int32_t *a, double *out, long count) {                             \
        for (long i = 0; i < count; i++) out[i] = f(P##_in(a[i], n));                                                  \
    }                                                                                                                  \
    void P##_from_int(P (*f)(int64_t SIZED), int n, const int64_t *x, int32_t *out, long count) {                      \
        for (long i = 0; i < count; i++) out[i] = P##_out(f(x[i] SIZE), n);                                            \
    }                                                                                                                  \
    /* `count` dot products of `terms` products each; the quire starts at zero, which is all bits zero */              \
    void P##_dot(Q (*add)(Q, P, P), P (*to)(Q SIZED), int n, const int32_t *a, const int32_t *b, int32_t *out,         \
                 long count, long terms) {                                                                             \
        for (long i = 0; i < count; i++) {                                                                             \
            Q q = {0};                                                                                                 \
            for (long k = i * terms; k < (i + 1) * terms; k++) q = add(q, P##_in(a[k], n), P##_in(b[k], n));           \
            out[i] = P##_out(to(q SIZE), n);                                                                           \
        }                                                                                                              \
    }                                                                                                                  \
    long P##_binary_differences(P (*f)(P, P SIZED), int n, const int32_t *a, const int32_t *b, const int32_t *got,     \
                                long count, long *first) {                                                             \
        long different = 0;                                                                                            \
        for (long i = 0; i < count; i++) DIFFER(P##_out(f(P##_in(a[i], n), P##_in(b[i], n) SIZE), n));                 \
        return different;                                                                                              \
    }                                                                                                                  \
    long P##_from_double_differences(P (*f)(double SIZED), int n, const float *x, const int32_t *got, long count,      \
                                     long *first) {                                                                    \
        long different = 0;                                                                                            \
        for (long i = 0; i < count; i++) DIFFER(P##_out(f((double)x[i] SIZE), n));                                     \
        return different;                                                                                              \
    }

FAMILY(p8, q8, int8_t, 0, , )
FAMILY(p16, q16, int16_t, 0, , )
FAMILY(p32, q32, int32_t, 0, , )
#define WITH_INT , int
#define WITH_N , n
FAMILY(pX2, qX2, int32_t, 32 - n, WITH_INT, WITH_N)
typedef pX2 top; /* pX2 again, for patterns that already sit at the top of the word: a conversion has two widths */
FAMILY(top, qX2, int32_t, 0, WITH_INT, WITH_N)
