/* What updates of some rows of a table share. */
#ifndef TWOTOWER_ROWS_H
#define TWOTOWER_ROWS_H

#include "vector.h"

#define AHEAD 6 /* rows that are fetched from memory before they are moved */
#define LINE 16 /* floats of a line of the caches */

INLINE void fetch(const float *row, int64_t dim) {
  for (int64_t d = 0; d < dim; d += LINE) __builtin_prefetch(row + d, 1);
}

/* whether a row is not one of the table's */
static int64_t outside(const int64_t *rows, int64_t count, int64_t num_rows) {
  int64_t found = 0;
  for (int64_t n = 0; n < count; n++) found |= rows[n] < 0 || rows[n] >= num_rows;
  return found;
}

#endif
