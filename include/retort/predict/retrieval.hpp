#pragma once

#include <retort/autograd/ops_nn.hpp>
#include <retort/method/roles.hpp>
#include <retort/nn/reveal.hpp>
#include <retort/retrieval/answer.hpp>

namespace retort::predict {

/// The student answers together with what its embedding (the tap `Tag`) retrieves from a knowledge base: y' = lambda * yS +
/// (1 - lambda) * yR, yR the mean of the k nearest keys' soft labels weighted by softmax(x.z / temperature). Gives log y', which a
/// softmax turns into y'; with lambda = 1 nothing is looked up and the student's logits are passed on, bit for bit.
///
/// `Base` searches exactly (retrieval::KnowledgeBase) or by an approximate index (retrieval::HnswBase), by the same calls.
///
/// `build` fills the base from a teacher that keeps keys and soft labels of the training items (teacher::Projected): `fit`
/// does it before the student learns. k above the base's size takes the whole base. Throws value_error for an empty base or
/// options out of range, shape_error when the student's embedding has another width than the keys.
template <class Tag, class Base = retrieval::KnowledgeBase<float>>
struct Retrieval {
  static_assert(retrieval::SearchableBase<Base>, RETORT_BASE_MESSAGE);
  using role = retort::role::predictor;
  index_t k = 8;             ///< >= 1
  double temperature = 0.1;  ///< > 0; of the weights of the neighbours
  double lambda = 0.5;       ///< in [0, 1]: the student's own share
  bool unit_queries = true;  ///< queries are scaled to norm 1, as the keys are
  Base base{};

  /// Fills the base with what the teacher knows about the training items.
  template <class Teacher>
    requires requires(const Teacher& t) { t.keys(); t.soft_labels(); }
  void build(const Teacher& teacher) {
    Base fresh = base.blank();
    fresh.add(teacher.keys(), teacher.soft_labels());
    base = std::move(fresh);
  }

  template <class T, class B, class Student, class E>
  Var<T, 2> answer(Pass<T, B>& pass, Student& network, const E& batch) const {
    static_assert(B::host_accessible, "retort: predict::Retrieval runs on the CPU backend");
    retrieval::check_lambda(lambda);
    auto& tape = pass.tape;
    const auto output = network.forward(pass, batch.input);
    const Var<T, 2> logits = result_of(output);
    if (lambda == 1) return logits;
    const Var<T, 2> embedding = flatten(tape, feature_of(tap<Tag>(output)));
    const Var<T, 2> own = softmax(tape, logits);
    const index_t n = logits.extent(0), classes = logits.extent(1), width = embedding.extent(1);
    require<value_error>(base.size() > 0, "predict::Retrieval: the base is empty; train with fit and a teacher that fills it (teacher::Projected, as in ReAugKd), or fill it with build or base.add");
    require<shape_error>(base.classes() == classes, "predict::Retrieval: the student answers ", classes, " classes, the base holds ", base.classes());
    require<value_error>(k >= 1, "predict::Retrieval: expected k of at least 1, got ", k);
    const index_t most = std::min(k, base.size());
    const View<float, 2> queries{tape.template allocate_raw<float>(n * width), {n, width}};
    for (index_t i = 0; i < queries.size(); ++i) queries.data[i] = static_cast<float>(embedding.value.data[i]);
    if (unit_queries) retrieval::scale_to_unit(queries);
    const View<index_t, 2> ids{tape.template allocate_raw<index_t>(n * most), {n, most}};
    const View<float, 2> scores{tape.template allocate_raw<float>(n * most), {n, most}};
    base.nearest(tape.backend(), View<const float, 2>(queries), ids, scores);
    double* scratch = tape.template allocate_raw<double>(most);
    double* retrieved = tape.template allocate_raw<double>(classes);
    const View<T, 2> out = tape.allocate(Shape<2>{n, classes});
    for (index_t i = 0; i < n; ++i) {
      retrieval::retrieved_label(base, ids.row(i), scores.row(i), most, temperature, scratch, retrieved);
      for (index_t c = 0; c < classes; ++c)
        out(i, c) = std::log(std::max(retrieval::mixed(lambda, own.value(i, c), retrieved[c]), std::numeric_limits<T>::min()));
    }
    return tape.constant(out);
  }
};

}  // namespace retort::predict
