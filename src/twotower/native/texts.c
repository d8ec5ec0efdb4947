/* Texts, one behind the other (offsets: [n + 1]): which of them are the same, and their order. */
#include "vector.h"

#define AT_ONCE 32
#define FEW 64
#define DEEP 16
#define NONE UINT32_MAX

/* up to eight bytes; the first is the highest, and what is missing is 0 */
INLINE uint64_t eight_of(const uint8_t *text, int64_t length) {
  uint64_t word = 0;
  memcpy(&word, text, length < 8 ? (size_t)length : 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  word = __builtin_bswap64(word);
#endif
  return word;
}

INLINE uint64_t mixed(uint64_t left, uint64_t right) {
  unsigned __int128 product = (unsigned __int128)left * right;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
}

INLINE uint64_t hash_of(const uint8_t *text, int64_t length) {
  uint64_t hash = 0x9e3779b97f4a7c15u ^ (uint64_t)length;
  for (; length > 8; text += 8, length -= 8) hash = mixed(hash ^ eight_of(text, 8), 0xd6e8feb86659fd93u);
  return mixed(hash ^ eight_of(text, length), 0xa0761d6478bd642fu);
}

INLINE int same(const uint8_t *text, const int64_t *offsets, int64_t left, int64_t right) {
  int64_t length = offsets[left + 1] - offsets[left];
  return length == offsets[right + 1] - offsets[right] &&
         memcmp(text + offsets[left], text + offsets[right], (size_t)length) == 0;
}

/* Number the texts in the order in which each is first met.
   valid: a byte each, 0 where there is no text, or NULL; n below 2^32 - 1; places: zeros, a power of two, more than n.
   codes: [n], NONE where there is no text; firsts: by code, where it is first met. Returns how many codes there are. */
EXPORT int64_t texts_code(const uint8_t *text, const int64_t *offsets, const uint8_t *valid, int64_t n, uint64_t *places,
                          int64_t num_places, uint32_t *codes, int64_t *firsts) {
  const uint64_t last = (uint64_t)num_places - 1;
  uint64_t hashes[AT_ONCE];
  int64_t distinct = 0;
  for (int64_t start = 0; start < n; start += AT_ONCE) {
    int64_t end = n - start < AT_ONCE ? n : start + AT_ONCE;
    for (int64_t i = start; i < end; i++) {
      hashes[i - start] = hash_of(text + offsets[i], offsets[i + 1] - offsets[i]);
      __builtin_prefetch(&places[hashes[i - start] & last]);
    }
    uint64_t likely[AT_ONCE]; /* 1 more than the row of what is likely to be the same text */
    for (int64_t i = start; i < end; i++) {
      likely[i - start] = places[hashes[i - start] & last] & NONE;
      if (likely[i - start]) __builtin_prefetch(&offsets[likely[i - start] - 1]);
    }
    for (int64_t i = start; i < end; i++)
      if (likely[i - start]) __builtin_prefetch(text + offsets[likely[i - start] - 1]);
    for (int64_t i = start; i < end; i++) {
      if (valid && !valid[i]) {
        codes[i] = NONE;
        continue;
      }
      /* a place holds the upper half of a hash, and 1 more than the row of a text */
      uint64_t place = hashes[i - start] & last, upper = hashes[i - start] & ~(uint64_t)NONE;
      for (;; place = (place + 1) & last) {
        uint64_t found = places[place];
        if (!found) {
          places[place] = upper | (uint64_t)(i + 1);
          firsts[distinct] = i;
          codes[i] = (uint32_t)distinct++;
          break;
        }
        int64_t other = (int64_t)(found & NONE) - 1;
        if ((found & ~(uint64_t)NONE) == upper && same(text, offsets, i, other)) {
          codes[i] = codes[other];
          break;
        }
      }
    }
  }
  return distinct;
}

typedef struct {
  uint64_t key; /* eight bytes of the text */
  int64_t row;
} item;

typedef struct {
  const uint8_t *text;
  const int64_t *offsets;
} texts;

/* whether one comes before another, which have the first `depth` bytes in common, and have their keys from there on */
INLINE int comes_before(texts all, int64_t depth, item left, item right) {
  if (left.key != right.key) return left.key < right.key;
  int64_t of_left = all.offsets[left.row + 1] - all.offsets[left.row];
  int64_t of_right = all.offsets[right.row + 1] - all.offsets[right.row];
  int64_t rest = (of_left < of_right ? of_left : of_right) - depth;
  int found = rest > 0 ? memcmp(all.text + all.offsets[left.row] + depth, all.text + all.offsets[right.row] + depth, (size_t)rest) : 0;
  return found ? found < 0 : of_left < of_right;
}

static void merge_sort(texts all, int64_t depth, item *items, item *other, int64_t n) {
  item *from = items, *into = other;
  for (int64_t width = 1; width < n; width *= 2) {
    for (int64_t start = 0; start < n; start += 2 * width) {
      int64_t middle = start + width < n ? start + width : n, end = start + 2 * width < n ? start + 2 * width : n;
      int64_t left = start, right = middle;
      for (int64_t i = start; i < end; i++) {
        int take_right = left == middle || (right < end && comes_before(all, depth, from[right], from[left]));
        into[i] = from[take_right ? right++ : left++];
      }
    }
    item *swapped = from;
    from = into;
    into = swapped;
  }
  if (from != items) memcpy(items, from, (size_t)n * sizeof(item));
}

/* by the eight bytes behind `depth`, and those that are the same in these by the next eight */
static void sort_from(texts all, int64_t depth, item *items, item *other, int64_t n, int level) {
  for (int64_t i = 0; i < n; i++) {
    int64_t begin = all.offsets[items[i].row] + depth, rest = all.offsets[items[i].row + 1] - begin;
    items[i].key = rest > 0 ? eight_of(all.text + begin, rest) : 0;
  }
  if (n < FEW || level == DEEP) {
    merge_sort(all, depth, items, other, n);
    return;
  }
  uint32_t counts[8][256];
  memset(counts, 0, sizeof counts);
  for (int64_t i = 0; i < n; i++)
    for (int byte = 0; byte < 8; byte++) counts[byte][(items[i].key >> (8 * byte)) & 255]++;
  item *from = items, *into = other;
  for (int byte = 0; byte < 8; byte++) {
    if (counts[byte][(items[0].key >> (8 * byte)) & 255] == (uint32_t)n) continue; /* all have the same one */
    uint32_t sum = 0;
    for (int value = 0; value < 256; value++) {
      uint32_t count = counts[byte][value];
      counts[byte][value] = sum;
      sum += count;
    }
    for (int64_t i = 0; i < n; i++) into[counts[byte][(from[i].key >> (8 * byte)) & 255]++] = from[i];
    item *swapped = from;
    from = into;
    into = swapped;
  }
  if (from != items) memcpy(items, from, (size_t)n * sizeof(item));
  for (int64_t start = 0; start < n;) {
    int64_t end = start + 1;
    while (end < n && items[end].key == items[start].key) end++;
    if (end - start > 1) sort_from(all, depth + 8, items + start, other + start, end - start, level + 1);
    start = end;
  }
}

/* Sort some texts, distinct ones, by their bytes.
   rows: which, [n], n below 2^32; items: room for 2 n items of 16 bytes. They are in order afterwards. */
EXPORT void texts_sort(const uint8_t *text, const int64_t *offsets, int64_t *rows, int64_t n, void *room) {
  texts all = {text, offsets};
  item *items = room;
  for (int64_t i = 0; i < n; i++) items[i] = (item){0, rows[i]};
  sort_from(all, 0, items, items + n, n, 0);
  for (int64_t i = 0; i < n; i++) rows[i] = items[i].row;
}

/* Some texts, one behind the other; new_offsets: [n + 1]. */
EXPORT void texts_take(const uint8_t *text, const int64_t *offsets, const int64_t *rows, int64_t n, uint8_t *taken,
                       const int64_t *new_offsets) {
  for (int64_t i = 0; i < n; i++)
    memcpy(taken + new_offsets[i], text + offsets[rows[i]], (size_t)(new_offsets[i + 1] - new_offsets[i]));
}
