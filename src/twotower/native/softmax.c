/* Softmax cross-entropy of some queries against all candidates, and its gradients, in one pass over tiles of logits. */
#include "vector.h"

/* of so many candidates at a time the logits of a tile stay in the second cache while both gradients are taken */
#define COLUMNS 768

/* e^x for x <= 0, within 2 units of the last place: x = n log 2 + f, and a polynomial of f (Cephes, expf). What is below the
   least normal number is 0; what is not a number stays so. */
INLINE floats exponential(floats x) {
  const floats magic = all_of(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
  floats bounded = greater_of(x, all_of(-87.0f));
  floats shifted = bounded * 1.44269504f + magic;
  floats whole = shifted - magic;
  floats rest = bounded - whole * 0.693359375f;
  rest = rest + whole * 2.12194440e-4f;
  floats sum = all_of(1.9875691500e-4f);
  sum = sum * rest + 1.3981999507e-3f;
  sum = sum * rest + 8.3334519073e-3f;
  sum = sum * rest + 4.1665795894e-2f;
  sum = sum * rest + 1.6666665459e-1f;
  sum = sum * rest + 5.0000001201e-1f;
  sum = sum * (rest * rest) + rest + 1.0f;
  ints power = (__builtin_convertvector(whole, ints) + 127) << 23;
  floats value = sum * (floats)power;
  value = choose(x < all_of(-87.0f), all_of(0.0f), value);
  return choose(x != x, x, value);
}

/* Candidates in panels. */
EXPORT void softmax_pack(const float *candidates, int64_t num_candidates, int64_t dim, float *packed) {
  for (int64_t first = 0; first < num_candidates; first += PANEL) {
    int64_t count = num_candidates - first < PANEL ? num_candidates - first : PANEL;
    pack_panel(candidates + first * dim, count, dim, packed + first * dim);
  }
}

/* How many candidates the packed ones and a row of logits are rounded up to. */
EXPORT int64_t softmax_padded(int64_t num_candidates) { return (num_candidates + PANEL - 1) / PANEL * PANEL; }

/* How many numbers the width must be a multiple of. */
EXPORT int64_t softmax_lanes(void) { return LANES; }

/* logits[rows][stride] = bias + queries[rows][dim] . packed, and the highest of every row so far, lane by lane */
INLINE void logits_of_rows(const int rows, const float *queries, const float *panel, const float *bias, float *logits,
                           float *highest, int64_t dim, int64_t stride) {
  floats sums[BLOCK_ROWS][BLOCK_VECTORS];
  for (int row = 0; row < rows; row++)
    for (int v = 0; v < BLOCK_VECTORS; v++) sums[row][v] = load(bias + v * LANES);
  block_product(rows, queries, panel, dim, sums);
  for (int row = 0; row < rows; row++) {
    floats most = load(highest + row * LANES);
    for (int v = 0; v < BLOCK_VECTORS; v++) {
      most = greater_of(sums[row][v], most);
      store(logits + row * stride + v * LANES, sums[row][v]);
    }
    store(highest + row * LANES, most);
  }
}

static void logits_of_tile(const float *queries, const float *packed, const float *bias, float *logits, float *highest,
                           int64_t rows, int64_t dim, int64_t stride) {
  for (int64_t row = 0; row < rows; row++) store(highest + row * LANES, all_of(-INFINITY));
  for (int64_t first = 0; first < stride; first += PANEL) {
    const float *panel = packed + first * dim;
    int64_t row = 0;
    for (; row + BLOCK_ROWS <= rows; row += BLOCK_ROWS)
      logits_of_rows(BLOCK_ROWS, queries + row * dim, panel, bias + first, logits + row * stride + first, highest + row * LANES,
                     dim, stride);
    for (; row < rows; row++)
      logits_of_rows(1, queries + row * dim, panel, bias + first, logits + row * stride + first, highest + row * LANES, dim,
                     stride);
  }
}

/* out[row][dim] += sum over n of factors[row * row_step + n * step] * vectors[n][dim], of some rows and one or two registers */
INLINE void combine(const int rows, const int width, const float *factors, int64_t row_step, int64_t step, int64_t count,
                    const float *vectors, int64_t dim, float *out) {
  floats sums[BLOCK_ROWS][2];
  for (int row = 0; row < rows; row++)
    for (int v = 0; v < width; v++) sums[row][v] = load(out + row * dim + v * LANES);
  for (int64_t n = 0; n < count; n++) {
    floats vector[2];
    for (int v = 0; v < width; v++) vector[v] = load(vectors + n * dim + v * LANES);
    for (int row = 0; row < rows; row++) {
      float factor = factors[row * row_step + n * step];
      for (int v = 0; v < width; v++) sums[row][v] += vector[v] * factor;
    }
  }
  for (int row = 0; row < rows; row++)
    for (int v = 0; v < width; v++) store(out + row * dim + v * LANES, sums[row][v]);
}

INLINE void combine_all(const float *factors, int64_t row_step, int64_t step, int64_t count, const float *vectors,
                        int64_t dim, float *out, int64_t rows) {
  int64_t row = 0;
  for (; row + BLOCK_ROWS <= rows; row += BLOCK_ROWS) {
    const float *mine = factors + row * row_step;
    int64_t d = 0;
    for (; d + 2 * LANES <= dim; d += 2 * LANES)
      combine(BLOCK_ROWS, 2, mine, row_step, step, count, vectors + d, dim, out + row * dim + d);
    if (d < dim) combine(BLOCK_ROWS, 1, mine, row_step, step, count, vectors + d, dim, out + row * dim + d);
  }
  for (; row < rows; row++)
    for (int64_t d = 0; d < dim; d += LANES)
      combine(1, 1, factors + row * row_step, row_step, step, count, vectors + d, dim, out + row * dim + d);
}

/* Logits to exponentials of what they are below the highest, in place; the sum of these. */
static float exponentials(float *logits, int64_t stride, float highest) {
  floats sums = all_of(0);
  for (int64_t c = 0; c < stride; c += LANES) {
    floats value = exponential(load(logits + c) - highest);
    store(logits + c, value);
    sums += value;
  }
  return sum_of(sums);
}

/* How many floats softmax_tiles needs to work with. */
EXPORT int64_t softmax_room(int64_t num_candidates, int64_t dim, int64_t tile) {
  return tile * (softmax_padded(num_candidates) + LANES + dim + 1);
}

/* Losses and gradients of some queries, `tile` at a time; candidates_grad is added to. Returns -1, or the first row that names a
   candidate which is not there: then the work has stopped. */
static int64_t softmax_part(const float *queries, const float *candidates, const float *packed, const float *bias,
                            const int64_t *positives, const float *coefficients, const float *own_shift,
                            const int64_t *masked_from, const int64_t *masked, int64_t rows, int64_t num_candidates,
                            int64_t dim, int64_t tile, float *room, float *losses, float *queries_grad,
                            float *candidates_grad) {
  int64_t stride = softmax_padded(num_candidates);
  float *logits = room, *highest = logits + tile * stride, *scaled = highest + tile * LANES, *factors = scaled + tile * dim;
  for (int64_t first = 0; first < rows; first += tile) {
    int64_t count = rows - first < tile ? rows - first : tile;
    const float *mine = queries + first * dim;
    logits_of_tile(mine, packed, bias, logits, highest, count, dim, stride);
    for (int64_t row = 0; row < count; row++) {
      float *of_row = logits + row * stride, *lanes = highest + row * LANES;
      int64_t own = positives[first + row];
      if (own < 0 || own >= num_candidates) return first + row;
      if (masked) {
        float kept = of_row[own];
        for (int64_t pair = masked_from[first + row]; pair < masked_from[first + row + 1]; pair++) {
          if (masked[pair] < 0 || masked[pair] >= num_candidates) return first + row;
          of_row[masked[pair]] = -INFINITY;
        }
        of_row[own] = kept;
      }
      if (own_shift) of_row[own] += own_shift[first + row];
      float own_logit = of_row[own], most = own_logit;
      /* a highest that is a little too high does no harm */
      if (masked || (own_shift && own_shift[first + row] < -20)) {
        floats found = all_of(own_logit);
        for (int64_t c = 0; c < stride; c += LANES) found = greater_of(load(of_row + c), found);
        store(lanes, found);
      }
      for (int lane = 0; lane < LANES; lane++) most = lanes[lane] > most ? lanes[lane] : most;
      float sum = exponentials(of_row, stride, most);
      losses[first + row] = most - own_logit + logf(sum);
      /* coefficient (probability - [own]) = coefficient / sum (exponential - [own] sum) */
      of_row[own] -= sum;
      factors[row] = coefficients[first + row] / sum;
      for (int64_t d = 0; d < dim; d++) scaled[row * dim + d] = mine[row * dim + d] * factors[row];
    }
    if (!queries_grad) continue;
    float *grad = queries_grad + first * dim;
    memset(grad, 0, (size_t)(count * dim) * sizeof(float));
    for (int64_t from = 0; from < num_candidates; from += COLUMNS) {
      int64_t width = num_candidates - from < COLUMNS ? num_candidates - from : COLUMNS;
      combine_all(logits + from, stride, 1, width, candidates + from * dim, dim, grad, count);
      combine_all(logits + from, 1, stride, count, scaled, dim, candidates_grad + from * dim, width);
    }
    for (int64_t row = 0; row < count; row++)
      for (int64_t d = 0; d < dim; d++) grad[row * dim + d] *= factors[row];
  }
  return -1;
}

/* Losses and gradients of `rows` queries, in parts that are worked on side by side, `tile` queries at a time.
   queries [rows][dim]; candidates [num_candidates][dim]; packed: see softmax_pack; bias [padded]: -infinity where there is no
   candidate; positives, coefficients, own_shift (or null), losses [rows]; masked: columns of row r are
   masked[masked_from[r]] to masked[masked_from[r + 1] - 1] (or null); room [parts][softmax_room]; queries_grad [rows][dim] and
   the first of candidates_grad [parts][num_candidates][dim] are written (both null: only losses).
   Returns -1, or a row that names a candidate which is not there: then what was written is worth nothing. */
EXPORT int64_t softmax_tiles(const float *queries, const float *candidates, const float *packed, const float *bias,
                             const int64_t *positives, const float *coefficients, const float *own_shift,
                             const int64_t *masked_from, const int64_t *masked, int64_t rows, int64_t num_candidates,
                             int64_t dim, int64_t tile, int64_t parts, float *room, float *losses, float *queries_grad,
                             float *candidates_grad) {
  int64_t size = num_candidates * dim, of_part = softmax_room(num_candidates, dim, tile), wrong = -1;
  int64_t tiles = (rows + tile - 1) / tile;
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++) {
    int64_t first = part * tiles / parts * tile, end = (part + 1) * tiles / parts * tile;
    if (end > rows) end = rows;
    if (candidates_grad) memset(candidates_grad + part * size, 0, (size_t)size * sizeof(float));
    int64_t found = softmax_part(
        queries + first * dim, candidates, packed, bias, positives + first, coefficients + first,
        own_shift ? own_shift + first : NULL, masked ? masked_from + first : NULL, masked, end - first, num_candidates, dim,
        tile, room + part * of_part, losses + first, queries_grad ? queries_grad + first * dim : NULL,
        candidates_grad ? candidates_grad + part * size : NULL);
    if (found >= 0) {
#pragma omp critical
      wrong = first + found;
    }
  }
  if (!candidates_grad || wrong >= 0) return wrong;
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t share = 0; share < parts; share++)
    for (int64_t part = 1; part < parts; part++)
      for (int64_t n = share * size / parts; n < (share + 1) * size / parts; n++)
        candidates_grad[n] += candidates_grad[part * size + n];
  return wrong;
}
