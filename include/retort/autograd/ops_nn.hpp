#pragma once
// Operations of network layers: products, convolution, normalisation, pooling, softmax.

#include <retort/autograd/ops.hpp>

namespace retort {

namespace detail {

/// dz = dy where y > 0, else 0: the gradient before a fused ReLU.
template <class T, class B, int R>
View<const T, R> through_relu(Tape<T, B>& tape, Var<T, R> y) {
  const View<T, R> dz = tape.allocate(y.shape());
  Kernels<B>::activation_backward(tape.backend(), functor::Relu{}, y.value.flat(), y.value.flat(), tape.gradient_of(y).flat(),
                                  dz.flat(), Write::replace, nullptr);
  return dz;
}

template <class T>
struct LinearRecord {
  Var<T, 2> x, w;
  Var<T, 1> bias;
  Var<T, 2> out;
  Epilogue epilogue;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const View<const T, 2> dy = epilogue == Epilogue::relu ? through_relu(tape, out) : tape.gradient_of(out);
    if (bias.slot) {
      const auto to = tape.destination(bias);
      Kernels<B>::column_sum(tape.backend(), dy, to.view.data, to.write);
    }
    if (w.slot) {
      const auto to = tape.destination(w);
      Kernels<B>::gemm(tape.backend(), Transpose::yes, Transpose::no, x.value, dy, to.view, to.write);
    }
    if (x.slot) {
      const auto to = tape.destination(x);
      Kernels<B>::gemm(tape.backend(), Transpose::no, Transpose::yes, dy, w.value, to.view, to.write);
    }
  }
};

template <class T>
struct MatmulRecord {
  Var<T, 2> a, b, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto dy = tape.gradient_of(out);
    if (a.slot) {
      const auto to = tape.destination(a);
      Kernels<B>::gemm(tape.backend(), Transpose::no, Transpose::yes, dy, b.value, to.view, to.write);
    }
    if (b.slot) {
      const auto to = tape.destination(b);
      Kernels<B>::gemm(tape.backend(), Transpose::yes, Transpose::no, a.value, dy, to.view, to.write);
    }
  }
};

template <class T>
struct Conv2dRecord {
  Conv2dGeometry geometry;
  Var<T, 4> x, w;
  Var<T, 1> bias;
  Var<T, 4> out;
  Epilogue epilogue;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const View<const T, 4> dy = epilogue == Epilogue::relu ? through_relu(tape, out) : tape.gradient_of(out);
    if (bias.slot) {
      const auto to = tape.destination(bias);
      Kernels<B>::column_sum(tape.backend(), View<const T, 2>{dy.data, {dy.size() / dy.shape[3], dy.shape[3]}}, to.view.data,
                             to.write);
    }
    if (w.slot) {
      const auto to = tape.destination(w);
      Kernels<B>::conv2d_backward_weights(tape.backend(), geometry, x.value, dy, to.view, to.write);
    }
    if (x.slot) {
      const auto to = tape.destination(x);
      Kernels<B>::conv2d_backward_data(tape.backend(), geometry, dy, w.value, to.view, to.write);
    }
  }
};

template <class T>
struct BatchNormRecord {
  Var<T, 2> x;
  Var<T, 1> gamma, beta;
  Var<T, 2> out;
  const T *mean, *inv_std;
  Epilogue epilogue;
  bool batch_statistics;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    auto slots = [&](Var<T, 1> v) { return v.slot ? tape.destination(v) : Destination<T, 1>{{}, Write::replace}; };
    auto g = slots(gamma), b = slots(beta);
    // The kernel writes both parameter gradients with one rule; parameters used twice in a step share their history.
    require<error>(!g.view.data || !b.view.data || g.write == b.write, "batch_norm: gamma and beta must be used together");
    const auto to = x.slot ? tape.destination(x) : Destination<T, 2>{{}, Write::replace};
    const Write write = g.view.data ? g.write : b.write;
    if (batch_statistics)
      Kernels<B>::batch_norm_backward(tape.backend(), x.value, out.value, tape.gradient_of(out), mean, inv_std,
                                      gamma.value.data, g.view.data, b.view.data, write, to.view, to.write, epilogue);
    else
      Kernels<B>::scale_shift_backward(tape.backend(), x.value, out.value, tape.gradient_of(out), mean, inv_std,
                                       gamma.value.data, g.view.data, b.view.data, write, to.view, to.write, epilogue);
  }
};

template <class T>
struct MaxPoolRecord {
  PoolGeometry geometry;
  Var<T, 4> x, out;
  const std::int32_t* index;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::max_pool_backward(tape.backend(), geometry, tape.gradient_of(out), index, to.view, to.write);
  }
};
template <class T>
struct AveragePoolRecord {
  PoolGeometry geometry;
  Var<T, 4> x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::average_pool_backward(tape.backend(), geometry, tape.gradient_of(out), to.view, to.write);
  }
};
template <class T>
struct GlobalAveragePoolRecord {
  Var<T, 4> x;
  Var<T, 2> out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::global_average_pool_backward(tape.backend(), tape.gradient_of(out), to.view, to.write);
  }
};
template <class T>
struct UpsampleRecord {
  int factor;
  Var<T, 4> x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::upsample_nearest_backward(tape.backend(), factor, tape.gradient_of(out), to.view, to.write);
  }
};
template <class T>
struct AdaptivePoolRecord {
  Var<T, 4> x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::adaptive_average_pool_backward(tape.backend(), tape.gradient_of(out), to.view, to.write);
  }
};
template <class T>
struct ResizeRecord {
  Var<T, 4> x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::resize_nearest_backward(tape.backend(), tape.gradient_of(out), to.view, to.write);
  }
};
template <class T>
struct TransposedConv2dRecord {
  Conv2dGeometry geometry;
  Var<T, 4> x, w, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto dy = tape.gradient_of(out);
    if (w.slot) {
      const auto to = tape.destination(w);
      Kernels<B>::conv2d_backward_weights(tape.backend(), geometry, dy, x.value, to.view, to.write);
    }
    if (x.slot) {
      const auto to = tape.destination(x);
      const View<T, 4> dx = to.write == Write::replace ? to.view : tape.allocate(x.shape());
      Kernels<B>::conv2d_forward(tape.backend(), geometry, dy, w.value, nullptr, dx, Epilogue::none);
      if (to.write == Write::add) Kernels<B>::accumulate(tape.backend(), T(1), View<const T, 1>(dx.flat()), to.view.flat(), Write::add);
    }
  }
};
template <class T, bool Log>
struct SoftmaxRecord {
  Var<T, 2> x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    if constexpr (Log)
      Kernels<B>::log_softmax_backward(tape.backend(), out.value, tape.gradient_of(out), to.view, to.write);
    else
      Kernels<B>::softmax_backward(tape.backend(), out.value, tape.gradient_of(out), to.view, to.write);
  }
};

/// A ReLU is fused into the operation before it unless its decisions must be recorded or replayed.
template <class T, class B, int R>
Epilogue fusable(const Tape<T, B>& tape, Epilogue wanted) {
  return tape.kinks() == Tape<T, B>::Kinks::live ? wanted : Epilogue::none;
}
template <class T, class B, int R>
Var<T, R> finish(Tape<T, B>& tape, Var<T, R> y, Epilogue wanted, Epilogue fused) {
  return wanted == fused ? y : activate(tape, functor::Relu{}, y);
}

}  // namespace detail

/// No bias.
template <class T>
constexpr Var<T, 1> no_bias() { return {}; }

/// y = x w + bias, then a ReLU if asked. x: N x in, w: in x out, bias: out or `no_bias<T>()`. Throws shape_error.
template <class T, class B>
Var<T, 2> linear(Tape<T, B>& tape, Var<T, 2> x, Var<T, 2> w, Var<T, 1> bias, Epilogue epilogue = Epilogue::none) {
  require<shape_error>(x.extent(1) == w.extent(0), "linear: input of shape ", to_string(x.shape()), ", weights of shape ",
                       to_string(w.shape()), ": the input must have ", w.extent(0), " columns");
  require<shape_error>(!bias.value.data || bias.size() == w.extent(1), "linear: bias of shape ", to_string(bias.shape()),
                       " for ", w.extent(1), " outputs");
  const Epilogue fused = detail::fusable<T, B, 2>(tape, epilogue);
  const View<T, 2> y = tape.allocate(Shape<2>{x.extent(0), w.extent(1)});
  Kernels<B>::gemm(tape.backend(), Transpose::no, Transpose::no, x.value, w.value, y, Write::replace, bias.value.data, fused);
  const Var<T, 2> out = tape.result(y, x.slot || w.slot || bias.slot);
  tape.record(detail::LinearRecord<T>{x, w, bias, out, fused});
  return detail::finish(tape, out, epilogue, fused);
}

/// a b. Throws shape_error.
template <class T, class B>
Var<T, 2> matmul(Tape<T, B>& tape, Var<T, 2> a, Var<T, 2> b) {
  require<shape_error>(a.extent(1) == b.extent(0), "matmul: shapes ", to_string(a.shape()), " and ", to_string(b.shape()));
  const View<T, 2> y = tape.allocate(Shape<2>{a.extent(0), b.extent(1)});
  Kernels<B>::gemm(tape.backend(), Transpose::no, Transpose::no, a.value, b.value, y);
  const Var<T, 2> out = tape.result(y, a.slot || b.slot);
  tape.record(detail::MatmulRecord<T>{a, b, out});
  return out;
}

/// 2-D convolution of NHWC images with KH x KW x (C_in/groups) x C_out weights. Throws shape_error.
template <class T, class B>
Var<T, 4> conv2d(Tape<T, B>& tape, const Conv2dGeometry& geometry, Var<T, 4> x, Var<T, 4> w, Var<T, 1> bias,
                 Epilogue epilogue = Epilogue::none) {
  const Shape<4> expected{geometry.kernel_h, geometry.kernel_w, x.extent(3) / geometry.groups, w.extent(3)};
  require<shape_error>(w.shape() == expected && x.extent(3) % geometry.groups == 0 && w.extent(3) % geometry.groups == 0,
                       "conv2d: input of shape ", to_string(x.shape()), " with ", geometry.groups,
                       " group(s) expects weights of shape ", to_string(expected), ", got ", to_string(w.shape()));
  const Shape<4> shape = geometry.output(x.shape(), w.extent(3));
  require<shape_error>(shape[1] > 0 && shape[2] > 0, "conv2d: a ", geometry.kernel_h, "x", geometry.kernel_w,
                       " kernel does not fit into an input of shape ", to_string(x.shape()), " with padding ", geometry.padding);
  const Epilogue fused = detail::fusable<T, B, 4>(tape, epilogue);
  const View<T, 4> y = tape.allocate(shape);
  Kernels<B>::conv2d_forward(tape.backend(), geometry, x.value, w.value, bias.value.data, y, fused);
  const Var<T, 4> out = tape.result(y, x.slot || w.slot || bias.slot);
  tape.record(detail::Conv2dRecord<T>{geometry, x, w, bias, out, fused});
  return detail::finish(tape, out, epilogue, fused);
}

/// Which statistics batch normalisation uses, and whether it updates its running ones.
enum class BatchStatistics {
  update,  ///< those of the batch; running statistics move (training)
  batch,   ///< those of the batch; running statistics stand still (perturbed and replayed passes)
  running  ///< the running ones, as constants (evaluation, frozen networks)
};

/// Batch normalisation (Ioffe & Szegedy 2015) over all axes but the last, then a ReLU if asked. The biased variance
/// normalises; the running variance takes the unbiased one, as PyTorch does. Throws value_error on a single value per
/// channel when the batch's statistics are wanted.
template <class T, class B, int R>
Var<T, R> batch_norm(Tape<T, B>& tape, Var<T, R> x_any, Var<T, 1> gamma, Var<T, 1> beta, View<T, 1> running_mean,
                     View<T, 1> running_variance, std::type_identity_t<T> momentum, std::type_identity_t<T> epsilon,
                     BatchStatistics statistics, Epilogue epilogue = Epilogue::none) {
  const index_t channels = x_any.extent(R - 1), count = x_any.size() / channels;
  require<shape_error>(gamma.size() == channels, "batch_norm: input of shape ", to_string(x_any.shape()), ", but ",
                       gamma.size(), " channels were declared");
  if (tape.kinks() != Tape<T, B>::Kinks::live && statistics == BatchStatistics::update) statistics = BatchStatistics::batch;
  Var<T, 2> x{{x_any.value.data, {count, channels}}, x_any.slot};
  const bool batch = statistics != BatchStatistics::running;
  require<value_error>(!batch || count > 1, "batch_norm: training needs more than one value per channel, got input of shape ",
                       to_string(x_any.shape()), "; use a larger batch or evaluation mode (source::Dataset::drop_last leaves out a last batch of one)");

  B& backend = tape.backend();
  auto channel = [&] { return tape.template allocate_raw<T>(channels); };
  T* inv_std = channel();
  T* scale = channel();
  T* shift = channel();
  const T* mean = running_mean.data;
  const T* variance = running_variance.data;
  if (batch) {
    T *m = channel(), *v = channel();
    Kernels<B>::batch_norm_statistics(backend, x.value, m, v);
    mean = m;
    variance = v;
    if (statistics == BatchStatistics::update) {
      Kernels<B>::update_running(backend, channels, momentum, T(1), mean, running_mean.data);
      Kernels<B>::update_running(backend, channels, momentum, static_cast<T>(count) / static_cast<T>(count - 1), variance,
                                 running_variance.data);
    }
  } else {  // the running mean may move before backward(); keep what this pass used
    T* m = channel();
    Kernels<B>::accumulate(backend, T(1), View<const T, 1>{mean, {channels}}, View<T, 1>{m, {channels}}, Write::replace);
    mean = m;
  }
  Kernels<B>::batch_norm_fold(backend, channels, mean, variance, gamma.value.data, beta.value.data, epsilon, inv_std, scale, shift);
  const Epilogue fused = detail::fusable<T, B, R>(tape, epilogue);
  const View<T, R> y = tape.allocate(x_any.shape());
  const View<T, 2> y2{y.data, {count, channels}};
  Kernels<B>::scale_shift(backend, x.value, scale, shift, y2, fused);
  const Var<T, R> out = tape.result(y, x.slot || gamma.slot || beta.slot);
  tape.record(detail::BatchNormRecord<T>{x, gamma, beta, Var<T, 2>{y2, out.slot}, mean, inv_std, fused, batch});
  return detail::finish(tape, out, epilogue, fused);
}

/// Maximum over windows; takes part in replay. Throws shape_error when no window fits.
template <class T, class B>
Var<T, 4> max_pool(Tape<T, B>& tape, const PoolGeometry& geometry, Var<T, 4> x) {
  using Kinks = typename Tape<T, B>::Kinks;
  const Shape<4> shape = geometry.output(x.shape());
  require<shape_error>(shape[1] > 0 && shape[2] > 0, "max_pool: a window of ", geometry.kernel, " does not fit into ",
                       to_string(x.shape()));
  const View<T, 4> y = tape.allocate(shape);
  std::int32_t* index = tape.kinks() == Kinks::live ? tape.template allocate_raw<std::int32_t>(y.size())
                                                    : tape.template kink_memory<std::int32_t>(y.size());
  if (tape.kinks() == Kinks::replay)
    Kernels<B>::max_pool_forward_replay(tape.backend(), geometry, x.value, y, index);
  else
    Kernels<B>::max_pool_forward(tape.backend(), geometry, x.value, y, index);
  const Var<T, 4> out = tape.result(y, x.slot);
  tape.record(detail::MaxPoolRecord<T>{geometry, x, out, index});
  return out;
}

/// N x H x W x C to N x C: the maximum of each channel over the image. One window that covers the image: where it is not
/// square, its overhang lies in the padding.
template <class T, class B>
Var<T, 2> global_max_pool(Tape<T, B>& tape, Var<T, 4> x) {
  const auto height = static_cast<int>(x.extent(1)), width = static_cast<int>(x.extent(2));
  const int overhang = std::abs(height - width), window = std::max(height, width) + overhang;
  return flatten(tape, max_pool(tape, PoolGeometry{window, window, overhang}, x));
}

/// Mean over windows (taps inside the image only). Throws shape_error when no window fits.
template <class T, class B>
Var<T, 4> average_pool(Tape<T, B>& tape, const PoolGeometry& geometry, Var<T, 4> x) {
  const Shape<4> shape = geometry.output(x.shape());
  require<shape_error>(shape[1] > 0 && shape[2] > 0, "average_pool: a window of ", geometry.kernel, " does not fit into ",
                       to_string(x.shape()));
  const View<T, 4> y = tape.allocate(shape);
  Kernels<B>::average_pool_forward(tape.backend(), geometry, x.value, y);
  const Var<T, 4> out = tape.result(y, x.slot);
  tape.record(detail::AveragePoolRecord<T>{geometry, x, out});
  return out;
}

/// N x H x W x C to N x C: the mean over each image.
template <class T, class B>
Var<T, 2> global_average_pool(Tape<T, B>& tape, Var<T, 4> x) {
  const View<T, 2> y = tape.allocate(Shape<2>{x.extent(0), x.extent(3)});
  Kernels<B>::global_average_pool_forward(tape.backend(), x.value, y);
  const Var<T, 2> out = tape.result(y, x.slot);
  tape.record(detail::GlobalAveragePoolRecord<T>{x, out});
  return out;
}

/// Repeats each pixel factor x factor times. Throws value_error when factor < 1.
template <class T, class B>
Var<T, 4> upsample_nearest(Tape<T, B>& tape, int factor, Var<T, 4> x) {
  require<value_error>(factor >= 1, "upsample_nearest: expected a factor of at least 1, got ", factor);
  const View<T, 4> y = tape.allocate(Shape<4>{x.extent(0), x.extent(1) * factor, x.extent(2) * factor, x.extent(3)});
  Kernels<B>::upsample_nearest_forward(tape.backend(), factor, x.value, y);
  const Var<T, 4> out = tape.result(y, x.slot);
  tape.record(detail::UpsampleRecord<T>{factor, x, out});
  return out;
}

/// Mean over windows that cover the image, height x width of them. Throws shape_error when the image is smaller.
template <class T, class B>
Var<T, 4> adaptive_average_pool(Tape<T, B>& tape, Var<T, 4> x, index_t height, index_t width) {
  const View<T, 4> y = tape.allocate(Shape<4>{x.extent(0), height, width, x.extent(3)});
  Kernels<B>::adaptive_average_pool_forward(tape.backend(), x.value, y);
  const Var<T, 4> out = tape.result(y, x.slot);
  tape.record(detail::AdaptivePoolRecord<T>{x, out});
  return out;
}

/// Nearest neighbours on a grid of height x width, up or down.
template <class T, class B>
Var<T, 4> resize_nearest(Tape<T, B>& tape, Var<T, 4> x, index_t height, index_t width) {
  if (x.extent(1) == height && x.extent(2) == width) return x;
  const View<T, 4> y = tape.allocate(Shape<4>{x.extent(0), height, width, x.extent(3)});
  Kernels<B>::resize_nearest_forward(tape.backend(), x.value, y);
  const Var<T, 4> out = tape.result(y, x.slot);
  tape.record(detail::ResizeRecord<T>{x, out});
  return out;
}

/// Transposed convolution: what conv2d of that geometry passes back. w: KH x KW x C_out x C_in (as of the convolution from
/// the result to x); extent (H - 1) * stride - 2 * padding + kernel. One group. Throws shape_error.
template <class T, class B>
Var<T, 4> transposed_conv2d(Tape<T, B>& tape, const Conv2dGeometry& geometry, Var<T, 4> x, Var<T, 4> w) {
  require<shape_error>(w.extent(3) == x.extent(3) && w.extent(0) == geometry.kernel_h && w.extent(1) == geometry.kernel_w &&
                           geometry.groups == 1, "transposed_conv2d: input of shape ", to_string(x.shape()), ", weights of shape ",
                       to_string(w.shape()));
  const auto extent = [&](index_t from, int kernel) { return (from - 1) * geometry.stride - 2 * geometry.padding + kernel; };
  const View<T, 4> y = tape.allocate(Shape<4>{x.extent(0), extent(x.extent(1), geometry.kernel_h), extent(x.extent(2), geometry.kernel_w), w.extent(2)});
  Kernels<B>::conv2d_backward_data(tape.backend(), geometry, x.value, w.value, y, Write::replace);
  const Var<T, 4> out = tape.result(y, x.slot || w.slot);
  tape.record(detail::TransposedConv2dRecord<T>{geometry, x, w, out});
  return out;
}

/// Row-wise softmax and its logarithm over N x C.
template <class T, class B>
Var<T, 2> softmax(Tape<T, B>& tape, Var<T, 2> x) {
  const View<T, 2> y = tape.allocate(x.shape());
  Kernels<B>::softmax_forward(tape.backend(), x.value, y);
  const Var<T, 2> out = tape.result(y, x.slot);
  tape.record(detail::SoftmaxRecord<T, false>{x, out});
  return out;
}
template <class T, class B>
Var<T, 2> log_softmax(Tape<T, B>& tape, Var<T, 2> x) {
  const View<T, 2> y = tape.allocate(x.shape());
  Kernels<B>::log_softmax_forward(tape.backend(), x.value, y);
  const Var<T, 2> out = tape.result(y, x.slot);
  tape.record(detail::SoftmaxRecord<T, true>{x, out});
  return out;
}

}  // namespace retort
