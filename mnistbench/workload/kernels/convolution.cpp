// Convolutions with the batch innermost: features [C, H, W, B], kernels [O, C, kh, kw].
//
// All tensors are contiguous. Equal inputs give equal bits, with any number of threads: what is
// summed where depends on the shape alone. A vector holds neighbouring samples, so that kernels of
// one channel fill it as well as those of many. Samples of a batch fill a multiple of 64 bytes: the
// caller puts zeros behind others.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

struct ConvShape {
  int64_t batch, in_channels, height, width, out_channels, kernel_h, kernel_w, stride_h, stride_w,
      pad_h, pad_w, pool, relu;
};

#if defined(__AVX512F__)
constexpr int kBytes = 64, kVectors = 4;  // of a register; registers of a channel in a tile
#elif defined(__AVX__)
constexpr int kBytes = 32, kVectors = 2;
#elif defined(__aarch64__)
constexpr int kBytes = 16, kVectors = 4;
#else
constexpr int kBytes = 16, kVectors = 2;
#endif
constexpr int kChannels = kVectors == 4 ? 6 : 5;  // output channels in a tile, at most

template <class T> struct Simd {
  static constexpr int64_t lanes = kBytes / sizeof(T);
  typedef T V __attribute__((vector_size(kBytes), aligned(sizeof(T)), may_alias));
  typedef uint8_t Bytes __attribute__((vector_size(kBytes / sizeof(T)), aligned(1), may_alias));
};
template <class T> using Vector = typename Simd<T>::V;

template <class T> Vector<T> load(const T* from) {
  return *reinterpret_cast<const Vector<T>*>(from);
}
template <class T> void store(T* to, Vector<T> values) {
  *reinterpret_cast<Vector<T>*>(to) = values;
}
template <class T> T sum_of(Vector<T> values) {
  T each[Simd<T>::lanes];
  store(each, values);
  for (int64_t half = Simd<T>::lanes / 2; half; half /= 2)
    for (int64_t l = 0; l < half; l++) each[l] += each[l + half];
  return each[0];
}

// Memory of at least `size` values, kept by this thread for each `Use`.
template <class T, int Use> T* scratch(size_t size) {
  static thread_local std::vector<T> kept;
  if (kept.size() < size) kept.resize(size);
  return kept.data();
}

// Block `index` of `blocks` of `count`, as even as can be.
struct Block {
  int64_t begin, end, size;
  Block(int64_t count, int64_t blocks, int64_t index)
      : begin(count * index / blocks), end(count * (index + 1) / blocks), size(end - begin) {}
};
int64_t num_blocks(int64_t count, int64_t most) { return (count + most - 1) / most; }

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

// Sums over kernels on `in_channels`: a convolution, or `back` the gradient of its input.
struct Geometry {
  int64_t batch, in_channels, out_channels;
  Axis rows, columns;
  int64_t pool, relu;
  bool back;
  int64_t taps() const { return rows.kernel * columns.kernel; }
  // Of weights [O, C, taps], which a gradient of the input sees as [in][out][taps].
  int64_t out_stride() const { return back ? taps() : in_channels * taps(); }
  int64_t in_stride() const { return back ? out_channels * taps() : taps(); }
};

Geometry geometry(const ConvShape& s, bool back) {
  const int64_t rows = (s.height + 2 * s.pad_h - s.kernel_h) / s.stride_h + 1;
  const int64_t columns = (s.width + 2 * s.pad_w - s.kernel_w) / s.stride_w + 1;
  const Axis h = {s.height, rows / s.pool * s.pool, s.kernel_h, s.stride_h, s.pad_h};
  const Axis w = {s.width, columns / s.pool * s.pool, s.kernel_w, s.stride_w, s.pad_w};
  if (!back) return {s.batch, s.in_channels, s.out_channels, h, w, s.pool, s.relu, back};
  return {s.batch, s.out_channels, s.in_channels, {h.out, h.in, h.kernel, h.stride, h.pad},
          {w.out, w.in, w.kernel, w.stride, w.pad}, 1, 0, back};
}

template <class T> struct Sums : Geometry {
  const T *x, *w, *bias;  // w packed: [block of channels][in][kh][kw][channel of the block]
  T* y;
  uint8_t* chosen;
};

// The weights as blocks of output channels that a tile reads in one line.
template <class T> void pack(const Sums<T>& s, const T* w, T* packed) {
  const int64_t taps = s.taps(), blocks = num_blocks(s.out_channels, kChannels);
#pragma omp for collapse(2)
  for (int64_t k = 0; k < blocks; k++)
    for (int64_t c = 0; c < s.in_channels; c++) {
      const Block block(s.out_channels, blocks, k);
      T* to = packed + (block.begin * s.in_channels + c * block.size) * taps;
      for (int64_t t = 0; t < taps; t++)
        for (int64_t o = block.begin; o < block.end; o++)
          *to++ = w[o * s.out_stride() + c * s.in_stride() + t];
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
        for (int o = 0; o < O; o++)
          for (int n = 0; n < N; n++) sums[o][n] += weights[o] * in[n];
      }
    }
}

// One row of results, of O channels from `first` on and N vectors of samples from `sample` on.
template <class T, int O, int N>
void sum_row(const Sums<T>& s, int64_t first, int64_t row, int64_t sample) {
  typedef Vector<T> V;
  const int64_t width = s.columns.out / s.pool, height = s.rows.out / s.pool;
  const T* w = s.w + first * s.in_channels * s.taps();
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
          decltype(best != best) which = {};
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

template <class T> using SumRow = void (*)(const Sums<T>&, int64_t, int64_t, int64_t);
template <class T, int N> SumRow<T> row_of(int64_t channels) {
  constexpr SumRow<T> rows[] = {sum_row<T, 1, N>, sum_row<T, 2, N>, sum_row<T, 3, N>,
                                sum_row<T, 4, N>, sum_row<T, 5, N>, sum_row<T, 6, N>};
  return rows[channels - 1];
}

// The last group of vectors overlaps the one before where the batch is no multiple of it.
template <class T> void sum_all(const Sums<T>& s) {
  const int64_t vectors = s.batch / Simd<T>::lanes;
  const int64_t n = vectors >= kVectors ? kVectors : vectors >= 2 ? 2 : 1;
  const int64_t lanes = n * Simd<T>::lanes, groups = num_blocks(s.batch, lanes);
  const int64_t blocks = num_blocks(s.out_channels, kChannels), rows = s.rows.out / s.pool;
#pragma omp for collapse(3)
  for (int64_t g = 0; g < groups; g++)
    for (int64_t k = 0; k < blocks; k++)
      for (int64_t row = 0; row < rows; row++) {
        const Block block(s.out_channels, blocks, k);
        const auto made = n == kVectors ? row_of<T, kVectors>(block.size)
                          : n == 2      ? row_of<T, 2>(block.size)
                                        : row_of<T, 1>(block.size);
        made(s, block.begin, row, std::min(g * lanes, s.batch - lanes));
      }
}

template <class T>
void forward(const ConvShape& s, const T* x, const T* w, const T* bias, T* y, uint8_t* chosen) {
  T* packed = scratch<T, 0>(s.out_channels * s.in_channels * s.kernel_h * s.kernel_w);
  const Sums<T> sums = {geometry(s, false), x, packed, bias, y, chosen};
#pragma omp parallel
  {
    pack(sums, w, packed);
    sum_all(sums);
  }
}

// Gradients of weights: sums of a gradient times what a tap of the kernel saw. A unit is one row of
// results for a group of vectors of samples. A part of the units fits a core's cache.
template <class T> struct Products {
  const T *x, *grad_y, *y;
  const uint8_t* chosen;
  T *whole, *partial, *row_sums;  // [O, rows, columns, B] or null, [part][O][tap], [O][unit]
  int64_t vectors, units, parts;
};

// The gradient of the sums themselves from that of their pooled ReLU: one unit and channel of it,
// [columns][vectors of the group], and its sum.
template <class T>
void undo_unit(const Geometry& f, const Products<T>& p, int64_t o, int64_t u, T* local) {
  using V = Vector<T>;
  using Bytes = typename Simd<T>::Bytes;
  constexpr int64_t L = Simd<T>::lanes;
  const int64_t first = u / f.rows.out * kVectors, row = u % f.rows.out, shift = f.pool - 1;
  const int64_t end = std::min(first + kVectors, p.vectors), width = f.columns.out >> shift;
  const int64_t pooled = (o * (f.rows.out >> shift) + (row >> shift)) * width;
  T* whole = p.whole ? p.whole + (o * f.rows.out + row) * f.columns.out * f.batch : nullptr;
  V sum = {};
  for (int64_t column = 0; column < f.columns.out; column++)
    for (int64_t v = first; v < end; v++, local += L) {
      const int64_t at = (pooled + (column >> shift)) * f.batch + v * L;
      V grad = load(p.grad_y + at);
      if (f.relu) grad = load(p.y + at) <= 0 ? V{} : grad;
      if (f.pool == 2) {
        const Bytes which = *reinterpret_cast<const Bytes*>(p.chosen + at);
        const int part = (row & 1) * 2 + (column & 1);
        grad = __builtin_convertvector(which, decltype(V{} < V{})) == part ? grad : V{};
      }
      store(local, grad);
      sum += grad;
      if (whole) store(whole + column * f.batch + v * L, grad);
    }
  p.row_sums[o * p.units + u] = sum_of<T>(sum);
}

// Gradients of the weights of O channels from `first` on and J taps from `tap` on, over one part.
template <class T, int O, int J>
void multiply(const Geometry& f, const Products<T>& p, int64_t part, int64_t first, int64_t tap,
              const T* local) {
  constexpr int64_t L = Simd<T>::lanes;
  static const T zeros[kVectors * L] = {};
  const Block units(p.units, p.parts, part);
  const int64_t plane = units.size * f.columns.out * kVectors * L;
  int64_t channels[J], down[J], left[J];
  for (int t = 0; t < J; t++) {
    channels[t] = (tap + t) / f.taps();
    down[t] = (tap + t) % f.taps() / f.columns.kernel - f.rows.pad;
    left[t] = (tap + t) % f.columns.kernel - f.columns.pad;
  }
  Vector<T> sums[O][J] = {};
  int64_t group = units.begin / f.rows.out, row = units.begin % f.rows.out - 1;
  for (int64_t u = units.begin; u < units.end; u++) {
    if (++row == f.rows.out) row = 0, group++;
    const int64_t count = std::min<int64_t>(kVectors, p.vectors - group * kVectors);
    const T* image = p.x + group * kVectors * L;
    const T *lines[J], *grad = local + (u - units.begin) * f.columns.out * kVectors * L;
    for (int t = 0; t < J; t++) {
      const int64_t line = row * f.rows.stride + down[t];
      const bool is_inside = line >= 0 && line < f.rows.in;
      const int64_t place = (channels[t] * f.rows.in + line) * f.columns.in;
      lines[t] = is_inside ? image + place * f.batch : nullptr;
    }
    for (int64_t column = 0; column < f.columns.out; column++) {
      const T* in[J];
      for (int t = 0; t < J; t++) {
        const int64_t at = column * f.columns.stride + left[t];
        const bool is_inside = lines[t] && at >= 0 && at < f.columns.in;
        in[t] = is_inside ? lines[t] + at * f.batch : zeros;
      }
      for (int64_t v = 0; v < count; v++, grad += L) {
        Vector<T> seen[J];
        for (int t = 0; t < J; t++) seen[t] = load(in[t] + v * L);
        for (int o = 0; o < O; o++) {
          const Vector<T> given = load(grad + o * plane);
          for (int t = 0; t < J; t++) sums[o][t] += given * seen[t];
        }
      }
    }
  }
  T* to = p.partial + (part * f.out_channels + first) * f.in_channels * f.taps() + tap;
  for (int o = 0; o < O; o++)
    for (int t = 0; t < J; t++) to[o * f.in_channels * f.taps() + t] = sum_of<T>(sums[o][t]);
}

constexpr int taps_at_once(int channels) {
  return kVectors == 2 ? 12 / (channels + 1) : channels == 6 ? 3 : channels >= 4 ? 5 : 6;
}
template <class T, int O>
void multiply_taps(const Geometry& f, const Products<T>& p, int64_t part, int64_t first,
                   const T* local) {
  constexpr int J = taps_at_once(O);
  const int64_t taps = f.in_channels * f.taps();
  for (int64_t tap = 0; taps < J && tap < taps; tap++)
    multiply<T, O, 1>(f, p, part, first, tap, local);
  for (int64_t tap = 0; taps >= J && tap < taps; tap += J)  // the last overlaps the one before
    multiply<T, O, J>(f, p, part, first, std::min(tap, taps - J), local);
}

template <class T> void weight_gradient(const Geometry& f, const Products<T>& p) {
  using Multiply = void (*)(const Geometry&, const Products<T>&, int64_t, int64_t, const T*);
  constexpr Multiply by_channels[] = {multiply_taps<T, 1>, multiply_taps<T, 2>,
                                      multiply_taps<T, 3>, multiply_taps<T, 4>,
                                      multiply_taps<T, 5>, multiply_taps<T, 6>};
  const int64_t blocks = num_blocks(f.out_channels, kChannels);
#pragma omp for collapse(2)
  for (int64_t part = 0; part < p.parts; part++)
    for (int64_t k = 0; k < blocks; k++) {
      const Block block(f.out_channels, blocks, k), units(p.units, p.parts, part);
      const int64_t unit = f.columns.out * kVectors * Simd<T>::lanes;
      T *local = scratch<T, 4>(block.size * units.size * unit), *to = local;
      for (int64_t o = block.begin; o < block.end; o++)
        for (int64_t u = units.begin; u < units.end; u++, to += unit) undo_unit(f, p, o, u, to);
      by_channels[block.size - 1](f, p, part, block.begin, local);
    }
}

template <class T>
void backward(const ConvShape& s, const T* x, const T* w, const T* y, const uint8_t* chosen,
              const T* grad_y, T* grad_x, T* grad_w, T* grad_bias) {
  const Geometry f = geometry(s, false);
  const int64_t all_taps = s.in_channels * f.taps();
  const int64_t places_x = s.in_channels * s.height * s.width;
  const int64_t places = s.out_channels * f.rows.out * f.columns.out;
  const bool same = s.pool == 1 && !s.relu;
  Products<T> p = {x, grad_y, y, chosen};
  p.vectors = s.batch / Simd<T>::lanes;
  p.units = num_blocks(p.vectors, kVectors) * f.rows.out;
  p.parts = std::max((places_x + places) * s.batch * int64_t(sizeof(T)) >> 18,
                     8 / num_blocks(s.out_channels, kChannels));
  p.parts = std::max<int64_t>(1, std::min(p.parts, p.units));
  p.whole = same || !grad_x ? nullptr : scratch<T, 1>(places * s.batch);
  p.row_sums = scratch<T, 2>(s.out_channels * p.units);
  p.partial = scratch<T, 3>(p.parts * s.out_channels * all_taps);
  T* packed = grad_x ? scratch<T, 0>(s.out_channels * all_taps) : nullptr;
  const T* grad = same ? grad_y : p.whole;
  const Sums<T> back = {geometry(s, true), grad, packed, nullptr, grad_x, nullptr};
#pragma omp parallel
  {
    weight_gradient(f, p);
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
      pack(back, w, packed);
      sum_all(back);
    }
  }
}

// bfloat16: features and their gradients are bf16; weights, their gradients and all sums float32.

constexpr int64_t kLanes = kBytes / 4;
using Floats = Vector<float>;
using Words = uint32_t __attribute__((vector_size(kBytes)));
using Halves = uint16_t __attribute__((vector_size(kBytes / 2), aligned(2), may_alias));

Floats load(const uint16_t* from) {
  return (Floats)(__builtin_convertvector(*reinterpret_cast<const Halves*>(from), Words) << 16);
}
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
template <class T> Floats load(const T* from, int64_t count, T rest = 0) {
  if (count >= kLanes) return load(from);
  T some[kLanes];
  std::fill_n(some, kLanes, rest);
  std::memcpy(some, from, sizeof(T) * count);
  return load(some);
}
template <class T> void store(T* to, Floats values, int64_t count) {
  if (count >= kLanes) return store(to, values);
  T some[kLanes];
  store(some, values);
  std::memcpy(to, some, sizeof(T) * count);
}

// Batch norm of each channel's `count` numbers, with a ReLU behind it where `relu` is not 0.
struct NormShape {
  int64_t channels, count, training, relu;
  float eps, momentum;
};

// `run(k, n)` for the vectors of a range: n numbers from k on, fewer than kLanes at the end.
template <class Run> inline void by_vectors(int64_t begin, int64_t end, Run run) {
  for (; begin + kLanes <= end; begin += kLanes) run(begin, kLanes);
  if (begin < end) run(begin, end - begin);
}

// Two sums over `count` numbers: `add(k, n, first, second)` adds those of a vector. Sums of some
// thousand are added in double, or those of a large batch would lose what torch's keep.
template <class Add> void two_sums(int64_t count, Add add, double& first, double& second) {
  first = second = 0;
  for (int64_t start = 0; start < count; start += 256 * kLanes) {
    Floats firsts[4] = {}, seconds[4] = {};
    by_vectors(start, std::min(count, start + 256 * kLanes), [&](int64_t k, int64_t n) {
      add(k, n, firsts[k / kLanes % 4], seconds[k / kLanes % 4]);
    });
    first += sum_of<float>(firsts[0] + firsts[1] + (firsts[2] + firsts[3]));
    second += sum_of<float>(seconds[0] + seconds[1] + (seconds[2] + seconds[3]));
  }
}

template <class T>
void norm_forward(const NormShape& s, const T* x, const float* gain, const float* bias,
                  float* running_mean, float* running_variance, float* mean, float* scale, T* y) {
#pragma omp parallel for
  for (int64_t c = 0; c < s.channels; c++) {
    const T* from = x + c * s.count;
    T* to = y + c * s.count;
    float centre = running_mean[c], variance = running_variance[c];
    if (s.training) {  // by distances from the first number, which lose less than the numbers
      double shift, square;
      const float origin = load(from, 1)[0];
      const auto add = [=](int64_t k, int64_t n, Floats& sum, Floats& squares) {
        const Floats distance = load(from + k, n, *from) - origin;
        sum += distance, squares += distance * distance;
      };
      two_sums(s.count, add, shift, square);
      centre = origin + shift / s.count;
      variance = std::max((square - shift / s.count * shift) / s.count, 0.0);  // NaN stays one
      const float unbiased = variance * (float(s.count) / (s.count - 1));
      running_mean[c] += s.momentum * (centre - running_mean[c]);
      running_variance[c] += s.momentum * (unbiased - running_variance[c]);
    }
    mean[c] = centre, scale[c] = 1 / std::sqrt(variance + s.eps);
    const float factor = scale[c] * (gain ? gain[c] : 1), least = s.relu ? 0 : -INFINITY;
    const float start = (bias ? bias[c] : 0) - centre * factor;
    by_vectors(0, s.count, [=](int64_t k, int64_t n) {
      const Floats made = load(from + k, n) * factor + start;
      store(to + k, made < least ? Floats{} : made, n);
    });
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
    T* to = grad_x + c * count;
    const float centre = mean[c], scale = scales[c], factor = scale * (gain ? gain[c] : 1);
    const float start = (bias ? bias[c] : 0) - centre * factor, least = s.relu ? 0 : -INFINITY;
    const auto passed = [=](int64_t k, int64_t n, Floats values) {  // what the ReLU lets through
      const Floats grad = load(given + k, n);
      return values * factor + start <= least ? Floats{} : grad;
    };
    double sum, product;
    const auto add = [=](int64_t k, int64_t n, Floats& sums, Floats& products) {
      const Floats values = load(from + k, n), grad = passed(k, n, values);
      sums += grad, products += grad * (values - centre);
    };
    two_sums(count, add, sum, product);
    product *= scale;
    if (grad_bias) grad_bias[c] = sum;
    if (grad_gain) grad_gain[c] = product;
    // of each number: (gradient - mean gradient - normalised * mean product) * factor
    const float slope = s.training ? -product / count * scale * factor : 0;
    const float level = s.training ? -sum / count * factor - centre * slope : 0;
    by_vectors(0, count, [=](int64_t k, int64_t n) {
      const Floats values = load(from + k, n);
      store(to + k, passed(k, n, values) * factor + (values * slope + level), n);
    });
  }
}

#ifdef __AVX512BF16__

constexpr int64_t kSamples = 32, kOutputs = 8;  // of one instruction; whose sums stay in registers

// Two lines of samples and the number of their pair of weights. Lines are numbered by tap, then by
// channel; the last of an odd number of them has none beside it.
struct Pair {
  const uint16_t *first, *second;
  int64_t weights;
};
int64_t num_pairs(const Geometry& g) { return (g.in_channels * g.taps() + 1) / 2; }

// The weights as bf16: [block of outputs][pair][output of the block].
void pack_pairs(const Geometry& g, const float* w, uint32_t* packed) {
  const auto rounded = [](float value) -> uint32_t {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return value != value ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  };
  const auto place = [&](int64_t line) {
    return line % g.in_channels * g.in_stride() + line / g.in_channels;
  };
  const int64_t blocks = num_blocks(g.out_channels, kOutputs), pairs = num_pairs(g);
#pragma omp for collapse(2)
  for (int64_t k = 0; k < blocks; k++)
    for (int64_t p = 0; p < pairs; p++) {
      const Block block(g.out_channels, blocks, k);
      const int64_t first = place(2 * p), second = place(2 * p + 1);
      const bool is_single = 2 * p + 1 == g.in_channels * g.taps();
      uint32_t* to = packed + block.begin * pairs + p * block.size;
      for (int64_t o = block.begin; o < block.end; o++) {
        const float* from = w + o * g.out_stride();
        *to++ = rounded(is_single ? 0 : from[second]) << 16 | rounded(from[first]);
      }
    }
}

// N outputs of 32 samples from `at` on.
template <int N>
void outputs(const std::vector<Pair>& pairs, const uint32_t* weights, const float* bias, int64_t at,
             uint16_t* out, int64_t stride) {
  __m512 low[N], high[N];
#pragma GCC unroll 8
  for (int n = 0; n < N; n++) low[n] = high[n] = _mm512_set1_ps(bias ? bias[n] : 0);
  for (const Pair& pair : pairs) {
    const __m512i first = _mm512_loadu_si512(pair.first + at);
    const __m512i second = _mm512_loadu_si512(pair.second + at);
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
    const __m512i made = (__m512i)_mm512_cvtne2ps_pbh(high[n], low[n]);
    _mm512_storeu_si512(out + n * stride + at, _mm512_permutexvar_epi64(order, made));
  }
}

struct Place {
  int64_t row, column;
};

// The samples of the first channel that a tap sees from a place; null outside of the image.
inline const uint16_t* line(const Geometry& g, const uint16_t* x, Place from, Place tap) {
  const auto seen = [&](const Axis& a, int64_t at, int64_t t) -> int64_t {
    if (!g.back) return at * a.stride - a.pad + t;
    return (at + a.pad - t) % a.stride ? -1 : (at + a.pad - t) / a.stride;
  };
  const int64_t i = seen(g.rows, from.row, tap.row), j = seen(g.columns, from.column, tap.column);
  const bool is_inside = i >= 0 && i < g.rows.in && j >= 0 && j < g.columns.in;
  return is_inside ? x + (i * g.columns.in + j) * g.batch : nullptr;
}

// The pairs of which a place is made, but for those of zeros alone; `none` is a line of zeros.
void find_pairs(const Geometry& g, const uint16_t* x, const uint16_t* none, int64_t place,
                std::vector<Pair>& pairs) {
  const int64_t plane = g.rows.in * g.columns.in * g.batch;
  const Place from = {place / g.columns.out, place % g.columns.out};
  pairs.clear();
  for (int64_t i = 0; i < g.rows.kernel; i++)
    for (int64_t j = 0; j < g.columns.kernel; j++) {
      const uint16_t* found = line(g, x, from, {i, j});
      const int64_t lines = found || g.in_channels % 2 ? g.in_channels : 0;
      for (int64_t c = 0; c < lines; c++) {
        const int64_t number = (i * g.columns.kernel + j) * g.in_channels + c;
        const uint16_t* own = found ? found + c * plane : none;
        if (number % 2)
          pairs.back().second = own;
        else
          pairs.push_back({own, none, number / 2});
      }
    }
}

// y [output, place, batch].
void sum_pairs(const Geometry& g, const uint16_t* x, const float* w, const float* bias,
               uint16_t* y) {
  constexpr decltype(&outputs<8>) of[] = {outputs<1>, outputs<2>, outputs<3>, outputs<4>,
                                          outputs<5>, outputs<6>, outputs<7>, outputs<8>};
  const int64_t places = g.rows.out * g.columns.out, blocks = num_blocks(g.out_channels, kOutputs);
  const int64_t all = num_pairs(g);
  uint32_t* packed = scratch<uint32_t, 0>(g.out_channels * all);
  const std::vector<uint16_t> none(g.batch);
#pragma omp parallel
  {
    pack_pairs(g, w, packed);
    std::vector<Pair> pairs;
#pragma omp for collapse(2)
    for (int64_t place = 0; place < places; place++)
      for (int64_t chunk = 0; chunk < g.batch; chunk += 128) {
        find_pairs(g, x, none.data(), place, pairs);
        for (int64_t at = chunk; at < std::min(g.batch, chunk + 128); at += kSamples)
          for (int64_t k = 0; k < blocks; k++) {
            const Block block(g.out_channels, blocks, k);
            const float* own = bias ? bias + block.begin : nullptr;
            uint16_t* to = y + (block.begin * places + place) * g.batch;
            of[block.size - 1](pairs, packed + block.begin * all, own, at, to, places * g.batch);
          }
      }
  }
}

// The gradients of 4 outputs' weights, 6 of each from number `first`, over all places and samples.
void weight_tile(const Geometry& g, const uint16_t* x, const uint16_t* grad, const uint16_t* none,
                 int64_t output, int64_t first, float* grad_w) {
  const int64_t taps = g.taps(), all = g.in_channels * taps;
  const int64_t width = std::min<int64_t>(4, g.out_channels - output);
  const uint16_t* planes[6];
  Place of_tile[6];
  for (int64_t t = 0; t < 6; t++) {
    const int64_t number = std::min(first + t, all - 1), tap = number % taps;
    planes[t] = x + number / taps * g.rows.in * g.columns.in * g.batch;
    of_tile[t] = {tap / g.columns.kernel, tap % g.columns.kernel};
  }
  __m512 sums[4][6] = {};
  const int64_t places = g.rows.out * g.columns.out;
  for (int64_t place = 0; place < places; place++) {
    const uint16_t *given[4], *seen[6];
    for (int64_t n = 0; n < 4; n++)
      given[n] = n < width ? grad + ((output + n) * places + place) * g.batch : none;
    const Place from = {place / g.columns.out, place % g.columns.out};
    for (int64_t t = 0; t < 6; t++) {
      const uint16_t* found = line(g, planes[t], from, of_tile[t]);
      seen[t] = found ? found : none;
    }
    for (int64_t at = 0; at < g.batch; at += kSamples) {
      __m512bh by[4];
      for (int n = 0; n < 4; n++) by[n] = (__m512bh)_mm512_loadu_si512(given[n] + at);
      for (int t = 0; t < 6; t++) {
        const __m512bh of = (__m512bh)_mm512_loadu_si512(seen[t] + at);
        for (int n = 0; n < 4; n++) sums[n][t] = _mm512_dpbf16_ps(sums[n][t], of, by[n]);
      }
    }
  }
  for (int n = 0; n < 4; n++)
    for (int t = 0; t < 6; t++)
      if (n < width && first + t < all)
        grad_w[(output + n) * all + first + t] = _mm512_reduce_add_ps(sums[n][t]);
}

// Without pool and ReLU, and without the gradient of a bias.
void forward_bf16(const ConvShape& s, const uint16_t* x, const float* w, const float* bias,
                  uint16_t* y, uint8_t*) {
  sum_pairs(geometry(s, false), x, w, bias, y);
}
void backward_bf16(const ConvShape& s, const uint16_t* x, const float* w, const uint16_t*,
                   const uint8_t*, const uint16_t* grad_y, uint16_t* grad_x, float* grad_w,
                   float*) {
  const Geometry g = geometry(s, false);
  const std::vector<uint16_t> none(s.batch);
  const int64_t all = g.in_channels * g.taps();
#pragma omp parallel for collapse(2)
  for (int64_t o = 0; o < g.out_channels; o += 4)
    for (int64_t t = 0; t < all; t += 6) weight_tile(g, x, grad_y, none.data(), o, t, grad_w);
  if (grad_x) sum_pairs(geometry(s, true), grad_y, w, nullptr, grad_x);
}

#endif

}  // namespace

// What ctypes calls. Features are of the named type, weights too but beside bf16, all else float32.
// Norms take [channels, count]; `gain` and `bias` may be NULL; training moves the running
// statistics; `mean` and `scale` are for the backward.
extern "C" {
void *mb_conv_forward_f32 = (void*)forward<float>, *mb_conv_forward_f64 = (void*)forward<double>;
void *mb_conv_backward_f32 = (void*)backward<float>;
void *mb_conv_backward_f64 = (void*)backward<double>;
void *mb_norm_forward_f32 = (void*)norm_forward<float>;
void *mb_norm_forward_bf16 = (void*)norm_forward<uint16_t>;
void *mb_norm_backward_f32 = (void*)norm_backward<float>;
void *mb_norm_backward_bf16 = (void*)norm_backward<uint16_t>;
#ifdef __AVX512BF16__
void *mb_conv_forward_bf16 = (void*)forward_bf16, *mb_conv_backward_bf16 = (void*)backward_bf16;
#endif
}
