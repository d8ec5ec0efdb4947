/* The products of a tile, of numbers that UNIT holds: one float, or two narrow numbers whose products are added up in pairs.
   Included once for either, with UNIT, NAMED(name) and ADD_PRODUCT(sums, units, unit) defined. */

/* logits[rows][stride] = bias + queries[rows][dim] . packed, and the highest of every row so far, lane by lane */
INLINE void NAMED(logits_of_rows)(const int rows, const UNIT *queries, const UNIT *panel, const float *bias, float *logits,
                                  float *highest, int64_t dim, int64_t stride) {
  floats sums[BLOCK_ROWS][BLOCK_VECTORS];
  for (int row = 0; row < rows; row++)
    for (int v = 0; v < BLOCK_VECTORS; v++) sums[row][v] = load(bias + v * LANES);
  for (int64_t d = 0; d < dim; d++) {
    floats column[BLOCK_VECTORS];
    for (int v = 0; v < BLOCK_VECTORS; v++) column[v] = load((const float *)(panel + d * PANEL + v * LANES));
    for (int row = 0; row < rows; row++) {
      UNIT number = queries[row * dim + d];
      for (int v = 0; v < BLOCK_VECTORS; v++) ADD_PRODUCT(sums[row][v], column[v], number);
    }
  }
  for (int row = 0; row < rows; row++) {
    floats most = load(highest + row * LANES);
    for (int v = 0; v < BLOCK_VECTORS; v++) {
      most = greater_of(sums[row][v], most);
      store(logits + row * stride + v * LANES, sums[row][v]);
    }
    store(highest + row * LANES, most);
  }
}

static void NAMED(logits_of_tile)(const UNIT *queries, const UNIT *packed, const float *bias, float *logits, float *highest,
                                  int64_t rows, int64_t dim, int64_t stride) {
  for (int64_t row = 0; row < rows; row++) store(highest + row * LANES, all_of(-INFINITY));
  for (int64_t first = 0; first < stride; first += PANEL) {
    const UNIT *panel = packed + first * dim;
    int64_t row = 0;
    for (; row + BLOCK_ROWS <= rows; row += BLOCK_ROWS)
      NAMED(logits_of_rows)(BLOCK_ROWS, queries + row * dim, panel, bias + first, logits + row * stride + first,
                            highest + row * LANES, dim, stride);
    for (; row < rows; row++)
      NAMED(logits_of_rows)(1, queries + row * dim, panel, bias + first, logits + row * stride + first, highest + row * LANES,
                            dim, stride);
  }
}

/* out[row][dim] += sum over n of factors[row * row_step + n * step] * vectors[n][dim], of some rows and one or two registers */
INLINE void NAMED(combine)(const int rows, const int width, const UNIT *factors, int64_t row_step, int64_t step, int64_t count,
                           const UNIT *vectors, int64_t dim, float *out) {
  floats sums[BLOCK_ROWS][2];
  for (int row = 0; row < rows; row++)
    for (int v = 0; v < width; v++) sums[row][v] = load(out + row * dim + v * LANES);
  for (int64_t n = 0; n < count; n++) {
    floats vector[2];
    for (int v = 0; v < width; v++) vector[v] = load((const float *)(vectors + n * dim + v * LANES));
    for (int row = 0; row < rows; row++) {
      UNIT factor = factors[row * row_step + n * step];
      for (int v = 0; v < width; v++) ADD_PRODUCT(sums[row][v], vector[v], factor);
    }
  }
  for (int row = 0; row < rows; row++)
    for (int v = 0; v < width; v++) store(out + row * dim + v * LANES, sums[row][v]);
}

static void NAMED(combine_all)(const UNIT *factors, int64_t row_step, int64_t step, int64_t count, const UNIT *vectors,
                               int64_t dim, float *out, int64_t rows) {
  int64_t row = 0;
  for (; row + BLOCK_ROWS <= rows; row += BLOCK_ROWS) {
    const UNIT *mine = factors + row * row_step;
    int64_t d = 0;
    for (; d + 2 * LANES <= dim; d += 2 * LANES)
      NAMED(combine)(BLOCK_ROWS, 2, mine, row_step, step, count, vectors + d, dim, out + row * dim + d);
    if (d < dim) NAMED(combine)(BLOCK_ROWS, 1, mine, row_step, step, count, vectors + d, dim, out + row * dim + d);
  }
  for (; row < rows; row++)
    for (int64_t d = 0; d < dim; d += LANES)
      NAMED(combine)(1, 1, factors + row * row_step, row_step, step, count, vectors + d, dim, out + row * dim + d);
}
