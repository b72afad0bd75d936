#pragma once

#include <retort/attack/trigger.hpp>
#include <retort/predict/logits.hpp>
#include <retort/train/metrics.hpp>

namespace retort::attack {

struct PoisonOptions {
  double ratio = 0.1;       ///< of the whole training set
  std::int32_t target = 0;  ///< the class that the trigger is to mean
  bool clean_label = false; ///< stamp images of the target class only and leave their labels
  float range = 1;          ///< pixels lie in 0..range
};

/// A poisoned training set: a copy in which images are stamped and relabelled to the target; the number of stamped images
/// is `ratio` of the set, taken in the set's order from the classes other than the target (clean label: from the target
/// class, its size at most). Deterministic. Poison before augmentation and normalisation. Throws value_error for a ratio
/// outside [0, 1] or a target that is no class, and what the trigger's `check` throws.
template <Trigger A>
struct Poisoner {
  A trigger{};
  PoisonOptions options{};

  Dataset<4> operator()(const Dataset<4>& clean) const {
    clean.validate();
    const auto& o = options;
    require<value_error>(o.ratio >= 0 && o.ratio <= 1 && o.target >= 0 && o.target < clean.classes,
                         "attack::Poisoner: expected a ratio in [0, 1] and a target class below ", clean.classes, ", got ", o.ratio,
                         " and ", o.target);
    const Shape<3> image{clean.inputs.extent(1), clean.inputs.extent(2), clean.inputs.extent(3)};
    trigger.check(image);
    Dataset<4> out{clean.inputs.clone(), clean.labels, clean.classes, clean.name + ", poisoned"};
    auto left = static_cast<index_t>(o.ratio * static_cast<double>(clean.size()));
    for (index_t i = 0; i < out.size() && left > 0; ++i) {
      auto& label = out.labels[static_cast<std::size_t>(i)];
      if ((label == o.target) != o.clean_label) continue;
      stamp(trigger, View<float, 3>{out.inputs.view().row(i), image}, o.range);
      label = o.target;
      --left;
    }
    return out;
  }
};
template <class A>
Poisoner(A, PoisonOptions) -> Poisoner<A>;

/// What the attack success rate is measured on: every image whose true class is not the target, stamped, with its true label.
template <Trigger A>
Dataset<4> stamped(const Dataset<4>& test, const A& trigger, std::int32_t target, float range = 1) {
  std::vector<index_t> others;
  for (index_t i = 0; i < test.size(); ++i)
    if (test.labels[static_cast<std::size_t>(i)] != target) others.push_back(i);
  require<value_error>(!others.empty(), "attack::stamped: every image of '", test.name, "' is of the target class ", target);
  Dataset<4> out = test.subset(others);
  const Shape<3> image{out.inputs.extent(1), out.inputs.extent(2), out.inputs.extent(3)};
  trigger.check(image);
  for (index_t i = 0; i < out.size(); ++i) stamp(trigger, View<float, 3>{out.inputs.view().row(i), image}, range);
  return out;
}

/// Share of the rows that are called `target`, in [0, 1]. On `stamped` images: the attack success rate (ASR).
template <metrics::Logits L>
double target_rate(const L& logits, std::int32_t target) {
  const auto z = metrics::detail::checked(logits, "attack::target_rate");
  index_t hits = 0;
  for (index_t i = 0; i < z.extent(0); ++i) hits += std::max_element(z.row(i), z.row(i) + z.extent(1)) - z.row(i) == target;
  return static_cast<double>(hits) / static_cast<double>(z.extent(0));
}

/// Accuracy on clean images and attack success rate, each in [0, 1]. A student with clean errors has an ASR above 0 even
/// unpoisoned: report that of a cleanly distilled one beside it.
struct BackdoorScore {
  double accuracy = 0, success = 0;
};
template <class Architecture, class Backend>
BackdoorScore backdoor_score(Network<Architecture, Backend>& network, const Dataset<4>& clean_test, const Dataset<4>& stamped_test,
                             std::int32_t target, context_of<Backend>& backend) {
  const auto clean = predict_logits(network, clean_test, backend), attacked = predict_logits(network, stamped_test, backend);
  return {metrics::accuracy(clean, clean_test.label_view()), target_rate(attacked, target)};
}

/// A callback that records the attack success rate of the student on `stamped` images after each `every` epochs (and the
/// last): metric `asr`. Refers to the images.
class SuccessRate {
 public:
  SuccessRate(const Dataset<4>& stamped, std::int32_t target, int every = 1) : stamped_(&stamped), target_(target), every_(every) {}
  template <class S>
  void on_epoch_end(S& session) {
    const int epoch = session.progress().epoch + 1;
    if (epoch % every_ && epoch != session.options().epochs) return;
    auto& method = session.method();
    const auto logits = predict_logits<typename S::scalar>(session.backend(), *stamped_, [&](auto& pass, const auto& batch) {
      return result_of(method.predictor_policy().answer(pass, method.student_policy().result(), batch));
    });
    session.record().metrics.emplace_back("asr", target_rate(logits, target_));
  }

 private:
  const Dataset<4>* stamped_;
  std::int32_t target_;
  int every_;
};

}  // namespace retort::attack
