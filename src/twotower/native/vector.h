/* Vectors of floats as wide as the processor has them, in the words of GCC and Clang alone: no intrinsics. */
#ifndef TWOTOWER_VECTOR_H
#define TWOTOWER_VECTOR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* LANES floats in a register; a block of BLOCK_ROWS x BLOCK_VECTORS of them is kept in registers while products are added up */
#if defined(__AVX512F__)
#define LANES 16
#define BLOCK_ROWS 8
#define BLOCK_VECTORS 3
#elif defined(__AVX__)
#define LANES 8
#define BLOCK_ROWS 4
#define BLOCK_VECTORS 3
#else
#define LANES 4
#define BLOCK_ROWS 4
#define BLOCK_VECTORS 3
#endif

#define INLINE static inline __attribute__((always_inline))
#define EXPORT __attribute__((visibility("default")))

typedef float floats __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

INLINE floats all_of(float number) { return (floats){0} + number; }

INLINE floats choose(ints condition, floats yes, floats no) {
  return (floats)((condition & (ints)yes) | (~condition & (ints)no));
}

/* the second where either is not a number */
INLINE floats greater_of(floats left, floats right) { return choose(left > right, left, right); }

INLINE float sum_of(floats numbers) {
  float sum = 0;
  for (int lane = 0; lane < LANES; lane++) sum += numbers[lane];
  return sum;
}

INLINE int any_of(ints condition) {
  int32_t found = 0;
  for (int lane = 0; lane < LANES; lane++) found |= condition[lane];
  return found != 0;
}

INLINE floats load(const float *from) { return *(const floats *)from; }

INLINE void store(float *to, floats numbers) { *(floats *)to = numbers; }

/* Vectors as columns of panels: packed[panel][dimension][PANEL], zeros where there is no vector. */
#define PANEL (BLOCK_VECTORS * LANES)

INLINE void pack_panel(const float *vectors, int64_t count, int64_t dim, float *panel) {
  for (int64_t row = 0; row < count; row++)
    for (int64_t d = 0; d < dim; d++) panel[d * PANEL + row] = vectors[row * dim + d];
  for (int64_t row = count; row < PANEL; row++)
    for (int64_t d = 0; d < dim; d++) panel[d * PANEL + row] = 0;
}

/* sums[row] += left[row][dim] . panel, for some rows */
INLINE void block_product(const int rows, const float *left, const float *panel, int64_t dim,
                          floats sums[BLOCK_ROWS][BLOCK_VECTORS]) {
  for (int64_t d = 0; d < dim; d++) {
    floats column[BLOCK_VECTORS];
    for (int v = 0; v < BLOCK_VECTORS; v++) column[v] = load(panel + d * PANEL + v * LANES);
    for (int row = 0; row < rows; row++) {
      float number = left[row * dim + d];
      for (int v = 0; v < BLOCK_VECTORS; v++) sums[row][v] += column[v] * number;
    }
  }
}

#endif
