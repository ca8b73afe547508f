/* A driver of CUDA that is old, or finds no card, for tests of what is said then: as libcuda.so.1. */
#include <stdlib.h>

enum { kNoDevice = 100, kNotFound = 500 };

int cuDriverGetVersion(int* version) {
  const char* given = getenv("SPLAT_PRETEND_DRIVER");
  *version = given ? atoi(given) : 0;
  return 0;
}
int cuInit(unsigned flags) {
  (void)flags;
  return kNoDevice;
}
int cuDeviceGetCount(int* count) {
  *count = 0;
  return kNoDevice;
}
/* What CUDA's runtime asks for all functions by. */
int cuGetProcAddress_v2(const char* name, void** function, int version, unsigned long long flags, int* status) {
  (void)name, (void)version, (void)flags;
  *function = 0;
  if (status) *status = 1;
  return kNotFound;
}
