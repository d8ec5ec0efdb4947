/* How many items score more than a number, by dot product in float32, and which are too near to it to tell. */
#include "vector.h"

/* A pair that could not be told: which number, and which item. */
typedef struct {
  int64_t number, item;
} Near;

typedef struct {
  Near *found;
  int64_t count, most;
} Nears;

static int keep_near(floats sums[BLOCK_VECTORS], float high, float low, int64_t number, int64_t first, Nears *nears) {
  float scores[PANEL];
  for (int v = 0; v < BLOCK_VECTORS; v++) store(scores + v * LANES, sums[v]);
  for (int64_t place = 0; place < PANEL; place++) {
    if (!(scores[place] >= low) || scores[place] > high) continue;
    if (nears->count == nears->most) return 0;
    nears->found[nears->count++] = (Near){number, first + place};
  }
  return 1;
}

/* Of the numbers of some queries, `from[row]` to `from[row + 1] - 1` of each. Whether there was room for what is near. */
INLINE int compare_rows(const int rows, floats sums[BLOCK_ROWS][BLOCK_VECTORS], const int64_t *from, const float *high,
                        const float *low, int64_t first, ints *more, Nears *nears) {
  for (int row = 0; row < rows; row++)
    for (int64_t number = from[row]; number < from[row + 1]; number++) {
      ints above = {0}, near = {0};
      for (int v = 0; v < BLOCK_VECTORS; v++) {
        ints over = sums[row][v] > high[number];
        above += over;
        near |= (sums[row][v] >= low[number]) & ~over;
      }
      more[number] -= above;
      if (any_of(near) && !keep_near(sums[row], high[number], low[number], number, first, nears)) return 0;
    }
  return 1;
}

INLINE int count_rows(const int rows, const float *queries, const float *panel, int64_t dim, const floats *absent,
                      const int64_t *from, const float *high, const float *low, int64_t first, ints *more, Nears *nears) {
  floats sums[BLOCK_ROWS][BLOCK_VECTORS] = {{{0}}};
  block_product(rows, queries, panel, dim, sums);
  if (absent)
    for (int row = 0; row < rows; row++)
      for (int v = 0; v < BLOCK_VECTORS; v++) sums[row][v] += absent[v];
  return compare_rows(rows, sums, from, high, low, first, more, nears);
}

/* Whether there was room; `more` [numbers of all queries] starts as 0. */
static int count_part(const float *queries, const float *items, int64_t rows, int64_t num_items, int64_t dim,
                      const int64_t *from, const float *high, const float *low, float *panel, ints *more, Nears *nears) {
  for (int64_t first = 0; first < num_items; first += PANEL) {
    int64_t count = num_items - first < PANEL ? num_items - first : PANEL, row = 0;
    floats below_all[BLOCK_VECTORS], *absent = NULL;
    pack_panel(items + first * dim, count, dim, panel);
    if (count < PANEL) {
      absent = below_all;
      for (int64_t place = 0; place < PANEL; place++) below_all[place / LANES][place % LANES] = place < count ? 0 : -INFINITY;
    }
    for (; row + BLOCK_ROWS <= rows; row += BLOCK_ROWS)
      if (!count_rows(BLOCK_ROWS, queries + row * dim, panel, dim, absent, from + row, high, low, first, more, nears)) return 0;
    for (; row < rows; row++)
      if (!count_rows(1, queries + row * dim, panel, dim, absent, from + row, high, low, first, more, nears)) return 0;
  }
  return 1;
}

/* How many bytes count_above needs to work with. */
EXPORT int64_t count_room(int64_t dim, int64_t numbers, int64_t parts) {
  return (numbers + 2 * parts) * (int64_t)sizeof(ints) + parts * PANEL * dim * (int64_t)sizeof(float) + 64;
}

/* queries [rows][dim], items [num_items][dim], finite; high, low, above [numbers]: of query r those from[r] to from[r + 1] - 1;
   room: see count_room; near [parts][most] pairs of a number and an item, whose score is from low to high, and how many of them
   each part has: near_count [parts]. Returns 0, or 1 where there was no room for these. */
EXPORT int64_t count_above(const float *queries, const float *items, int64_t rows, int64_t num_items, int64_t dim,
                           const int64_t *from, const float *high, const float *low, int64_t parts, int64_t most, char *room,
                           int64_t *above, int64_t *near, int64_t *near_count) {
  int64_t numbers = from[rows], failed = 0;
  char *aligned = (char *)(((uintptr_t)room + 63) / 64 * 64);
  ints *more = (ints *)aligned;
  float *panels = (float *)(aligned + (numbers + 2 * parts) * (int64_t)sizeof(ints));
  memset(more, 0, (size_t)numbers * sizeof(ints));
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++) {
    int64_t first = part * rows / parts, end = (part + 1) * rows / parts;
    Nears nears = {(Near *)near + part * most, 0, most};
    int enough = count_part(queries + first * dim, items, end - first, num_items, dim, from + first, high, low,
                            panels + part * PANEL * dim, more, &nears);
    near_count[part] = nears.count;
    if (!enough) {
#pragma omp atomic write
      failed = 1;
      continue;
    }
    for (int64_t number = from[first]; number < from[end]; number++) {
      above[number] = 0;
      for (int lane = 0; lane < LANES; lane++) above[number] += more[number][lane];
    }
  }
  return failed;
}

INLINE float dot(const float *left, const float *right, int64_t dim) {
  floats sums = all_of(0);
  int64_t d = 0;
  for (; d + LANES <= dim; d += LANES) sums += load(left + d) * load(right + d);
  float sum = d ? sum_of(sums) : 0;
  for (; d < dim; d++) sum += left[d] * right[d];
  return sum;
}

/* Pairs of a query and an item against numbers: 1 where the score is over the number by more than the query's margin, 0 where
   it is under it by more, else 2. Returns -1, or a pair that is not there. */
EXPORT int64_t count_pairs(const float *queries, const float *items, int64_t rows, int64_t num_items, int64_t dim,
                           const int64_t *of, const int64_t *which, const float *numbers, const float *margins, int64_t pairs,
                           int64_t parts, uint8_t *found) {
  int64_t wrong = -1;
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++)
    for (int64_t pair = part * pairs / parts; pair < (part + 1) * pairs / parts; pair++) {
      if (of[pair] < 0 || of[pair] >= rows || which[pair] < 0 || which[pair] >= num_items) {
#pragma omp atomic write
        wrong = pair;
        break;
      }
      float difference = dot(queries + of[pair] * dim, items + which[pair] * dim, dim) - numbers[pair], margin = margins[of[pair]];
      found[pair] = difference > margin ? 1 : difference < -margin ? 0 : 2;
    }
  return wrong;
}

/* As count_above, of the items in a list of each query alone: list[list_from[q]] to list[list_from[q + 1] - 1]; `of`: the query
   of each number. Returns 0, 1 where there was no room for what is near, or 2 where a query or an item is not there. */
EXPORT int64_t count_listed(const float *queries, const float *items, int64_t rows, int64_t num_items, int64_t dim,
                            const int64_t *of, int64_t numbers, const int64_t *list_from, const int32_t *list, int64_t listed,
                            const float *high, const float *low, int64_t parts, int64_t most, int64_t *above, int64_t *near,
                            int64_t *near_count) {
  int64_t failed = 0;
  for (int64_t row = 0; row < rows; row++) failed |= list_from[row] < 0 || list_from[row + 1] < list_from[row];
  if (failed || list_from[rows] > listed) return 2;
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++) {
    Near *found = (Near *)near + part * most;
    int64_t count = 0, fault = 0;
    for (int64_t number = part * numbers / parts; number < (part + 1) * numbers / parts && !fault; number++) {
      int64_t query = of[number], over = 0;
      if (query < 0 || query >= rows) {
        fault = 2;
        break;
      }
      for (int64_t place = list_from[query]; place < list_from[query + 1]; place++) {
        if (list[place] < 0 || list[place] >= num_items) {
          fault = 2;
          break;
        }
        float score = dot(queries + query * dim, items + list[place] * dim, dim);
        if (score > high[number]) {
          over++;
        } else if (score >= low[number]) {
          if (count == most) {
            fault = 1;
            break;
          }
          found[count++] = (Near){number, list[place]};
        }
      }
      above[number] = over;
    }
    near_count[part] = count;
    if (fault) {
#pragma omp atomic write
      failed = fault;
    }
  }
  return failed;
}
