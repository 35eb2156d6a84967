// Convolutions with the batch innermost: features [C, H, W, B], kernels [O, C, kh, kw].
//
// Plain C functions for ctypes. All tensors are contiguous. Equal inputs give equal bits, with any
// number of threads: what is summed where depends on the shape alone. A vector holds neighbouring
// samples, so that kernels of one channel fill it as well as those of many.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

extern "C" typedef struct {
  int64_t batch, in_channels, height, width, out_channels, kernel_h, kernel_w, stride_h, stride_w,
      pad_h, pad_w, pool, relu;
} ConvShape;

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64, kVectors = 4;  // of a register; registers of one output channel in a tile
#elif defined(__AVX__)
constexpr int kBytes = 32, kVectors = 2;
#elif defined(__aarch64__)
constexpr int kBytes = 16, kVectors = 4;
#else
constexpr int kBytes = 16, kVectors = 2;
#endif
constexpr int kChannels = kVectors == 4 ? 6 : 5;  // output channels in a tile, at most

template <class T>
struct Simd {
  static constexpr int64_t lanes = kBytes / sizeof(T);
  typedef T V __attribute__((vector_size(kBytes), aligned(sizeof(T)), may_alias));
  typedef uint8_t Bytes __attribute__((vector_size(kBytes / sizeof(T)), aligned(1), may_alias));
};
template <class T>
using Vector = typename Simd<T>::V;

template <class T>
Vector<T> load(const T* from) {
  return *reinterpret_cast<const Vector<T>*>(from);
}
template <class T>
void store(T* to, Vector<T> values) {
  *reinterpret_cast<Vector<T>*>(to) = values;
}
template <class T, int N>
T sum_halves(const T* values) {
  if constexpr (N == 1) return *values;
  T halves[(N + 1) / 2];
  for (int l = 0; l < N / 2; l++) halves[l] = values[l] + values[l + N / 2];
  return sum_halves<T, (N + 1) / 2>(halves);
}
template <class T>
T sum_of(Vector<T> values) {
  T each[Simd<T>::lanes];
  store(each, values);
  return sum_halves<T, Simd<T>::lanes>(each);
}

// Memory of at least `size` values, kept by this thread for each `Use`.
template <class T, int Use>
T* scratch(size_t size) {
  static thread_local std::vector<T> kept;
  if (kept.size() < size) kept.resize(size);
  return kept.data();
}

// Blocks of at most `most` of `count`, as even as can be: where block `index` begins.
int64_t num_blocks(int64_t count, int64_t most) { return (count + most - 1) / most; }
int64_t block_start(int64_t count, int64_t blocks, int64_t index) { return count * index / blocks; }

// One axis of a sum over a kernel. A result at `at` sees taps tap, tap + step, ... (`count` of
// them), the first on `in`, the next on the next line, or on the one before where it goes `back`,
// as a gradient does.
struct Axis {
  int64_t in, out, kernel, stride, pad;
};
struct Span {
  int64_t in, tap, count;
};
Span span(const Axis& a, bool back, int64_t at) {
  if (!back) {
    const int64_t start = at * a.stride - a.pad, first = std::max<int64_t>(0, -start);
    const int64_t last = std::min(a.kernel, a.in - start);
    return {start + first, first, std::max<int64_t>(0, last - first)};
  }
  const int64_t seen = at + a.pad, least = std::max<int64_t>(0, seen - (a.in - 1) * a.stride);
  const int64_t first = least + (seen - least) % a.stride, end = std::min(a.kernel, seen + 1);
  return {(seen - first) / a.stride, first,
          end > first ? (end - first + a.stride - 1) / a.stride : 0};
}

// `out_channels` sums over kernels on `in_channels`: a convolution, or back the gradient of its input.
template <class T>
struct Sums {
  const T *x, *w, *bias;  // w packed: [block of channels][in][kh][kw][channel of the block]
  T* y;
  uint8_t* chosen;
  int64_t batch, in_channels, out_channels;
  Axis rows, columns;
  int64_t pool, relu;
  bool back;
};

// [out][in][taps], by its strides, as blocks of output channels that a tile reads in one line.
template <class T>
void pack(const Sums<T>& s, const T* w, int64_t out_stride, int64_t in_stride, T* packed) {
  const int64_t taps = s.rows.kernel * s.columns.kernel;
  const int64_t blocks = num_blocks(s.out_channels, kChannels);
#pragma omp for collapse(2)
  for (int64_t k = 0; k < blocks; k++)
    for (int64_t c = 0; c < s.in_channels; c++) {
      const int64_t from = block_start(s.out_channels, blocks, k);
      const int64_t size = block_start(s.out_channels, blocks, k + 1) - from;
      T* to = packed + (from * s.in_channels + c * size) * taps;
      for (int64_t t = 0; t < taps; t++)
        for (int64_t o = 0; o < size; o++)
          to[t * size + o] = w[(from + o) * out_stride + c * in_stride + t];
    }
}

template <class T, int O, int N>
inline __attribute__((always_inline)) void sum_taps(const Sums<T>& s, const T* x, const T* w,
                                                    Span i, Span j, Vector<T> (&sums)[O][N]) {
  const int64_t row = s.columns.in * s.batch, plane = s.rows.in * row;
  const int64_t down = s.back ? -row : row, across = s.back ? -s.batch : s.batch;
  const int64_t step_h = s.back ? s.rows.stride : 1, step_w = O * (s.back ? s.columns.stride : 1);
  x += i.in * row + j.in * s.batch;
  w += (i.tap * s.columns.kernel + j.tap) * O;
  for (int64_t c = 0; c < s.in_channels; c++, x += plane)
    for (int64_t a = 0; a < i.count; a++) {
      const T* values = x + a * down;
      const T* weights = w + ((c * s.rows.kernel + a * step_h) * s.columns.kernel) * O;
      for (int64_t b = 0; b < j.count; b++, values += across, weights += step_w) {
        Vector<T> in[N];
        for (int n = 0; n < N; n++) in[n] = load(values + n * Simd<T>::lanes);
#pragma GCC unroll 8
        for (int o = 0; o < O; o++)
#pragma GCC unroll 8
          for (int n = 0; n < N; n++) sums[o][n] += weights[o] * in[n];
      }
    }
}

// One row of results, of O channels from `first` on and N vectors of samples from `sample` on.
template <class T, int O, int N>
void sum_row(const Sums<T>& s, int64_t first, int64_t row, int64_t sample) {
  typedef Vector<T> V;
  const int64_t width = s.columns.out / s.pool, height = s.rows.out / s.pool;
  const T* w = s.w + first * s.in_channels * s.rows.kernel * s.columns.kernel;
  for (int64_t column = 0; column < width; column++) {
    V parts[4][O][N];
    for (int64_t part = 0; part < s.pool * s.pool; part++) {
      V sums[O][N];
      for (int o = 0; o < O; o++)
        for (int n = 0; n < N; n++) sums[o][n] = V{} + (s.bias ? s.bias[first + o] : T(0));
      sum_taps<T, O, N>(s, s.x + sample, w, span(s.rows, s.back, row * s.pool + part / 2),
                        span(s.columns, s.back, column * s.pool + part % 2), sums);
      for (int o = 0; o < O; o++)
        for (int n = 0; n < N; n++) parts[part][o][n] = sums[o][n];
    }
    for (int o = 0; o < O; o++)
      for (int n = 0; n < N; n++) {
        const int64_t at = (((first + o) * height + row) * width + column) * s.batch + sample +
                           n * Simd<T>::lanes;
        V best = parts[0][o][n];
        if (s.pool == 2) {
          auto which = best != best;
          which ^= which;
          for (int part = 1; part < 4; part++) {  // the first of equals, and any NaN, as torch
            const V other = parts[part][o][n];
            const auto taken = (other > best) | (other != other);
            best = taken ? other : best;
            which = taken ? which - which + part : which;
          }
          if (s.chosen)
            *reinterpret_cast<typename Simd<T>::Bytes*>(s.chosen + at) =
                __builtin_convertvector(which, typename Simd<T>::Bytes);
        }
        store(s.y + at, s.relu ? (best <= 0 ? V{} : best) : best);
      }
  }
}

template <class T>
using SumRow = void (*)(const Sums<T>&, int64_t, int64_t, int64_t);
template <class T, int N>
SumRow<T> row_of(int64_t channels) {
  constexpr SumRow<T> rows[] = {sum_row<T, 1, N>, sum_row<T, 2, N>, sum_row<T, 3, N>,
                                sum_row<T, 4, N>, sum_row<T, 5, N>, sum_row<T, 6, N>};
  return rows[channels - 1];
}

// The last group of vectors overlaps the one before where the batch is no multiple of it.
template <class T>
void sum_all(const Sums<T>& s) {
  const int64_t vectors = s.batch / Simd<T>::lanes;
  const int64_t n = vectors >= kVectors ? kVectors : vectors >= 2 ? 2 : 1;
  const int64_t lanes = n * Simd<T>::lanes, groups = num_blocks(s.batch, lanes);
  const int64_t blocks = num_blocks(s.out_channels, kChannels), rows = s.rows.out / s.pool;
#pragma omp for collapse(3)
  for (int64_t g = 0; g < groups; g++)
    for (int64_t k = 0; k < blocks; k++)
      for (int64_t row = 0; row < rows; row++) {
        const int64_t first = block_start(s.out_channels, blocks, k);
        const int64_t size = block_start(s.out_channels, blocks, k + 1) - first;
        const auto made = n == kVectors ? row_of<T, kVectors>(size)
                          : n == 2      ? row_of<T, 2>(size)
                                        : row_of<T, 1>(size);
        made(s, first, row, std::min(g * lanes, s.batch - lanes));
      }
}

template <class T>
Sums<T> sums_of(const ConvShape& s, bool back) {
  const int64_t rows = (s.height + 2 * s.pad_h - s.kernel_h) / s.stride_h + 1;
  const int64_t columns = (s.width + 2 * s.pad_w - s.kernel_w) / s.stride_w + 1;
  const Axis h = {s.height, rows / s.pool * s.pool, s.kernel_h, s.stride_h, s.pad_h};
  const Axis w = {s.width, columns / s.pool * s.pool, s.kernel_w, s.stride_w, s.pad_w};
  Sums<T> sums = {};
  sums.batch = s.batch;
  sums.back = back;
  if (back) {
    sums.in_channels = s.out_channels, sums.out_channels = s.in_channels, sums.pool = 1;
    sums.rows = {h.out, h.in, h.kernel, h.stride, h.pad};
    sums.columns = {w.out, w.in, w.kernel, w.stride, w.pad};
  } else {
    sums.in_channels = s.in_channels, sums.out_channels = s.out_channels;
    sums.pool = s.pool, sums.relu = s.relu, sums.rows = h, sums.columns = w;
  }
  return sums;
}

// A batch smaller than a vector is run as one of kWide samples, zeros behind it.
constexpr int64_t kWide = kBytes / 4;
template <class T>
std::vector<T> widen(const T* from, int64_t places, int64_t batch) {
  std::vector<T> wide(places * kWide);
  for (int64_t n = 0; from && n < places; n++)
    std::memcpy(&wide[n * kWide], from + n * batch, batch * sizeof(T));
  return wide;
}
template <class T>
void narrow(const std::vector<T>& wide, T* to, int64_t batch) {
  for (size_t n = 0; to && n < wide.size() / kWide; n++)
    std::memcpy(to + n * batch, &wide[n * kWide], batch * sizeof(T));
}

template <class T>
void forward(const ConvShape& s, const T* x, const T* w, const T* bias, T* y, uint8_t* chosen) {
  Sums<T> sums = sums_of<T>(s, false);
  if (s.batch < Simd<T>::lanes) {
    ConvShape wide = s;
    wide.batch = kWide;
    const auto in = widen(x, s.in_channels * s.height * s.width, s.batch);
    std::vector<T> out(s.out_channels * (sums.rows.out / s.pool) * (sums.columns.out / s.pool) * kWide);
    std::vector<uint8_t> which(chosen ? out.size() : 0);
    forward(wide, in.data(), w, bias, out.data(), chosen ? which.data() : nullptr);
    narrow(out, y, s.batch);
    return narrow(which, chosen, s.batch);
  }
  const int64_t taps = s.kernel_h * s.kernel_w;
  T* packed = scratch<T, 0>(s.out_channels * s.in_channels * taps);
  sums.x = x, sums.w = packed, sums.bias = bias, sums.y = y, sums.chosen = chosen;
#pragma omp parallel
  {
    pack(sums, w, s.in_channels * taps, taps, packed);
    sum_all(sums);
  }
}

// Gradients of weights: sums over samples and places of a gradient times what a tap of the kernel saw.
// A unit is one row of results for a group of vectors of samples; the last group is what is left of
// the batch behind the last whole vector. A part of the units fits a core's cache.
template <class T>
struct Products {
  const T *x, *tail_x, *grad_y, *y;
  const uint8_t* chosen;
  T *whole, *partial, *row_sums;  // [O, rows, columns, B] or null, [part][O][tap], [O][unit]
  int64_t vectors, groups, units, parts;
};

// The first `count` of a vector's values, the others zero.
template <class V, class T>
V load_first(const T* from, int64_t count) {
  V values = {};
  std::memcpy(&values, from, count * sizeof(T));
  return values;
}

// The gradient of the sums themselves from that of their pooled ReLU: one unit and channel of it,
// [columns][vectors of the group], and its sum. `Tail`: for what is left of the batch.
template <class T, bool Tail>
void undo_unit(const ConvShape& s, const Sums<T>& f, const Products<T>& p, int64_t o, int64_t u,
               T* local) {
  typedef Vector<T> V;
  typedef typename Simd<T>::Bytes Bytes;
  constexpr int64_t L = Simd<T>::lanes;
  const int64_t group = u / f.rows.out, row = u % f.rows.out, shift = s.pool - 1;
  const int64_t sample = Tail ? p.vectors * L : group * kVectors * L;
  const int64_t count = Tail ? 1 : std::min<int64_t>(kVectors, p.vectors - group * kVectors);
  const int64_t size = Tail ? f.batch % L : L, width = f.columns.out >> shift;
  const int64_t pooled = (o * (f.rows.out >> shift) + (row >> shift)) * width;
  T* whole = p.whole ? p.whole + (o * f.rows.out + row) * f.columns.out * f.batch : nullptr;
  V sum = {};
  for (int64_t column = 0; column < f.columns.out; column++)
    for (int64_t v = 0; v < count; v++, local += L) {
      const int64_t lane = sample + v * L, at = (pooled + (column >> shift)) * f.batch + lane;
      V grad = Tail ? load_first<V>(p.grad_y + at, size) : load(p.grad_y + at);
      if (s.relu) {
        const V seen = Tail ? load_first<V>(p.y + at, size) : load(p.y + at);
        grad = seen <= 0 ? V{} : grad;
      }
      if (s.pool == 2) {
        const Bytes which = load_first<Bytes>(p.chosen + at, Tail ? size : L);
        const int part = (row & 1) * 2 + (column & 1);
        grad = __builtin_convertvector(which, decltype(V{} < V{})) == part ? grad : V{};
      }
      store(local, grad);
      sum += grad;
      if (whole) std::memcpy(whole + column * f.batch + lane, &grad, (Tail ? size : L) * sizeof(T));
    }
  p.row_sums[o * p.units + u] = sum_of<T>(sum);
}

// Gradients of the weights of O channels from `first` on and J taps from `tap` on, over one part.
template <class T, int O, int J>
void multiply(const Sums<T>& f, const Products<T>& p, int64_t part, int64_t first, int64_t tap,
              const T* local) {
  constexpr int64_t L = Simd<T>::lanes;
  static const T zeros[kVectors * L] = {};
  const int64_t taps = f.rows.kernel * f.columns.kernel, S = f.columns.stride;
  const int64_t begin = block_start(p.units, p.parts, part);
  const int64_t end = block_start(p.units, p.parts, part + 1);
  const int64_t plane = (end - begin) * f.columns.out * kVectors * L;
  int64_t channels[J], down[J], left[J], least[J], past[J];  // past: columns with the tap in the image
  for (int t = 0; t < J; t++) {
    channels[t] = (tap + t) / taps;
    down[t] = (tap + t) % taps / f.columns.kernel - f.rows.pad;
    left[t] = (tap + t) % f.columns.kernel - f.columns.pad;
    least[t] = left[t] < 0 ? (S - 1 - left[t]) / S : 0;
    past[t] = left[t] < f.columns.in ? (f.columns.in - left[t] + S - 1) / S : 0;
  }
  Vector<T> sums[O][J] = {};
  int64_t group = begin / f.rows.out, row = begin % f.rows.out - 1;
  for (int64_t u = begin; u < end; u++) {
    if (++row == f.rows.out) row = 0, group++;
    const bool tail = group * kVectors >= p.vectors;
    const int64_t B = tail ? L : f.batch;
    const int64_t count = tail ? 1 : std::min<int64_t>(kVectors, p.vectors - group * kVectors);
    const T* image = tail ? p.tail_x : p.x + group * kVectors * L;
    const T *lines[J], *grad = local + (u - begin) * f.columns.out * kVectors * L;
    int64_t ends[J];
    for (int t = 0; t < J; t++) {
      const int64_t line = row * f.rows.stride + down[t];
      ends[t] = line >= 0 && line < f.rows.in ? past[t] : 0;
      lines[t] = image + ((channels[t] * f.rows.in + line) * f.columns.in + left[t]) * B;
    }
    for (int64_t column = 0; column < f.columns.out; column++) {
      const T* in[J];
      for (int t = 0; t < J; t++)
        in[t] = column >= least[t] && column < ends[t] ? lines[t] + column * S * B : zeros;
      for (int64_t v = 0; v < count; v++, grad += L) {
        Vector<T> seen[J];
        for (int t = 0; t < J; t++) seen[t] = load(in[t] + v * L);
#pragma GCC unroll 8
        for (int o = 0; o < O; o++) {
          const Vector<T> given = load(grad + o * plane);
#pragma GCC unroll 8
          for (int t = 0; t < J; t++) sums[o][t] += given * seen[t];
        }
      }
    }
  }
  T* to = p.partial + (part * f.out_channels + first) * f.in_channels * taps + tap;
  for (int o = 0; o < O; o++)
    for (int t = 0; t < J; t++) to[o * f.in_channels * taps + t] = sum_of<T>(sums[o][t]);
}

constexpr int taps_at_once(int channels) {
  return kVectors == 2 ? 12 / (channels + 1) : channels == 6 ? 3 : channels >= 4 ? 5 : 6;
}
template <class T, int O>
void multiply_taps(const Sums<T>& f, const Products<T>& p, int64_t part, int64_t first,
                   const T* local) {
  constexpr int J = taps_at_once(O);
  const int64_t taps = f.in_channels * f.rows.kernel * f.columns.kernel;
  for (int64_t tap = 0; taps < J && tap < taps; tap++)
    multiply<T, O, 1>(f, p, part, first, tap, local);
  for (int64_t tap = 0; taps >= J && tap < taps; tap += J)  // the last overlaps the one before
    multiply<T, O, J>(f, p, part, first, std::min(tap, taps - J), local);
}

template <class T>
void weight_gradient(const ConvShape& s, const Sums<T>& f, const Products<T>& p) {
  using Multiply = void (*)(const Sums<T>&, const Products<T>&, int64_t, int64_t, const T*);
  constexpr Multiply by_channels[] = {multiply_taps<T, 1>, multiply_taps<T, 2>,
                                      multiply_taps<T, 3>, multiply_taps<T, 4>,
                                      multiply_taps<T, 5>, multiply_taps<T, 6>};
  const int64_t blocks = num_blocks(s.out_channels, kChannels);
#pragma omp for collapse(2)
  for (int64_t part = 0; part < p.parts; part++)
    for (int64_t k = 0; k < blocks; k++) {
      const int64_t first = block_start(s.out_channels, blocks, k);
      const int64_t size = block_start(s.out_channels, blocks, k + 1) - first;
      const int64_t begin = block_start(p.units, p.parts, part);
      const int64_t end = block_start(p.units, p.parts, part + 1);
      const int64_t unit = f.columns.out * kVectors * Simd<T>::lanes;
      T* local = scratch<T, 5>(size * (end - begin) * unit);
      for (int64_t o = 0; o < size; o++)
        for (int64_t u = begin; u < end; u++)
          (u / f.rows.out * kVectors < p.vectors ? undo_unit<T, false> : undo_unit<T, true>)(
              s, f, p, first + o, u, local + (o * (end - begin) + u - begin) * unit);
      by_channels[size - 1](f, p, part, first, local);
    }
}

// The samples past the last whole vector, as a batch of one vector, zeros behind them.
template <class T>
void copy_tail(const T* from, int64_t places, int64_t batch, T* to) {
#pragma omp for
  for (int64_t n = 0; n < places; n++)
    store(to + n * Simd<T>::lanes,
          load_first<Vector<T>>(from + (n + 1) * batch - batch % Simd<T>::lanes, batch % Simd<T>::lanes));
}

template <class T>
void backward(const ConvShape& s, const T* x, const T* w, const T* y, const uint8_t* chosen,
              const T* grad_y, T* grad_x, T* grad_w, T* grad_bias) {
  constexpr int64_t L = Simd<T>::lanes;
  const Sums<T> f = sums_of<T>(s, false);
  Sums<T> back = sums_of<T>(s, true);
  if (s.batch < L) {
    ConvShape wide = s;
    wide.batch = kWide;
    const int64_t made = s.out_channels * (f.rows.out / s.pool) * (f.columns.out / s.pool);
    const auto in = widen(x, s.in_channels * s.height * s.width, s.batch);
    const auto out = widen(s.relu ? y : nullptr, made, s.batch), grad = widen(grad_y, made, s.batch);
    const auto which = widen(s.pool == 2 ? chosen : nullptr, made, s.batch);
    std::vector<T> grad_in(grad_x ? in.size() : 0);
    backward(wide, in.data(), w, out.data(), which.data(), grad.data(),
             grad_x ? grad_in.data() : nullptr, grad_w, grad_bias);
    return narrow(grad_in, grad_x, s.batch);
  }
  const int64_t taps = s.kernel_h * s.kernel_w, all_taps = s.in_channels * taps;
  const int64_t places_x = s.in_channels * s.height * s.width;
  const int64_t places = s.out_channels * f.rows.out * f.columns.out;
  const bool same = s.pool == 1 && !s.relu;
  Products<T> p = {};
  p.x = x, p.y = y, p.chosen = chosen, p.grad_y = grad_y;
  p.vectors = s.batch / L, p.groups = num_blocks(p.vectors, kVectors) + (s.batch % L > 0);
  p.units = p.groups * f.rows.out;
  p.parts = std::max((places_x + places) * s.batch * int64_t(sizeof(T)) >> 18,
                     8 / num_blocks(s.out_channels, kChannels));
  p.parts = std::max<int64_t>(1, std::min(p.parts, p.units));
  p.whole = same || !grad_x ? nullptr : scratch<T, 1>(places * s.batch);
  p.row_sums = scratch<T, 2>(s.out_channels * p.units);
  p.partial = scratch<T, 3>(p.parts * s.out_channels * all_taps);
  T* tail_x = s.batch % L ? scratch<T, 4>(places_x * L) : nullptr;
  T* packed = grad_x ? scratch<T, 0>(s.out_channels * all_taps) : nullptr;
  p.tail_x = tail_x;
  back.x = same ? grad_y : p.whole, back.w = packed, back.y = grad_x;
#pragma omp parallel
  {
    if (tail_x) copy_tail(x, places_x, s.batch, tail_x);
    weight_gradient(s, f, p);
#pragma omp for simd nowait
    for (int64_t n = 0; n < s.out_channels * all_taps; n++) {
      T sum = 0;
      for (int64_t part = 0; part < p.parts; part++)
        sum += p.partial[part * s.out_channels * all_taps + n];
      grad_w[n] = sum;
    }
#pragma omp for nowait
    for (int64_t o = 0; o < (grad_bias ? s.out_channels : 0); o++) {
      grad_bias[o] = 0;
      for (int64_t u = 0; u < p.units; u++) grad_bias[o] += p.row_sums[o * p.units + u];
    }
    if (grad_x) {
      pack(back, w, taps, all_taps, packed);
      sum_all(back);
    }
  }
}

}  // namespace

#define MB_CONVOLUTION(NAME, T)                                                                 \
  extern "C" void mb_conv_forward_##NAME(const ConvShape* s, const T* x, const T* w,           \
                                         const T* bias, T* y, uint8_t* chosen) {               \
    forward<T>(*s, x, w, bias, y, chosen);                                                  \
  }                                                                                             \
  extern "C" void mb_conv_backward_##NAME(                                                      \
      const ConvShape* s, const T* x, const T* w, const T* y, const uint8_t* chosen,           \
      const T* grad_y, T* grad_x, T* grad_w, T* grad_bias) {                                    \
    backward<T>(*s, x, w, y, chosen, grad_y, grad_x, grad_w, grad_bias);                    \
  }

MB_CONVOLUTION(f32, float)
MB_CONVOLUTION(f64, double)
