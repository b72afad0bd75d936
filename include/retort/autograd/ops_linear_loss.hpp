#pragma once
// A row loss on top of an output layer, for large vocabularies: logits exist for a chunk of rows at a time, so that tokens
// x vocabulary never exists.

#include <retort/autograd/ops_loss.hpp>
#include <retort/core/bfloat16.hpp>
#include <retort/loss/combine.hpp>

namespace retort {

/// Where the teacher's logits come from: given (N x C), or recomputed chunk by chunk from its hidden states (N x H_t), output
/// weights (H_t x C) and bias (C, or none). Nothing at all for losses without a teacher.
template <class T, class Stored = T>
struct TeacherHead {
  View<const Stored, 2> logits{};
  View<const Stored, 2> hidden{}, weights{};
  View<const T, 1> bias{};
};

/// What a row loss over an output layer is evaluated on. The views are constants of the loss. With `Stored` = BFloat16 (T =
/// float, CUDA backend) the factors of the matrix products, logits and their gradients are stored as that, rounded once each;
/// sums are of float, and so are `hidden`, `weights` and their gradients: the master weights of mixed precision.
template <class T, class Stored = T>
struct LinearLossInputs {
  Var<T, 2> hidden;   ///< N x H
  Var<T, 2> weights;  ///< H x C
  Var<T, 1> bias{};   ///< C, or none
  TeacherHead<T, Stored> teacher{};
  View<const std::int32_t, 1> labels{};
  View<const std::uint8_t, 1> mask{};
  View<const T, 1> row_weights{};
  View<const T, 1> temperatures{};
};

namespace detail {
template <class T>
struct LinearLossRecord {
  Var<T, 2> hidden, weights;
  Var<T, 1> bias;
  View<T, 2> d_hidden, d_weights;
  View<T, 1> d_bias;
  Var<T, 1> out;
  template <class B>
  void backward(Tape<T, B>& tape) const {
    RowLossRecord<T>::deposit(tape, out, hidden, d_hidden);
    RowLossRecord<T>::deposit(tape, out, weights, d_weights);
    RowLossRecord<T>::deposit(tape, out, bias, d_bias);
  }
};
}  // namespace detail

/// The row loss of the logits hidden x weights + bias, and its gradients to all three, at forward time. Equal to
/// `row_loss(linear(...))`, but holds at most about `chunk_bytes` of logits and their gradients (0: as much as the output
/// weights take, at least 64 MiB: each chunk reads all the weights, and fewer rows than that would wait for them). Sums of
/// losses are one pass per chunk; reductions are those of the whole batch. Throws shape_error, and what the row-loss engine throws.
template <class T, class B, class Loss, class Stored>
Var<T, 1> linear_row_loss(Tape<T, B>& tape, const Loss& loss, const LinearLossInputs<T, Stored>& in, index_t chunk_bytes = 0) {
  constexpr bool narrow = !std::is_same_v<Stored, T>;
  static_assert(!narrow || (std::is_same_v<T, float> && std::is_same_v<Stored, BFloat16> &&
                             requires(B& b, View<const Stored, 2> a, View<T, 2> c) { Kernels<B>::template gemm<T, Stored>(b, Transpose::no, Transpose::no, a, a, c); }),
                "retort: linear_row_loss stores logits as what they are computed in or, on the CUDA backend and with float, as BFloat16; see "
                "retort/autograd/ops_linear_loss.hpp");
  using K = Kernels<B>;
  B& backend = tape.backend();
  const index_t rows = in.hidden.extent(0), width = in.hidden.extent(1), classes = in.weights.extent(1);
  const bool recompute = in.teacher.hidden.data != nullptr;
  require<shape_error>(in.weights.extent(0) == width && rows > 0, "linear_row_loss: hidden states of shape ", to_string(in.hidden.shape()),
                       ", output weights of shape ", to_string(in.weights.shape()));
  require<shape_error>(!in.bias.value.data || in.bias.size() == classes, "linear_row_loss: bias of shape ", to_string(in.bias.shape()), " for ",
                       classes, " classes");
  require<shape_error>(!in.teacher.logits.data || in.teacher.logits.shape == Shape<2>{rows, classes},
                       "linear_row_loss: expected teacher logits of shape ", to_string(Shape<2>{rows, classes}), ", got ",
                       to_string(in.teacher.logits.shape));
  require<shape_error>(!recompute || (in.teacher.hidden.extent(0) == rows && in.teacher.weights.shape == Shape<2>{in.teacher.hidden.extent(1), classes} &&
                                      (!in.teacher.bias.data || in.teacher.bias.size() == classes)),
                       "linear_row_loss: ", rows, " rows and ", classes, " classes, but the teacher's hidden states have shape ",
                       to_string(in.teacher.hidden.shape), ", its weights ", to_string(in.teacher.weights.shape), ", its bias ",
                       to_string(in.teacher.bias.shape));
  const auto check = [rows](const char* what, bool given, index_t size) {
    require<shape_error>(!given || size == rows, "linear_row_loss: expected ", rows, " ", what, ", got ", size);
  };
  check("labels", in.labels.data, in.labels.size());
  check("mask bytes", in.mask.data, in.mask.size());
  check("row weights", in.row_weights.data, in.row_weights.size());
  check("temperatures", in.temperatures.data, in.temperatures.size());

  const bool learns = tape.recording() && (in.hidden.slot || in.weights.slot || in.bias.slot);
  const index_t buffers = 1 + (recompute ? 1 : 0) + (learns ? 1 : 0);
  constexpr index_t size = sizeof(Stored), least_bytes = index_t{1} << 26;
  if (chunk_bytes <= 0) chunk_bytes = width * classes * size > least_bytes ? width * classes * size : least_bytes;
  const index_t most = chunk_bytes / (buffers * classes * size);
  const index_t chunk = most < 1 ? 1 : most < rows ? most : rows, chunks = (rows + chunk - 1) / chunk;

  detail::LinearLossRecord<T> record{in.hidden, in.weights, in.bias, {}, {}, {}, {}};
  if (learns && in.hidden.slot) record.d_hidden = tape.allocate(in.hidden.shape());
  if (learns && in.weights.slot) record.d_weights = tape.allocate(in.weights.shape());
  if (learns && in.bias.slot) record.d_bias = tape.allocate(in.bias.shape());
  const View<T, 1> parts = tape.allocate(Shape<1>{chunks}), value = tape.allocate(Shape<1>{1});
  {
    const ArenaScope scope(backend.scratch());
    const auto allocate = [&](Shape<2> shape, bool wanted = true) { return View<Stored, 2>{wanted ? backend.scratch().template allocate<Stored>(shape[0] * shape[1]) : nullptr, shape}; };
    const auto stored = [&](View<const T, 2> x) {
      if constexpr (narrow) {
        const View<Stored, 2> out = allocate(x.shape);
        K::convert(backend, x.flat(), out.flat());
        return View<const Stored, 2>(out);
      } else {
        return x;
      }
    };
    const auto product = [&]<class Out>(Transpose ta, Transpose tb, View<const Stored, 2> a, View<const Stored, 2> b, View<Out, 2> c, Write write, const T* bias = nullptr) {
      K::template gemm<Out, Stored>(backend, ta, tb, a, b, c, write, bias);
    };
    const View<const Stored, 2> weights = stored(in.weights.value);
    const Shape<2> most_logits{chunk, classes};
    const View<Stored, 2> student = allocate(most_logits), teacher = allocate(most_logits, recompute), gradient = allocate(most_logits, learns);
    for (index_t part = 0; part < chunks; ++part) {
      const ArenaScope of_part(backend.scratch());
      const index_t first = part * chunk, last = first + chunk < rows ? first + chunk : rows;
      const auto slice = [&](auto view) { return view.data ? view.rows(first, last) : view; };
      const auto begin = [&](auto buffer) { return buffer.data ? buffer.rows(0, last - first) : View<Stored, 2>{}; };
      const View<const Stored, 2> hidden = stored(in.hidden.value.rows(first, last));
      const View<Stored, 2> logits = begin(student), taught = begin(teacher), d_logits = begin(gradient);
      product(Transpose::no, Transpose::no, hidden, weights, logits, Write::replace, in.bias.value.data);
      if (recompute) product(Transpose::no, Transpose::no, in.teacher.hidden.rows(first, last), in.teacher.weights, taught, Write::replace, in.teacher.bias.data);
      const RowBatch<T, Stored> batch{.student = logits, .teacher = recompute ? View<const Stored, 2>(taught) : slice(in.teacher.logits),
                                      .labels = slice(in.labels), .mask = slice(in.mask), .weight = slice(in.row_weights),
                                      .temperature = slice(in.temperatures), .of_rows = rows, .all_labels = in.labels};
      K::row_loss(backend, loss, batch, RowGradients<T, Stored>{.student = d_logits}, parts.rows(part, part + 1));
      const Write write = part == 0 ? Write::replace : Write::add;
      if (record.d_hidden.data) product(Transpose::no, Transpose::yes, d_logits, weights, record.d_hidden.rows(first, last), Write::replace);
      if (record.d_weights.data) product(Transpose::yes, Transpose::no, hidden, d_logits, record.d_weights, write);
      if (record.d_bias.data) K::template column_sum<T, Stored>(backend, d_logits, record.d_bias.data, write);
    }
  }
  K::scaled_sum(backend, T(1), View<const T, 1>(parts), value);
  record.out = tape.result(value, learns);
  tape.record(record);
  return record.out;
}

}  // namespace retort
