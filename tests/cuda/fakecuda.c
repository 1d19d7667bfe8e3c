/* A driver without a GPU, to be found as libcuda.so.1. What it claims and where it fails is said by the environment:

   FAKECUDA_VERSION     the CUDA that it supports, 13000 if unset
   FAKECUDA_CAPABILITY  the compute capability of each of its devices, 90 if unset
   FAKECUDA_FAIL        call:code, for example cuInit:100
   FAKECUDA_LOG         a file that gets a line for each call that is more than a question
   FAKECUDA_KERNELS     shared objects made with sim.h, with ':' between them, whose kernels are run when launched

   A handle of a module is 1; of a function, its name. A context belongs to a thread, as in CUDA.  */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { SUCCESS = 0, INVALID_VALUE = 1, INVALID_CONTEXT = 201, BAD_IMAGE = 200, LAUNCH_FAILED = 719 };

typedef struct { unsigned x, y, z; } size3;
typedef struct { int order, late, without; } options;
typedef const char *simulation(const char *, size3, size3, size_t, options, void **);

static __thread void *current;
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

/* The code that a call is to return. */
static int planned(const char *call) {
    const char *plan = getenv("FAKECUDA_FAIL");
    size_t length = strlen(call);
    return plan && !strncmp(plan, call, length) && plan[length] == ':' ? atoi(plan + length + 1) : SUCCESS;
}

static void record(const char *line) {
    const char *path = getenv("FAKECUDA_LOG");
    FILE *log = path ? fopen(path, "a") : NULL;
    if (log) {
        fprintf(log, "%s\n", line);
        fclose(log);
    }
}

/* What runs a kernel: of the shared object that has it. */
static simulation *simulated(const char *kernel) {
    char paths[4096], *rest = paths, *path;
    const char *all = getenv("FAKECUDA_KERNELS");
    snprintf(paths, sizeof paths, "%s", all ? all : "");
    while ((path = strsep(&rest, ":"))) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library && dlsym(library, kernel)) return (simulation *)dlsym(library, "sim_run");
    }
    return NULL;
}

#define BEGIN(call) if (planned(call)) return planned(call)
#define BEGIN_IN_CONTEXT(call) BEGIN(call); if (!current) return INVALID_CONTEXT

EXPORT int cuInit(unsigned flags) {
    BEGIN("cuInit");
    record("cuInit");
    return (int)flags;
}

EXPORT int cuDriverGetVersion(int *version) {
    BEGIN("cuDriverGetVersion");
    *version = number("FAKECUDA_VERSION", 13000);
    return SUCCESS;
}

EXPORT int cuDeviceGetAttribute(int *value, int which, int device) {
    (void)device;
    BEGIN("cuDeviceGetAttribute");
    int capability = number("FAKECUDA_CAPABILITY", 90);
    *value = which == 75 ? capability / 10 : capability % 10;
    return SUCCESS;
}

EXPORT int cuDevicePrimaryCtxRetain(void **context, int device) {
    BEGIN("cuDevicePrimaryCtxRetain");
    *context = (char *)NULL + 0x100000000 + device;
    record("cuDevicePrimaryCtxRetain");
    return SUCCESS;
}

EXPORT int cuCtxGetCurrent(void **context) {
    BEGIN("cuCtxGetCurrent");
    *context = current;
    return SUCCESS;
}

EXPORT int cuCtxSetCurrent(void *context) {
    BEGIN("cuCtxSetCurrent");
    current = context;
    return SUCCESS;
}

EXPORT int cuModuleLoadData(void **module, const char *image) {
    BEGIN_IN_CONTEXT("cuModuleLoadData");
    if (memcmp(image, "\177ELF", 4) && *image != '/' && *image != '.') return BAD_IMAGE;
    *module = (char *)NULL + 1;
    record("cuModuleLoadData");
    return SUCCESS;
}

EXPORT int cuModuleGetFunction(void **function, void *module, const char *name) {
    (void)module;
    BEGIN_IN_CONTEXT("cuModuleGetFunction");
    *function = strdup(name);
    return SUCCESS;
}

EXPORT int cuFuncSetAttribute(void *function, int which, int value) {
    char line[256];
    BEGIN_IN_CONTEXT("cuFuncSetAttribute");
    snprintf(line, sizeof line, "cuFuncSetAttribute %s %d %d", (char *)function, which, value);
    record(line);
    return SUCCESS;
}

EXPORT int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                          unsigned shared, void *stream, void **arguments, void **extra) {
    char line[256];
    (void)extra;
    BEGIN_IN_CONTEXT("cuLaunchKernel");
    snprintf(line, sizeof line, "cuLaunchKernel %s (%u, %u, %u) (%u, %u, %u) %u %#zx", (char *)function, gx, gy, gz, bx,
             by, bz, shared, (size_t)stream);
    record(line);
    simulation *run = simulated(function);
    if (!run) return LAUNCH_FAILED;
    size3 grid = {gx, gy, gz}, block = {bx, by, bz};
    options ascending = {0, 0, -1};
    pthread_mutex_lock(&one_at_a_time);
    const char *error = run(function, grid, block, shared, ascending, arguments);
    pthread_mutex_unlock(&one_at_a_time);
    return error ? LAUNCH_FAILED : SUCCESS;
}

/* A map is what hopper.h reads: base, sizes, strides, box, bytes of an element. Others than those of refnum_cuda are
   not known.  */
EXPORT int cuTensorMapEncodeTiled(void *map, int type, unsigned rank, void *base, const uint64_t *sizes,
                                  const uint64_t *strides, const unsigned *box, const unsigned *steps, int interleave,
                                  int swizzle, int promotion, int fill) {
    const unsigned each = type + 1; /* bytes of an element */
    struct { void *base; uint64_t sizes[3], strides[2]; unsigned box[3], each; } it = {base, {0}, {0}, {0}, each};
    (void)promotion;
    BEGIN("cuTensorMapEncodeTiled");
    if (type < 0 || type > 1) return INVALID_VALUE;
    if (rank != 3 || interleave || swizzle != 3 || fill || (size_t)map % 64) return INVALID_VALUE;
    if (((size_t)base | strides[0] | strides[1]) % 16 || box[0] * each != 128) return INVALID_VALUE;
    for (unsigned i = 0; i < rank; i++) {
        if (!sizes[i] || sizes[i] >> 32 || !box[i] || box[i] > 256 || steps[i] != 1) return INVALID_VALUE;
    }
    memcpy(it.sizes, sizes, sizeof it.sizes);
    memcpy(it.strides, strides, sizeof it.strides);
    memcpy(it.box, box, sizeof it.box);
    memcpy(map, &it, sizeof it);
    return SUCCESS;
}

EXPORT int cuGetErrorName(int code, const char **name) {
    switch (code) {
        case 1: *name = "CUDA_ERROR_INVALID_VALUE"; break;
        case 100: *name = "CUDA_ERROR_NO_DEVICE"; break;
        case 200: *name = "CUDA_ERROR_INVALID_IMAGE"; break;
        case 201: *name = "CUDA_ERROR_INVALID_CONTEXT"; break;
        case 209: *name = "CUDA_ERROR_NO_BINARY_FOR_GPU"; break;
        case 222: *name = "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"; break;
        case 719: *name = "CUDA_ERROR_LAUNCH_FAILED"; break;
        default: *name = NULL; return 1;
    }
    return SUCCESS;
}
