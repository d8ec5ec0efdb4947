/* Sums or means of table rows, and their gradient, without an array as long as the rows that are looked up. */
#include "pool.h"

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
    int64_t length = offsets[bag + 1] - offsets[bag];
    pool_row(table, dim, mine, length, mean && length ? 1.0f / (float)length : 1.0f, out + bag * dim);
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
      int64_t length = offsets[bag + 1] - offsets[bag];
      if (length) spread_row(grad + bag * dim, first, end, dim, mine, length, mean ? 1.0f / (float)length : 1.0f, table_grad);
    }
  }
  return 0;
}
