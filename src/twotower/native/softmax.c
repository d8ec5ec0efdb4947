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

#define UNIT float
#define NAMED(name) wide_##name
#define ADD_PRODUCT(sums, units, unit) sums += (units) * (unit)
#include "softmax_products.h"
#undef UNIT
#undef NAMED
#undef ADD_PRODUCT

#ifdef __AVX512BF16__
#include <immintrin.h>

/* two numbers of 16 bits, the first in the low half */
typedef uint32_t pair __attribute__((may_alias));
#define UNIT pair
#define NAMED(name) narrow_##name
#define ADD_PRODUCT(sums, units, unit) \
  sums = (floats)_mm512_dpbf16_ps((__m512)(sums), (__m512bh)(units), (__m512bh)_mm512_set1_epi32((int)(unit)))
#include "softmax_products.h"
#endif

/* Whether products of numbers of 16 bits are there. */
EXPORT int64_t softmax_narrow(void) {
#ifdef __AVX512BF16__
  return 1;
#else
  return 0;
#endif
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

/* What a tile's rows are about. */
typedef struct {
  const int64_t *positives, *masked_from, *masked;
  const float *coefficients, *own_shift;
  int64_t num_candidates, hard;
  const float *counts;
  int64_t own_copies;
} Asked;

/* The value at which `places` are full when the highest values take theirs first, by weight, and how many are left for it. Where
   there are fewer, -infinity. Both arrays are reordered. */
static float full_at(float *values, float *weights, int64_t count, float places, float *left) {
  while (count) {
    float a = values[0], b = values[count / 2], c = values[count - 1], above = 0, at = 0;
    float pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
    for (int64_t n = 0; n < count; n++) {
      above += values[n] > pivot ? weights[n] : 0;
      at += values[n] == pivot ? weights[n] : 0;
    }
    if (places > above && places <= above + at) {
      *left = places - above;
      return pivot;
    }
    int64_t kept = 0;
    int higher = places <= above;
    for (int64_t n = 0; n < count; n++) {
      float value = values[n], weight = weights[n];
      values[kept] = value, weights[kept] = weight;
      kept += higher ? value > pivot : value < pivot;
    }
    if (!higher) places -= above + at;
    count = kept;
  }
  *left = 0;
  return -INFINITY;
}

/* so many vectors of logits at a time, of which the highest are found lane by lane */
#define GROUP 16

/* Of a row of logits the negatives that are among the `hard` highest columns stay, plus the logarithm of how many of their columns
   do; the others become -infinity, but for what is not a number, which stays. The positive stays, plus that of one and its copies that are among them. room: 2 * stride. */
static void keep_hard(const Asked *asked, int64_t own, float *logits, int64_t stride, float *room) {
  float *values = room, *weights = room + stride, own_logit = logits[own], bound = -INFINITY, left;
  float copies = asked->own_copies && asked->counts ? asked->counts[own] - 1 : 0, kept_own = 0;
  logits[own] = -INFINITY;
  int64_t groups = (stride + GROUP * LANES - 1) / (GROUP * LANES) * LANES;
  if (asked->hard <= groups) { /* at least so many columns are as high as the lowest of the highest maxima */
    for (int64_t group = 0; group < groups; group += LANES) {
      floats most = all_of(-INFINITY);
      int64_t end = (group + LANES) * GROUP < stride ? (group + LANES) * GROUP : stride;
      for (int64_t c = group * GROUP; c < end; c += LANES) most = greater_of(load(logits + c), most);
      store(values + group, most);
      store(weights + group, all_of(1));
    }
    bound = full_at(values, weights, groups, (float)asked->hard, &left);
  }
  int64_t count = 0;
  for (int64_t c = 0; c < asked->num_candidates; c++) {
    values[count] = logits[c];
    weights[count] = asked->counts ? asked->counts[c] : 1;
    count += logits[c] >= bound && c != own;
  }
  if (copies > 0 && own_logit >= bound) values[count] = own_logit, weights[count++] = copies;
  float threshold = full_at(values, weights, count, (float)asked->hard, &left);
  for (int64_t c = 0; c < asked->num_candidates; c++) {
    if (logits[c] < threshold || c == own) {
      logits[c] = -INFINITY;
      continue;
    }
    float places = asked->counts ? asked->counts[c] : 1;
    if (logits[c] == threshold) {
      places = places < left ? places : left;
      left -= places;
    }
    if (places != 1) logits[c] += logf(places);
  }
  if (copies > 0 && own_logit >= threshold) kept_own = own_logit > threshold || copies < left ? copies : left;
  logits[own] = own_logit + logf(1 + kept_own);
}

/* A row of logits to the exponentials of which its gradient is made, times the row's factor; whether its candidates are there.
   room: see keep_hard. */
static int exponentials_of_row(const Asked *asked, int64_t row, float *logits, float *lanes, int64_t stride, float *room, float *loss,
                               float *factor) {
  int64_t own = asked->positives[row];
  if (own < 0 || own >= asked->num_candidates) return 0;
  if (asked->masked) {
    float kept = logits[own];
    for (int64_t place = asked->masked_from[row]; place < asked->masked_from[row + 1]; place++) {
      if (asked->masked[place] < 0 || asked->masked[place] >= asked->num_candidates) return 0;
      logits[asked->masked[place]] = -INFINITY;
    }
    logits[own] = kept;
  }
  if (asked->own_shift) logits[own] += asked->own_shift[row];
  float own_logit = logits[own], most = own_logit;
  if (asked->hard) keep_hard(asked, own, logits, stride, room);
  /* a highest that is a little too high does no harm */
  if (asked->masked || asked->hard || (asked->own_shift && asked->own_shift[row] < -20)) {
    floats found = all_of(own_logit);
    for (int64_t c = 0; c < stride; c += LANES) found = greater_of(load(logits + c), found);
    store(lanes, found);
  }
  for (int lane = 0; lane < LANES; lane++) most = lanes[lane] > most ? lanes[lane] : most;
  float sum = exponentials(logits, stride, most);
  *loss = most - own_logit + logf(sum);
  /* coefficient (probability - [own]) = coefficient / sum (exponential - [own] sum) */
  logits[own] -= sum;
  *factor = asked->coefficients[row] / sum;
  return 1;
}

static void scale_rows(float *rows, const float *factors, int64_t count, int64_t dim) {
  for (int64_t row = 0; row < count; row++)
    for (int64_t d = 0; d < dim; d++) rows[row * dim + d] *= factors[row];
}

/* Losses and gradients of some queries, `tile` at a time; candidates_grad is added to. Returns -1, or the first row that names a
   candidate which is not there: then the work has stopped. */
static int64_t wide_part(const float *queries, const float *candidates, const float *packed, const float *bias,
                         const Asked *asked, int64_t from, int64_t end, int64_t dim, int64_t tile, float *room, float *losses,
                         float *queries_grad, float *candidates_grad) {
  int64_t stride = softmax_padded(asked->num_candidates);
  float *spare = room, *logits = room + 2 * stride, *highest = logits + tile * stride, *scaled = highest + tile * LANES;
  float *factors = scaled + tile * dim;
  for (int64_t first = from; first < end; first += tile) {
    int64_t count = end - first < tile ? end - first : tile;
    wide_logits_of_tile(queries + first * dim, packed, bias, logits, highest, count, dim, stride);
    for (int64_t row = 0; row < count; row++)
      if (!exponentials_of_row(asked, first + row, logits + row * stride, highest + row * LANES, stride, spare,
                               losses + first + row, factors + row))
        return first + row;
    if (!queries_grad) continue;
    float *grad = queries_grad + first * dim;
    memset(grad, 0, (size_t)(count * dim) * sizeof(float));
    memcpy(scaled, queries + first * dim, (size_t)(count * dim) * sizeof(float));
    scale_rows(scaled, factors, count, dim);
    for (int64_t c = 0; c < asked->num_candidates; c += COLUMNS) {
      int64_t width = asked->num_candidates - c < COLUMNS ? asked->num_candidates - c : COLUMNS;
      wide_combine_all(logits + c, stride, 1, width, candidates + c * dim, dim, grad, count);
      wide_combine_all(logits + c, 1, stride, count, scaled, dim, candidates_grad + c * dim, width);
    }
    scale_rows(grad, factors, count, dim);
  }
  return -1;
}

#ifdef __AVX512BF16__
INLINE void narrow_lanes(const float *from, uint16_t *to) {
  _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh((__m512)load(from)));
}

static void narrow_all(const float *from, int64_t count, uint16_t *to) {
  for (int64_t n = 0; n < count; n += LANES) narrow_lanes(from + n, to + n);
}

/* to[n] holds low[n] and high[n]; zeros for a high that is not there */
static void pair_up(const uint16_t *low, const uint16_t *high, int64_t count, pair *to) {
  for (int64_t n = 0; n < count; n += LANES) {
    __m512i both = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(low + n)));
    if (high) {
      __m512i upper = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(high + n)));
      both = _mm512_or_si512(both, _mm512_slli_epi32(upper, 16));
    }
    _mm512_storeu_si512(to + n, both);
  }
}

/* rows [count][width] of numbers to pairs of rows [(count + 1) / 2][width] */
static void pair_rows(const uint16_t *rows, int64_t count, int64_t width, pair *to) {
  for (int64_t row = 0; row < count; row += 2)
    pair_up(rows + row * width, row + 1 < count ? rows + (row + 1) * width : NULL, width, to + row / 2 * width);
}

/* As wide_part. `packed` and `candidates` are pairs: of dimensions, in panels; of candidates, [.. / 2][dim]. */
static int64_t narrow_part(const float *queries, const pair *candidates, const pair *packed, const float *bias,
                           const Asked *asked, int64_t from, int64_t end, int64_t dim, int64_t tile, float *room,
                           float *losses, float *queries_grad, float *candidates_grad) {
  int64_t stride = softmax_padded(asked->num_candidates);
  float *spare = room, *logits = room + 2 * stride, *highest = logits + tile * stride, *scaled = highest + tile * LANES;
  float *factors = scaled + tile * dim;
  uint16_t *narrow_queries = (uint16_t *)(factors + tile), *narrow_rows = narrow_queries + tile * dim;
  pair *pairs_of_rows = (pair *)(narrow_rows + tile * stride), *pairs_of_queries = pairs_of_rows + (tile + 1) / 2 * stride;
  for (int64_t first = from; first < end; first += tile) {
    int64_t count = end - first < tile ? end - first : tile;
    narrow_all(queries + first * dim, count * dim, narrow_queries);
    narrow_logits_of_tile((const pair *)narrow_queries, packed, bias, logits, highest, count, dim / 2, stride);
    for (int64_t row = 0; row < count; row++) {
      if (!exponentials_of_row(asked, first + row, logits + row * stride, highest + row * LANES, stride, spare,
                               losses + first + row, factors + row))
        return first + row;
      if (queries_grad) narrow_all(logits + row * stride, stride, narrow_rows + row * stride);
    }
    if (!queries_grad) continue;
    float *grad = queries_grad + first * dim;
    memset(grad, 0, (size_t)(count * dim) * sizeof(float));
    memcpy(scaled, queries + first * dim, (size_t)(count * dim) * sizeof(float));
    scale_rows(scaled, factors, count, dim);
    narrow_all(scaled, count * dim, narrow_queries);
    pair_rows(narrow_queries, count, dim, pairs_of_queries);
    pair_rows(narrow_rows, count, stride, pairs_of_rows);
    for (int64_t c = 0; c < asked->num_candidates; c += COLUMNS) {
      int64_t width = asked->num_candidates - c < COLUMNS ? asked->num_candidates - c : COLUMNS;
      narrow_combine_all((const pair *)(narrow_rows + c), stride / 2, 1, (width + 1) / 2, candidates + c / 2 * dim, dim, grad,
                         count);
      narrow_combine_all(pairs_of_rows + c, 1, stride, (count + 1) / 2, pairs_of_queries, dim, candidates_grad + c * dim,
                         width);
    }
    scale_rows(grad, factors, count, dim);
  }
  return -1;
}

/* What narrow_part takes of the candidates: [padded / 2][dim] pairs of candidates, and panels of pairs of dimensions; both have
   half as many pairs as the candidates, rounded up to panels, have numbers. `room`: numbers of 16 bits, [padded][dim]. */
EXPORT void softmax_pack_narrow(const float *candidates, int64_t num_candidates, int64_t dim, uint16_t *room, pair *pairs,
                                pair *packed) {
  int64_t padded = softmax_padded(num_candidates);
  memset(room + num_candidates * dim, 0, (size_t)((padded - num_candidates) * dim) * sizeof(uint16_t));
  narrow_all(candidates, num_candidates * dim, room);
  pair_rows(room, padded, dim, pairs);
  for (int64_t first = 0; first < padded; first += PANEL)
    for (int64_t row = 0; row < PANEL; row++)
      for (int64_t d = 0; d < dim / 2; d++)
        packed[first * dim / 2 + d * PANEL + row] = ((const pair *)(room + (first + row) * dim))[d];
}
#endif

/* How many floats softmax_tiles needs to work with. */
EXPORT int64_t softmax_room(int64_t num_candidates, int64_t dim, int64_t tile, int64_t narrow) {
  int64_t stride = softmax_padded(num_candidates), wide = 2 * stride + tile * (stride + LANES + dim + 1);
  return narrow ? wide + tile * (dim + stride) / 2 + (tile + 1) / 2 * (stride + dim) + 1 : wide;
}

/* Losses and gradients of `rows` queries, in parts that are worked on side by side, `tile` queries at a time.
   queries [rows][dim]; candidates [num_candidates][dim]; packed: see softmax_pack (where `narrow`, both are those of
   softmax_pack_narrow); bias [padded]: -infinity where there is no
   candidate; positives, coefficients, own_shift (or null), losses [rows]; masked: columns of row r are
   masked[masked_from[r]] to masked[masked_from[r + 1] - 1] (or null); hard: how many columns compete with a positive, the highest
   ones (0: all), of which each candidate has counts[candidate] (or null: one), the positive one less (none, unless `own_copies`),
   and then bias has no logarithm of counts; room [parts][softmax_room]; queries_grad [rows][dim] and
   the first of candidates_grad [parts][num_candidates][dim] are written (both null: only losses).
   Returns -1, or a row that names a candidate which is not there: then what was written is worth nothing. */
EXPORT int64_t softmax_tiles(const float *queries, const float *candidates, const float *packed, const float *bias,
                             const int64_t *positives, const float *coefficients, const float *own_shift,
                             const int64_t *masked_from, const int64_t *masked, int64_t hard, const float *counts,
                             int64_t own_copies, int64_t rows, int64_t num_candidates,
                             int64_t dim, int64_t tile, int64_t parts, int64_t narrow, float *room, float *losses, float *queries_grad,
                             float *candidates_grad) {
  int64_t size = num_candidates * dim, of_part = softmax_room(num_candidates, dim, tile, narrow), wrong = -1;
  const Asked asked = {positives, masked_from, masked, coefficients, own_shift, num_candidates, hard, counts, own_copies};
  int64_t tiles = (rows + tile - 1) / tile;
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++) {
    int64_t first = part * tiles / parts * tile, end = (part + 1) * tiles / parts * tile;
    if (end > rows) end = rows;
    float *mine = room + part * of_part, *grad = candidates_grad ? candidates_grad + part * size : NULL;
    if (grad) memset(grad, 0, (size_t)size * sizeof(float));
    int64_t found;
#ifdef __AVX512BF16__
    if (narrow)
      found = narrow_part(queries, (const pair *)candidates, (const pair *)packed, bias, &asked, first, end, dim, tile, mine,
                          losses, queries_grad, grad);
    else
#endif
      found = wide_part(queries, candidates, packed, bias, &asked, first, end, dim, tile, mine, losses, queries_grad, grad);
    if (found >= 0) {
#pragma omp critical
      wrong = found;
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
