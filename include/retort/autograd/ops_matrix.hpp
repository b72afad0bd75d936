#pragma once
// Products that relational losses are made of.

#include <retort/autograd/ops_nn.hpp>
#include <retort/functor/distance.hpp>

namespace retort {

namespace detail {
template <class T>
struct MatmulTransposedRecord {
  Var<T, 2> a, b, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto dy = tape.gradient_of(out);
    if (a.slot) {
      const auto to = tape.destination(a);
      Kernels<B>::gemm(tape.backend(), Transpose::no, Transpose::no, dy, b.value, to.view, to.write);
    }
    if (b.slot) {
      const auto to = tape.destination(b);
      Kernels<B>::gemm(tape.backend(), Transpose::yes, Transpose::no, dy, a.value, to.view, to.write);
    }
  }
};

template <class T>
struct ChannelProductsRecord {
  Var<T, 3> a, b, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto sample = [](auto view, index_t n) {
      return decltype(view.matrix()){view.row(n), {view.shape[1], view.shape[2]}};
    };
    const auto dy = tape.gradient_of(out);
    // Both destinations first: where a and b are one variable, the second adds to the first.
    for (int side = 0; side < 2; ++side) {
      const Var<T, 3>& x = side ? b : a;
      const Var<T, 3>& other = side ? a : b;
      if (!x.slot) continue;
      const auto to = tape.destination(x);
      for (index_t n = 0; n < x.extent(0); ++n)
        Kernels<B>::gemm(tape.backend(), Transpose::no, side ? Transpose::no : Transpose::yes, sample(other.value, n), sample(dy, n),
                         sample(to.view, n), to.write);
    }
  }
};
}  // namespace detail

/// a b^T for row-major a (N x K) and b (M x K): all inner products of rows. Throws shape_error.
template <class T, class B>
Var<T, 2> matmul_transposed(Tape<T, B>& tape, Var<T, 2> a, Var<T, 2> b) {
  require<shape_error>(a.extent(1) == b.extent(1), "matmul_transposed: shapes ", to_string(a.shape()), " and ", to_string(b.shape()));
  const View<T, 2> y = tape.allocate(Shape<2>{a.extent(0), b.extent(0)});
  Kernels<B>::gemm(tape.backend(), Transpose::no, Transpose::yes, a.value, b.value, y);
  const Var<T, 2> out = tape.result(y, a.slot || b.slot);
  tape.record(detail::MatmulTransposedRecord<T>{a, b, out});
  return out;
}

/// Per sample the inner products of channels over positions: a (N x P x C) and b (N x P x D) give N x C x D.
/// Throws shape_error when samples or positions differ.
template <class T, class B>
Var<T, 3> channel_products(Tape<T, B>& tape, Var<T, 3> a, Var<T, 3> b) {
  require<shape_error>(a.extent(0) == b.extent(0) && a.extent(1) == b.extent(1), "channel_products: shapes ", to_string(a.shape()),
                       " and ", to_string(b.shape()), " must agree in samples and positions");
  const View<T, 3> y = tape.allocate(Shape<3>{a.extent(0), a.extent(2), b.extent(2)});
  for (index_t n = 0; n < a.extent(0); ++n)
    Kernels<B>::gemm(tape.backend(), Transpose::yes, Transpose::no, View<const T, 2>{a.value.row(n), {a.extent(1), a.extent(2)}},
                     View<const T, 2>{b.value.row(n), {b.extent(1), b.extent(2)}}, View<T, 2>{y.row(n), {a.extent(2), b.extent(2)}});
  const Var<T, 3> out = tape.result(y, a.slot || b.slot);
  tape.record(detail::ChannelProductsRecord<T>{a, b, out});
  return out;
}

/// N x H x W x C as N x (H*W) x C.
template <class T, class B>
Var<T, 3> positions(Tape<T, B>& tape, Var<T, 4> x) {
  return reshape(tape, x, Shape<3>{x.extent(0), x.extent(1) * x.extent(2), x.extent(3)});
}

/// Rows (along `axis`) scaled to Euclidean norm 1; shorter ones than `floor` are divided by it.
template <class T, class B, int R>
Var<T, R> normalized(Tape<T, B>& tape, Var<T, R> x, int axis, double floor = 1e-12) {
  return divide(tape, x, activate(tape, functor::Sqrt{floor * floor}, sum_axis(tape, multiply(tape, x, x), axis)));
}

/// Mean of the squares of all entries.
template <class T, class B, int R>
Var<T, 1> mean_square(Tape<T, B>& tape, Var<T, R> x) {
  return mean(tape, multiply(tape, x, x));
}

}  // namespace retort
