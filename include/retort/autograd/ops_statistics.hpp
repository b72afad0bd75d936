#pragma once

#include <cmath>
#include <retort/autograd/tape.hpp>

namespace retort {

namespace detail {
template <class T>
struct StatisticsDistanceRecord {
  Var<T, 2> x;
  Var<T, 1> out;
  const T *slope, *offset;  // the gradient is slope[c] * x + offset[c]
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const View<T, 2> dx = tape.allocate(x.shape());
    Kernels<B>::scale_shift(tape.backend(), x.value, slope, offset, dx);
    const auto to = tape.destination(x);
    Kernels<B>::accumulate_by(tape.backend(), T(1), tape.gradient_of(out).data, View<const T, 1>(dx.flat()), to.view.flat(), to.write);
  }
};
}  // namespace detail

/// ||mu(x) - mean||_2 + ||sigma^2(x) - variance||_2 with the column means and biased column variances of x (rows x
/// channels): how far a batch is from the statistics that a batch-norm layer has seen (Yin et al. 2020, "Dreaming to
/// Distill"). The norms are not squared; where one is 0 its gradient is 0. A scalar of shape (1). Throws shape_error.
template <class T, class B>
Var<T, 1> statistics_distance(Tape<T, B>& tape, Var<T, 2> x, View<const T, 1> mean, View<const T, 1> variance) {
  const index_t rows = x.extent(0), channels = x.extent(1);
  require<shape_error>(mean.size() == channels && variance.size() == channels && rows > 0, "statistics_distance: values ",
                       to_string(x.shape()), " against the statistics of ", mean.size(), " and ", variance.size(), " channels");
  T* mu = tape.template allocate_raw<T>(channels);
  T* sigma2 = tape.template allocate_raw<T>(channels);
  Kernels<B>::batch_norm_statistics(tape.backend(), x.value, mu, sigma2);
  const auto of_channels = [&](const T* values) { return tape.on_host(View<const T, 1>{values, {channels}}); };
  const auto means = of_channels(mu), variances = of_channels(sigma2), wanted_mean = tape.on_host(mean), wanted_variance = tape.on_host(variance);
  double mean_square = 0, variance_square = 0;
  for (index_t c = 0; c < channels; ++c) {
    const double m = static_cast<double>(means(c) - wanted_mean(c)), v = static_cast<double>(variances(c) - wanted_variance(c));
    mean_square += m * m;
    variance_square += v * v;
  }
  const double mean_norm = std::sqrt(mean_square), variance_norm = std::sqrt(variance_square);
  const double per_mean = mean_norm > 0 ? 1 / (mean_norm * static_cast<double>(rows)) : 0;
  const double per_variance = variance_norm > 0 ? 2 / (variance_norm * static_cast<double>(rows)) : 0;
  const auto slope_of = [&](index_t c) { return static_cast<T>(per_variance) * (variances(c) - wanted_variance(c)); };
  const View<T, 1> slope = tape.from_host(Shape<1>{channels}, [&](View<T, 1> to) {
    for (index_t c = 0; c < channels; ++c) to(c) = slope_of(c);
  });
  const View<T, 1> offset = tape.from_host(Shape<1>{channels}, [&](View<T, 1> to) {
    for (index_t c = 0; c < channels; ++c) to(c) = static_cast<T>(per_mean) * (means(c) - wanted_mean(c)) - slope_of(c) * means(c);
  });
  const View<T, 1> y = tape.allocate(Shape<1>{1});
  Kernels<B>::fill(tape.backend(), static_cast<T>(mean_norm + variance_norm), y);
  const Var<T, 1> out = tape.result(y, x.slot);
  tape.record(detail::StatisticsDistanceRecord<T>{x, out, slope.data, offset.data});
  return out;
}

}  // namespace retort
