#pragma once

#include <retort/loss/supervised_contrastive.hpp>
#include <retort/method/hinton.hpp>
#include <retort/predict/logits.hpp>
#include <retort/retrieval/answer.hpp>
#include <retort/teacher/table.hpp>
#include <retort/train/fit.hpp>
#include <retort/train/metrics.hpp>

namespace retort::teacher {

/// How teacher::Projected trains its projection.
struct HeadOptions {
  index_t width = 0;  ///< of the student's embedding: the projection's outputs; >= 1
  loss::SupervisedContrastive<> loss{};
  optim::Adam optimizer{.lr = 1e-3f};
  int epochs = 20;
  index_t batch_size = 128;
  bool bias = false;
};

/// A teacher whose embeddings (the tap `Tag`) are mapped to the student's width by a linear projection, learned by the supervised
/// contrastive loss before the student starts (ReAugKD's first phase). Then frozen: logits and projected embeddings z, rows of
/// norm 1, of all training items are kept, and the teacher answers from them, z as tap `Tag`. For data that is not augmented; no
/// input gradients. Memory: 4 * samples * (2 * classes + width) bytes and as much in double while it is made.
///
/// `Inner` is any teacher policy whose answer has the tap: Frozen, Given. Throws value_error without labels or a width.
template <class Inner, class Tag>
class Projected {
 public:
  using role = retort::role::teacher;
  static constexpr bool differentiable = false;
  template <class B2>
  using rebind = Projected<typename Inner::template rebind<B2>, Tag>;
  using head_phase = LabelsOnly<nn::Linear>::with_loss<loss::SupervisedContrastive<>>;

  Projected(Inner inner, HeadOptions options) : inner_(std::move(inner)), options_(std::move(options)) {}

  /// Trains the projection and fills the tables, a function of data, teacher and the run's seed. If it throws, what was learned
  /// before stays.
  template <class T, class B, class Data>
  void prepare(const Setup<B>& setup, const Data& data) {
    detail::require_fixed_inputs<Data>("teacher::Projected");
    require<value_error>(options_.width >= 1, "teacher::Projected: give the width of the student's embedding, got ", options_.width);
    if constexpr (requires { inner_.template prepare<T>(setup, data); }) inner_.template prepare<T>(setup, data);
    Dataset<2> features{embeddings<T>(setup.backend, data), data::base(data).labels, setup.classes, "the teacher's embeddings"};
    auto head = std::make_unique<head_type>(nn::Linear{.in = features.inputs.extent(1), .out = options_.width, .bias = options_.bias, .init = nn::Init::glorot},
                                            Rng(setup.seed).fork(0x68656164).at(0));
    head_phase phase{None{}, *head, options_.loss};
    Report report = fit(phase, features, options_.optimizer, {.epochs = options_.epochs, .batch_size = options_.batch_size, .seed = setup.seed});

    const Tensor<T, 2> answers = predict_logits<T>(setup.backend, data, [&](Pass<T, B>& pass, const auto& batch) { return result_of(inner_.answer(pass, batch)); });
    Tensor<double, 2> logits(answers.shape());
    std::copy(answers.begin(), answers.end(), logits.begin());
    Tensor<float, 2> soft(answers.shape());
    for (index_t i = 0; i < soft.extent(0); ++i) {
      const double lse = metrics::detail::log_sum_exp(logits.view().row(i), logits.extent(1));
      for (index_t c = 0; c < soft.extent(1); ++c) soft(i, c) = static_cast<float>(std::exp(logits(i, c) - lse));
    }
    head_ = std::move(head);
    Tensor<float, 2> z = project(features.inputs.view());
    keys_ = std::move(z);
    logits_ = std::move(logits);
    soft_ = std::move(soft);
    report_ = std::move(report);
  }

  template <class T, class B, class E>
  auto answer(Pass<T, B>& pass, const E& batch) const {
    const auto rows = [&](auto table) { return detail::table_rows("teacher::Projected", pass, table, batch.ids); };
    return Output<Var<T, 2>, Tapped<Tag, Var<T, 2>>>{rows(logits_.view()), {{rows(keys_.view())}}};
  }

  /// z of the training items (samples x width, rows of norm 1), and their soft labels (samples x classes): a knowledge base.
  View<const float, 2> keys() const { return keys_.view(); }
  View<const float, 2> soft_labels() const { return soft_.view(); }
  /// z of any embeddings of the teacher's (M x its width), for what asks how the teacher itself would retrieve.
  template <class B = Cpu>
  Tensor<float, 2> project(View<const float, 2> rows) const {
    require<error>(head_ != nullptr, "teacher::Projected: not prepared yet; fit does it");
    B cpu;
    Tape<float, B> tape(cpu);
    const NoGrad off(tape);
    auto pass = Pass<float, B>::frozen(tape);
    const Var<float, 2> z = head_->forward(pass, tape.constant(rows));
    Tensor<float, 2> out(z.shape());
    std::copy(z.value.begin(), z.value.end(), out.begin());
    retrieval::scale_to_unit(out.view());
    return out;
  }
  /// The inner teacher's embeddings of a data set.
  template <class T = float, class B, class Data>
  Tensor<float, 2> embeddings(B& backend, const Data& data) {
    const Tensor<T, 2> h = predict_logits<T>(backend, data, [&](Pass<T, B>& pass, const auto& batch) {
      return flatten(pass.tape, feature_of(tap<Tag>(inner_.answer(pass, batch))));
    });
    Tensor<float, 2> out(h.shape());
    std::copy(h.begin(), h.end(), out.begin());
    return out;
  }
  Inner& inner() { return inner_; }
  /// The projection's training.
  const Report& head_report() const { return report_; }
  std::string describe() const {
    return retort::detail::concat(inner_.describe(), ", embeddings projected to ", options_.width, " by ", options_.epochs, " epochs of contrast");
  }

 private:
  using head_type = Network<nn::Linear>;
  Inner inner_;
  HeadOptions options_;
  std::unique_ptr<head_type> head_;
  Tensor<double, 2> logits_;
  Tensor<float, 2> keys_, soft_;
  Report report_;
};

}  // namespace retort::teacher
