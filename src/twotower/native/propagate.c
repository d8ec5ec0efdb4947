/* One layer of propagation over a graph: every row becomes a weighted sum of its neighbours. */
#include "vector.h"

#define AHEAD 12 /* neighbours that are fetched from memory before they are added */
#define LINE 16  /* floats of a line of the caches */
#define WIDEST 4
#define CHUNK 64 /* rows that a thread takes at a time */

/* The rows of a graph's one side and their neighbours on the other: those of row r from offsets[r] to offsets[r + 1] - 1. */
typedef struct {
  const int32_t *neighbours;
  const int64_t *offsets;
  const float *scale, *neighbour_scale;
} Side;

/* out[0 .. width * LANES) = own times own_factor, plus factor times the sum of neighbour_scale[n] from[n] */
INLINE void propagate_part(const int width, const float *from, int64_t dim, const int32_t *rows, int64_t count, const float *scale,
                           float factor, const float *own, float own_factor, float *out) {
  floats sums[WIDEST];
  for (int v = 0; v < width; v++) sums[v] = all_of(0);
  for (int64_t n = 0; n < count; n++) {
    if (n + AHEAD < count)
      for (int v = 0; v < width * LANES; v += LINE) __builtin_prefetch(from + (int64_t)rows[n + AHEAD] * dim + v);
    float each = scale[rows[n]];
    for (int v = 0; v < width; v++) sums[v] += load(from + (int64_t)rows[n] * dim + v * LANES) * each;
  }
  for (int v = 0; v < width; v++) store(out + v * LANES, sums[v] * factor + load(own + v * LANES) * own_factor);
}

INLINE void propagate_row(Side side, int64_t row, const float *from, int64_t dim, float factor, const float *own, float own_factor,
                          float *out) {
  const int32_t *rows = side.neighbours + side.offsets[row];
  int64_t count = side.offsets[row + 1] - side.offsets[row], d = 0;
  factor *= side.scale[row];
  for (; d + 4 * LANES <= dim; d += 4 * LANES)
    propagate_part(4, from + d, dim, rows, count, side.neighbour_scale, factor, own + d, own_factor, out + d);
  for (; d + 2 * LANES <= dim; d += 2 * LANES)
    propagate_part(2, from + d, dim, rows, count, side.neighbour_scale, factor, own + d, own_factor, out + d);
  for (; d + LANES <= dim; d += LANES)
    propagate_part(1, from + d, dim, rows, count, side.neighbour_scale, factor, own + d, own_factor, out + d);
  for (; d < dim; d++) {
    float sum = 0;
    for (int64_t n = 0; n < count; n++) sum += from[(int64_t)rows[n] * dim + d] * side.neighbour_scale[rows[n]];
    out[d] = sum * factor + own[d] * own_factor;
  }
}

/* whether rows are not end to end, or a neighbour is not a row of the other side */
static int64_t outside(const int32_t *neighbours, int64_t count, int64_t others, const int64_t *offsets, int64_t rows) {
  int64_t found = offsets[0] != 0 || offsets[rows] != count;
  for (int64_t row = 0; row < rows; row++) found |= offsets[row + 1] < offsets[row];
  for (int64_t n = 0; n < count; n++) found |= neighbours[n] < 0 || neighbours[n] >= others;
  return found;
}

/* out [rows][dim]: own_factor own[r] + factor scale[r] sum of neighbour_scale[n] from[n] over the neighbours n of r; from [others][dim].
   Every number is added up by one thread in one order. Returns 1, and writes nothing, where a neighbour is no row. */
EXPORT int64_t propagate_layer(const int32_t *neighbours, int64_t count, const int64_t *offsets, int64_t rows, const float *scale,
                               const float *from, int64_t others, const float *neighbour_scale, int64_t dim, double factor,
                               const float *own, double own_factor, int64_t parts, float *out) {
  (void)parts; /* of no use where the compiler does not know OpenMP */
  if (outside(neighbours, count, others, offsets, rows)) return 1;
  Side side = {neighbours, offsets, scale, neighbour_scale};
#pragma omp parallel for num_threads(parts) schedule(dynamic, CHUNK) if (parts > 1)
  for (int64_t row = 0; row < rows; row++)
    propagate_row(side, row, from, dim, (float)factor, own + row * dim, (float)own_factor, out + row * dim);
  return 0;
}
