/* Adagrad on some rows of a table: each is read, moved and written once, and fetched from memory a few rows ahead. */
#include "rows.h"

INLINE float square_sum(const float *numbers, int64_t dim) {
  floats sums = all_of(0);
  int64_t d = 0;
  for (; d + LANES <= dim; d += LANES) sums += load(numbers + d) * load(numbers + d);
  float sum = sum_of(sums);
  for (; d < dim; d++) sum += numbers[d] * numbers[d];
  return sum;
}

/* a += mean(g^2), w -= rate g / (sqrt(a) + epsilon), a being a row's one number */
INLINE void move_by_row(float *weights, float *accumulator, const float *grad, int64_t dim, float rate, float epsilon) {
  float sum = *accumulator + square_sum(grad, dim) / (float)dim, factor = rate / (sqrtf(sum) + epsilon);
  *accumulator = sum;
  for (int64_t d = 0; d < dim; d++) weights[d] -= factor * grad[d];
}

/* the same with one a for each w */
INLINE void move_by_number(float *weights, float *accumulator, const float *grad, int64_t dim, float rate, float epsilon) {
  for (int64_t d = 0; d < dim; d++) {
    float sum = accumulator[d] + grad[d] * grad[d];
    accumulator[d] = sum;
    weights[d] -= rate * grad[d] / (sqrtf(sum) + epsilon);
  }
}

/* table [num_rows][dim]; accumulators [num_rows], or [num_rows][dim] where not `by_row`; rows: `count` of them, distinct; grads
   [count][dim]. Returns 1, and changes nothing, where a row is not there. */
EXPORT int64_t adagrad_rows(float *table, float *accumulators, int64_t num_rows, int64_t dim, const int64_t *rows, int64_t count,
                            const float *grads, double rate, double epsilon, int64_t by_row, int64_t parts) {
  if (outside(rows, count, num_rows)) return 1;
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++) {
    int64_t end = (part + 1) * count / parts;
    for (int64_t n = part * count / parts; n < end; n++) {
      if (n + AHEAD < end) {
        int64_t next = rows[n + AHEAD];
        fetch(table + next * dim, dim);
        if (by_row)
          __builtin_prefetch(accumulators + next, 1);
        else
          fetch(accumulators + next * dim, dim);
      }
      float *weights = table + rows[n] * dim;
      if (by_row)
        move_by_row(weights, accumulators + rows[n], grads + n * dim, dim, (float)rate, (float)epsilon);
      else
        move_by_number(weights, accumulators + rows[n] * dim, grads + n * dim, dim, (float)rate, (float)epsilon);
    }
  }
  return 0;
}

/* a parameter of `size` numbers: its squared gradients `sums`, the number of its `steps`, and the group's numbers */
typedef struct {
  float *weights, *sums, *steps;
  const float *grad;
  int64_t size;
  float rate, epsilon, decay;
} Dense;

/* g = grad + decay w, a += g^2, w -= rate g / (sqrt(a) + epsilon), for some parameters; the parts take so many numbers each */
EXPORT void adagrad_dense(const Dense *parameters, int64_t count, int64_t parts) {
  int64_t total = 0;
  for (int64_t at = 0; at < count; at++) {
    total += parameters[at].size;
    *parameters[at].steps += 1;
  }
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++) {
    int64_t begin = part * total / parts, end = (part + 1) * total / parts, seen = 0;
    for (const Dense *each = parameters; each < parameters + count; seen += each->size, each++) {
      int64_t first = begin > seen ? begin - seen : 0, last = end - seen < each->size ? end - seen : each->size;
      const float *grad = each->grad;
      float *weights = each->weights, *sums = each->sums, rate = each->rate, epsilon = each->epsilon, decay = each->decay;
#pragma GCC ivdep
      for (int64_t n = first; n < last; n++) {
        float moved = grad[n] + decay * weights[n], sum = sums[n] + moved * moved;
        sums[n] = sum;
        weights[n] -= rate * moved / (sqrtf(sum) + epsilon);
      }
    }
  }
}
