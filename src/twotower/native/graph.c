/* The rows near each query in a graph of neighbours: best first, with scores estimated in 8 bits.
   What is computed: twotower/index/graph_search.py. */
#include "ordered.h"

#include <stdlib.h>

#if defined(__AVX512VNNI__) && defined(__AVX512DQ__)
#include <immintrin.h>
#define FOURS /* sums of four products of whole numbers */
#endif

#define STEPS 127.0
#define STRIDE 64
#define NONE 0xFFFFFFFFu
/* of the number of places in which rows are known as seen */
#define FEWEST_BITS 12
#define MOST_BITS 20
/* so many queries take turns in a thread: while memory brings what one will look at, another is looked after */
#define TURNS 4

typedef struct {
  const uint8_t *codes, *scales;
  const float *sizes;
  int64_t dim, width, degree;
  const int32_t *links, *upper_links;
  const int64_t *upper_from;
  const int32_t *names;
} Graph;

typedef struct {
  int8_t *low;
  int32_t offset;
  /* a row is known as seen by where it falls, until another falls there: then it is scored once more, and is among what is kept, or is
     not good enough again */
  uint32_t *seen;
  uint32_t *fresh;
  uint64_t *keys;
  int64_t count, next, number;
  int bits;
  float *scores;
  int64_t num_fresh;
} Walk;

/* bytes of a row of codes: whole lines, so that every sum takes whole registers */
EXPORT int64_t code_width(int64_t dim) { return (dim + STRIDE - 1) / STRIDE * STRIDE; }

/* Whole steps of what is left of vectors when the centre is taken off, plus 128, and which size the steps have: sizes rise, and
   sizes[255] is enough for every entry. */
EXPORT void encode_rows(const float *vectors, int64_t num_rows, int64_t dim, const double *centre, double unit, const float *sizes,
                        uint8_t *codes, uint8_t *scales) {
  int64_t width = code_width(dim);
  for (int64_t row = 0; row < num_rows; row++) {
    double largest = 0;
    for (int64_t d = 0; d < dim; d++) {
      double entry = fabs(((double)vectors[row * dim + d] - centre[d]) / unit);
      largest = entry > largest ? entry : largest;
    }
    int low = 0, high = 255;
    while (low < high) {
      int middle = (low + high) / 2;
      if ((double)sizes[middle] * STEPS < largest) low = middle + 1;
      else high = middle;
    }
    memset(codes + row * width, 128, (size_t)width);
    for (int64_t d = 0; d < dim; d++) {
      double steps = nearbyint(((double)vectors[row * dim + d] - centre[d]) / unit / (double)sizes[low]);
      codes[row * width + d] = (uint8_t)(128 + (int)(steps > STEPS ? STEPS : steps < -STEPS ? -STEPS : steps));
    }
    scales[row] = (uint8_t)low;
  }
}

/* the sum of what is subtracted with the codes' 128 */
static int32_t convert(const float *query, int64_t dim, int64_t width, int8_t *low) {
  double largest = 0;
  int32_t sum = 0;
  for (int64_t d = 0; d < dim; d++) largest = fabs((double)query[d]) > largest ? fabs((double)query[d]) : largest;
  double inverse = largest > 0 ? STEPS / largest : 0;
  memset(low, 0, (size_t)width);
  for (int64_t d = 0; d < dim; d++) low[d] = (int8_t)nearbyint((double)query[d] * inverse), sum += low[d];
  return 128 * sum;
}

INLINE float score(const Graph *graph, uint32_t row, const int8_t *low, int32_t offset) {
  const uint8_t *code = graph->codes + (int64_t)row * graph->width;
#ifdef FOURS
  __m512i sums = _mm512_setzero_si512();
  for (int64_t d = 0; d < graph->width; d += STRIDE)
    sums = _mm512_dpbusd_epi32(sums, _mm512_loadu_si512(code + d), _mm512_loadu_si512(low + d));
  int32_t sum = _mm512_reduce_add_epi32(sums);
#else
  int32_t sum = 0;
  for (int64_t d = 0; d < graph->width; d++) sum += (int32_t)code[d] * (int32_t)low[d];
#endif
  return (float)(sum - offset) * graph->sizes[graph->scales[row]];
}

/* scores of count rows */
INLINE void score_all(const Graph *graph, const uint32_t *rows, int64_t count, const int8_t *low, int32_t offset, float *scores) {
  int64_t at = 0;
#ifdef FOURS
  for (; at + 4 <= count; at += 4) {
    __m512i sums[4];
    for (int each = 0; each < 4; each++) {
      const uint8_t *code = graph->codes + (int64_t)rows[at + each] * graph->width;
      sums[each] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_loadu_si512(code), _mm512_loadu_si512(low));
      for (int64_t d = STRIDE; d < graph->width; d += STRIDE)
        sums[each] = _mm512_dpbusd_epi32(sums[each], _mm512_loadu_si512(code + d), _mm512_loadu_si512(low + d));
    }
    __m512i pairs = _mm512_add_epi32(_mm512_unpacklo_epi32(sums[0], sums[1]), _mm512_unpackhi_epi32(sums[0], sums[1]));
    __m512i others = _mm512_add_epi32(_mm512_unpacklo_epi32(sums[2], sums[3]), _mm512_unpackhi_epi32(sums[2], sums[3]));
    pairs = _mm512_add_epi32(_mm512_unpacklo_epi64(pairs, others), _mm512_unpackhi_epi64(pairs, others));
    __m256i halves = _mm256_add_epi32(_mm512_castsi512_si256(pairs), _mm512_extracti64x4_epi64(pairs, 1));
    __m128i whole = _mm_add_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1));
    __m128 sizes = _mm_setr_ps(graph->sizes[graph->scales[rows[at]]], graph->sizes[graph->scales[rows[at + 1]]],
                               graph->sizes[graph->scales[rows[at + 2]]], graph->sizes[graph->scales[rows[at + 3]]]);
    _mm_storeu_ps(scores + at, _mm_mul_ps(_mm_cvtepi32_ps(_mm_sub_epi32(whole, _mm_set1_epi32(offset))), sizes));
  }
#endif
  for (; at < count; at++) scores[at] = score(graph, rows[at], low, offset);
}

/* by score, then by lowest row; the last bit says that its neighbours were looked at */
INLINE uint64_t key_of(float score, uint32_t row) { return (uint64_t)ordered(score) << 32 | (0x7FFFFFFFu - row) << 1; }
INLINE uint32_t row_of(uint64_t key) { return 0x7FFFFFFFu - ((uint32_t)key >> 1); }

/* keys descend, each but once; the place of the new one, or at most where it is not among them, or was before */
INLINE int64_t insert(uint64_t *keys, int64_t *count, int64_t most, uint64_t key) {
  if (*count == most && key < keys[most - 1]) return most;
  int64_t low = 0;
  for (int64_t left = *count; left > 0;) { /* without branches that could be guessed wrongly */
    int64_t half = (left + 1) / 2;
    low += keys[low + half - 1] > key ? half : 0;
    left -= half;
  }
  if ((low < *count && keys[low] == key) || (low > 0 && keys[low - 1] == (key | 1))) return most;
  if (*count < most) ++*count;
  memmove(keys + low + 1, keys + low, (size_t)(*count - 1 - low) * sizeof(uint64_t));
  keys[low] = key;
  return low;
}

static uint32_t descend(const Graph *graph, uint32_t row, int64_t levels, const int8_t *low, int32_t offset) {
  float best = score(graph, row, low, offset);
  int64_t degree = graph->degree / 2;
  for (int64_t level = levels - 2; level >= 0; level--)
    for (int better = 1; better;) {
      const int32_t *links = graph->upper_links + (graph->upper_from[row] + level) * degree;
      better = 0;
      for (int64_t at = 0; at < degree && links[at] >= 0; at++)
        __builtin_prefetch(graph->codes + (int64_t)links[at] * graph->width);
      for (int64_t at = 0; at < degree && links[at] >= 0; at++) {
        float other = score(graph, (uint32_t)links[at], low, offset);
        if (other > best) best = other, row = (uint32_t)links[at], better = 1;
      }
    }
  return row;
}

INLINE uint32_t *place_of(uint32_t *seen, int bits, uint32_t row) { return seen + (row * 2654435769u >> (32 - bits)); }

INLINE void fetch_links(const Graph *graph, const Walk *walk) {
  for (int64_t each = 0; each < graph->degree; each += 16)
    __builtin_prefetch(graph->links + (int64_t)row_of(walk->keys[walk->next]) * graph->degree + each);
}

static void begin(const Graph *graph, Walk *walk, const float *query, int64_t number, int64_t entry, int64_t levels) {
  walk->offset = convert(query, graph->dim, graph->width, walk->low);
  memset(walk->seen, 255, sizeof(uint32_t) << walk->bits);
  uint32_t first = descend(graph, (uint32_t)entry, levels, walk->low, walk->offset);
  walk->keys[0] = key_of(score(graph, first, walk->low, walk->offset), first);
  walk->count = 1, walk->next = 0, walk->number = number, walk->num_fresh = 0;
  fetch_links(graph, walk);
  *place_of(walk->seen, walk->bits, first) = first;
}

/* what the best row is linked to and was not seen becomes fresh */
static void look(const Graph *graph, Walk *walk) {
  const int32_t *own = graph->links + (int64_t)row_of(walk->keys[walk->next]) * graph->degree;
  walk->keys[walk->next] |= 1;
  uint32_t *seen = walk->seen, *fresh = walk->fresh;
  int64_t degree = graph->degree, width = graph->width, num_fresh = 0;
  int bits = walk->bits;
  for (int64_t each = 0; each < degree && own[each] >= 0; each++) {
    uint32_t row = (uint32_t)own[each], *place = place_of(seen, bits, row);
    fresh[num_fresh] = row;
    num_fresh += *place != row;
    *place = row;
  }
  for (int64_t each = 0; each < num_fresh; each++) {
    for (int64_t d = 0; d < width; d += STRIDE) __builtin_prefetch(graph->codes + (int64_t)fresh[each] * width + d);
    __builtin_prefetch(graph->scales + fresh[each]);
  }
  walk->num_fresh = num_fresh;
}

/* what is fresh joins what is kept; whether a row remains in the beam, the best of it, that was not looked at */
static int join(const Graph *graph, Walk *walk, int64_t beam, int64_t kept) {
  score_all(graph, walk->fresh, walk->num_fresh, walk->low, walk->offset, walk->scores);
  for (int64_t each = 0; each < walk->num_fresh; each++) {
    uint64_t key = key_of(walk->scores[each], walk->fresh[each]);
    int64_t place = insert(walk->keys, &walk->count, kept, key);
    walk->next = place < walk->next ? place : walk->next;
  }
  walk->num_fresh = 0;
  while (walk->next < walk->count && walk->keys[walk->next] & 1) walk->next++;
  if (walk->next >= (walk->count < beam ? walk->count : beam)) return 0;
  fetch_links(graph, walk);
  return 1;
}

static void walks_all(const Graph *graph, Walk *walks, int64_t num_walks, int64_t entry, int64_t levels, const float *queries_BD,
                     int64_t num_queries, int64_t beam, int64_t kept, int64_t *rows_BE) {
  int64_t begun = 0, active = num_walks;
  for (; begun < num_walks; begun++) begin(graph, walks + begun, queries_BD + begun * graph->dim, begun, entry, levels);
  while (active > 0) {
    for (int64_t each = 0; each < num_walks; each++)
      if (walks[each].number >= 0) look(graph, walks + each);
    for (int64_t each = 0; each < num_walks; each++) {
      Walk *walk = walks + each;
      if (walk->number < 0 || join(graph, walk, beam, kept)) continue;
      int64_t *rows_E = rows_BE + walk->number * kept;
      for (int64_t at = 0; at < kept; at++) rows_E[at] = at < walk->count ? graph->names[row_of(walk->keys[at])] : -1;
      if (begun == num_queries) walk->number = -1, active--;
      else begin(graph, walk, queries_BD + begun * graph->dim, begun, entry, levels), begun++;
    }
  }
}

/* The graph has been checked: links are rows or -1, and a row that is linked to on a level has links of that level. kept is at least beam. rows_BE
   are names of rows, filled up with -1. Returns 0, or -1 where there is no memory. */
EXPORT int64_t search_graph(const uint8_t *codes, const uint8_t *scales, const float *sizes, int64_t dim, const int32_t *links,
                            int64_t degree, const int32_t *upper_links, const int64_t *upper_from, const int32_t *names,
                            int64_t entry, int64_t levels, const float *queries_BD, int64_t num_queries, int64_t beam, int64_t kept,
                            int64_t *rows_BE) {
  Graph graph = {codes, scales, sizes, dim, code_width(dim), degree, links, upper_links, upper_from, names};
  Walk walks[TURNS] = {{0}};
  int64_t num_walks = num_queries < TURNS ? num_queries : TURNS;
  int failed = 0, bits = FEWEST_BITS;
  while (bits < MOST_BITS && (int64_t)2 << bits < beam * degree) bits++;
  for (int64_t each = 0; each < num_walks; each++) {
    Walk *walk = walks + each;
    walk->bits = bits;
    walk->seen = malloc(sizeof(uint32_t) << bits);
    walk->keys = malloc((size_t)(kept + 1) * sizeof(uint64_t));
    walk->fresh = malloc((size_t)degree * sizeof(uint32_t));
    walk->scores = malloc((size_t)degree * sizeof(float));
    walk->low = malloc((size_t)graph.width);
    failed |= !(walk->seen && walk->keys && walk->fresh && walk->scores && walk->low);
  }
  if (!failed) walks_all(&graph, walks, num_walks, entry, levels, queries_BD, num_queries, beam, kept, rows_BE);
  for (int64_t each = 0; each < num_walks; each++) {
    free(walks[each].seen), free(walks[each].keys), free(walks[each].fresh), free(walks[each].scores), free(walks[each].low);
  }
  return failed ? -1 : 0;
}
