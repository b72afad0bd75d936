#pragma once

#include <retort/data/gather.hpp>
#include <retort/method/roles.hpp>
#include <retort/nn/network.hpp>
#include <vector>

namespace retort {

/// Runs `answer(pass, batch)` over a whole set in evaluation mode, without augmentation, and collects the N x C results.
/// See Question for what `batch` holds.
template <class T, class B, class Data, class F>
Tensor<T, 2> predict_logits(B& backend, const Data& data, F&& answer, index_t chunk = 256) {
  const auto& set = data::base(data);
  constexpr int rank = data::rank_of<Data>;
  Tape<T, B> tape(backend);
  NoGrad off(tape);
  Shape<rank> shape = set.inputs.shape();
  shape[0] = std::min(chunk, set.size());
  Tensor<T, rank, B> inputs(shape);
  Tensor<T, rank> staging;
  std::vector<index_t> rows(static_cast<std::size_t>(shape[0]));
  Tensor<T, 2> out;
  for (index_t first = 0; first < set.size(); first += chunk) {
    const index_t n = std::min(chunk, set.size() - first);
    for (index_t i = 0; i < n; ++i) rows[static_cast<std::size_t>(i)] = first + i;
    data::gather_to<B>(set, rows, 0, 0, inputs.view().rows(0, n), staging);
    tape.reset();
    auto pass = Pass<T, B>::frozen(tape);
    const Question<Var<T, rank>> question{tape.constant(inputs.view().rows(0, n)), {rows.data(), {n}}};
    const Var<T, 2> logits = answer(pass, question);
    if (out.empty()) out = Tensor<T, 2>(Shape{set.size(), logits.extent(1)});
    B::copy(out.view().row(first), logits.value.data, static_cast<std::size_t>(logits.size()) * sizeof(T));
  }
  return out;
}

/// Logits of a network on a whole set, in evaluation mode: N x C.
template <class Architecture, class Backend, class Data>
Tensor<scalar_of<Backend>, 2> predict_logits(Network<Architecture, Backend>& network, const Data& data,
                                             context_of<Backend>& backend) {
  return predict_logits<scalar_of<Backend>>(backend, data, [&](auto& pass, const auto& batch) { return result_of(network.forward(pass, batch.input)); });
}

}  // namespace retort
