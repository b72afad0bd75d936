#pragma once
// Element-wise, shape and reducing operations on variables. Each is a function that computes a value and records a small
// struct with its backward. Network layers' operations are in ops_nn.hpp.

#include <retort/autograd/tape.hpp>
#include <retort/core/rng.hpp>
#include <retort/functor/activation.hpp>
#include <retort/functor/arithmetic.hpp>

namespace retort {

namespace detail {

template <int R>
Shape<R> broadcast_shape(const char* op, const Shape<R>& a, const Shape<R>& b) {
  Shape<R> out;
  for (int k = 0; k < R; ++k) {
    require<shape_error>(a[k] == b[k] || a[k] == 1 || b[k] == 1, op, ": shapes ", to_string(a), " and ", to_string(b),
                         " do not broadcast: axis ", k, " has extents ", a[k], " and ", b[k]);
    out[k] = a[k] == 1 ? b[k] : a[k];
  }
  return out;
}

template <class F, class T, int R>
struct BinaryRecord {
  F f;
  Var<T, R> a, b, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    operand(tape, a, false);
    operand(tape, b, true);
  }

 private:
  template <class B>
  void operand(Tape<T, B>& tape, Var<T, R> x, bool second) const {
    if (!x.slot) return;
    const bool one = std::is_same_v<F, functor::Add> && out.slot->one && !x.slot->written && x.size() == 1;
    const auto to = tape.destination(x);
    Kernels<B>::binary_backward(tape.backend(), f, second, a.value, b.value, tape.gradient_of(out), to.view, to.write);
    x.slot->one = one;  // the terms of a sum of losses all get the seed
  }
};

template <class T, class B, class F, int R>
Var<T, R> binary(Tape<T, B>& tape, const char* name, F f, Var<T, R> a, Var<T, R> b) {
  const View<T, R> y = tape.allocate(broadcast_shape(name, a.shape(), b.shape()));
  Kernels<B>::binary(tape.backend(), f, a.value, b.value, y);
  const Var<T, R> out = tape.result(y, a.slot || b.slot);
  tape.record(BinaryRecord<F, T, R>{f, a, b, out});
  return out;
}

/// y = (y +) alpha * x through the same positions: scaling, reshaping, copying.
template <class T, int RIn, int ROut>
struct LinearMapRecord {
  T alpha;
  Var<T, RIn> x;
  Var<T, ROut> out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::accumulate(tape.backend(), alpha, tape.gradient_of(out).flat(), to.view.flat(), to.write);
  }
};

template <class F, class T, int R>
struct ActivationRecord {
  F f;
  Var<T, R> x, out;
  const std::uint8_t* mask;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::activation_backward(tape.backend(), f, x.value.flat(), out.value.flat(), tape.gradient_of(out).flat(),
                                    to.view.flat(), to.write, mask);
  }
};

template <class T, int R>
struct SumAxisRecord {
  int axis;
  Var<T, R> x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::repeat_axis(tape.backend(), axis, tape.gradient_of(out), to.view, to.write);
  }
};

template <class T, int R>
struct SumRecord {
  T scale;
  Var<T, R> x;
  Var<T, 1> out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::accumulate_by(tape.backend(), scale, tape.gradient_of(out).data, View<const T, 1>{}, to.view.flat(), to.write);
  }
};

template <class T, int R>
struct ConcatRecord {
  Var<T, R> a, b, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const index_t ca = a.extent(R - 1), cb = b.extent(R - 1), rows = out.size() / (ca + cb);
    const View<const T, 2> dy{tape.gradient_of(out).data, {rows, ca + cb}};
    if (a.slot) {
      const auto to = tape.destination(a);
      Kernels<B>::copy_columns(tape.backend(), dy, 0, View<T, 2>{to.view.data, {rows, ca}}, 0, ca, to.write);
    }
    if (b.slot) {
      const auto to = tape.destination(b);
      Kernels<B>::copy_columns(tape.backend(), dy, ca, View<T, 2>{to.view.data, {rows, cb}}, 0, cb, to.write);
    }
  }
};

template <class T, int R>
struct SliceRecord {
  index_t first;
  Var<T, R> x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    const index_t cx = x.extent(R - 1), cy = out.extent(R - 1), rows = x.size() / cx;
    if (to.write == Write::replace) Kernels<B>::fill(tape.backend(), T(0), to.view);
    Kernels<B>::copy_columns(tape.backend(), View<const T, 2>{tape.gradient_of(out).data, {rows, cy}}, 0,
                             View<T, 2>{to.view.data, {rows, cx}}, first, cy, Write::add);
  }
};

template <class T, int R>
struct ShuffleRecord {
  index_t groups;
  Var<T, R> x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    const index_t c = x.extent(R - 1), rows = x.size() / c;
    Kernels<B>::shuffle_columns(tape.backend(), c / groups, View<const T, 2>{tape.gradient_of(out).data, {rows, c}}, View<T, 2>{to.view.data, {rows, c}},
                                to.write);
  }
};

template <class T>
struct GatherRecord {
  Var<T, 2> table, out;
  View<const std::int32_t, 1> index;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(table);
    Kernels<B>::scatter_add_rows(tape.backend(), tape.gradient_of(out), index, to.view, to.write);
  }
};

template <class T>
struct GatherColumnsRecord {
  Var<T, 2> x, out;
  View<const std::int32_t, 1> index;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::gather_columns_backward(tape.backend(), tape.gradient_of(out), index, to.view, to.write);
  }
};

template <class T>
struct PickRecord {
  Var<T, 2> x, out;
  View<const std::int32_t, 1> index;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::pick_columns_backward(tape.backend(), tape.gradient_of(out), index, to.view, to.write);
  }
};

template <class T, int R>
struct MaskedScaleRecord {
  const std::uint8_t* mask;
  T scale;
  Var<T, R> x, out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    const auto to = tape.destination(x);
    Kernels<B>::masked_scale(tape.backend(), mask, scale, tape.gradient_of(out).flat(), to.view.flat(), to.write);
  }
};

}  // namespace detail

/// a + b, a - b, a * b, a / b, element by element; an axis of extent 1 is repeated to the other operand's extent.
/// Throws shape_error when the shapes do not broadcast.
template <class T, class B, int R>
Var<T, R> add(Tape<T, B>& tape, Var<T, R> a, Var<T, R> b) { return detail::binary(tape, "add", functor::Add{}, a, b); }
template <class T, class B, int R>
Var<T, R> subtract(Tape<T, B>& tape, Var<T, R> a, Var<T, R> b) { return detail::binary(tape, "subtract", functor::Subtract{}, a, b); }
template <class T, class B, int R>
Var<T, R> multiply(Tape<T, B>& tape, Var<T, R> a, Var<T, R> b) { return detail::binary(tape, "multiply", functor::Multiply{}, a, b); }
template <class T, class B, int R>
Var<T, R> divide(Tape<T, B>& tape, Var<T, R> a, Var<T, R> b) { return detail::binary(tape, "divide", functor::Divide{}, a, b); }

/// alpha * x.
template <class T, class B, int R>
Var<T, R> scale(Tape<T, B>& tape, std::type_identity_t<T> alpha, Var<T, R> x) {
  const View<T, R> y = tape.allocate(x.shape());
  Kernels<B>::accumulate(tape.backend(), alpha, x.value.flat(), y.flat(), Write::replace);
  const Var<T, R> out = tape.result(y, x.slot);
  tape.record(detail::LinearMapRecord<T, R, R>{alpha, x, out});
  return out;
}

/// The same elements under another shape; no copy. Throws shape_error when the sizes differ.
template <class T, class B, int R, int RNew>
Var<T, RNew> reshape(Tape<T, B>& tape, Var<T, R> x, Shape<RNew> shape) {
  const View<const T, RNew> y = x.value.reshape(shape);
  Var<T, RNew> out{y, nullptr};
  if (x.slot) out.slot = tape.result(View<T, RNew>{const_cast<T*>(y.data), shape}, true).slot;
  tape.record(detail::LinearMapRecord<T, R, RNew>{T(1), x, out});
  return out;
}

/// First axis x the rest.
template <class T, class B, int R>
Var<T, 2> flatten(Tape<T, B>& tape, Var<T, R> x) {
  if constexpr (R == 2)
    return x;
  else
    return reshape(tape, x, Shape<2>{x.extent(0), x.shape().row_size()});
}

/// y = f(x) for an element-wise functor (functor/activation.hpp). Kinked functors take part in replay.
template <class F, class T, class B, int R>
Var<T, R> activate(Tape<T, B>& tape, F f, Var<T, R> x) {
  const View<T, R> y = tape.allocate(x.shape());
  const std::uint8_t* mask = nullptr;
  if constexpr (F::kink) {
    using Kinks = typename Tape<T, B>::Kinks;
    if (tape.kinks() != Kinks::live) {
      auto* decisions = tape.template kink_memory<std::uint8_t>(x.size());
      if (tape.kinks() == Kinks::record) Kernels<B>::kink_mask(tape.backend(), x.value.flat(), decisions);
      mask = decisions;
    }
    if (mask)
      Kernels<B>::activation_forward_masked(tape.backend(), f, x.value.flat(), y.flat(), mask);
    else
      Kernels<B>::activation_forward(tape.backend(), f, x.value.flat(), y.flat());
  } else {
    Kernels<B>::activation_forward(tape.backend(), f, x.value.flat(), y.flat());
  }
  const Var<T, R> out = tape.result(y, x.slot);
  tape.record(detail::ActivationRecord<F, T, R>{f, x, out, mask});
  return out;
}

/// Sum over one axis, which stays with extent 1 (so that the result broadcasts against x).
template <class T, class B, int R>
Var<T, R> sum_axis(Tape<T, B>& tape, Var<T, R> x, int axis) {
  require<shape_error>(axis >= 0 && axis < R, "sum_axis: axis ", axis, " of a value of rank ", R);
  Shape<R> shape = x.shape();
  shape[axis] = 1;
  const View<T, R> y = tape.allocate(shape);
  Kernels<B>::sum_axis(tape.backend(), axis, x.value, y);
  const Var<T, R> out = tape.result(y, x.slot);
  tape.record(detail::SumAxisRecord<T, R>{axis, x, out});
  return out;
}
/// Mean over one axis, which stays with extent 1.
template <class T, class B, int R>
Var<T, R> mean_axis(Tape<T, B>& tape, Var<T, R> x, int axis) {
  return scale(tape, T(1) / static_cast<T>(x.extent(axis)), sum_axis(tape, x, axis));
}

namespace detail {
template <class T, class B, int R>
Var<T, 1> scaled_sum(Tape<T, B>& tape, Var<T, R> x, T scale) {
  const View<T, 1> y = tape.allocate(Shape<1>{1});
  Kernels<B>::scaled_sum(tape.backend(), scale, x.value.flat(), y);
  const Var<T, 1> out = tape.result(y, x.slot);
  tape.record(SumRecord<T, R>{scale, x, out});
  return out;
}
}  // namespace detail

/// Sum and mean of all elements, as a scalar of shape (1).
template <class T, class B, int R>
Var<T, 1> sum(Tape<T, B>& tape, Var<T, R> x) { return detail::scaled_sum(tape, x, T(1)); }
template <class T, class B, int R>
Var<T, 1> mean(Tape<T, B>& tape, Var<T, R> x) {
  require<shape_error>(x.size() > 0, "mean: the value is empty, shape ", to_string(x.shape()));
  return detail::scaled_sum(tape, x, T(1) / static_cast<T>(x.size()));
}

/// Joins along the last axis (columns, channels). Throws shape_error when another axis differs.
template <class T, class B, int R>
Var<T, R> concat(Tape<T, B>& tape, Var<T, R> a, Var<T, R> b) {
  Shape<R> shape = a.shape();
  for (int k = 0; k + 1 < R; ++k)
    require<shape_error>(a.extent(k) == b.extent(k), "concat: shapes ", to_string(a.shape()), " and ", to_string(b.shape()),
                         " may differ in the last axis only");
  const index_t ca = a.extent(R - 1), cb = b.extent(R - 1);
  shape[R - 1] = ca + cb;
  const View<T, R> y = tape.allocate(shape);
  const index_t rows = y.size() / (ca + cb);
  const View<T, 2> flat{y.data, {rows, ca + cb}};
  Kernels<B>::copy_columns(tape.backend(), View<const T, 2>{a.value.data, {rows, ca}}, 0, flat, 0, ca, Write::replace);
  Kernels<B>::copy_columns(tape.backend(), View<const T, 2>{b.value.data, {rows, cb}}, 0, flat, ca, cb, Write::replace);
  const Var<T, R> out = tape.result(y, a.slot || b.slot);
  tape.record(detail::ConcatRecord<T, R>{a, b, out});
  return out;
}

/// Entries [first, last) of the last axis. Throws shape_error when the range leaves it.
template <class T, class B, int R>
Var<T, R> slice(Tape<T, B>& tape, Var<T, R> x, index_t first, index_t last) {
  require<shape_error>(0 <= first && first < last && last <= x.extent(R - 1), "slice: range [", first, ", ", last,
                       ") of the last axis of ", to_string(x.shape()));
  Shape<R> shape = x.shape();
  shape[R - 1] = last - first;
  const View<T, R> y = tape.allocate(shape);
  const index_t cx = x.extent(R - 1), rows = x.size() / cx;
  Kernels<B>::copy_columns(tape.backend(), View<const T, 2>{x.value.data, {rows, cx}}, first,
                           View<T, 2>{y.data, {rows, last - first}}, 0, last - first, Write::replace);
  const Var<T, R> out = tape.result(y, x.slot);
  tape.record(detail::SliceRecord<T, R>{first, x, out});
  return out;
}

/// Interleaves `groups` equal parts of the last axis: entry k of part g goes to k * groups + g (ShuffleNet's channel shuffle).
/// Throws shape_error when the axis does not divide.
template <class T, class B, int R>
Var<T, R> shuffle_channels(Tape<T, B>& tape, index_t groups, Var<T, R> x) {
  const index_t c = x.extent(R - 1);
  require<shape_error>(groups >= 1 && c % groups == 0, "shuffle_channels: ", groups, " groups of the last axis of ", to_string(x.shape()));
  const View<T, R> y = tape.allocate(x.shape());
  Kernels<B>::shuffle_columns(tape.backend(), groups, View<const T, 2>{x.value.data, {x.size() / c, c}}, View<T, 2>{y.data, {x.size() / c, c}},
                              Write::replace);
  const Var<T, R> out = tape.result(y, x.slot);
  tape.record(detail::ShuffleRecord<T, R>{groups, x, out});
  return out;
}

/// Rows of a table by index (an embedding look-up; a sub-batch). `index` must outlive the backward pass.
/// Throws value_error when an index leaves the table; of indices on a device, which the host does not read, such a row is NaN
/// and passes no gradient on.
template <class T, class B>
Var<T, 2> gather_rows(Tape<T, B>& tape, Var<T, 2> table, View<const std::int32_t, 1> index) {
  for (index_t i = 0; B::host_accessible && i < index.size(); ++i)
    require<value_error>(index.data[i] >= 0 && index.data[i] < table.extent(0), "gather_rows: index ", index.data[i],
                         " at position ", i, ", the table has ", table.extent(0), " rows");
  const View<T, 2> y = tape.allocate(Shape<2>{index.size(), table.extent(1)});
  Kernels<B>::gather_rows(tape.backend(), table.value, index, y);
  const Var<T, 2> out = tape.result(y, table.slot);
  tape.record(detail::GatherRecord<T>{table, out, index});
  return out;
}

/// Columns of a matrix by index: N x K out of N x C. `index` must outlive the backward pass. Throws value_error when an index
/// leaves the matrix.
template <class T, class B>
Var<T, 2> gather_columns(Tape<T, B>& tape, Var<T, 2> x, View<const std::int32_t, 1> index) {
  for (index_t i = 0; i < index.size(); ++i)
    require<value_error>(index.data[i] >= 0 && index.data[i] < x.extent(1), "gather_columns: index ", index.data[i], " at position ", i,
                         ", the rows have ", x.extent(1), " columns");
  const View<T, 2> y = tape.allocate(Shape<2>{x.extent(0), index.size()});
  Kernels<B>::gather_columns(tape.backend(), x.value, index, y);
  const Var<T, 2> out = tape.result(y, x.slot);
  tape.record(detail::GatherColumnsRecord<T>{x, out, index});
  return out;
}

namespace detail {
/// A number, to be broadcast.
template <int R, class T, class B>
Var<T, R> constant(Tape<T, B>& tape, T value) {
  Shape<R> one;
  one.extent.fill(1);
  const View<T, R> at = tape.allocate(one);
  Kernels<B>::fill(tape.backend(), value, at);
  return tape.constant(at);
}
}  // namespace detail

/// One column of each row: N x 1 out of N x C. `index` must outlive the backward pass. Throws shape_error unless there is
/// one index per row, value_error when one leaves the row; on a device the entry is NaN then, and passes no gradient on.
template <class T, class B>
Var<T, 2> pick_columns(Tape<T, B>& tape, Var<T, 2> x, View<const std::int32_t, 1> index) {
  require<shape_error>(index.size() == x.extent(0), "pick_columns: ", index.size(), " indices for a value of shape ", to_string(x.shape()));
  for (index_t i = 0; B::host_accessible && i < index.size(); ++i)
    require<value_error>(index.data[i] >= 0 && index.data[i] < x.extent(1), "pick_columns: index ", index.data[i], " at position ",
                         i, ", the rows have ", x.extent(1), " columns");
  const View<T, 2> y = tape.allocate(Shape<2>{x.extent(0), 1});
  Kernels<B>::pick_columns(tape.backend(), x.value, index, y);
  const Var<T, 2> out = tape.result(y, x.slot);
  tape.record(detail::PickRecord<T>{x, out, index});
  return out;
}

/// min(x, bound). A kink: takes part in replay. Where x > bound no gradient passes.
template <class T, class B, int R>
Var<T, R> clip_above(Tape<T, B>& tape, Var<T, R> x, std::type_identity_t<T> bound) {
  const auto top = detail::constant<R>(tape, bound);
  return subtract(tape, top, activate(tape, functor::Relu{}, subtract(tape, top, x)));
}

/// x + c.
template <class T, class B, int R>
Var<T, R> add_constant(Tape<T, B>& tape, Var<T, R> x, std::type_identity_t<T> c) {
  return add(tape, x, detail::constant<R>(tape, c));
}

/// Inverted dropout (Srivastava et al. 2014): zero with probability p, the rest scaled by 1/(1-p). The mask is a pure
/// function of the stream. Throws value_error unless 0 <= p < 1.
template <class T, class B, int R>
Var<T, R> dropout(Tape<T, B>& tape, Var<T, R> x, float p, const Rng& rng) {
  require<value_error>(p >= 0.f && p < 1.f, "dropout: expected a probability in [0, 1), got ", p);
  using Kinks = typename Tape<T, B>::Kinks;
  std::uint8_t* mask = tape.kinks() == Kinks::live ? tape.template allocate_raw<std::uint8_t>(x.size())
                                                   : tape.template kink_memory<std::uint8_t>(x.size());
  if (tape.kinks() != Kinks::replay) Kernels<B>::dropout_mask(tape.backend(), rng, p, x.size(), mask);
  const T factor = T(1) / (T(1) - static_cast<T>(p));
  const View<T, R> y = tape.allocate(x.shape());
  Kernels<B>::masked_scale(tape.backend(), mask, factor, x.value.flat(), y.flat(), Write::replace);
  const Var<T, R> out = tape.result(y, x.slot);
  tape.record(detail::MaskedScaleRecord<T, R>{mask, factor, x, out});
  return out;
}

}  // namespace retort
