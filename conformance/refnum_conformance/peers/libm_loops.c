/* Functions of posit32 by the C library in float64: columns of patterns in; out come results and whether each is too
 * close to a tie for float64 to tell.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NEAR = 18 }; /* doubtful is a result within 2**-NEAR last places of a tie */
static const int32_t NAR = INT32_MIN;

static double value(int32_t pattern) {
    if (pattern == 0) return 0;
    if (pattern == NAR) return NAN;
    uint32_t body = (pattern < 0 ? -(uint32_t)pattern : (uint32_t)pattern) << 1;
    int ones = body >> 31, run = __builtin_clz(ones ? ~body : body);
    uint32_t rest = run + 1 < 32 ? body << (run + 1) : 0; /* two exponent bits, then the fraction */
    int exponent = 4 * (ones ? run - 1 : -run) + (int)(rest >> 30);
    double significand = 1 + (double)(rest << 2) * 0x1p-32;
    return copysign(ldexp(significand, exponent), pattern);
}

static int32_t rounded(double y, uint8_t *doubtful) {
    *doubtful = 0;
    if (y == 0) return 0;
    if (isnan(y)) return NAR;
    uint64_t bits;
    memcpy(&bits, &y, sizeof bits);
    int exponent = (int)(bits >> 52 & 0x7ff) - 1023;
    int32_t magnitude;
    if (exponent >= 120) magnitude = INT32_MAX;
    else if (exponent < -120) magnitude = 1;
    else {
        int k = exponent >> 2;
        unsigned __int128 regime = k >= 0 ? ((unsigned __int128)2 << (k + 1)) - 2 : 1;
        unsigned __int128 string = regime << 54 | (uint64_t)(exponent & 3) << 52 | (bits & 0xfffffffffffff);
        int length = (k >= 0 ? k + 2 : 1 - k) + 54, dropped = length - 31;
        uint32_t head = (uint32_t)(string >> dropped);
        int64_t half = (int64_t)1 << (dropped - 1), tail = (int64_t)(string & (2 * (unsigned __int128)half - 1));
        *doubtful = llabs(tail - half) <= 2 * half >> NEAR;
        magnitude = (int32_t)(head + (tail > half || (tail == half && head & 1)));
    }
    return y < 0 ? -magnitude : magnitude;
}

#define COLUMN(NAME, Y)                                                                                                \
    void NAME##_column(const int32_t *patterns, int32_t *out, uint8_t *doubtful, long count) {                         \
        for (long i = 0; i < count; i++) {                                                                             \
            double x = value(patterns[i]);                                                                             \
            out[i] = rounded(Y, doubtful + i);                                                                         \
        }                                                                                                              \
    }

/* what float64 loses to underflow is not 0 */
static double positive(double y) { return y == 0 ? 0x1p-1000 : y; }

COLUMN(sqrt, sqrt(x))
COLUMN(r_sqrt, x > 0 ? 1 / sqrt(x) : NAN)
COLUMN(exp, positive(exp(x)))
COLUMN(exp2, positive(exp2(x)))
COLUMN(log, x > 0 ? log(x) : NAN)
COLUMN(log2, x > 0 ? log2(x) : NAN)
