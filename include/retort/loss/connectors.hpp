#pragma once
// What stands between a tap and a feature loss, where student and teacher differ in channels or size. A connector has
//   template <class T, class B> struct State;                                          as a layer has
//   template <class T, class B> State<T, B> make(Shape from, Shape to, Rng&) const;    shapes of the two taps, first batch
//   Var forward(State&, Pass&, Var x) const;
// and learns with the student. Convolutions before a batch norm have no bias: it would cancel.

#include <optional>
#include <retort/autograd/ops_matrix.hpp>
#include <retort/nn/network.hpp>

namespace retort::loss::connect {

/// The tap as it is.
struct None {
  template <class, class>
  using State = nn::NoState;
  template <class T, class B, int R, int Q>
  nn::NoState make(Shape<R>, Shape<Q>, Rng&) const {
    return {};
  }
  template <class T, class B, int R>
  Var<T, R> forward(nn::NoState&, Pass<T, B>&, Var<T, R> x) const {
    return x;
  }
};

/// FitNets' convolutional regressor (Romero et al. 2015, as RepDistiller builds it), then batch norm and ReLU: from H to
/// H/2 a 3x3 convolution of stride 2, from H to 2H a 4x4 transposed one of stride 2, else a valid one of size 1 + H - H'.
/// Throws shape_error when no rule gives the teacher's size.
struct Regressor {
  using Down = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu>;
  using Up = nn::Sequential<nn::TransposedConv2d, nn::BatchNorm, nn::Relu>;
  template <class T, class B>
  struct State {
    std::optional<nn::Built<Down, T, B>> down;
    std::optional<nn::Built<Up, T, B>> up;
    template <class F>
    void visit(F&& f) {
      if (down) down->visit(f);
      if (up) up->visit(f);
    }
  };
  template <class T, class B>
  State<T, B> make(Shape<4> from, Shape<4> to, Rng& rng) const {
    const index_t in = from[3], out = to[3], size = from[1];
    require<shape_error>(from[1] - from[2] == to[1] - to[2] && (2 * size == to[1] || size >= to[1]),
                         "loss::connect::Regressor: no rule leads from a map of shape ", to_string(from), " to one of shape ", to_string(to));
    State<T, B> s;
    const auto conv = [&](int kernel, int stride, int padding) {
      s.down = nn::build<T, B>(Down(nn::Conv2d{in, out, kernel, stride, padding, 1, false}, nn::BatchNorm{out}, nn::Relu{}), rng);
    };
    if (size == 2 * to[1])
      conv(3, 2, 1);
    else if (2 * size == to[1])
      s.up = nn::build<T, B>(Up(nn::TransposedConv2d{in, out}, nn::BatchNorm{out}, nn::Relu{}), rng);
    else
      conv(static_cast<int>(1 + size - to[1]), 1, 0);
    return s;
  }
  template <class T, class B>
  Var<T, 4> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 4> x) const {
    return s.up ? (*s.up)(pass, x) : (*s.down)(pass, x);
  }
};

/// 1x1 convolution to the other tap's channels and batch norm (AB, OFD); with `Act` = nn::Relu a ReLU too (SRRL).
template <class Act = nn::Identity>
struct Pointwise {
  using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, Act>;
  template <class T, class B>
  using State = nn::Built<Net, T, B>;
  template <class T, class B>
  State<T, B> make(Shape<4> from, Shape<4> to, Rng& rng) const {
    return nn::build<T, B>(Net(nn::Conv2d{from[3], to[3], 1, 1, 0, 1, false}, nn::BatchNorm{to[3]}, Act{}), rng);
  }
  template <class T, class B>
  Var<T, 4> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 4> x) const {
    return s(pass, x);
  }
};

/// Three 1x1 convolutions with ReLUs between: the mean of VID (Ahn et al. 2019).
struct ThreePointwise {
  using Net = nn::Sequential<nn::Conv2d, nn::Relu, nn::Conv2d, nn::Relu, nn::Conv2d>;
  template <class T, class B>
  using State = nn::Built<Net, T, B>;
  template <class T, class B>
  State<T, B> make(Shape<4> from, Shape<4> to, Rng& rng) const {
    const auto conv = [](index_t in, index_t out) { return nn::Conv2d{in, out, 1, 1, 0, 1, false}; };
    return nn::build<T, B>(Net(conv(from[3], to[3]), nn::Relu{}, conv(to[3], to[3]), nn::Relu{}, conv(to[3], to[3])), rng);
  }
  template <class T, class B>
  Var<T, 4> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 4> x) const {
    return s(pass, x);
  }
};

/// A linear embedding of the flattened tap (CC; CRD with `unit_norm`), for both sides alike.
struct Embedding {
  index_t width = 128;
  bool unit_norm = false;
  template <class T, class B>
  using State = nn::Built<nn::Linear, T, B>;
  template <class T, class B, int R, int Q>
  State<T, B> make(Shape<R> from, Shape<Q>, Rng& rng) const {
    return nn::build<T, B>(nn::Linear{from.row_size(), width}, rng);
  }
  template <class T, class B, int R>
  Var<T, 2> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, R> x) const {
    const auto v = s(pass, x);
    return unit_norm ? normalized(pass.tape, v, 1) : v;
  }
};

/// Three 3x3 convolutions with batch norm and LeakyReLU(0.1): FT's translator, to the paraphrased teacher's channels, which
/// are `rate` times the teacher's (Kim et al. 2018).
struct Translator {
  double rate = 0.5;
  using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::LeakyRelu, nn::Conv2d, nn::BatchNorm, nn::LeakyRelu, nn::Conv2d, nn::BatchNorm,
                             nn::LeakyRelu>;
  /// in -> middle -> last -> last channels; the second convolution changes them.
  static Net net(index_t in, index_t middle, index_t last) {
    const auto conv = [](index_t a, index_t b) { return nn::Conv2d{.in = a, .out = b, .bias = false}; };
    return Net(conv(in, middle), nn::BatchNorm{middle}, nn::LeakyRelu(0.1f), conv(middle, last), nn::BatchNorm{last}, nn::LeakyRelu(0.1f),
               conv(last, last), nn::BatchNorm{last}, nn::LeakyRelu(0.1f));
  }
  template <class T, class B>
  using State = nn::Built<Net, T, B>;
  template <class T, class B>
  State<T, B> make(Shape<4> from, Shape<4> to, Rng& rng) const {
    return nn::build<T, B>(net(from[3], from[3], narrowed(to[3])), rng);
  }
  template <class T, class B>
  Var<T, 4> forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 4> x) const {
    return s(pass, x);
  }
  index_t narrowed(index_t channels) const { return std::max<index_t>(1, static_cast<index_t>(rate * static_cast<double>(channels))); }
};

}  // namespace retort::loss::connect
