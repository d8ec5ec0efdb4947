/* Adam on some rows of a table: each is read, moved and written once, with its moments, and fetched from memory a few rows ahead. */
#include "rows.h"

/* first = decay_1 first + (1 - decay_1) g, second = decay_2 second + (1 - decay_2) g^2, w -= rate first / (sqrt(second) / root + epsilon).
   table, first and second [num_rows][dim]; rows: `count` of them, distinct; grads [count][dim]. Returns 1, and changes nothing, where
   a row is not there. */
EXPORT int64_t adam_rows(float *table, float *first, float *second, int64_t num_rows, int64_t dim, const int64_t *rows, int64_t count,
                         const float *grads, double rate, double decay_1, double decay_2, double root, double epsilon, int64_t parts) {
  float step = (float)rate, b1 = (float)decay_1, b2 = (float)decay_2, a1 = (float)(1 - decay_1), a2 = (float)(1 - decay_2);
  float scale = (float)root, least = (float)epsilon;
  if (outside(rows, count, num_rows)) return 1;
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++) {
    int64_t end = (part + 1) * count / parts;
    for (int64_t n = part * count / parts; n < end; n++) {
      int64_t at = rows[n] * dim, next = n + AHEAD < end ? rows[n + AHEAD] * dim : at;
      fetch(table + next, dim), fetch(first + next, dim), fetch(second + next, dim);
      float *weights = table + at, *means = first + at, *squares = second + at;
      const float *grad = grads + n * dim;
#pragma GCC ivdep
      for (int64_t d = 0; d < dim; d++) {
        float mean = b1 * means[d] + a1 * grad[d], square = b2 * squares[d] + a2 * grad[d] * grad[d];
        means[d] = mean, squares[d] = square;
        weights[d] -= step * mean / (sqrtf(square) / scale + least);
      }
    }
  }
  return 0;
}
