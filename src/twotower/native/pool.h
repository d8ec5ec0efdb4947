/* Sums of table rows by bag, and back. */
#ifndef TWOTOWER_POOL_H
#define TWOTOWER_POOL_H

#include "vector.h"

#define AHEAD 8
#define WIDEST 4

/* out[0 .. width * LANES) = factor times the sum of table[rows[n]][from ..] */
INLINE void pool_bag(const int width, const float *table, int64_t dim, const int64_t *rows, int64_t count, float factor,
                     float *out) {
  floats sums[WIDEST];
  for (int v = 0; v < width; v++) sums[v] = all_of(0);
  for (int64_t n = 0; n < count; n++) {
    if (n + AHEAD < count) __builtin_prefetch(table + rows[n + AHEAD] * dim);
    for (int v = 0; v < width; v++) sums[v] += load(table + rows[n] * dim + v * LANES);
  }
  for (int v = 0; v < width; v++) store(out + v * LANES, sums[v] * factor);
}

/* `to` = factor times the sum of some rows of a table, each of `dim` numbers */
INLINE void pool_row(const float *table, int64_t dim, const int64_t *rows, int64_t count, float factor, float *to) {
  int64_t d = 0;
  for (; d + 4 * LANES <= dim; d += 4 * LANES) pool_bag(4, table + d, dim, rows, count, factor, to + d);
  for (; d + 2 * LANES <= dim; d += 2 * LANES) pool_bag(2, table + d, dim, rows, count, factor, to + d);
  for (; d + LANES <= dim; d += LANES) pool_bag(1, table + d, dim, rows, count, factor, to + d);
  for (; d < dim; d++) {
    float sum = 0;
    for (int64_t n = 0; n < count; n++) sum += table[rows[n] * dim + d];
    to[d] = sum * factor;
  }
}

INLINE void spread_bag(const int width, const float *grad, int64_t dim, const int64_t *rows, int64_t count, float factor,
                       float *table_grad) {
  floats numbers[WIDEST];
  for (int v = 0; v < width; v++) numbers[v] = load(grad + v * LANES) * factor;
  for (int64_t n = 0; n < count; n++) {
    float *row = table_grad + rows[n] * dim;
    for (int v = 0; v < width; v++) store(row + v * LANES, load(row + v * LANES) + numbers[v]);
  }
}

/* numbers `first` to `end` - 1 of some rows of a table get factor times those of `from` added */
INLINE void spread_row(const float *from, int64_t first, int64_t end, int64_t dim, const int64_t *rows, int64_t count, float factor,
                       float *table_grad) {
  int64_t d = first;
  for (; d + 4 * LANES <= end; d += 4 * LANES) spread_bag(4, from + d, dim, rows, count, factor, table_grad + d);
  for (; d + 2 * LANES <= end; d += 2 * LANES) spread_bag(2, from + d, dim, rows, count, factor, table_grad + d);
  for (; d + LANES <= end; d += LANES) spread_bag(1, from + d, dim, rows, count, factor, table_grad + d);
  for (; d < end; d++)
    for (int64_t n = 0; n < count; n++) table_grad[rows[n] * dim + d] += from[d] * factor;
}

/* whether bags are not end to end, or a value is not a row */
static int64_t outside(const int64_t *values, int64_t count, int64_t rows, const int64_t *offsets, int64_t bags) {
  int64_t found = offsets[0] != 0 || offsets[bags] != count;
  for (int64_t bag = 0; bag < bags; bag++) found |= offsets[bag + 1] < offsets[bag];
  for (int64_t n = 0; n < count; n++) found |= values[n] < 0 || values[n] >= rows;
  return found;
}

#endif
