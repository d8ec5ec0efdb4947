/* Floats as whole numbers of the same order. */
#ifndef TWOTOWER_ORDERED_H
#define TWOTOWER_ORDERED_H

#include "vector.h"

/* rises with the number */
INLINE uint32_t ordered(float number) {
  uint32_t bits;
  memcpy(&bits, &number, 4);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

INLINE float number_of(uint32_t order) {
  uint32_t bits = order & 0x80000000u ? order & 0x7FFFFFFFu : ~order;
  float number;
  memcpy(&number, &bits, 4);
  return number;
}

#endif
