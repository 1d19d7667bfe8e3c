/* A kernel in C that refnum checks: float32 to MXFP4, blocks of 32, as OCP MX 1.0 has it.
 *
 *     cc -O2 -o mxfp4 mxfp4.c -lm
 *     refnum gen mxfp4_quantize --edges --ties --random 10000 | ./mxfp4 | refnum check mxfp4_quantize
 *
 * With -DTIES_AWAY it has a fault that random floats do not show: it rounds ties away from zero.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE 32
#define NAN_SCALE 255

#ifdef TIES_AWAY
#define UP_AT_TIE(below) 1
#else
#define UP_AT_TIE(below) ((below) & 1) /* to the even code */
#endif

/* Between the codes 0 1 2 3 4 5 6 7 of 0, 0.5, 1, 1.5, 2, 3, 4 and 6. */
static const double TIES[] = {0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0};

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The code of x / scale; the quotient by a power of two is exact in double. */
static unsigned encode(float x, int scale) {
    double magnitude = ldexp(fabs((double)x), 127 - scale);
    unsigned code = 0;
    for (unsigned i = 0; i < 7; i++)
        code += magnitude > TIES[i] || (magnitude == TIES[i] && UP_AT_TIE(i));
    return code | (signbit(x) ? 8u : 0u);
}

/* The largest power of two that is not above the largest magnitude, over 4, the one of the largest element. */
static int scale_of(const float x[SIZE]) {
    double largest = 0;
    int exponent;
    for (int i = 0; i < SIZE; i++) {
        if (!isfinite(x[i]))
            return NAN_SCALE;
        largest = fmax(largest, fabs((double)x[i]));
    }
    if (largest == 0)
        return 0;
    frexp(largest, &exponent);
    return exponent - 1 - 2 + 127 < 0 ? 0 : exponent - 1 - 2 + 127;
}

int main(void) {
    char line[1024];
    while (fgets(line, sizeof line, stdin)) {
        float x[SIZE];
        char *word = line + strcspn(line, " "); /* behind the name of the operation */
        for (int i = 0; i < SIZE; i++)
            x[i] = from_bits((uint32_t)strtoul(word, &word, 16));
        int scale = scale_of(x);
        line[strcspn(line, "\n")] = '\0';
        printf("%s %02x", line, (unsigned)scale);
        for (int i = 0; i < SIZE; i++)
            printf(" %x", scale == NAN_SCALE ? 0u : encode(x[i], scale));
        putchar('\n');
    }
    return 0;
}
