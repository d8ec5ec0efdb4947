/* Delimited text as it lies in a file: where lines and fields end, 64 bytes at a time, a bit for each. */
#include "vector.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define BLOCK 64
#define CARRIAGE_RETURN 13
#define LINE_BREAK 10

#if !defined(__AVX512BW__) && !defined(__AVX2__) && !defined(__SSE2__)
/* a bit for each byte of eight whose highest bit is set */
INLINE uint64_t bits_of_eight(uint64_t high) { return ((high >> 7) * 0x0102040810204080u) >> 56; }

INLINE uint64_t eight(const uint8_t *text) {
  uint64_t word;
  memcpy(&word, text, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  word = __builtin_bswap64(word);
#endif
  return word;
}
#endif

/* which of 64 bytes are a sign */
INLINE uint64_t places_of(const uint8_t *text, uint8_t sign) {
#if defined(__AVX512BW__)
  return _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(text), _mm512_set1_epi8((char)sign));
#elif defined(__AVX2__)
  uint64_t found = 0;
  for (int at = 0; at < BLOCK; at += 32) {
    __m256i same = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(text + at)), _mm256_set1_epi8((char)sign));
    found |= (uint64_t)(uint32_t)_mm256_movemask_epi8(same) << at;
  }
  return found;
#elif defined(__SSE2__)
  uint64_t found = 0;
  for (int at = 0; at < BLOCK; at += 16) {
    __m128i same = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(text + at)), _mm_set1_epi8((char)sign));
    found |= (uint64_t)(uint32_t)_mm_movemask_epi8(same) << at;
  }
  return found;
#else
  const uint64_t low = 0x7f7f7f7f7f7f7f7fu;
  uint64_t found = 0;
  for (int at = 0; at < BLOCK; at += 8) {
    uint64_t other = eight(text + at) ^ (0x0101010101010101u * sign);
    found |= bits_of_eight(~(((other & low) + low) | other | low)) << at;
  }
  return found;
#endif
}

/* which of 64 bytes are no ASCII */
INLINE uint64_t places_beyond_ascii(const uint8_t *text) {
#if defined(__AVX512BW__)
  return _mm512_movepi8_mask(_mm512_loadu_si512(text));
#elif defined(__AVX2__)
  uint64_t found = 0;
  for (int at = 0; at < BLOCK; at += 32)
    found |= (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_loadu_si256((const __m256i *)(text + at))) << at;
  return found;
#elif defined(__SSE2__)
  uint64_t found = 0;
  for (int at = 0; at < BLOCK; at += 16)
    found |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(text + at))) << at;
  return found;
#else
  uint64_t found = 0;
  for (int at = 0; at < BLOCK; at += 8) found |= bits_of_eight(eight(text + at) & 0x8080808080808080u) << at;
  return found;
#endif
}

/* 64 bytes of a text, of which `count` are its own: a copy where fewer than 64 are left */
INLINE const uint8_t *block_at(const uint8_t *text, int64_t at, int64_t size, uint8_t *copy, uint64_t *own) {
  if (size - at >= BLOCK) {
    *own = ~(uint64_t)0;
    return text + at;
  }
  memset(copy, 0, BLOCK);
  memcpy(copy, text + at, (size_t)(size - at));
  *own = ((uint64_t)1 << (size - at)) - 1;
  return copy;
}

/* Look at a part of a file, which may begin and end within a line.
   found: its lines that end; the separators before the first end, and behind the last; where what is behind the last end begins.
   Returns 0 where it holds a byte that is no ASCII, a carriage return or the quote, or where a whole line has another number of
   separators; without an end all separators are before the first. */
EXPORT int lines_scan(const uint8_t *text, int64_t size, uint8_t separator, int64_t separators, uint8_t quote, int64_t *found) {
  uint8_t copy[BLOCK];
  int64_t lines = 0, first = 0, count = 0, behind = 0;
  for (int64_t at = 0; at < size; at += BLOCK) {
    uint64_t own;
    const uint8_t *block = block_at(text, at, size, copy, &own);
    uint64_t refused = places_beyond_ascii(block) | places_of(block, CARRIAGE_RETURN) | places_of(block, quote);
    uint64_t ends = places_of(block, LINE_BREAK) & own, between = places_of(block, separator) & own;
    if (refused & own) return 0;
    while (ends) {
      uint64_t before = (ends & -ends) - 1;
      count += __builtin_popcountll(between & before);
      if (lines == 0)
        first = count;
      else if (count != separators)
        return 0;
      behind = at + __builtin_ctzll(ends) + 1;
      lines++;
      count = 0;
      between &= ~before;
      ends &= ends - 1;
    }
    count += __builtin_popcountll(between);
  }
  found[0] = lines;
  found[1] = lines ? first : count;
  found[2] = lines ? count : 0;
  found[3] = behind;
  return 1;
}

/* Where some fields of some lines of a text begin and end.
   The text begins with a line; rows and fields ascend; begins and ends: [num_fields, num_rows].
   Returns 0 where there is no such line or field. */
EXPORT int lines_fields(const uint8_t *text, int64_t size, uint8_t separator, const int64_t *rows, int64_t num_rows,
                        const int64_t *fields, int64_t num_fields, int32_t *begins, int32_t *ends) {
  uint8_t copy[BLOCK];
  int64_t row = 0, at = 0, start = 0; /* `row` begins at `start`; lines are counted up to `at` */
  uint64_t own, left = 0;             /* ends of lines in the block before `at` that are not counted yet */
  for (int64_t i = 0; i < num_rows; i++) {
    int64_t missing = rows[i] - row;
    while (missing > 0) {
      int64_t here = __builtin_popcountll(left);
      if (here < missing) {
        missing -= here;
        if (at >= size) return 0;
        const uint8_t *block = block_at(text, at, size, copy, &own);
        left = places_of(block, LINE_BREAK) & own;
        at += BLOCK;
        continue;
      }
      for (; missing > 1; missing--) left &= left - 1;
      start = at - BLOCK + __builtin_ctzll(left) + 1;
      left &= left - 1;
      missing = 0;
    }
    row = rows[i];
    int64_t field = 0, begin = start, wanted = 0;
    for (int64_t from = start; wanted < num_fields; from += BLOCK) {
      if (from >= size) return 0;
      const uint8_t *block = block_at(text, from, size, copy, &own);
      uint64_t breaks = places_of(block, LINE_BREAK) & own, marks = (places_of(block, separator) & own) | breaks;
      for (; marks && wanted < num_fields; marks &= marks - 1) {
        int64_t end = from + __builtin_ctzll(marks);
        if (field == fields[wanted]) {
          begins[wanted * num_rows + i] = (int32_t)begin;
          ends[wanted * num_rows + i] = (int32_t)end;
          wanted++;
        }
        if (wanted < num_fields && (marks & -marks & breaks)) return 0;
        field++;
        begin = end + 1;
      }
    }
  }
  return 1;
}

/* Parts of a text, one behind the other. */
EXPORT void lines_copy(const uint8_t *text, const int32_t *begins, const int32_t *ends, int64_t parts, uint8_t *copied) {
  for (int64_t i = 0; i < parts; i++) {
    size_t length = (size_t)(ends[i] - begins[i]);
    memcpy(copied, text + begins[i], length);
    copied += length;
  }
}
