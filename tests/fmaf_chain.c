/* By the C library's fmaf, which IEEE 754 defines: single steps, and contract chain/v1. */

#include <math.h>
#include <stddef.h>

void steps(const float *x, const float *y, const float *z, float *d, size_t count) {
    for (size_t i = 0; i < count; i++) d[i] = fmaf(x[i], y[i], z[i]);
}

/* d = a @ b from the bias, or from +0 without one. */
void chain(const float *a, const float *b, const float *bias, float *d, size_t rows, size_t terms, size_t columns) {
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j++) {
            float sum = bias ? bias[j] : 0.0f;
            for (size_t k = 0; k < terms; k++) sum = fmaf(a[i * terms + k], b[k * columns + j], sum);
            d[i * columns + j] = sum;
        }
    }
}
