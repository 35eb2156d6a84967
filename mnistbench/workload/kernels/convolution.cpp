// Convolutions with the batch innermost: features [C, H, W, B], kernels [O, C, kh, kw].
//
// Plain C functions for ctypes. All tensors are contiguous. Equal inputs give equal bits, with any
// number of threads: what is summed where depends on the shape alone. A vector holds neighbouring
// samples, so that kernels of one channel fill it as well as those of many.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

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

// bfloat16: features and their gradients are bf16; weights, their gradients and all sums float32.

namespace bf16 {
namespace {

constexpr int64_t kLanes = kBytes / 4;
using Floats = Vector<float>;
using Words = uint32_t __attribute__((vector_size(kBytes)));
using Halves = uint16_t __attribute__((vector_size(kBytes / 2), aligned(2), may_alias));

Floats load(const float* from) { return *reinterpret_cast<const Floats*>(from); }
Floats load(const uint16_t* from) {
  return (Floats)(__builtin_convertvector(*reinterpret_cast<const Halves*>(from), Words) << 16);
}
void store(float* to, Floats values) { *reinterpret_cast<Floats*>(to) = values; }
void store(uint16_t* to, Floats values) {  // to nearest, ties to even; NaN stays one
#ifdef __AVX512BF16__
  *reinterpret_cast<Halves*>(to) = (Halves)_mm512_cvtneps_pbh((__m512)values);
#else
  const Words bits = (Words)values, rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const Words kept = values == values ? rounded : Words{} + 0x7fc0;
  *reinterpret_cast<Halves*>(to) = __builtin_convertvector(kept, Halves);
#endif
}

// The same for `count` numbers where these are fewer, as at an end; `rest` stands for the others.
template <class T>
Floats load(const T* from, int64_t count, T rest = 0) {
  if (count >= kLanes) return load(from);
  T some[kLanes];
  std::fill_n(some, kLanes, rest);
  if (count > 0) std::memcpy(some, from, sizeof(T) * count);
  return load(some);
}
template <class T>
void store(T* to, Floats values, int64_t count) {
  if (count >= kLanes) return store(to, values);
  T some[kLanes];
  store(some, values);
  if (count > 0) std::memcpy(to, some, sizeof(T) * count);
}

Floats relu(Floats values) { return values < 0 ? Floats{} : values; }

// Batch norm of each channel's `count` numbers, with a ReLU behind it where `relu` is not 0.
struct NormShape {
  int64_t channels, count, training, relu;
  float eps, momentum;
};

// Mean and variance of `count` numbers, by sums of their distance from the first.
template <class T>
void moments(int64_t count, const T* x, float& mean, float& variance) {
  const float origin = load(x, 1)[0];
  Floats sums[4] = {}, squares[4] = {};
  for (int64_t k = 0; k < count; k += 4 * kLanes)
#pragma GCC unroll 4
    for (int n = 0; n < 4; n++) {
      const Floats d = load(x + k + kLanes * n, count - k - kLanes * n, *x) - origin;
      sums[n] += d, squares[n] += d * d;
    }
  const float shift = sum_of<float>(sums[0] + sums[1] + (sums[2] + sums[3])) / count;
  const float square = sum_of<float>(squares[0] + squares[1] + (squares[2] + squares[3])) / count;
  mean = origin + shift;
  variance = square > shift * shift ? square - shift * shift : square - square;  // NaN stays one
}

template <class T>
void norm_forward(const NormShape& s, const T* x, const float* gain, const float* bias,
                  float* running_mean, float* running_variance, float* mean, float* scale, T* y) {
#pragma omp parallel for
  for (int64_t c = 0; c < s.channels; c++) {
    const T* from = x + c * s.count;
    float centre = running_mean[c], variance = running_variance[c];
    if (s.training) {
      moments(s.count, from, centre, variance);
      const float unbiased = variance * (float(s.count) / (s.count - 1));
      running_mean[c] += s.momentum * (centre - running_mean[c]);
      running_variance[c] += s.momentum * (unbiased - running_variance[c]);
    }
    mean[c] = centre, scale[c] = 1 / std::sqrt(variance + s.eps);
    const float factor = scale[c] * (gain ? gain[c] : 1);
    const float start = (bias ? bias[c] : 0) - centre * factor;
    for (int64_t k = 0; k < s.count; k += kLanes) {
      const Floats made = load(from + k, s.count - k) * factor + start;
      store(y + c * s.count + k, s.relu ? relu(made) : made, s.count - k);
    }
  }
}

template <class T>
void norm_backward(const NormShape& s, const T* x, const float* gain, const float* bias,
                   const float* mean, const float* scales, const T* grad_y, T* grad_x,
                   float* grad_gain, float* grad_bias) {
#pragma omp parallel for
  for (int64_t c = 0; c < s.channels; c++) {
    const int64_t count = s.count;
    const T *from = x + c * count, *given = grad_y + c * count;
    const float centre = mean[c], scale = scales[c], factor = scale * (gain ? gain[c] : 1);
    const float start = (bias ? bias[c] : 0) - centre * factor, least = s.relu ? 0 : -INFINITY;
    const auto passed = [=](int64_t k, Floats values) {  // what the ReLU lets through
      return values * factor + start <= least ? Floats{} : load(given + k, count - k);
    };
    Floats sums[2] = {}, products[2] = {};
    for (int64_t k = 0; k < count; k += 2 * kLanes)
#pragma GCC unroll 2
      for (int64_t n = 0; n < 2; n++) {
        const int64_t at = k + kLanes * n;
        const Floats values = load(from + at, count - at), grad = passed(at, values);
        sums[n] += grad, products[n] += grad * (values - centre);
      }
    const float sum = sum_of<float>(sums[0] + sums[1]);
    const float product = sum_of<float>(products[0] + products[1]) * scale;
    if (grad_bias) grad_bias[c] = sum;
    if (grad_gain) grad_gain[c] = product;
    // of each number: (gradient - mean gradient - normalised * mean product) * factor
    const float slope = s.training ? -product / count * scale * factor : 0;
    const float level = s.training ? -sum / count * factor - centre * slope : 0;
    for (int64_t k = 0; k < count; k += kLanes) {
      const Floats values = load(from + k, count - k);
      store(grad_x + c * count + k, passed(k, values) * factor + (values * slope + level), count - k);
    }
  }
}

// What a convolution makes, before its pool.
struct Result {
  int64_t rows, columns, size;  // size: of one channel
  explicit Result(const ConvShape& s)
      : rows((s.height + 2 * s.pad_h - s.kernel_h) / s.stride_h + 1),
        columns((s.width + 2 * s.pad_w - s.kernel_w) / s.stride_w + 1),
        size(rows * columns * s.batch) {}
};

}  // namespace

#ifdef __AVX512BF16__
namespace {

// Two lines of features and the number of their pair of weights.
struct Pair {
  const uint16_t *first, *second;
  int64_t weights;
};

// Weights as bf16 in pairs, [block][pair][output of the block]: blocks of at most 8 outputs.
struct PackedWeights {
  int64_t outputs, block, pairs;
  std::vector<uint32_t> values;

  // `weight(output, input, tap)` is what they are; a pair is of two inputs at one tap.
  template <class Weight>
  void pack(int64_t all, int64_t inputs, int64_t taps, Weight weight) {
    const auto rounded = [&](int64_t o, int64_t i, int64_t t) -> uint32_t {
      const float value = i < inputs ? weight(o, i, t) : 0;
      uint32_t bits;
      std::memcpy(&bits, &value, 4);
      return value != value ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    };
    const int64_t blocks = (all + 7) / 8;
    outputs = all, block = (all + blocks - 1) / blocks, pairs = (inputs + 1) / 2 * taps;
    values.resize(all * pairs);
    uint32_t* to = values.data();
    for (int64_t first = 0; first < all; first += block)
      for (int64_t t = 0; t < taps; t++)
        for (int64_t i = 0; i < inputs; i += 2)
          for (int64_t o = first; o < std::min(all, first + block); o++)
            *to++ = rounded(o, i + 1, t) << 16 | rounded(o, i, t);
  }
};

constexpr int64_t kSamples = 32;  // of one instruction

__mmask32 samples_from(int64_t at, int64_t batch) {
  return batch - at >= kSamples ? ~0u : (1u << (batch - at)) - 1;
}

// N outputs of some of 32 samples, whose sums over `pairs` stay in registers.
template <int N>
void outputs(const std::vector<Pair>& pairs, const uint32_t* weights, const float* bias,
             bool has_relu, int64_t at, __mmask32 samples, uint16_t* out, int64_t stride) {
  __m512 low[N], high[N];
#pragma GCC unroll 8
  for (int n = 0; n < N; n++) low[n] = high[n] = _mm512_set1_ps(bias ? bias[n] : 0);
  for (const Pair& pair : pairs) {
    const __m512i first = _mm512_maskz_loadu_epi16(samples, pair.first + at);
    const __m512i second = _mm512_maskz_loadu_epi16(samples, pair.second + at);
    const __m512bh lower = (__m512bh)_mm512_unpacklo_epi16(first, second);
    const __m512bh upper = (__m512bh)_mm512_unpackhi_epi16(first, second);
    const uint32_t* own = weights + pair.weights * N;
#pragma GCC unroll 8
    for (int n = 0; n < N; n++) {
      const __m512bh both = (__m512bh)_mm512_set1_epi32(own[n]);
      low[n] = _mm512_dpbf16_ps(low[n], lower, both);
      high[n] = _mm512_dpbf16_ps(high[n], upper, both);
    }
  }
  const __m512i order = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);  // undoes the interleaving
#pragma GCC unroll 8
  for (int n = 0; n < N; n++) {
    if (has_relu) low[n] = (__m512)relu((Floats)low[n]), high[n] = (__m512)relu((Floats)high[n]);
    const __m512i made = (__m512i)_mm512_cvtne2ps_pbh(high[n], low[n]);
    _mm512_mask_storeu_epi16(out + n * stride, samples, _mm512_permutexvar_epi64(order, made));
  }
}

// out [output, place, batch]; `find(place, none, pairs)` says of which lines a place is made,
// where the line `none` has zeros.
template <class Find>
void gather(const PackedWeights& packed, int64_t places, int64_t batch, const float* bias,
            bool has_relu, uint16_t* out, Find find) {
  constexpr decltype(&outputs<8>) of[] = {nullptr,    outputs<1>, outputs<2>, outputs<3>, outputs<4>,
                                          outputs<5>, outputs<6>, outputs<7>, outputs<8>};
  const std::vector<uint16_t> none(batch);
#pragma omp parallel
  {
    std::vector<Pair> pairs;
#pragma omp for collapse(2)
    for (int64_t place = 0; place < places; place++)
      for (int64_t chunk = 0; chunk < batch; chunk += 128) {
        pairs.clear();
        find(place, none.data(), pairs);
        for (int64_t at = chunk; at < std::min(batch, chunk + 128); at += kSamples)
          for (int64_t o = 0; o < packed.outputs; o += packed.block)
            of[std::min(packed.block, packed.outputs - o)](
                pairs, packed.values.data() + o * packed.pairs, bias ? bias + o : nullptr, has_relu,
                at, samples_from(at, batch), out + (o * places + place) * batch + at, places * batch);
      }
  }
}

// A number of the kernel: what it multiplies, from a corner of the image on; channel -1 is none.
struct Tap {
  int64_t channel, i, j;
};

const uint16_t* pixel(const ConvShape& s, const uint16_t* x, const uint16_t* none, int64_t top,
                      int64_t left, const Tap& tap) {
  const int64_t i = top + tap.i, j = left + tap.j;
  const bool is_inside = i >= 0 && i < s.height && j >= 0 && j < s.width && tap.channel >= 0;
  return is_inside ? x + ((tap.channel * s.height + i) * s.width + j) * s.batch : none;
}

void conv_forward(const ConvShape& s, const uint16_t* x, const float* w, const float* bias,
                  uint16_t* y) {
  const Result made(s);
  // a pair is of two channels at one tap, or of two neighbouring taps of the only channel
  const int64_t all = s.kernel_h * s.kernel_w, C = s.in_channels;
  const int64_t inputs = C == 1 ? all : C, taps = C == 1 ? 1 : all;
  std::vector<Tap> seen;
  for (int64_t t = 0; t < all; t++) {
    for (int64_t c = 0; c < C; c++) seen.push_back({c, t / s.kernel_w, t % s.kernel_w});
    if (seen.size() % 2 && (C > 1 || t == all - 1)) seen.push_back({-1, 0, 0});
  }
  static thread_local PackedWeights packed;
  packed.pack(s.out_channels, inputs, taps, [&](int64_t o, int64_t i, int64_t t) {
    return w[(o * inputs + i) * taps + t];
  });
  gather(packed, made.rows * made.columns, s.batch, bias, s.relu, y, [&](int64_t place, auto none, auto& pairs) {
    const int64_t top = place / made.columns * s.stride_h - s.pad_h;
    const int64_t left = place % made.columns * s.stride_w - s.pad_w;
    for (size_t k = 0; k < seen.size(); k += 2)
      pairs.push_back({pixel(s, x, none, top, left, seen[k]),
                       pixel(s, x, none, top, left, seen[k + 1]), int64_t(k / 2)});
  });
}

void conv_grad_input(const ConvShape& s, const float* w, const uint16_t* grad, uint16_t* grad_x) {
  const Result made(s);
  const int64_t taps = s.kernel_h * s.kernel_w, O = s.out_channels, C = s.in_channels;
  static thread_local PackedWeights packed;
  packed.pack(C, O, taps, [&](int64_t c, int64_t o, int64_t t) { return w[(o * C + c) * taps + t]; });
  const int64_t places = s.height * s.width, size = made.size;
  gather(packed, places, s.batch, nullptr, false, grad_x, [&](int64_t place, auto none, auto& pairs) {
    for (int64_t t = 0; t < taps; t++) {
      const int64_t down = place / s.width + s.pad_h - t / s.kernel_w, i = down / s.stride_h;
      const int64_t right = place % s.width + s.pad_w - t % s.kernel_w, j = right / s.stride_w;
      if (down % s.stride_h || right % s.stride_w || down < 0 || right < 0) continue;
      if (i >= made.rows || j >= made.columns) continue;
      const uint16_t* line = grad + (i * made.columns + j) * s.batch;
      for (int64_t o = 0; o < O; o += 2, line += 2 * size)
        pairs.push_back({line, o + 1 < O ? line + size : none, t * ((O + 1) / 2) + o / 2});
    }
  });
}

// The gradients of 4 outputs' weights, 6 of each from number `first`, over all places and samples.
void weight_tile(const ConvShape& s, const uint16_t* x, const uint16_t* grad, const uint16_t* none,
                 int64_t output, int64_t first, float* grad_w) {
  const Result made(s);
  const int64_t taps = s.kernel_h * s.kernel_w, all = s.in_channels * taps;
  const int64_t width = std::min<int64_t>(4, s.out_channels - output), places = made.rows * made.columns;
  Tap of_tile[6];
  for (int64_t t = first; t < first + 6; t++)
    of_tile[t - first] = {t < all ? t / taps : -1, t % taps / s.kernel_w, t % s.kernel_w};
  __m512 sums[4][6] = {};
  for (int64_t place = 0; place < places; place++) {
    const uint16_t *given[4], *seen[6];
    for (int64_t n = 0; n < 4; n++)
      given[n] = n < width ? grad + ((output + n) * places + place) * s.batch : none;
    const int64_t top = place / made.columns * s.stride_h - s.pad_h;
    const int64_t left = place % made.columns * s.stride_w - s.pad_w;
    for (int64_t t = 0; t < 6; t++) seen[t] = pixel(s, x, none, top, left, of_tile[t]);
    for (int64_t at = 0; at < s.batch; at += kSamples) {
      const __mmask32 samples = samples_from(at, s.batch);
      __m512bh by[4];
#pragma GCC unroll 4
      for (int n = 0; n < 4; n++) by[n] = (__m512bh)_mm512_maskz_loadu_epi16(samples, given[n] + at);
#pragma GCC unroll 6
      for (int t = 0; t < 6; t++) {
        const __m512bh of = (__m512bh)_mm512_maskz_loadu_epi16(samples, seen[t] + at);
#pragma GCC unroll 4
        for (int n = 0; n < 4; n++) sums[n][t] = _mm512_dpbf16_ps(sums[n][t], of, by[n]);
      }
    }
  }
#pragma GCC unroll 4
  for (int n = 0; n < 4; n++)
#pragma GCC unroll 6
    for (int t = 0; t < 6; t++)
      if (n < width && first + t < all)
        grad_w[(output + n) * all + first + t] = _mm512_reduce_add_ps(sums[n][t]);
}

// The largest of each 2 x 2 of `x`, and which it was: the first of equals, and any NaN, as torch.
void pool(const ConvShape& s, const uint16_t* x, uint16_t* y, uint8_t* chosen) {
  const Result made(s);
  const int64_t width = made.columns / 2, height = made.rows / 2, B = s.batch;
#pragma omp parallel for
  for (int64_t n = 0; n < s.out_channels * height * width; n++) {
    const int64_t row = n / width / height * made.rows + n / width % height * 2;
    const uint16_t* from = x + (row * made.columns + n % width * 2) * B;
    const uint16_t* of[] = {from, from + B, from + made.columns * B, from + (made.columns + 1) * B};
    for (int64_t b = 0; b < B; b++) {
      uint8_t best = 0;
      for (uint8_t part = 1; part < 4; part++) {
        const float value = load(of[part] + b, 1)[0], largest = load(of[best] + b, 1)[0];
        if (value > largest || value != value) best = part;
      }
      y[n * B + b] = of[best][b], chosen[n * B + b] = best;
    }
  }
}

// The gradient of the convolution's own result, from that of what its ReLU and pool made of it.
const uint16_t* unpooled(const ConvShape& s, const uint16_t* y, const uint8_t* chosen,
                         const uint16_t* grad_y) {
  if (s.pool == 1 && !s.relu) return grad_y;
  const Result made(s);
  const int64_t width = made.columns / s.pool, height = made.rows / s.pool;
  uint16_t* whole = scratch<uint16_t, 0>(s.out_channels * made.size);
#pragma omp parallel for collapse(2)
  for (int64_t o = 0; o < s.out_channels; o++)
    for (int64_t i = 0; i < made.rows; i++)
      for (int64_t j = 0; j < made.columns; j++) {
        const int64_t from = ((o * height + i / s.pool) * width + j / s.pool) * s.batch;
        const int64_t part = i % s.pool * 2 + j % s.pool;
        const bool is_lost = i / s.pool >= height || j / s.pool >= width;
        uint16_t* to = whole + ((o * made.rows + i) * made.columns + j) * s.batch;
        for (int64_t b = 0; b < s.batch; b++)
          to[b] = is_lost || (s.relu && !y[from + b]) || (s.pool == 2 && chosen[from + b] != part)
                      ? 0
                      : grad_y[from + b];
      }
  return whole;
}

}  // namespace

extern "C" void mb_conv_forward_bf16(const ConvShape* s, const uint16_t* x, const float* w,
                                     const float* bias, uint16_t* y, uint8_t* chosen) {
  if (s->pool == 1) return conv_forward(*s, x, w, bias, y);
  uint16_t* whole = scratch<uint16_t, 0>(s->out_channels * Result(*s).size);
  conv_forward(*s, x, w, bias, whole);
  pool(*s, whole, y, chosen);
}

extern "C" void mb_conv_backward_bf16(const ConvShape* shape, const uint16_t* x, const float* w,
                                      const uint16_t* y, const uint8_t* chosen,
                                      const uint16_t* grad_y, uint16_t* grad_x, float* grad_w,
                                      float* grad_bias) {
  const ConvShape& s = *shape;
  const uint16_t* grad = unpooled(s, y, chosen, grad_y);
  const std::vector<uint16_t> none(s.batch);
#pragma omp parallel for collapse(2)
  for (int64_t o = 0; o < s.out_channels; o += 4)
    for (int64_t t = 0; t < s.in_channels * s.kernel_h * s.kernel_w; t += 6)
      weight_tile(s, x, grad, none.data(), o, t, grad_w);
  if (grad_x) conv_grad_input(s, w, grad, grad_x);
  const int64_t size = Result(s).size;
#pragma omp parallel for
  for (int64_t o = 0; o < (grad_bias ? s.out_channels : 0); o++) {
    Floats sum = {};
    for (int64_t k = 0; k < size; k += kLanes) sum += load(grad + o * size + k, size - k);
    grad_bias[o] = sum_of<float>(sum);
  }
}

#endif

extern "C" {

// Features float32 [batch, size] as bf16 [size, batch].
void mb_batch_last_bf16(int64_t batch, int64_t size, const float* x, uint16_t* y) {
#pragma omp parallel for
  for (int64_t p = 0; p < size; p += kLanes)
    for (int64_t first = 0; first < batch; first += 32) {
      uint16_t tile[32][kLanes];
      const int64_t samples = std::min<int64_t>(32, batch - first);
      for (int64_t b = 0; b < samples; b++)
        store(tile[b], load(x + (first + b) * size + p, size - p));
      for (int64_t q = p; q < std::min(size, p + kLanes); q++)
        for (int64_t b = 0; b < samples; b++) y[q * batch + first + b] = tile[b][q - p];
    }
}

// x, y and their gradients [channels, count], all else float32 [channels]; `gain` and `bias` may be
// NULL. Training moves the running statistics; `mean` and `scale` are for the backward.
#define MB_NORM(T, TYPE)                                                                          \
  void mb_norm_forward_##TYPE(const NormShape* s, const T* x, const float* gain,                  \
                              const float* bias, float* running_mean, float* running_variance,    \
                              float* mean, float* scale, T* y) {                                  \
    norm_forward(*s, x, gain, bias, running_mean, running_variance, mean, scale, y);              \
  }                                                                                               \
  void mb_norm_backward_##TYPE(const NormShape* s, const T* x, const float* gain,                 \
                               const float* bias, const float* mean, const float* scale,          \
                               const T* grad_y, T* grad_x, float* grad_gain, float* grad_bias) {  \
    norm_backward(*s, x, gain, bias, mean, scale, grad_y, grad_x, grad_gain, grad_bias);          \
  }
MB_NORM(uint16_t, bf16)
MB_NORM(float, f32)
}  // extern C
}  // namespace bf16
