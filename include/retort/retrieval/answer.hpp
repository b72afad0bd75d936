#pragma once
// From neighbours to an answer: yR = sum_j w_j y_j with w = softmax_j(score_j / temperature) over the retrieved keys, and the
// mixture lambda * yS + (1 - lambda) * yR with the student's own probabilities.

#include <algorithm>
#include <cmath>
#include <limits>
#include <retort/retrieval/knowledge_base.hpp>

namespace retort::retrieval {

/// The weights of one query's neighbours, in double; places without one (id -1) weigh 0. A query without any neighbour has no
/// weights: value_error.
inline void neighbour_weights(const index_t* ids, const float* scores, index_t k, double temperature, double* weights) {
  double top = -std::numeric_limits<double>::infinity(), total = 0;
  for (index_t j = 0; j < k; ++j)
    if (ids[j] >= 0) top = std::max(top, static_cast<double>(scores[j]) / temperature);
  for (index_t j = 0; j < k; ++j) total += weights[j] = ids[j] >= 0 ? std::exp(static_cast<double>(scores[j]) / temperature - top) : 0.;
  require<value_error>(total > 0, "retrieval: a query has no neighbour: the base holds nothing but the excluded item");
  for (index_t j = 0; j < k; ++j) weights[j] /= total;
}

/// The retrieved label of one query from its first `k` neighbours: the weighted mean of their soft labels, into `out` (classes
/// doubles). `scratch`: k doubles.
template <class Base>
void retrieved_label(const Base& base, const index_t* ids, const float* scores, index_t k, double temperature, double* scratch, double* out) {
  require<value_error>(temperature > 0, "retrieval: expected a temperature above 0, got ", temperature);
  neighbour_weights(ids, scores, k, temperature, scratch);
  const auto labels = base.soft_labels();
  const index_t classes = labels.extent(1);
  std::fill_n(out, classes, 0.);
  for (index_t j = 0; j < k; ++j)
    if (ids[j] >= 0)
      for (index_t c = 0; c < classes; ++c) out[c] += scratch[j] * static_cast<double>(labels(ids[j], c));
}

/// The same for all queries, from the first `k` neighbours of each (0: all that were looked up): Q x classes.
template <class Base>
Tensor<double, 2> retrieved_labels(const Base& base, const Neighbours& found, double temperature, index_t k = 0) {
  const index_t most = k == 0 ? found.k() : std::min(k, found.k());
  Tensor<double, 2> out(Shape{found.queries(), base.classes()});
  std::vector<double> scratch(static_cast<std::size_t>(most));
  for (index_t q = 0; q < found.queries(); ++q)
    retrieved_label(base, found.ids.view().row(q), found.scores.view().row(q), most, temperature, scratch.data(), out.view().row(q));
  return out;
}

/// lambda * own + (1 - lambda) * retrieved: probabilities, not logits. lambda = 1 is `own` bit for bit, lambda = 0 `retrieved`.
/// Throws value_error for a lambda outside [0, 1].
template <class T>
T mixed(double lambda, T own, double retrieved) {
  return lambda == 1 ? own : lambda == 0 ? static_cast<T>(retrieved) : static_cast<T>(lambda * static_cast<double>(own) + (1 - lambda) * retrieved);
}
inline void check_lambda(double lambda) {
  require<value_error>(lambda >= 0 && lambda <= 1, "retrieval: expected lambda, the student's own share, in [0, 1], got ", lambda);
}

/// Rows scaled to Euclidean norm 1 in place; rows of zeros stay.
template <class T>
void scale_to_unit(View<T, 2> rows) {
  for (index_t i = 0; i < rows.extent(0); ++i) {
    double square = 0;
    for (index_t d = 0; d < rows.extent(1); ++d) square += static_cast<double>(rows(i, d)) * static_cast<double>(rows(i, d));
    const double inverse = square > 0 ? 1 / std::sqrt(square) : 0;
    for (index_t d = 0; d < rows.extent(1); ++d) rows(i, d) = static_cast<T>(static_cast<double>(rows(i, d)) * inverse);
  }
}

}  // namespace retort::retrieval
