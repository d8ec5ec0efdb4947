/* The rows near each query in a graph of neighbours: best first, with scores estimated in 8 bits.
   What is computed: twotower/index/graph_search.py. */
#include "order.h"
#include "products.h"

#include <stdlib.h>

#define STEPS 127.0
#define STRIDE 64
#define FEWEST_SLOTS 1024
#define NONE 0xFFFFFFFFu

typedef struct {
  const uint8_t *codes;
  const float *scales;
  int64_t num_rows, width;
  const int32_t *links, *upper_links;
  const int64_t *upper_from;
  int64_t degree;
} Graph;

typedef struct {
  uint32_t *slots;
  int64_t mask, count;
} Seen;

/* bytes of a row of codes: whole lines, so that every sum takes whole registers */
EXPORT int64_t code_width(int64_t dim) { return (dim + STRIDE - 1) / STRIDE * STRIDE; }

/* whole steps of what is left of vectors when the centre is taken off, plus 128, and the size of a step */
EXPORT void encode_rows(const float *vectors, int64_t num_rows, int64_t dim, const double *centre, double unit, uint8_t *codes,
                        float *scales) {
  int64_t width = code_width(dim);
  for (int64_t row = 0; row < num_rows; row++) {
    double largest = 0;
    for (int64_t d = 0; d < dim; d++) {
      double entry = fabs(((double)vectors[row * dim + d] - centre[d]) / unit);
      largest = entry > largest ? entry : largest;
    }
    double scale = largest / STEPS, inverse = scale > 0 ? 1 / scale : 0;
    memset(codes + row * width, 128, (size_t)width);
    for (int64_t d = 0; d < dim; d++)
      codes[row * width + d] = (uint8_t)(128 + (int)nearbyint(((double)vectors[row * dim + d] - centre[d]) / unit * inverse));
    scales[row] = (float)scale;
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
  return (float)(sum - offset) * graph->scales[row];
}

/* 1 where the row was not there before, 0 where it was, -1 where there is no memory */
static int add(Seen *seen, uint32_t row) {
  int64_t slot = (int64_t)(row * 2654435769u) & seen->mask;
  for (; seen->slots[slot] != NONE; slot = (slot + 1) & seen->mask)
    if (seen->slots[slot] == row) return 0;
  seen->slots[slot] = row;
  if (++seen->count * 2 <= seen->mask) return 1;
  Seen wider = {malloc((size_t)(seen->mask + 1) * 2 * sizeof(uint32_t)), seen->mask * 2 + 1, 0};
  if (!wider.slots) return -1;
  memset(wider.slots, 255, (size_t)(wider.mask + 1) * sizeof(uint32_t));
  for (int64_t at = 0; at <= seen->mask; at++)
    if (seen->slots[at] != NONE) add(&wider, seen->slots[at]);
  free(seen->slots);
  *seen = wider;
  return 1;
}

/* by score, then by lowest row; the last bit says that its neighbours were looked at */
INLINE uint64_t key_of(float score, uint32_t row) { return (uint64_t)ordered(score) << 32 | (0x7FFFFFFFu - row) << 1; }
INLINE uint32_t row_of(uint64_t key) { return 0x7FFFFFFFu - ((uint32_t)key >> 1); }

/* keys descend; the place of the new one, or at most where it is not among them */
INLINE int64_t insert(uint64_t *keys, int64_t *count, int64_t most, uint64_t key) {
  if (*count == most && key < keys[most - 1]) return most;
  int64_t low = 0, high = *count;
  while (low < high) {
    int64_t middle = (low + high) / 2;
    if (keys[middle] > key) low = middle + 1;
    else high = middle;
  }
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
      for (int64_t at = 0; at < degree && links[at] >= 0; at++) {
        float other = score(graph, (uint32_t)links[at], low, offset);
        if (other > best) best = other, row = (uint32_t)links[at], better = 1;
      }
    }
  return row;
}

/* The graph has been checked: links are rows or -1, and a row that is linked to on a level has links of that level. rows_BE are
   filled up with -1. Returns 0, or -1 where there is no memory. */
EXPORT int64_t search_graph(const uint8_t *codes, const float *scales, int64_t num_rows, int64_t dim, const int32_t *links,
                            int64_t degree, const int32_t *upper_links, const int64_t *upper_from, int64_t entry, int64_t levels,
                            const float *queries_BD, int64_t num_queries, int64_t beam, int64_t *rows_BE) {
  Graph graph = {codes, scales, num_rows, code_width(dim), links, upper_links, upper_from, degree};
  int64_t slots = FEWEST_SLOTS;
  while (slots < beam * degree) slots *= 2;
  Seen seen = {malloc((size_t)slots * sizeof(uint32_t)), slots - 1, 0};
  uint64_t *keys = malloc((size_t)(beam + 1) * sizeof(uint64_t));
  uint32_t *fresh = malloc((size_t)degree * sizeof(uint32_t));
  int8_t *low = malloc((size_t)graph.width);
  int there = seen.slots && keys && fresh && low;
  for (int64_t at = 0; there && at < num_queries; at++) {
    int32_t offset = convert(queries_BD + at * dim, dim, graph.width, low);
    memset(seen.slots, 255, (size_t)(seen.mask + 1) * sizeof(uint32_t));
    seen.count = 0;
    uint32_t first = descend(&graph, (uint32_t)entry, levels, low, offset);
    int64_t count = 1, next = 0;
    keys[0] = key_of(score(&graph, first, low, offset), first);
    there = add(&seen, first) >= 0;
    while (there && next < count) {
      const int32_t *own = links + (int64_t)row_of(keys[next]) * degree;
      keys[next] |= 1;
      int64_t num_fresh = 0;
      for (int64_t each = 0; each < degree && own[each] >= 0; each++) {
        int added = add(&seen, (uint32_t)own[each]);
        there &= added >= 0;
        if (added <= 0) continue;
        for (int64_t d = 0; d < graph.width; d += STRIDE) __builtin_prefetch(codes + (int64_t)own[each] * graph.width + d);
        __builtin_prefetch(scales + own[each]);
        fresh[num_fresh++] = (uint32_t)own[each];
      }
      for (int64_t each = 0; each < num_fresh; each++) {
        int64_t place = insert(keys, &count, beam, key_of(score(&graph, fresh[each], low, offset), fresh[each]));
        next = place < next ? place : next;
      }
      while (next < count && keys[next] & 1) next++;
      if (next < count)
        for (int64_t each = 0; each < degree; each += 16) __builtin_prefetch(links + (int64_t)row_of(keys[next]) * degree + each);
    }
    for (int64_t each = 0; each < beam; each++) rows_BE[at * beam + each] = each < count ? (int64_t)row_of(keys[each]) : -1;
  }
  free(seen.slots), free(keys), free(fresh), free(low);
  return there ? 0 : -1;
}
