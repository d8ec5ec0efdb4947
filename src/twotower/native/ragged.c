/* Rows of different lengths: some of them copied end to end, and some of their values left out. */
#include <string.h>

#include "vector.h"

/* starts[n]: where row rows[n] begins; kept[n + 1]: how long the rows up to rows[n] are in all. Returns -1; or the place of a row that
   is not one of the `total`. */
EXPORT int64_t ragged_place(const int64_t *offsets, int64_t total, const int64_t *rows, int64_t count, int64_t *starts,
                            int64_t *kept) {
  kept[0] = 0;
  for (int64_t n = 0; n < count; n++) {
    if (rows[n] < 0 || rows[n] >= total) return n;
    starts[n] = offsets[rows[n]];
    kept[n + 1] = kept[n] + offsets[rows[n] + 1] - starts[n];
  }
  return -1;
}

/* Row r of the result, values[starts[r]] to values[starts[r] + its length - 1], is out[offsets[r]] to out[offsets[r + 1] - 1].
   Sizes in bytes; values has `total` of them. Returns -1, or a row that is not all there. */
EXPORT int64_t ragged_gather(const char *values, int64_t total, int64_t size, const int64_t *starts, const int64_t *offsets,
                             int64_t rows, int64_t parts, char *out) {
  int64_t wrong = -1;
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++)
    for (int64_t row = part * rows / parts; row < (part + 1) * rows / parts; row++) {
      int64_t length = offsets[row + 1] - offsets[row];
      int fits = length >= 0 && offsets[row] >= 0 && offsets[row + 1] <= offsets[rows];
      if (!fits || (length > 0 && (starts[row] < 0 || starts[row] + length > total))) {
#pragma omp atomic write
        wrong = row;
        break;
      }
      if (length) memcpy(out + offsets[row] * size, values + starts[row] * size, (size_t)(length * size));
    }
  return wrong;
}

/* Whether rows are end to end: from 0 to `total`, none shorter than nothing. */
static int end_to_end(const int64_t *offsets, int64_t rows, int64_t total) {
  int64_t falls = 0;
  for (int64_t row = 0; row < rows; row++) falls |= offsets[row + 1] < offsets[row];
  return !falls && offsets[0] == 0 && offsets[rows] == total;
}

/* kept[r + 1]: how many values of the rows up to r are marked (a byte each, 0 or 1). Returns how many are in all; -1 where rows
   are not end to end. */
EXPORT int64_t ragged_count(const uint8_t *marks, const int64_t *offsets, int64_t rows, int64_t total, int64_t *kept) {
  if (!end_to_end(offsets, rows, total)) return -1;
  kept[0] = 0;
  for (int64_t row = 0; row < rows; row++) {
    int64_t count = 0;
    for (int64_t place = offsets[row]; place < offsets[row + 1]; place++) count += marks[place];
    kept[row + 1] = kept[row] + count;
  }
  return kept[rows];
}

#define KEEP(type)                                                                             \
  {                                                                                            \
    const type *from = (const type *)values;                                                   \
    type *to = (type *)out;                                                                    \
    for (int64_t place = first; place < end; place++)                                          \
      if (marks[place]) to[at++] = from[place];                                                \
  }

/* The marked values end to end, of `size` bytes each: 1, 2, 4 or 8. */
EXPORT void ragged_keep(const char *values, int64_t size, const uint8_t *marks, const int64_t *offsets, const int64_t *kept,
                        int64_t rows, int64_t parts, char *out) {
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++) {
    int64_t first = offsets[part * rows / parts], end = offsets[(part + 1) * rows / parts], at = kept[part * rows / parts];
    switch (size) {
      case 1: KEEP(uint8_t); break;
      case 2: KEEP(uint16_t); break;
      case 4: KEEP(uint32_t); break;
      default: KEEP(uint64_t);
    }
  }
}

/* kept[r + 1]: how many values of the rows up to r are not the row's own one. Returns how many are in all; -1 where rows are not
   end to end. */
EXPORT int64_t ragged_count_others(const int32_t *values, const int64_t *own, const int64_t *offsets, int64_t rows,
                                   int64_t total, int64_t *kept) {
  if (!end_to_end(offsets, rows, total)) return -1;
  kept[0] = 0;
  for (int64_t row = 0; row < rows; row++) {
    int64_t count = 0;
    for (int64_t place = offsets[row]; place < offsets[row + 1]; place++) count += values[place] != own[row];
    kept[row + 1] = kept[row] + count;
  }
  return kept[rows];
}

/* The values that are not their row's own one, end to end. */
EXPORT void ragged_others(const int32_t *values, const int64_t *own, const int64_t *offsets, const int64_t *kept, int64_t rows,
                          int64_t parts, int32_t *out) {
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++)
    for (int64_t row = part * rows / parts; row < (part + 1) * rows / parts; row++) {
      int64_t at = kept[row];
      if (kept[row + 1] - at == offsets[row + 1] - offsets[row]) {
        memcpy(out + at, values + offsets[row], (size_t)(kept[row + 1] - at) * sizeof(int32_t));
        continue;
      }
      for (int64_t place = offsets[row]; place < offsets[row + 1]; place++)
        if (values[place] != own[row]) out[at++] = values[place];
    }
}
