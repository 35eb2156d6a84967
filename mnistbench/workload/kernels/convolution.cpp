// Convolutions with the batch innermost: features [C, H, W, B], kernels [O, C, kh, kw].
//
// Plain C functions for ctypes. All tensors are contiguous. Equal inputs and an equal number of
// threads give the same bits.

#include <cstdint>
#include <cstring>
#include <vector>

#include <omp.h>

extern "C" typedef struct {
  int64_t batch, in_channels, height, width, out_channels, kernel_h, kernel_w, stride_h, stride_w,
      pad_h, pad_w, pool, relu;
} ConvShape;

namespace {

int64_t rows_made(const ConvShape& s) {
  return (s.height + 2 * s.pad_h - s.kernel_h) / s.stride_h + 1;
}
int64_t columns_made(const ConvShape& s) {
  return (s.width + 2 * s.pad_w - s.kernel_w) / s.stride_w + 1;
}

template <class T>
T* scratch(size_t size) {
  static thread_local std::vector<T> kept;
  if (kept.size() < size) kept.resize(size);
  return kept.data();
}

template <class T>
void forward(const ConvShape& s, const T* x, const T* w, const T* bias, T* y, uint8_t* chosen) {
  const int64_t B = s.batch, OH = rows_made(s), OW = columns_made(s);
  const int64_t PH = OH / s.pool, PW = OW / s.pool;
#pragma omp parallel for collapse(2)
  for (int64_t o = 0; o < s.out_channels; o++)
    for (int64_t r = 0; r < PH; r++) {
      T* sums = scratch<T>(B);
      for (int64_t q = 0; q < PW; q++) {
        T* out = y + ((o * PH + r) * PW + q) * B;
        uint8_t* which = chosen ? chosen + ((o * PH + r) * PW + q) * B : nullptr;
        for (int64_t part = 0; part < s.pool * s.pool; part++) {
          const int64_t oy = r * s.pool + part / 2, ox = q * s.pool + part % 2;
          for (int64_t b = 0; b < B; b++) sums[b] = bias ? bias[o] : T(0);
          for (int64_t c = 0; c < s.in_channels; c++)
            for (int64_t i = 0; i < s.kernel_h; i++)
              for (int64_t j = 0; j < s.kernel_w; j++) {
                const int64_t iy = oy * s.stride_h + i - s.pad_h;
                const int64_t ix = ox * s.stride_w + j - s.pad_w;
                if (iy < 0 || iy >= s.height || ix < 0 || ix >= s.width) continue;
                const T weight = w[((o * s.in_channels + c) * s.kernel_h + i) * s.kernel_w + j];
                const T* in = x + ((c * s.height + iy) * s.width + ix) * B;
                for (int64_t b = 0; b < B; b++) sums[b] += weight * in[b];
              }
          for (int64_t b = 0; b < B; b++)
            if (part == 0 || sums[b] > out[b] || sums[b] != sums[b]) {
              out[b] = sums[b];
              if (which) which[b] = uint8_t(part);
            }
        }
        if (s.relu)
          for (int64_t b = 0; b < B; b++) out[b] = out[b] <= 0 ? T(0) : out[b];
      }
    }
}

// The gradient of the convolution's own result, [O, OH, OW, B], from that of what was returned.
template <class T>
const T* unpooled(const ConvShape& s, const T* y, const uint8_t* chosen, const T* grad_y) {
  if (s.pool == 1 && !s.relu) return grad_y;
  const int64_t B = s.batch, OH = rows_made(s), OW = columns_made(s);
  const int64_t PH = OH / s.pool, PW = OW / s.pool;
  T* whole = scratch<T>(s.out_channels * OH * OW * B);
#pragma omp parallel for collapse(2)
  for (int64_t o = 0; o < s.out_channels; o++)
    for (int64_t oy = 0; oy < OH; oy++)
      for (int64_t ox = 0; ox < OW; ox++) {
        T* to = whole + ((o * OH + oy) * OW + ox) * B;
        const int64_t r = oy / s.pool, q = ox / s.pool;
        const int64_t part = oy % s.pool * 2 + ox % s.pool, from = ((o * PH + r) * PW + q) * B;
        const bool dropped = r >= PH || q >= PW;
        for (int64_t b = 0; b < B; b++)
          to[b] = dropped || (s.relu && y[from + b] <= 0) ||
                          (s.pool > 1 && chosen[from + b] != part)
                      ? T(0)
                      : grad_y[from + b];
      }
  return whole;
}

template <class T>
void backward(const ConvShape& s, const T* x, const T* w, const T* y, const uint8_t* chosen,
              const T* grad_y, T* grad_x, T* grad_w, T* grad_bias) {
  const int64_t B = s.batch, OH = rows_made(s), OW = columns_made(s);
  const T* grad = unpooled(s, y, chosen, grad_y);
  if (grad_bias)
    for (int64_t o = 0; o < s.out_channels; o++) {
      T sum = 0;
      for (int64_t n = 0; n < OH * OW * B; n++) sum += grad[o * OH * OW * B + n];
      grad_bias[o] = sum;
    }
#pragma omp parallel for collapse(2)
  for (int64_t o = 0; o < s.out_channels; o++)
    for (int64_t c = 0; c < s.in_channels; c++)
      for (int64_t i = 0; i < s.kernel_h; i++)
        for (int64_t j = 0; j < s.kernel_w; j++) {
          T sum = 0;
          for (int64_t oy = 0; oy < OH; oy++)
            for (int64_t ox = 0; ox < OW; ox++) {
              const int64_t iy = oy * s.stride_h + i - s.pad_h;
              const int64_t ix = ox * s.stride_w + j - s.pad_w;
              if (iy < 0 || iy >= s.height || ix < 0 || ix >= s.width) continue;
              const T* in = x + ((c * s.height + iy) * s.width + ix) * B;
              const T* out = grad + ((o * OH + oy) * OW + ox) * B;
              for (int64_t b = 0; b < B; b++) sum += in[b] * out[b];
            }
          grad_w[((o * s.in_channels + c) * s.kernel_h + i) * s.kernel_w + j] = sum;
        }
  if (!grad_x) return;
#pragma omp parallel for
  for (int64_t c = 0; c < s.in_channels; c++) {
    T* to = grad_x + c * s.height * s.width * B;
    std::memset(to, 0, sizeof(T) * s.height * s.width * B);
    for (int64_t o = 0; o < s.out_channels; o++)
      for (int64_t oy = 0; oy < OH; oy++)
        for (int64_t ox = 0; ox < OW; ox++)
          for (int64_t i = 0; i < s.kernel_h; i++)
            for (int64_t j = 0; j < s.kernel_w; j++) {
              const int64_t iy = oy * s.stride_h + i - s.pad_h;
              const int64_t ix = ox * s.stride_w + j - s.pad_w;
              if (iy < 0 || iy >= s.height || ix < 0 || ix >= s.width) continue;
              const T weight = w[((o * s.in_channels + c) * s.kernel_h + i) * s.kernel_w + j];
              const T* out = grad + ((o * OH + oy) * OW + ox) * B;
              for (int64_t b = 0; b < B; b++) to[(iy * s.width + ix) * B + b] += weight * out[b];
            }
  }
}

}  // namespace

#define MB_CONVOLUTION(NAME, T)                                                                  \
  extern "C" void mb_conv_forward_##NAME(const ConvShape* s, const T* x, const T* w,            \
                                         const T* bias, T* y, uint8_t* chosen) {                \
    forward<T>(*s, x, w, bias, y, chosen);                                                       \
  }                                                                                              \
  extern "C" void mb_conv_backward_##NAME(                                                       \
      const ConvShape* s, const T* x, const T* w, const T* y, const uint8_t* chosen,            \
      const T* grad_y, T* grad_x, T* grad_w, T* grad_bias) {                                     \
    backward<T>(*s, x, w, y, chosen, grad_y, grad_x, grad_w, grad_bias);                         \
  }

MB_CONVOLUTION(f32, float)
MB_CONVOLUTION(f64, double)
