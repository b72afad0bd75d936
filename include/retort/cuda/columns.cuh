#pragma once
// Sums over the rows of a matrix, column by column, and what is made of them: bias gradients and batch normalisation over
// NHWC images seen as (pixels x channels). Two launches: parts of the rows, then the parts in order; the same bits every run.
//
// Compiled, and run under the CPU emulation of tests/cuda; not yet run on a device.

#include <retort/backend/ops.hpp>
#include <retort/cuda/launch.cuh>

namespace retort::cuda {
inline namespace RETORT_CUDA_ABI {

namespace columns {

inline constexpr int tile_columns = 32, tile_rows = 8;

/// K numbers that a functor gives for one entry.
template <class T, int K>
struct Values {
  T v[K];
};

/// partial[part][column][k] = sum over the part's rows of f(row, column).
template <int K, class T, class F>
__global__ static void __launch_bounds__(tile_columns* tile_rows) partial_kernel(index_t rows, index_t width, F f, T* partial) {
  __shared__ T room[tile_rows][tile_columns][K];
  const index_t column = index_t{blockIdx.x} * tile_columns + threadIdx.x;
  const index_t first = rows * blockIdx.y / gridDim.y, last = rows * (blockIdx.y + index_t{1}) / gridDim.y;
  Values<T, K> sum{};
  if (column < width)
    for (index_t r = first + threadIdx.y; r < last; r += tile_rows) {
      const Values<T, K> x = f(r, column);
      for (int k = 0; k < K; ++k) sum.v[k] += x.v[k];
    }
  for (int k = 0; k < K; ++k) room[threadIdx.y][threadIdx.x][k] = sum.v[k];
  __syncthreads();
  if (threadIdx.y == 0 && column < width)
    for (int k = 0; k < K; ++k) {
      T total(0);
      for (int j = 0; j < tile_rows; ++j) total += room[j][threadIdx.x][k];
      partial[(blockIdx.y * width + column) * K + k] = total;
    }
}
template <int K, class T, class Store>
struct Last {
  const T* partial;
  index_t width;
  int parts;
  Store store;
  __device__ void operator()(index_t column) const {
    Values<T, K> sum{};
    for (int p = 0; p < parts; ++p)
      for (int k = 0; k < K; ++k) sum.v[k] += partial[(p * width + column) * K + k];
    store(column, sum);
  }
};

/// store(column, sums over all rows of f(row, column)).
template <int K, class T, class F, class Store>
void reduce(Cuda& cuda, const char* what, index_t rows, index_t width, const F& f, const Store& store) {
  const index_t tiles = (width + tile_columns - 1) / tile_columns;
  const index_t most = (index_t{8} * cuda.multiprocessors() + tiles - 1) / (tiles > 0 ? tiles : 1), wanted = (rows + 255) / 256;
  const unsigned parts = static_cast<unsigned>(wanted < 1 ? 1 : wanted < most ? wanted : most);
  const ArenaScope scope(cuda.scratch());
  T* partial = cuda.scratch().template allocate<T>(static_cast<index_t>(parts) * width * K);
  launch(cuda, what, &partial_kernel<K, T, F>, dim3(static_cast<unsigned>(tiles), parts), dim3(tile_columns, tile_rows), rows, width, f, partial);
  map(cuda, what, width, Last<K, T, Store>{partial, width, static_cast<int>(parts), store});
}

template <class T, class Stored>
struct Entry {
  const Stored* x;
  index_t width;
  __device__ Values<T, 1> operator()(index_t r, index_t c) const { return {{T(x[r * width + c])}}; }
};
template <class T>
struct Deviation {  // squared, from the column's mean
  const T *x, *mean;
  index_t width;
  __device__ Values<T, 1> operator()(index_t r, index_t c) const {
    const T d = x[r * width + c] - mean[c];
    return {{d * d}};
  }
};
/// out = (out +) factor * sum.
template <class T>
struct Scaled {
  T factor;
  T* out;
  bool add;
  __device__ void operator()(index_t c, const Values<T, 1>& sum) const { out[c] = (add ? out[c] : T(0)) + factor * sum.v[0]; }
};

/// The gradient that passes a fused ReLU: where the mask, or else the output, says so.
template <class T>
struct Gated {
  const T *x, *y, *dy, *mean;
  const std::uint8_t* mask;
  index_t width;
  bool relu;
  __device__ T gradient(index_t i) const { return !relu || (mask ? mask[i] != 0 : y[i] > T(0)) ? dy[i] : T(0); }
  /// g, and g (x - mean).
  __device__ Values<T, 2> operator()(index_t r, index_t c) const {
    const index_t i = r * width + c;
    const T g = gradient(i);
    return {{g, g * (x[i] - mean[c])}};
  }
};
/// Parameter gradients, and the coefficients of dx = slope g + tilt (x - mean) + offset.
template <class T>
struct BatchNormSums {
  const T *inv_std, *gamma;
  T *dgamma, *dbeta, *slope, *tilt, *offset;
  index_t rows;
  bool add, through_statistics;
  __device__ void operator()(index_t c, const Values<T, 2>& sum) const {
    if (dgamma) dgamma[c] = (add ? dgamma[c] : T(0)) + sum.v[1] * inv_std[c];
    if (dbeta) dbeta[c] = (add ? dbeta[c] : T(0)) + sum.v[0];
    const T s = (gamma ? gamma[c] : T(1)) * inv_std[c], mean_slope = through_statistics ? s / static_cast<T>(rows) : T(0);
    slope[c] = s;
    tilt[c] = -mean_slope * sum.v[1] * inv_std[c] * inv_std[c];
    offset[c] = -mean_slope * sum.v[0];
  }
};
template <class T>
struct BatchNormInput {
  Gated<T> gated;
  const T *slope, *tilt, *offset;
  T* dx;
  bool add;
  __device__ void operator()(index_t i) const {
    const index_t c = i % gated.width;
    const T d = gated.gradient(i) * slope[c] + (gated.x[i] - gated.mean[c]) * tilt[c] + offset[c];
    dx[i] = add ? dx[i] + d : d;
  }
};
template <class T>
struct ScaleShift {
  const T *x, *scale, *shift;
  T* y;
  index_t width;
  bool relu;
  __device__ void operator()(index_t i) const {
    const index_t c = i % width;
    const T v = x[i] * scale[c] + shift[c];
    y[i] = relu && !(v > T(0)) ? T(0) : v;
  }
};

}  // namespace columns

struct Columns {
  template <class T, class Stored = T>
  static void column_sum(Cuda& cuda, std::type_identity_t<View<const Stored, 2>> x, T* out, Write write) {
    columns::reduce<1, T>(cuda, "column_sum", x.shape[0], x.shape[1], columns::Entry<T, Stored>{x.data, x.shape[1]},
                          columns::Scaled<T>{T(1), out, write == Write::add});
  }
  /// Mean and biased variance of each column, in two passes.
  template <class T>
  static void batch_norm_statistics(Cuda& cuda, std::type_identity_t<View<const T, 2>> x, T* mean, std::type_identity_t<T*> variance) {
    const index_t rows = x.shape[0], width = x.shape[1];
    const T share = T(1) / static_cast<T>(rows > 0 ? rows : 1);
    columns::reduce<1, T>(cuda, "batch_norm_statistics", rows, width, columns::Entry<T, T>{x.data, width}, columns::Scaled<T>{share, mean, false});
    columns::reduce<1, T>(cuda, "batch_norm_statistics", rows, width, columns::Deviation<T>{x.data, mean, width},
                          columns::Scaled<T>{share, variance, false});
  }
  template <class T>
  static void scale_shift(Cuda& cuda, std::type_identity_t<View<const T, 2>> x, std::type_identity_t<const T*> scale,
                          std::type_identity_t<const T*> shift, View<T, 2> y, Epilogue epilogue = Epilogue::none) {
    map(cuda, "scale_shift", y.size(), columns::ScaleShift<T>{x.data, scale, shift, y.data, y.shape[1], epilogue == Epilogue::relu});
  }
  template <class T>
  static void batch_norm_backward(Cuda& cuda, std::type_identity_t<View<const T, 2>> x, std::type_identity_t<View<const T, 2>> y,
                                  std::type_identity_t<View<const T, 2>> dy, std::type_identity_t<const T*> mean,
                                  std::type_identity_t<const T*> inv_std, std::type_identity_t<const T*> gamma, std::type_identity_t<T*> dgamma,
                                  std::type_identity_t<T*> dbeta, Write param_write, View<T, 2> dx, Write write,
                                  Epilogue epilogue = Epilogue::none, const std::uint8_t* mask = nullptr) {
    backward<T>(cuda, "batch_norm_backward", true, x, y, dy, mean, inv_std, gamma, dgamma, dbeta, param_write, dx, write, epilogue, mask);
  }
  template <class T>
  static void scale_shift_backward(Cuda& cuda, std::type_identity_t<View<const T, 2>> x, std::type_identity_t<View<const T, 2>> y,
                                   std::type_identity_t<View<const T, 2>> dy, std::type_identity_t<const T*> mean,
                                   std::type_identity_t<const T*> inv_std, std::type_identity_t<const T*> gamma, std::type_identity_t<T*> dgamma,
                                   std::type_identity_t<T*> dbeta, Write param_write, View<T, 2> dx, Write write,
                                   Epilogue epilogue = Epilogue::none, const std::uint8_t* mask = nullptr) {
    backward<T>(cuda, "scale_shift_backward", false, x, y, dy, mean, inv_std, gamma, dgamma, dbeta, param_write, dx, write, epilogue, mask);
  }

 private:
  template <class T>
  static void backward(Cuda& cuda, const char* what, bool through_statistics, View<const T, 2> x, View<const T, 2> y, View<const T, 2> dy,
                       const T* mean, const T* inv_std, const T* gamma, T* dgamma, T* dbeta, Write param_write, View<T, 2> dx, Write write,
                       Epilogue epilogue, const std::uint8_t* mask) {
    const index_t rows = x.shape[0], width = x.shape[1];
    const columns::Gated<T> gated{x.data, y.data, dy.data, mean, mask, width, epilogue == Epilogue::relu};
    const ArenaScope scope(cuda.scratch());
    T* slope = cuda.scratch().template allocate<T>(3 * width);
    columns::reduce<2, T>(cuda, what, rows, width, gated,
                          columns::BatchNormSums<T>{inv_std, gamma, dgamma, dbeta, slope, slope + width, slope + 2 * width, rows,
                                                    param_write == Write::add, through_statistics});
    if (dx.data)
      map(cuda, what, dx.size(), columns::BatchNormInput<T>{gated, slope, slope + width, slope + 2 * width, dx.data, write == Write::add});
  }
};

}  // namespace RETORT_CUDA_ABI
}  // namespace retort::cuda
