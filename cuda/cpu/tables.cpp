// Which instruction sets were built, and which of them this machine can run.
#include <cstring>

#include "kernels.h"
#include "processor.h"

namespace splat {

extern const Table table_base, table_f64;
#if defined(SPLAT_X86)
extern const Table table_avx2, table_avx512;
#endif
#if defined(SPLAT_NEON)
extern const Table table_neon;
#endif

namespace {

bool runs(const Table* candidate) {
#if defined(SPLAT_X86)
  if (candidate == &table_avx2) return features().avx2;
#if defined(SPLAT_EMULATE_AVX512)
  if (candidate == &table_avx512) return true;
#endif
  if (candidate == &table_avx512) return features().avx512;
#endif
  return candidate != nullptr;
}

const Table* const all[] = {
#if defined(SPLAT_X86)
    &table_avx512, &table_avx2,
#endif
#if defined(SPLAT_NEON)
    &table_neon,
#endif
    &table_base, &table_f64,
};

}  // namespace

const Table* table(const char* name) {
  for (const Table* candidate : all)
    if (std::strcmp(candidate->name, name) == 0 && runs(candidate)) return candidate;
  return nullptr;
}

const Table* best_table() {
  for (const Table* candidate : all)
    if (runs(candidate)) return candidate;
  return &table_base;
}

}  // namespace splat
