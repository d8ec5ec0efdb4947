/* Whole numbers as keys: the least of them, in order. */
#ifndef TWOTOWER_ORDER_H
#define TWOTOWER_ORDER_H

#include "ordered.h"

/* those up to the pivot come first; how many. Without a branch that depends on a key */
INLINE int64_t divided(uint64_t *keys, int64_t count, uint64_t pivot) {
  int64_t low = 0;
  for (int64_t at = 0; at < count; at++) {
    uint64_t key = keys[at];
    keys[at] = keys[low];
    keys[low] = key;
    low += key <= pivot;
  }
  return low;
}

/* the least keys come first, as many as returned, more than 0; fewer than count, unless these are all equal */
static int64_t parted(uint64_t *keys, int64_t count, int *equal) {
  uint64_t one = keys[count / 4], other = keys[count / 2], third = keys[count - count / 4];
  uint64_t least = one < other ? one : other, greatest = one < other ? other : one;
  uint64_t pivot = third < least ? least : third > greatest ? greatest : third;
  int64_t low = pivot ? divided(keys, count, pivot - 1) : 0;
  *equal = low == 0;
  return low ? low : divided(keys, count, pivot);
}

static void sort(uint64_t *keys, int64_t count) {
  while (count > 16) {
    int equal;
    int64_t low = parted(keys, count, &equal);
    if (!equal) sort(keys, low);
    keys += low, count -= low;
  }
  for (int64_t at = 1; at < count; at++) {
    uint64_t key = keys[at];
    int64_t to = at;
    for (; to > 0 && keys[to - 1] > key; to--) keys[to] = keys[to - 1];
    keys[to] = key;
  }
}

/* the least of the keys come first, as many as wanted; 0 < wanted <= count */
static void least_first(uint64_t *keys, int64_t count, int64_t wanted) {
  while (count > 16) {
    int equal;
    int64_t low = parted(keys, count, &equal);
    if (wanted == low || (wanted < low && equal)) return;
    if (wanted < low) count = low;
    else keys += low, count -= low, wanted -= low;
  }
  sort(keys, count);
}

/* the wanted-th greatest of what was put down as ~ordered(number) */
static float greatest(uint64_t *keys, int64_t count, int64_t wanted) {
  least_first(keys, count, wanted);
  uint64_t last = 0;
  for (int64_t at = 0; at < wanted; at++) last = keys[at] > last ? keys[at] : last;
  return number_of(~(uint32_t)last);
}

#endif
