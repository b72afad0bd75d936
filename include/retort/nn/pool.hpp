#pragma once

#include <retort/nn/layer.hpp>

namespace retort::nn {

/// Maximum over kernel x kernel windows.
struct MaxPool : Stateless {
  PoolGeometry geometry{};
  explicit constexpr MaxPool(int kernel = 2, int stride = 0, int padding = 0) : geometry{kernel, stride ? stride : kernel, padding} {}
  template <class T, class B>
  Var<T, 4> forward(NoState&, Pass<T, B>& pass, Var<T, 4> x) const {
    return max_pool(pass.tape, geometry, x);
  }
  std::string describe() const { return detail::concat("MaxPool(", geometry.kernel, ", stride ", geometry.stride, ")"); }
};

/// Mean over kernel x kernel windows.
struct AveragePool : Stateless {
  PoolGeometry geometry{};
  explicit constexpr AveragePool(int kernel = 2, int stride = 0, int padding = 0) : geometry{kernel, stride ? stride : kernel, padding} {}
  template <class T, class B>
  Var<T, 4> forward(NoState&, Pass<T, B>& pass, Var<T, 4> x) const {
    return average_pool(pass.tape, geometry, x);
  }
  std::string describe() const { return detail::concat("AveragePool(", geometry.kernel, ", stride ", geometry.stride, ")"); }
};

/// N x H x W x C to N x C.
struct GlobalAveragePool : Stateless {
  template <class T, class B>
  Var<T, 2> forward(NoState&, Pass<T, B>& pass, Var<T, 4> x) const {
    return global_average_pool(pass.tape, x);
  }
  std::string describe() const { return "GlobalAveragePool"; }
};

/// N x H x W x C to N x C: the largest value of each channel.
struct GlobalMaxPool : Stateless {
  template <class T, class B>
  Var<T, 2> forward(NoState&, Pass<T, B>& pass, Var<T, 4> x) const {
    return global_max_pool(pass.tape, x);
  }
  std::string describe() const { return "GlobalMaxPool"; }
};

/// Repeats pixels: H x W to factor*H x factor*W.
struct Upsample : Stateless {
  int factor = 2;
  explicit Upsample(int by = 2) : factor(by) {}
  template <class T, class B>
  Var<T, 4> forward(NoState&, Pass<T, B>& pass, Var<T, 4> x) const {
    return upsample_nearest(pass.tape, factor, x);
  }
  std::string describe() const { return detail::concat("Upsample(", factor, ")"); }
};

/// N x anything to N x features.
struct Flatten : Stateless {
  template <class T, class B, int R>
  Var<T, 2> forward(NoState&, Pass<T, B>& pass, Var<T, R> x) const {
    return flatten(pass.tape, x);
  }
  std::string describe() const { return "Flatten"; }
};

/// N x (H*W*C) to N x H x W x C.
struct Unflatten : Stateless {
  index_t height = 0, width = 0, channels = 0;
  Unflatten() = default;
  Unflatten(index_t h, index_t w, index_t c) : height(h), width(w), channels(c) {}
  template <class T, class B>
  Var<T, 4> forward(NoState&, Pass<T, B>& pass, Var<T, 2> x) const {
    return reshape(pass.tape, x, Shape<4>{x.extent(0), height, width, channels});
  }
  std::string describe() const { return detail::concat("Unflatten(", height, ", ", width, ", ", channels, ")"); }
};

}  // namespace retort::nn
