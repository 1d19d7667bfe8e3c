// What the arithmetic alone takes: as many float32 fused multiply-adds as threads can issue, of registers only.

extern "C" __global__ void __launch_bounds__(256, 2) rn_multiply_adds(float* out, int rounds) {
    constexpr int ROWS = 8, COLUMNS = 8;
    float sums[ROWS][COLUMNS] = {}, x[ROWS], y[COLUMNS];
    for (int i = 0; i < ROWS; i++) x[i] = 1.0f / static_cast<float>(threadIdx.x + i + 3);
    for (int j = 0; j < COLUMNS; j++) y[j] = 1.0f / static_cast<float>(blockIdx.x + j + 3);
#pragma unroll 4
    for (int round = 0; round < rounds; round++) {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
#pragma unroll
            for (int step = 0; step < COLUMNS; step++) {
                const int j = i % 2 ? COLUMNS - 1 - step : step;
                sums[i][j] = __fmaf_rn(x[i], y[j], sums[i][j]);
            }
        }
    }
    float all = 0.0f;
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < COLUMNS; j++) all += sums[i][j];
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = all;
}
