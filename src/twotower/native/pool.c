/* Sums or means of table rows, and their gradient, without an array as long as the rows that are looked up. */
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

INLINE void spread_bag(const int width, const float *grad, int64_t dim, const int64_t *rows, int64_t count, float factor,
                       float *table_grad) {
  floats numbers[WIDEST];
  for (int v = 0; v < width; v++) numbers[v] = load(grad + v * LANES) * factor;
  for (int64_t n = 0; n < count; n++) {
    float *row = table_grad + rows[n] * dim;
    for (int v = 0; v < width; v++) store(row + v * LANES, load(row + v * LANES) + numbers[v]);
  }
}

/* whether bags are not end to end, or a value is not a row */
static int64_t outside(const int64_t *values, int64_t count, int64_t rows, const int64_t *offsets, int64_t bags) {
  int64_t found = offsets[0] != 0 || offsets[bags] != count;
  for (int64_t bag = 0; bag < bags; bag++) found |= offsets[bag + 1] < offsets[bag];
  for (int64_t n = 0; n < count; n++) found |= values[n] < 0 || values[n] >= rows;
  return found;
}

/* table [rows][dim]; values: rows of it, those of a bag from offsets[bag] to offsets[bag + 1] - 1; out [bags][dim], a bag's sum or,
   if `mean`, mean; 0 for an empty one. Returns 1, and writes nothing, where a value is
   not one of its `count` rows or bags are not end to end. */
EXPORT int64_t pool_forward(const float *table, int64_t rows, int64_t dim, const int64_t *values, int64_t count,
                            const int64_t *offsets, int64_t bags, int64_t mean, int64_t parts, float *out) {
  (void)parts; /* of no use where the compiler does not know OpenMP */
  if (outside(values, count, rows, offsets, bags)) return 1;
#pragma omp parallel for num_threads(parts) schedule(static) if (parts > 1)
  for (int64_t bag = 0; bag < bags; bag++) {
    const int64_t *mine = values + offsets[bag];
    int64_t length = offsets[bag + 1] - offsets[bag], d = 0;
    float factor = mean && length ? 1.0f / (float)length : 1.0f, *to = out + bag * dim;
    for (; d + 4 * LANES <= dim; d += 4 * LANES) pool_bag(4, table + d, dim, mine, length, factor, to + d);
    for (; d + LANES <= dim; d += LANES) pool_bag(1, table + d, dim, mine, length, factor, to + d);
    for (; d < dim; d++) {
      float sum = 0;
      for (int64_t n = 0; n < length; n++) sum += table[mine[n] * dim + d];
      to[d] = sum * factor;
    }
  }
  return 0;
}

/* table_grad [rows][dim] gets, at each value, the gradient of its bag added, [bags][dim]. The parts take numbers of a row each,
   and so add in the same order however many they are. Returns 1, and adds nothing, where a value is not a row. */
EXPORT int64_t pool_backward(const float *grad, int64_t rows, int64_t dim, const int64_t *values, int64_t count,
                             const int64_t *offsets, int64_t bags, int64_t mean, int64_t parts, float *table_grad) {
  if (outside(values, count, rows, offsets, bags)) return 1;
  int64_t blocks = (dim + LANES - 1) / LANES;
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++) {
    int64_t first = part * blocks / parts * LANES, end = (part + 1) * blocks / parts * LANES;
    if (end > dim) end = dim;
    for (int64_t bag = 0; bag < bags; bag++) {
      const int64_t *mine = values + offsets[bag];
      int64_t length = offsets[bag + 1] - offsets[bag], d = first;
      if (!length) continue;
      float factor = mean ? 1.0f / (float)length : 1.0f;
      const float *from = grad + bag * dim;
      for (; d + 4 * LANES <= end; d += 4 * LANES) spread_bag(4, from + d, dim, mine, length, factor, table_grad + d);
      for (; d + 2 * LANES <= end; d += 2 * LANES) spread_bag(2, from + d, dim, mine, length, factor, table_grad + d);
      for (; d + LANES <= end; d += LANES) spread_bag(1, from + d, dim, mine, length, factor, table_grad + d);
      for (; d < end; d++)
        for (int64_t n = 0; n < length; n++) table_grad[mine[n] * dim + d] += from[d] * factor;
    }
  }
  return 0;
}
