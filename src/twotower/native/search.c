/* The k best of many vectors by dot product: products in 8 bits leave few, which are scored in float64.
   What is computed and why it is exact: twotower/index/native_search.py. */
#include "order.h"
#include "products.h"

#include <stdlib.h>

#define STEPS 127.0
#define SMALLEST_SCALE 0x1p-60
#define SHORTEST_QUERY 0x1p-50
#define ABSOLUTE 0x1p-20
#define MOST 0x1p30f
#define FIRST_STAGE 4

typedef struct {
  float inverse, length, residual, scale; /* the first three as divided by the scale */
} Block;

typedef struct {
  float estimate;
  int32_t place;
} Found;

typedef struct {
  double score_unit; /* a score divided by an estimate */
  float absolute, of_lengths, of_residuals; /* all in units of the estimates */
  int32_t offset;
  int given_up, certain;
  int64_t count, checked;
  Found *found;
  const uint64_t *excluded;
  int64_t num_excluded;
} Query;

typedef struct {
  const uint8_t *packed;
  const Block *blocks;
  const int32_t *rows;
  const uint16_t *open;
  int64_t num_blocks, dim, steps, k, room;
  double caution;
  uint64_t *keys;
  Query *queries;
  /* of the queries, as a pass reads them: floors, less what is absolute; what errors grow by; how sums start */
  float *floors, *lower, *of_lengths, *of_residuals;
  int32_t *offsets;
} Work;

EXPORT int64_t is_fast(void) {
#if defined(FOURS) || defined(PAIRS)
  return 1;
#else
  return 0;
#endif
}

/* --- conversion --- */

INLINE double greater(double one, double other) { return one > other ? one : other; }

/* rows are those of the packed places, -1 where there is none */
EXPORT void pack_vectors(const float *vectors, int64_t dim, double unit, const int32_t *rows, int64_t num_blocks, uint8_t *packed,
                         Block *blocks) {
  int64_t steps = (dim + 3) / 4;
  for (int64_t block = 0; block < num_blocks; block++) {
    const int32_t *of_block = rows + block * ROWS;
    uint8_t *to = packed + block * steps * 4 * ROWS;
    memset(to, 128, (size_t)(steps * 4 * ROWS));
    float largest = 0;
    for (int lane = 0; lane < ROWS; lane++)
      for (int64_t d = 0; of_block[lane] >= 0 && d < dim; d++) {
        float entry = fabsf(vectors[of_block[lane] * dim + d]);
        largest = entry > largest ? entry : largest;
      }
    double scale = greater((double)largest / unit / STEPS, SMALLEST_SCALE), inverse = 1 / (scale * unit), length = 0, residual = 0;
    scale = (double)(float)scale;
    for (int lane = 0; lane < ROWS; lane++) {
      double squares = 0, lost = 0;
      for (int64_t d = 0; of_block[lane] >= 0 && d < dim; d++) {
        double entry = (double)vectors[of_block[lane] * dim + d], low = nearbyint(entry * inverse);
        double off = entry / unit - low * scale;
        squares += entry * entry, lost += off * off;
        to[(d / 4 * ROWS + lane) * 4 + d % 4] = (uint8_t)(128 + (int)low);
      }
      length = greater(length, sqrt(squares)), residual = greater(residual, sqrt(lost));
    }
    length /= unit;
    blocks[block] = (Block){(float)(1 / scale), (float)(length / scale), (float)(residual / scale), (float)scale};
  }
}

/* a bit for each place that holds a row, and one that is allowed; allowed may be NULL: all are */
EXPORT void open_places(const int32_t *rows, int64_t num_blocks, const uint8_t *allowed, uint16_t *open) {
  for (int64_t block = 0; block < num_blocks; block++) {
    uint32_t bits = 0;
    for (int lane = 0; lane < ROWS; lane++) {
      int32_t row = rows[block * ROWS + lane];
      bits |= (uint32_t)(row >= 0 && (!allowed || allowed[row])) << lane;
    }
    open[block] = (uint16_t)bits;
  }
}

static void convert_query(const float *query, int64_t dim, double unit, int8_t *low_D, Query *to) {
  double squares = 0, largest = 0, lost = 0;
  int32_t sum = 0;
  for (int64_t d = 0; d < dim; d++) {
    squares += (double)query[d] * (double)query[d];
    largest = greater(largest, fabs((double)query[d]));
  }
  double length = sqrt(squares);
  *to = (Query){.given_up = !(length >= SHORTEST_QUERY)};
  if (to->given_up) return;
  double scale = largest / length / STEPS;
  for (int64_t d = 0; d < dim; d++) {
    double entry = (double)query[d] / length, low = nearbyint(entry / scale), off = entry - low * scale;
    lost += off * off;
    low_D[d] = (int8_t)low;
    sum += (int32_t)low;
  }
  lost = sqrt(lost);
  double rounding = 0x1p-23 * (2 + lost);
  to->score_unit = scale * length * unit;
  to->absolute = (float)(ABSOLUTE / scale);
  to->of_lengths = (float)((lost + rounding) / scale);
  to->of_residuals = (float)((1 + lost + rounding) / scale);
  to->offset = -128 * sum;
}

/* --- what was found --- */

INLINE void set_floor(const Work *work, const Query *query, float floor) {
  work->floors[query - work->queries] = floor;
  work->lower[query - work->queries] = floor - query->absolute;
}

INLINE float floor_of(const Work *work, const Query *query) { return work->floors[query - work->queries]; }

INLINE float error_of(const Query *query, const Block *block) {
  return query->absolute + (query->of_lengths * block->length + query->of_residuals * block->residual) * block->scale;
}

static int is_excluded(const Query *query, uint64_t row) {
  int64_t low = 0, high = query->num_excluded;
  while (low < high) {
    int64_t middle = (low + high) / 2;
    if (query->excluded[middle] < row) low = middle + 1;
    else high = middle;
  }
  return low < query->num_excluded && query->excluded[low] == row;
}

/* excluded rows go; a guess of the floor, from the share of vectors that were seen; what can't reach the floor goes */
static void tighten(const Work *work, Query *query, int64_t blocks_seen) {
  Found *found = query->found;
  if (query->num_excluded) {
    int64_t kept = query->checked;
    for (int64_t at = query->checked; at < query->count; at++)
      if (!is_excluded(query, (uint64_t)work->rows[found[at].place])) found[kept++] = found[at];
    query->count = query->checked = kept;
  }
  if (query->certain) return;
  double expected = (double)work->k * (double)blocks_seen / (double)work->num_blocks;
  int64_t rank = (int64_t)ceil(expected + work->caution * sqrt(expected) + 2);
  if (rank < 1) rank = 1;
  if (query->count < rank) return;
  for (int64_t at = 0; at < query->count; at++) work->keys[at] = (uint32_t)~ordered(found[at].estimate);
  float floor = greatest(work->keys, query->count, rank);
  if (!(floor > floor_of(work, query))) return;
  set_floor(work, query, floor);
  int64_t kept = 0;
  for (int64_t at = 0; at < query->count; at++)
    if (found[at].estimate + error_of(query, work->blocks + found[at].place / ROWS) >= floor) found[kept++] = found[at];
  query->count = query->checked = kept;
}

static void give_up(const Work *work, Query *query) {
  query->given_up = 1;
  set_floor(work, query, INFINITY);
  query->count = 0;
}

/* --- the pass over all vectors --- */

/* sums start so that those that may belong to a score that reaches the floor are not negative */
static void begin(const Work *work, int64_t block, int64_t num_queries, int32_t *restrict starts) {
  const float *lower = work->lower, *of_lengths = work->of_lengths, *of_residuals = work->of_residuals;
  const int32_t *offsets = work->offsets;
  Block own = work->blocks[block];
  for (int64_t at = 0; at < num_queries; at++) {
    float limit = lower[at] * own.inverse - of_lengths[at] * own.length - of_residuals[at] * own.residual;
    limit = limit > MOST ? MOST : limit;
    limit = limit < -MOST ? -MOST : limit;
    /* cut off towards zero: a positive limit is lower, and a negative one is met by the same whole numbers */
    starts[at] = (int32_t)((uint32_t)offsets[at] - (uint32_t)(int32_t)limit);
  }
}

static void note(const Work *work, Query *query, int64_t block, uint32_t hits, const int32_t *sums, int32_t start) {
  if (query->count + ROWS > work->room) {
    tighten(work, query, block + 1);
    if (query->count + ROWS > work->room / 4 * 3) give_up(work, query);
  }
  for (hits &= work->open[block]; hits && !query->given_up; hits &= hits - 1) {
    int lane = __builtin_ctz(hits);
    int32_t product = (int32_t)((uint32_t)sums[lane] - (uint32_t)start + (uint32_t)query->offset);
    query->found[query->count++] = (Found){(float)product * work->blocks[block].scale, (int32_t)(block * ROWS + lane)};
  }
}

INLINE void append(const Work *work, Query *queries, int64_t first, const int num_queries, const int32_t *starts, int64_t stride,
                   uint32_t some, const Reached *reached) {
  for (; some; some &= some - 1) {
    int at = __builtin_ctz(some), block = at / num_queries, query = at % num_queries;
    note(work, queries + query, first + block, reached->hits[at], reached->sums[at], starts[block * stride + query]);
  }
}

/* num_queries is 1 or a multiple of MANY */
static void pass(const Work *work, const low_entry *low, int64_t num_queries, int32_t *starts) {
  Reached reached;
  const int alone = num_queries == 1, together = alone ? BLOCKS_ALONE : BLOCKS;
  int64_t stage = FIRST_STAGE;
  for (int64_t block = 0; block < work->num_blocks; block += together) {
    if (block >= stage) {
      for (int64_t at = 0; at < num_queries; at++)
        if (!work->queries[at].given_up) tighten(work, work->queries + at, block);
      stage *= 2;
    }
    for (int64_t each = 0; each < together; each++) begin(work, block + each, num_queries, starts + each * num_queries);
    const uint8_t *packed = work->packed + block * work->steps * 4 * ROWS;
    if (alone) append(work, work->queries, block, 1, starts, 1, reach_alone(packed, work->steps, low, starts, &reached), &reached);
    for (int64_t at = 0; !alone && at < num_queries; at += MANY)
      append(work, work->queries + at, block, MANY, starts + at, num_queries,
             reach_many(packed, work->steps, low + at * work->steps * 4, starts + at, num_queries, &reached), &reached);
  }
}

/* --- scores --- */

typedef float four_floats __attribute__((vector_size(16), aligned(4), may_alias));
typedef double four_doubles __attribute__((vector_size(32), aligned(8), may_alias));

INLINE void add_four(four_doubles *sums, const float *vector, const double *query) {
  *sums += __builtin_convertvector(*(const four_floats *)vector, four_doubles) * *(const four_doubles *)query;
}

static float score_of(const float *vector, const double *query, int64_t dim) {
  four_doubles sums[4] = {{0}};
  int64_t d = 0;
  for (; d + 16 <= dim; d += 16)
    for (int part = 0; part < 4; part++) add_four(sums + part, vector + d + 4 * part, query + d + 4 * part);
  for (; d + 4 <= dim; d += 4) add_four(sums, vector + d, query + d);
  for (int lane = 0; d + lane < dim; lane++) sums[0][lane] += (double)vector[d + lane] * query[d + lane];
  four_doubles sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  return (float)((sum[0] + sum[2]) + (sum[1] + sum[3])) + 0.0f; /* minus zero becomes zero: as a tie, not as less */
}

enum { SEARCH_AGAIN, PROVED, LEFT };

/* the best of what was found for a query, and whether these are the best of all; if not, whether another floor may help */
static int choose_best(const Work *work, Query *query, const float *vectors, const double *query_D, double *floor, int64_t *rows_K,
                       float *scores_K) {
  if (query->given_up) return LEFT;
  query->certain = 1;
  tighten(work, query, work->num_blocks);
  int64_t count = query->count, k = work->k;
  if (count < k) return floor_of(work, query) > -INFINITY ? SEARCH_AGAIN : LEFT;
  uint64_t *keys = work->keys;
  Found *found = query->found;
  for (int64_t at = 0; at < count; at++) found[at].place = work->rows[found[at].place];
  for (int64_t at = 0; at < count; at++) {
    if (at + 8 < count)
      for (int64_t d = 0; d < work->dim; d += 16) __builtin_prefetch(vectors + found[at + 8].place * work->dim + d);
    float score = score_of(vectors + found[at].place * work->dim, query_D, work->dim);
    keys[at] = (uint64_t)(uint32_t)~ordered(score) << 32 | (uint32_t)found[at].place;
  }
  least_first(keys, count, k);
  sort(keys, k);
  for (int64_t at = 0; at < k; at++) {
    rows_K[at] = (int64_t)(uint32_t)keys[at];
    scores_K[at] = number_of(~(uint32_t)(keys[at] >> 32));
  }
  *floor = (double)scores_K[k - 1];
  return (double)floor_of(work, query) * query->score_unit > *floor ? SEARCH_AGAIN : PROVED;
}

/* Searches for all queries: rows_BK, scores_BK and outcomes_B are written. floors_B are scores that k vectors reach for sure, or
   minus infinity, and then floors are guessed, the lower the more caution; where k were found, such a score is written. Excluded rows are ascending within a query. Returns 0, or -1 where there is no memory. */
EXPORT int64_t search_vectors(const float *vectors, const uint8_t *packed, const Block *blocks, const int32_t *rows,
                              const uint16_t *open, int64_t num_blocks, int64_t dim, double unit,
                              const float *queries_BD, int64_t num_queries, const uint64_t *excluded, const int64_t *excluded_from,
                              int64_t k, int64_t room, double caution, double *floors_B, int64_t *rows_BK, float *scores_BK,
                              uint8_t *outcomes_B) {
  int64_t steps = (dim + 3) / 4, filled = num_queries == 1 ? 1 : (num_queries + MANY - 1) / MANY * MANY;
  int8_t *low = calloc((size_t)(filled * steps), 4);
  low_entry *entries = malloc((size_t)(filled * steps * 4) * sizeof(low_entry));
  Found *found = malloc((size_t)(num_queries * room) * sizeof(Found));
  float *terms = calloc((size_t)filled * 4, sizeof(float));
  int32_t *starts = calloc((size_t)filled * (1 + BLOCKS_ALONE), sizeof(int32_t));
  double *query_D = malloc((size_t)dim * sizeof(double));
  Query *of_queries = calloc((size_t)filled, sizeof(Query));
  uint64_t *keys = malloc((size_t)room * sizeof(uint64_t));
  int there = low && entries && found && terms && starts && query_D && of_queries && keys;
  if (there) {
    Work work = {packed, blocks, rows, open, num_blocks, dim, steps, k, room, caution, keys, of_queries,
                 terms, terms + filled, terms + 2 * filled, terms + 3 * filled, starts + BLOCKS_ALONE * filled};
    for (int64_t at = 0; at < filled; at++) {
      Query *query = of_queries + at;
      query->given_up = 1;
      if (at < num_queries) convert_query(queries_BD + at * dim, dim, unit, low + at * steps * 4, query);
      float floor = query->given_up ? INFINITY : -INFINITY;
      query->certain = !query->given_up && floors_B[at] > -INFINITY;
      if (query->certain) floor = nextafterf((float)(floors_B[at] / query->score_unit), -INFINITY);
      set_floor(&work, query, floor);
      work.of_lengths[at] = query->of_lengths, work.of_residuals[at] = query->of_residuals, work.offsets[at] = query->offset;
      if (at < num_queries) query->found = found + at * room;
      if (at < num_queries && excluded) {
        query->excluded = excluded + excluded_from[at];
        query->num_excluded = excluded_from[at + 1] - excluded_from[at];
      }
    }
    for (int64_t at = 0; at < filled * steps * 4; at++) {
#ifdef PAIRS
      static const int64_t order[4] = {0, 2, 1, 3};
      entries[at] = (low_entry)low[at / 4 * 4 + order[at % 4]];
#else
      entries[at] = (low_entry)low[at];
#endif
    }
    pass(&work, entries, filled, starts);
    for (int64_t at = 0; at < num_queries; at++) {
      for (int64_t d = 0; d < dim; d++) query_D[d] = (double)queries_BD[at * dim + d];
      outcomes_B[at] = (uint8_t)choose_best(&work, of_queries + at, vectors, query_D, floors_B + at, rows_BK + at * k, scores_BK + at * k);
    }
  }
  free(low), free(entries), free(found), free(terms), free(starts), free(query_D), free(of_queries), free(keys);
  return there ? 0 : -1;
}

/* The best of the rows that are given for each query, width of them; the next query's follow after stride, which is 0 where all have
   the same. A row outside of the vectors stands for none. Excluded rows are ascending within a query; excluded may be NULL. Returns 0,
   or -1 where there is no memory. */
EXPORT int64_t best_of_rows(const float *vectors, int64_t num_vectors, int64_t dim, const float *queries_BD, int64_t num_queries,
                            const int64_t *given, int64_t width, int64_t stride, const uint64_t *excluded,
                            const int64_t *excluded_from, int64_t k, int64_t *rows_BK, float *scores_BK) {
  uint64_t *keys = malloc((size_t)(width + 1) * sizeof(uint64_t));
  double *query_D = malloc((size_t)dim * sizeof(double));
  int there = keys && query_D;
  for (int64_t at = 0; there && at < num_queries; at++) {
    const int64_t *rows = given + at * stride;
    Query query = {0};
    if (excluded) query.excluded = excluded + excluded_from[at], query.num_excluded = excluded_from[at + 1] - excluded_from[at];
    for (int64_t d = 0; d < dim; d++) query_D[d] = (double)queries_BD[at * dim + d];
    int64_t count = 0;
    for (int64_t each = 0; each < width; each++) {
      int64_t ahead = each + 8 < width ? rows[each + 8] : -1, row = rows[each];
      if (ahead >= 0 && ahead < num_vectors)
        for (int64_t d = 0; d < dim; d += 16) __builtin_prefetch(vectors + ahead * dim + d);
      if (row < 0 || row >= num_vectors || (query.num_excluded && is_excluded(&query, (uint64_t)row))) continue;
      keys[count++] = (uint64_t)(uint32_t)~ordered(score_of(vectors + row * dim, query_D, dim)) << 32 | (uint32_t)row;
    }
    int64_t found = count < k ? count : k;
    if (found) least_first(keys, count, found);
    sort(keys, found);
    for (int64_t each = 0; each < found; each++) {
      rows_BK[at * k + each] = (int64_t)(uint32_t)keys[each];
      scores_BK[at * k + each] = number_of(~(uint32_t)(keys[each] >> 32));
    }
  }
  free(keys), free(query_D);
  return there ? 0 : -1;
}
