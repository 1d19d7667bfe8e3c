// rn_blocks.cuh over arrays, for tests.
#include "rn_blocks.cuh"

using namespace rn;

#define CODES(NAME, ROW)                                                   \
    void codes_##NAME(i64 count, const float* x, u32* out) {               \
        for (i64 i = 0; i < count; ++i) out[i] = ROW::code(x[i]);          \
    }

extern "C" {

CODES(e2m1, E2M1)
CODES(e2m3, E2M3)
CODES(e3m2, E3M2)
CODES(e4m3, E4M3)
CODES(e5m2, E5M2)
CODES(int8, Int8)

void share_amax(i64 count, const u32* amax, const float* tensor, const Recipe* recipe, u32* scale, float* factor, u8* is_void) {
    for (i64 i = 0; i < count; ++i) {
        Shared shared = share(amax[i], Level(tensor), recipe->scaling);
        scale[i] = shared.scale, factor[i] = shared.factor, is_void[i] = shared.is_void;
    }
}

void element_codes(i64 count, const float* x, const u32* amax, const float* tensor, const u16* random, const Recipe* recipe,
                   u32* out) {
    for (i64 i = 0; i < count; ++i)
        out[i] = element_code(x[i], share(amax[i], Level(tensor), recipe->scaling), *recipe, random[i]);
}

void quotients(i64 count, const float* a, const float* b, float* out) {
    for (i64 i = 0; i < count; ++i) out[i] = quotient(a[i], b[i], 1.f / b[i]);
}

void element_values(i64 count, const u8* code, const Element* element, float* out) {
    for (i64 i = 0; i < count; ++i) out[i] = value_of(code[i], *element);
}

void scale_values(i64 count, const u8* code, float* powers, float* numbers) {
    for (i64 i = 0; i < count; ++i) powers[i] = power_of(code[i]), numbers[i] = scale_value(code[i]);
}

void round_doubles(i64 count, const double* x, u32* float32, u16* bfloat16, u16* float16, u64* float64) {
    for (i64 i = 0; i < count; ++i) {
        float32[i] = ToFloat32::of(x[i]), bfloat16[i] = ToBFloat16::of(x[i]);
        float16[i] = ToFloat16::of(x[i]), float64[i] = ToFloat64::of(x[i]);
    }
}
}
