// Which Gaussians a tile draws, front to back.
#pragma once

#include "layout.h"

namespace splat::gpu {

// What sorting needs beside what it leaves.
struct Sorting {
  uint32_t *depths, *sorted_depths;  // [visible] the bits of a positive float sort like the float
  uint32_t *rows, *order;            // [visible] as they lie, and by depth
  uint32_t* firsts;                  // [visible + 1] first pair of each, by depth
  uint16_t *narrow, *sorted_narrow;  // [pairs] tiles, where 16 bits can count them
  uint32_t *wide, *sorted_wide;      // [pairs] and where they cannot
  uint32_t *places, *sorted_places;  // [pairs] among the pairs by depth
  uint32_t* owners;                  // [pairs] by depth: their rows
  char* memory;
  int64_t room;

  Sorting(Carve& carve, int64_t visible, int64_t pairs, const Picture& picture);
};

inline bool narrow_tiles(const Picture& picture) { return picture.tiles() <= 1 << 16; }

// Fills `pairs` but for hits and states, and the places of `rows`.
const char* order_pairs(const Rows& rows, int64_t n, const Picture& picture, int64_t visible, const Pairs& pairs,
                        int64_t count, const Sorting& sorting, cudaStream_t queue, bool differentiable);

}  // namespace splat::gpu
