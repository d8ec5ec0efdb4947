/* Products of vectors and queries in 8 bits: which of them, and a start, are not negative. */
#ifndef TWOTOWER_PRODUCTS_H
#define TWOTOWER_PRODUCTS_H

#include "vector.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

/* rows of a block; a packed block holds 4 bytes of each of its rows, then the next 4 */
#define ROWS 16
/* the products of MANY queries with BLOCKS blocks are kept in registers; a query alone takes one block after the other */
#define MANY 8
#define BLOCKS 2
#define BLOCKS_ALONE 8

/* sums of four, or of two, products of whole numbers */
#if defined(__AVX512VNNI__) && defined(__AVX512DQ__)
#define FOURS
#elif defined(__AVX512BW__)
#define PAIRS(left, right) (uints) _mm512_madd_epi16((__m512i)(left), (__m512i)(right))
#elif defined(__AVX2__) && !defined(__AVX512F__)
#define PAIRS(left, right) (uints) _mm256_madd_epi16((__m256i)(left), (__m256i)(right))
#elif defined(__SSE2__) && !defined(__AVX__)
#define PAIRS(left, right) (uints) _mm_madd_epi16((__m128i)(left), (__m128i)(right))
#endif

typedef struct {
  int32_t sums[BLOCKS * MANY][ROWS];
  uint32_t hits[BLOCKS * MANY];
} Reached;

#ifdef FOURS
typedef int8_t low_entry;

INLINE __m512i four_of(const low_entry *entries) {
  int32_t four;
  memcpy(&four, entries, 4);
  return _mm512_set1_epi32(four);
}

INLINE uint32_t not_negative(__m512i sums) { return (uint16_t)~_mm512_movepi32_mask(sums); }

/* bit `block * MANY + query` where a sum of them is not negative; if there is one, all the sums, and in which lanes. Not inlined:
   compilers run out of registers */
static __attribute__((noinline)) uint32_t reach_many(const uint8_t *packed, int64_t steps, const low_entry *queries,
                                               const int32_t *starts, int64_t stride, Reached *reached) {
  __m512i sums[BLOCKS * MANY], all;
#pragma GCC unroll 16
  for (int at = 0; at < BLOCKS * MANY; at++) sums[at] = _mm512_set1_epi32(starts[at / MANY * stride + at % MANY]);
  for (int64_t step = 0; step < steps; step++) {
    __m512i one = _mm512_loadu_si512(packed + step * 4 * ROWS), other = _mm512_loadu_si512(packed + (steps + step) * 4 * ROWS);
#pragma GCC unroll 16
    for (int query = 0; query < MANY; query++) {
      __m512i four = four_of(queries + (query * steps + step) * 4);
      sums[query] = _mm512_dpbusd_epi32(sums[query], one, four);
      sums[MANY + query] = _mm512_dpbusd_epi32(sums[MANY + query], other, four);
    }
#pragma GCC unroll 16
    for (int at = 0; at < BLOCKS * MANY; at++) __asm__("" : "+v"(sums[at])); /* or GCC copies them all in every step */
  }
  all = sums[0];
#pragma GCC unroll 16
  for (int at = 1; at < BLOCKS * MANY; at++) all = _mm512_and_si512(all, sums[at]);
  if (!not_negative(all)) return 0;
  uint32_t some = 0;
#pragma GCC unroll 16
  for (int at = 0; at < BLOCKS * MANY; at++) {
    reached->hits[at] = not_negative(sums[at]);
    some |= (uint32_t)(reached->hits[at] != 0) << at;
    _mm512_storeu_si512(reached->sums[at], sums[at]);
  }
  return some;
}

/* bytes; further ahead than processors look by themselves */
#define AHEAD 4096

static __attribute__((noinline)) uint32_t reach_alone(const uint8_t *packed, int64_t steps, const low_entry *query, const int32_t *starts,
                                                Reached *reached) {
  uint32_t some = 0;
  for (int block = 0; block < BLOCKS_ALONE; block++, packed += steps * 4 * ROWS) {
    __m512i even = _mm512_set1_epi32(starts[block]), odd = _mm512_setzero_si512();
    int64_t step = 0;
    for (; step + 1 < steps; step += 2) {
      for (int line = 0; line < 2; line++)
        __builtin_prefetch((const void *)((uintptr_t)packed + (uintptr_t)((step + line) * 4 * ROWS + AHEAD)));
      even = _mm512_dpbusd_epi32(even, _mm512_loadu_si512(packed + step * 4 * ROWS), four_of(query + step * 4));
      odd = _mm512_dpbusd_epi32(odd, _mm512_loadu_si512(packed + (step + 1) * 4 * ROWS), four_of(query + (step + 1) * 4));
    }
    if (step < steps) odd = _mm512_dpbusd_epi32(odd, _mm512_loadu_si512(packed + step * 4 * ROWS), four_of(query + step * 4));
    even = _mm512_add_epi32(even, odd);
    reached->hits[block] = not_negative(even);
    if (!reached->hits[block]) continue;
    some |= 1u << block;
    _mm512_storeu_si512(reached->sums[block], even);
  }
  return some;
}
#else
#define VECTORS (LANES < ROWS ? 2 : 1)
#define FEW (LANES < ROWS ? 4 : 8)
typedef uint32_t uints __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#ifdef PAIRS
typedef int16_t low_entry;

/* sums of some queries for VECTORS vectors of rows, of which the first step is given; a step of a query is entries 0, 2, 1, 3 */
INLINE void sum_rows(const uint8_t *packed, int64_t steps, const low_entry *queries, const int num_queries,
                     uints (*sums)[VECTORS]) {
  for (int64_t step = 0; step < steps; step++) {
    uints even[VECTORS], odd[VECTORS];
    for (int part = 0; part < VECTORS; part++) {
      uints fours = *(const uints *)(packed + (step * ROWS + part * LANES) * 4);
      even[part] = fours & 0x00FF00FF, odd[part] = (fours >> 8) & 0x00FF00FF;
    }
    for (int query = 0; query < num_queries; query++) {
      uint32_t of_even, of_odd;
      memcpy(&of_even, queries + (query * steps + step) * 4, 4);
      memcpy(&of_odd, queries + (query * steps + step) * 4 + 2, 4);
      for (int part = 0; part < VECTORS; part++)
        sums[query][part] += PAIRS(even[part], (uints){0} + of_even) + PAIRS(odd[part], (uints){0} + of_odd);
    }
  }
}
#else
typedef float low_entry;
/* so many products of 255 and 127 are summed in float32 without rounding */
#define STEPS_AT_ONCE 128

INLINE void sum_rows(const uint8_t *packed, int64_t steps, const low_entry *queries, const int num_queries,
                     uints (*sums)[VECTORS]) {
  for (int64_t first = 0; first < steps; first += STEPS_AT_ONCE) {
    int64_t last = first + STEPS_AT_ONCE < steps ? first + STEPS_AT_ONCE : steps;
    floats exact[FEW][VECTORS] = {{{0}}};
    for (int64_t step = first; step < last; step++)
      for (int byte = 0; byte < 4; byte++)
        for (int part = 0; part < VECTORS; part++) {
          ints fours = *(const ints *)(packed + (step * ROWS + part * LANES) * 4);
          floats entries = __builtin_convertvector((fours >> (8 * byte)) & 255, floats);
          for (int query = 0; query < num_queries; query++) exact[query][part] += entries * queries[(query * steps + step) * 4 + byte];
        }
    for (int query = 0; query < num_queries; query++)
      for (int part = 0; part < VECTORS; part++) sums[query][part] += (uints)__builtin_convertvector(exact[query][part], ints);
  }
}
#endif

INLINE void reach_block(const uint8_t *packed, int64_t steps, const low_entry *queries, const int num_queries,
                        const int32_t *starts, int32_t (*to)[ROWS], uint32_t *hits) {
  for (int query = 0; query < num_queries; query++) hits[query] = 0;
  for (int lane = 0; lane < ROWS; lane += LANES * VECTORS) {
    uints sums[FEW][VECTORS];
    for (int query = 0; query < num_queries; query++)
      for (int part = 0; part < VECTORS; part++) sums[query][part] = (uints){0} + (uint32_t)starts[query];
    sum_rows(packed + lane * 4, steps, queries, num_queries, sums);
    for (int query = 0; query < num_queries; query++)
      for (int part = 0; part < VECTORS; part++) {
        uint32_t positive = 0;
        memcpy(to[query] + lane + part * LANES, &sums[query][part], sizeof(uints));
        for (int at = 0; at < LANES; at++) positive |= (~sums[query][part][at] >> 31) << at;
        hits[query] |= positive << (lane + part * LANES);
      }
  }
}

static uint32_t which(const Reached *reached, int count) {
  uint32_t some = 0;
  for (int at = 0; at < count; at++) some |= (uint32_t)(reached->hits[at] != 0) << at;
  return some;
}

static uint32_t reach_many(const uint8_t *packed, int64_t steps, const low_entry *queries, const int32_t *starts, int64_t stride,
                      Reached *reached) {
  for (int block = 0; block < BLOCKS; block++)
    for (int query = 0; query < MANY; query += FEW)
      reach_block(packed + block * steps * 4 * ROWS, steps, queries + query * steps * 4, FEW, starts + block * stride + query,
                          reached->sums + block * MANY + query, reached->hits + block * MANY + query);
  return which(reached, BLOCKS * MANY);
}

static uint32_t reach_alone(const uint8_t *packed, int64_t steps, const low_entry *query, const int32_t *starts, Reached *reached) {
  for (int block = 0; block < BLOCKS_ALONE; block++)
    reach_block(packed + block * steps * 4 * ROWS, steps, query, 1, starts + block, reached->sums + block, reached->hits + block);
  return which(reached, BLOCKS_ALONE);
}
#endif

#endif
