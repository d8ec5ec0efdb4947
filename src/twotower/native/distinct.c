/* Which rows of a table some numbers name: each once, in order. */
#include "vector.h"

/* words of 64 rows each */
EXPORT int64_t distinct_words(int64_t size) { return (size + 63) / 64; }

/* numbers [count] in [0, size). `marks` [distinct_words(size)] is all 0, and is left so; `places` [size] may hold anything. rows [count]:
   the distinct numbers, ascending; columns [count]: which of them each number is; counts [count]: how often each of them is there. Returns
   how many there are; -1, with nothing written, where a number is not a row. */
EXPORT int64_t distinct(const int64_t *numbers, int64_t count, int64_t size, uint64_t *marks, int32_t *places, int64_t *rows,
                        int64_t *columns, float *counts) {
  int64_t found = 0, words = distinct_words(size), outside = 0;
  for (int64_t n = 0; n < count; n++) outside |= numbers[n] < 0 || numbers[n] >= size;
  if (outside) return -1;
  for (int64_t n = 0; n < count; n++) marks[numbers[n] >> 6] |= (uint64_t)1 << (numbers[n] & 63);
  for (int64_t word = 0; word < words; word++) {
    for (uint64_t left = marks[word]; left; left &= left - 1) {
      int64_t row = word * 64 + __builtin_ctzll(left);
      places[row] = (int32_t)found;
      counts[found] = 0;
      rows[found++] = row;
    }
    marks[word] = 0;
  }
  for (int64_t n = 0; n < count; n++) {
    columns[n] = places[numbers[n]];
    counts[columns[n]] += 1;
  }
  return found;
}
