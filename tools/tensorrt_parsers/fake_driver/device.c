/* Start, the device and contexts. */
#include <stdio.h>
#include <string.h>

#include "fake_driver.h"

pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
int fake_live[KINDS];

static bool started;

/* Environment: FAKE_CUDA_DEVICES (1), FAKE_CUDA_VERSION (13000). */
static int setting(const char *name, int otherwise) {
  const char *value = getenv(name);
  return value ? atoi(value) : otherwise;
}

API fake_live_objects(int kind) { return fake_live[kind]; }

API cuInit(unsigned flags) {
  (void)flags;
  started = setting("FAKE_CUDA_DEVICES", 1) > 0;
  return started ? OK : NO_DEVICE;
}
API cuDriverGetVersion(int *version) {
  *version = setting("FAKE_CUDA_VERSION", 13000);
  return OK;
}
API cuDeviceGetCount(int *count) {
  *count = setting("FAKE_CUDA_DEVICES", 1);
  return OK;
}
API cuDeviceGet(int *device, int ordinal) {
  *device = 0;
  return started && ordinal == 0 ? OK : INVALID_DEVICE;
}
API cuDeviceGetName(char *name, int size, int device) {
  (void)device;
  snprintf(name, (size_t)size, "Fake GPU, no hardware");
  return OK;
}
API cuDeviceGetAttribute(int *value, int attribute, int device) {
  (void)device;
  /* The compute capability, and whether there is managed and mapped memory; other attributes are 0. */
  *value = attribute == 75 ? 8 : attribute == 19 || attribute == 83 ? 1 : 0;
  return OK;
}
API cuGetErrorString(int status, const char **text) {
  static __thread char buffer[48];
  snprintf(buffer, sizeof buffer, "status %d of the fake driver", status);
  *text = buffer;
  return OK;
}

/* Contexts are only compared and counted. */
enum { LARGEST_DEPTH = 32 };
static int primary;
static __thread void *stack[LARGEST_DEPTH];
static __thread int depth;

int fake_needs_context(void) { return depth ? OK : INVALID_CONTEXT; }

API cuDevicePrimaryCtxRetain(void **context, int device) {
  (void)device;
  if (!started) return INVALID_DEVICE;
  *context = &primary;
  return OK;
}
API cuDevicePrimaryCtxRelease_v2(int device) {
  (void)device;
  return OK;
}
API cuCtxPushCurrent_v2(void *context) {
  if (!context || depth == LARGEST_DEPTH) return INVALID_CONTEXT;
  stack[depth++] = context;
  return OK;
}
API cuCtxPopCurrent_v2(void **context) {
  if (!depth) return INVALID_CONTEXT;
  --depth;
  if (context) *context = stack[depth];
  return OK;
}
/* Deprecated, and only for contexts that a program has created; the fake has none. */
API cuCtxDetach(void *context) {
  (void)context;
  return INVALID_CONTEXT;
}
API cuCtxGetCurrent(void **context) {
  *context = depth ? stack[depth - 1] : NULL;
  return OK;
}
API cuCtxGetDevice(int *device) {
  *device = 0;
  return fake_needs_context();
}
API cuCtxSynchronize(void) {
  int status = fake_needs_context();
  if (!status) status = fake_unsafe_call();
  if (!status) fake_execute_all();
  return status;
}
ALIAS(cuCtxPushCurrent, cuCtxPushCurrent_v2);
ALIAS(cuCtxPopCurrent, cuCtxPopCurrent_v2);
ALIAS(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2);

/* NVIDIA's CUDA runtime asks here for undocumented tables, one of which identifies a genuine driver. This is not one. */
API cuGetExportTable(const void **table, const unsigned char *id) {
  (void)id;
  *table = NULL;
  return NOT_FOUND;
}
