/* A tower: rows of tables and numbers side by side, then dense layers with relu between them; and all gradients. */
#include "pool.h"

/* TALL rows by WIDE vectors of products are kept in registers while they are added up */
#if defined(__AVX512F__)
#define TALL 6
#define WIDE 4
#elif defined(__AVX__)
#define TALL 6
#define WIDE 2
#else
#define TALL 4
#define WIDE 2
#endif

/* rows that go through all layers at a time, and whose products are added to a gradient at a time; they stay in the first cache */
#define CHUNK (16 * TALL)

/* left[row * row_step + n * step] times right[n * right_step ..], added up over n */
typedef struct {
  const float *left, *right;
  int64_t row_step, step, right_step, count;
} Factors;

/* What becomes of a product: `bias` starts it, `relu` cuts it off below 0, it is 0 where `kept` is not positive, or it is added. */
typedef struct {
  const float *bias, *kept;
  int64_t relu, add;
} After;

INLINE floats load_some(const float *from, int64_t count) {
  floats found = all_of(0);
  for (int64_t lane = 0; lane < count && lane < LANES; lane++) found[lane] = from[lane];
  return found;
}

/* rows x vectors of products to `to`, whose last vector has `last` numbers */
INLINE void block(const int rows, const int vectors, Factors in, After after, float *to, int64_t to_step, int64_t last) {
  floats sums[TALL][WIDE];
#pragma GCC unroll 8
  for (int v = 0; v < vectors; v++) {
    floats start = all_of(0);
    if (after.bias) start = v == vectors - 1 ? load_some(after.bias + v * LANES, last) : load(after.bias + v * LANES);
#pragma GCC unroll 8
    for (int row = 0; row < rows; row++) sums[row][v] = start;
  }
  for (int64_t n = 0; n < in.count; n++) {
    floats right[WIDE];
#pragma GCC unroll 8
    for (int v = 0; v < vectors; v++) right[v] = load(in.right + n * in.right_step + v * LANES);
#pragma GCC unroll 8
    for (int row = 0; row < rows; row++) {
      float number = in.left[row * in.row_step + n * in.step];
#pragma GCC unroll 8
      for (int v = 0; v < vectors; v++) sums[row][v] += right[v] * number;
    }
  }
  for (int row = 0; row < rows; row++) {
    float *out = to + row * to_step;
    const float *kept = after.kept ? after.kept + row * to_step : NULL;
    for (int v = 0; v < vectors; v++) {
      int whole = v < vectors - 1 || last == LANES;
      floats sum = sums[row][v];
      /* what is no number stays so */
      if (after.relu) sum = choose(sum <= all_of(0), all_of(0), sum);
      if (kept) sum = choose((whole ? load(kept + v * LANES) : load_some(kept + v * LANES, last)) <= all_of(0), all_of(0), sum);
      if (after.add) sum += whole ? load(out + v * LANES) : load_some(out + v * LANES, last);
      if (whole)
        store(out + v * LANES, sum);
      else
        for (int64_t lane = 0; lane < last; lane++) out[v * LANES + lane] = sum[lane];
    }
  }
}

INLINE void columns(const int rows, int vectors, Factors in, After after, float *to, int64_t to_step, int64_t last) {
  switch (vectors) {
    case 1: block(rows, 1, in, after, to, to_step, last); break;
    case 2: block(rows, 2, in, after, to, to_step, last); break;
#if WIDE == 4
    case 3: block(rows, 3, in, after, to, to_step, last); break;
    default: block(rows, 4, in, after, to, to_step, last); break;
#endif
  }
}

/* the product of `rows` rows with `width` columns; the right side may be read up to a vector's end */
static void product(Factors in, int64_t rows, int64_t width, After after, float *to, int64_t to_step) {
  for (int64_t from = 0; from < width; from += WIDE * LANES) {
    int64_t here = width - from < WIDE * LANES ? width - from : WIDE * LANES, row = 0;
    int vectors = (int)((here + LANES - 1) / LANES);
    int64_t last = here - (vectors - 1) * LANES;
    Factors some = in;
    some.right += from;
    for (; row < rows; row++) {
      After there = after;
      some.left = in.left + row * in.row_step;
      if (after.bias) there.bias += from;
      if (after.kept) there.kept += row * to_step + from;
      if (row + TALL <= rows) {
        columns(TALL, vectors, some, there, to + row * to_step + from, to_step, last);
        row += TALL - 1;
      } else {
        columns(1, vectors, some, there, to + row * to_step + from, to_step, last);
      }
    }
  }
}

static int64_t padded(int64_t width) { return (width + LANES - 1) / LANES * LANES; }

static int64_t start_of(int64_t part, int64_t parts, int64_t rows) { return part * ((rows + TALL - 1) / TALL) / parts * TALL; }

static int64_t smaller(int64_t one, int64_t other) { return one < other ? one : other; }

/* `numbers`: a table [rows][dim] of which row `values[n]` is taken, or the sum (0), mean (1) or sum by the root of their number (2) of
   rows `values[offsets[n]]` to `values[offsets[n + 1] - 1]`; or (-1), without values, the input's own numbers [n][dim]. `grad`: like
   `numbers`; NULL where it is not wanted. What is pooled is multiplied by `scale`. */
typedef struct {
  const float *numbers;
  int64_t rows, dim;
  const int64_t *values;
  int64_t count;
  const int64_t *offsets;
  int64_t pooling;
  float scale;
  float *grad;
} Input;

/* weights [width][width of the layer before], bias [width], outputs [n][width]; the others are for gradients: those of the outputs
   (but of the last layer), of weights and of the bias */
typedef struct {
  const float *weights, *bias;
  int64_t width;
  float *outputs, *outputs_grad, *weights_grad, *bias_grad;
} Layer;

typedef struct {
  const int64_t *rows;
  int64_t count;
  float factor;
} Bag;

INLINE Bag bag_of(const Input *input, int64_t n) {
  if (!input->offsets) return (Bag){input->values + n, 1, input->scale};
  int64_t first = input->offsets[n], count = input->offsets[n + 1] - first;
  float factor = count < 1 || !input->pooling ? 1.0f : input->pooling == 1 ? 1.0f / (float)count : 1.0f / sqrtf((float)count);
  return (Bag){input->values + first, count, factor * input->scale};
}

static int64_t wrong_input(const Input *inputs, int64_t num_inputs, int64_t rows) {
  for (int64_t at = 0; at < num_inputs; at++) {
    const Input *input = inputs + at;
    int64_t found = 0;
    if (input->pooling < 0) continue;
    if (input->offsets)
      found = outside(input->values, input->count, input->rows, input->offsets, rows);
    else
      for (int64_t n = 0; n < input->count; n++) found |= input->values[n] < 0 || input->values[n] >= input->rows;
    if (found) return at + 1;
  }
  return 0;
}

/* floats that both functions want for themselves */
EXPORT int64_t tower_room(int64_t width, const Layer *layers, int64_t num_layers) {
  int64_t room = 0;
  for (int64_t at = 0; at < num_layers; at++) {
    int64_t forward = width * padded(layers[at].width), backward = layers[at].width * padded(width);
    room += forward > backward ? forward : backward;
    width = layers[at].width;
  }
  return room;
}

/* joined [rows][width], the inputs side by side, and the outputs of all layers are written. Returns 0; or, with nothing written,
   1 and the place of an input that has values which are not rows of its table, or bags that are not end to end. */
EXPORT int64_t tower_forward(const Input *inputs, int64_t num_inputs, const Layer *layers, int64_t num_layers, int64_t rows,
                             int64_t width, int64_t parts, float *room, float *joined) {
  int64_t wrong = wrong_input(inputs, num_inputs, rows), from = width;
  (void)parts; /* of no use where the compiler does not know OpenMP */
  if (wrong) return wrong;
  float *packed = room; /* the weights by columns, in whole vectors */
  for (const Layer *layer = layers; layer < layers + num_layers; layer++) {
    int64_t step = padded(layer->width);
    for (int64_t n = 0; n < from; n++) {
      for (int64_t at = 0; at < layer->width; at++) packed[n * step + at] = layer->weights[at * from + n];
      for (int64_t at = layer->width; at < step; at++) packed[n * step + at] = 0;
    }
    packed += from * step;
    from = layer->width;
  }
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++) {
    int64_t end = smaller(start_of(part + 1, parts, rows), rows);
    for (int64_t first = start_of(part, parts, rows); first < end; first += CHUNK) {
      int64_t count = smaller(CHUNK, end - first), before = width, place = 0;
      for (const Input *input = inputs; input < inputs + num_inputs; place += input->dim, input++)
        for (int64_t n = first; n < first + count; n++) {
          float *to = joined + n * width + place;
          if (input->pooling < 0) {
            memcpy(to, input->numbers + n * input->dim, (size_t)input->dim * sizeof(float));
            continue;
          }
          Bag bag = bag_of(input, n);
          pool_row(input->numbers, input->dim, bag.rows, bag.count, bag.factor, to);
        }
      const float *left = joined, *mine = room;
      for (const Layer *layer = layers; layer < layers + num_layers; layer++) {
        int64_t step = padded(layer->width), relu = layer < layers + num_layers - 1;
        product((Factors){left + first * before, mine, before, 1, step, before}, count, layer->width,
                (After){layer->bias, NULL, relu, 0}, layer->outputs + first * layer->width, layer->width);
        left = layer->outputs, mine += before * step, before = layer->width;
      }
    }
  }
  return 0;
}

/* the gradient of weights [end - begin][from] and of their biases, from those of outputs, in the order of rows */
static void weigh(const float *inputs, int64_t from, const float *outputs_grad, int64_t to, int64_t rows, int64_t begin, int64_t end,
                  float *weights_grad, float *bias_grad) {
  /* rows whose last vector ends before the inputs do */
  int64_t safe = rows * from < padded(from) ? 0 : (rows * from - padded(from)) / from + 1;
  memset(weights_grad + begin * from, 0, (size_t)((end - begin) * from) * sizeof(float));
  memset(bias_grad + begin, 0, (size_t)(end - begin) * sizeof(float));
  for (int64_t first = 0; first < rows; first += CHUNK) {
    int64_t stop = smaller(first + CHUNK, rows), whole = smaller(stop, safe) > first ? smaller(stop, safe) : first;
    if (whole > first)
      product((Factors){outputs_grad + first * to + begin, inputs + first * from, 1, to, from, whole - first}, end - begin, from,
              (After){NULL, NULL, 0, 1}, weights_grad + begin * from, from);
    for (int64_t row = whole; row < stop; row++)
      for (int64_t at = begin; at < end; at++)
        for (int64_t n = 0; n < from; n++) weights_grad[at * from + n] += outputs_grad[row * to + at] * inputs[row * from + n];
    for (int64_t row = first; row < stop; row++)
      for (int64_t at = begin; at < end; at++) bias_grad[at] += outputs_grad[row * to + at];
  }
}

/* the gradients of numbers `first` to `end` - 1 of an input's vectors, from that of the inputs side by side */
static void spread(const Input *input, const float *joined_grad, int64_t rows, int64_t width, int64_t first, int64_t end) {
  for (int64_t n = 0; n < rows; n++) {
    const float *from = joined_grad + n * width;
    if (input->pooling < 0) {
      memcpy(input->grad + n * input->dim + first, from + first, (size_t)(end - first) * sizeof(float));
      continue;
    }
    Bag bag = bag_of(input, n);
    spread_row(from, first, end, input->dim, bag.rows, bag.count, bag.factor, input->grad);
  }
}

/* grad [rows][width of the last layer]; layers' outputs and joined: of tower_forward. The gradients of outputs, weights and biases are
   written, of inputs' own numbers too; those of tables are added to. joined_grad [rows][width]; NULL where no input wants its gradient.
   Each number is added up by one thread, in the order of rows. Returns what tower_forward does: values may have changed since. */
EXPORT int64_t tower_backward(const float *grad, const Input *inputs, int64_t num_inputs, const Layer *layers, int64_t num_layers,
                           int64_t rows, int64_t width, int64_t parts, float *room, const float *joined, float *joined_grad) {
  float *packed = room; /* the weights by rows, in whole vectors */
  int64_t wrong = wrong_input(inputs, num_inputs, rows), from = width, blocks = 0;
  if (wrong) return wrong;
  for (const Layer *layer = layers; layer < layers + num_layers; layer++) {
    int64_t step = padded(from);
    for (int64_t at = 0; at < layer->width; at++) {
      memcpy(packed + at * step, layer->weights + at * from, (size_t)from * sizeof(float));
      for (int64_t n = from; n < step; n++) packed[at * step + n] = 0;
    }
    packed += layer->width * step;
    from = layer->width;
  }
  for (const Input *input = inputs; input < inputs + num_inputs; input++) blocks += input->grad ? (input->dim + LANES - 1) / LANES : 0;
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++) {
    int64_t end = smaller(start_of(part + 1, parts, rows), rows);
    for (int64_t first = start_of(part, parts, rows); first < end; first += CHUNK) {
      int64_t count = smaller(CHUNK, end - first);
      const float *mine = packed, *left = grad;
      for (int64_t at = num_layers - 1; at >= 0; at--) {
        int64_t before = at ? layers[at - 1].width : width, step = padded(before);
        float *out = at ? layers[at - 1].outputs_grad : joined_grad;
        mine -= layers[at].width * step;
        if (!out) break;
        product((Factors){left + first * layers[at].width, mine, layers[at].width, 1, step, layers[at].width}, count, before,
                (After){NULL, at ? layers[at - 1].outputs + first * before : NULL, 0, 0}, out + first * before, before);
        left = out;
      }
    }
  }
#pragma omp parallel for num_threads(parts) schedule(static, 1) if (parts > 1)
  for (int64_t part = 0; part < parts; part++) {
    for (int64_t at = 0; at < num_layers; at++) {
      const Layer *layer = layers + at;
      int64_t begin = start_of(part, parts, layer->width), end = smaller(start_of(part + 1, parts, layer->width), layer->width);
      if (begin < end)
        weigh(at ? layers[at - 1].outputs : joined, at ? layers[at - 1].width : width,
              at == num_layers - 1 ? grad : layer->outputs_grad, layer->width, rows, begin, end, layer->weights_grad,
              layer->bias_grad);
    }
    int64_t seen = 0, place = 0, begin = part * blocks / parts, stop = (part + 1) * blocks / parts;
    for (const Input *input = inputs; input < inputs + num_inputs; place += input->dim, input++) {
      if (!input->grad) continue;
      int64_t has = (input->dim + LANES - 1) / LANES, first = begin > seen ? begin - seen : 0, last = smaller(stop - seen, has);
      if (first < last) spread(input, joined_grad + place, rows, width, first * LANES, smaller(last * LANES, input->dim));
      seen += has;
    }
  }
  return 0;
}
