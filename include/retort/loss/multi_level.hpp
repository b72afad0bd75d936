#pragma once

#include <algorithm>
#include <retort/loss/cross_entropy.hpp>
#include <retort/loss/forward_kl.hpp>
#include <retort/loss/standardized.hpp>

namespace retort::loss {

/// How the confidence masks of MLLD act. The paper: on the weak view, samples count whose teacher is no surer than the median
/// of the batch, and in the class term classes whose summed teacher probability is at most the median.
struct MlldPaper {
  static constexpr bool as_published = false;
};
/// The authors' code: masks multiply what is already reduced, so they are their own mean, a constant; on the strong view the
/// divergences at the last two temperatures use the weak logits again, and batch and class terms of that view are left out.
struct MlldAsPublished {
  static constexpr bool as_published = true;
};

/// Multi-level logit distillation (Jin et al. 2023, MLLD) over two views (source::TwoViews): on each view hard * CE and, at
/// every temperature, soft * T^2 KL + batch * ||P_t P_t^T - P_s P_s^T||_F^2 / N + classes * ||P_t^T P_t - P_s^T P_s||_F^2 / C.
/// Published runs take 480 epochs at rate 0.025: do not set them beside tables of 240. The variant has no default.
template <class Variant = retort::detail::Unnamed>
struct MultiLevel {
  static_assert(std::is_same_v<Variant, MlldPaper> || std::is_same_v<Variant, MlldAsPublished>,
                "retort: MultiLevel names its variant, for which there is no default, since the authors' code departs from their paper: MlldPaper or "
                "MlldAsPublished; see retort/loss/multi_level.hpp");
  static constexpr int needs_views = 2;
  double hard = 0.1, soft = 0.9, batch = 0.9, classes = 0.9;
  std::array<double, 5> temperatures{4, 3, 5, 2, 6};

  /// Throws value_error unless the batch holds two views of its samples.
  template <class E>
  auto evaluate(E& exchange) const {
    auto& tape = exchange.tape;
    const auto s = result_of(exchange.student), t = tape.detach(result_of(exchange.teacher));
    using T = typename decltype(s)::value_type;
    const index_t n = s.extent(0) / 2;
    require<value_error>(s.extent(0) % 2 == 0 && n >= 1 && exchange.labels.size() == 2 * n, "loss::MultiLevel: expected labelled samples in two views, got ",
                         s.extent(0), " rows and ", exchange.labels.size(), " labels; see retort/source/two_views.hpp");
    const View<const std::int32_t, 1> labels{exchange.labels.data, {n}};
    auto* order = tape.template allocate_raw<std::int32_t>(2 * n);
    for (index_t i = 0; i < 2 * n; ++i) order[i] = static_cast<std::int32_t>(i);
    const auto view_of = [&](auto z, index_t view) { return gather_rows(tape, z, View<const std::int32_t, 1>{order + view * n, {n}}); };
    const std::array student{view_of(s, 0), view_of(s, 1)}, teacher{view_of(t, 0), view_of(t, 1)};
    const Masks<T> masks = masks_of(tape, teacher[0]);

    auto total = row_loss(tape, CrossEntropy<BatchMean>{.weight = 2 * hard}, RowLossInputs<T>{.student = s, .labels = exchange.labels});  // the mean of both views, twice
    for (std::size_t k = 0; k < temperatures.size(); ++k)
      for (std::size_t view = 0; view < 2; ++view) {
        const bool again = Variant::as_published && view == 1 && k >= temperatures.size() - 2;
        const std::size_t logits = again ? 0 : view;
        const bool masked = view == 0;
        const SoftTargets kd{.temperature = temperatures[k], .weight = soft * (Variant::as_published && masked ? masks.sample_share : 1)};
        RowLossInputs<T> in{.student = student[logits], .teacher = teacher[logits], .labels = labels};
        if (!Variant::as_published && masked) in.weights = masks.samples;
        total = add(tape, total, row_loss(tape, kd, in));
        if (Variant::as_published && view == 1) continue;
        total = add(tape, total, correlations(tape, student[view], teacher[view], temperatures[k], masked ? &masks : nullptr));
      }
    return total;
  }

 private:
  template <class T>
  struct Masks {
    View<const T, 1> samples, classes;
    double sample_share, class_share;
  };
  /// 1 where a number is at most the median of all, else 0 (the lower of two middle ones counts, and ties).
  template <class Tape, class T>
  static View<const T, 1> below_median(Tape& tape, const T* values, index_t n, double& share) {
    T* sorted = tape.template allocate_raw<T>(n);
    std::copy_n(values, n, sorted);
    std::sort(sorted, sorted + n);
    const T median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2;
    T* mask = tape.template allocate_raw<T>(n);
    share = 0;
    for (index_t i = 0; i < n; ++i) share += mask[i] = values[i] <= median ? T(1) : T(0);
    share /= static_cast<double>(n);
    return {mask, {n}};
  }
  template <class T, class B>
  static Masks<T> masks_of(Tape<T, B>& tape, Var<T, 2> teacher) {
    static_assert(B::host_accessible, "retort: the masks of loss::MultiLevel are found on the host; use the CPU backend");
    const auto p = softmax(tape, teacher);
    const index_t n = p.extent(0), c = p.extent(1);
    T* sure = tape.template allocate_raw<T>(n);
    for (index_t i = 0; i < n; ++i) sure[i] = *std::max_element(p.value.row(i), p.value.row(i) + c);
    const auto sums = sum_axis(tape, p, 0);
    Masks<T> m{};
    m.samples = below_median(tape, sure, n, m.sample_share);
    m.classes = below_median(tape, sums.value.data, c, m.class_share);
    return m;
  }
  /// batch * the batch term + classes * the class term of one view at one temperature.
  template <class T, class B>
  Var<T, 1> correlations(Tape<T, B>& tape, Var<T, 2> s, Var<T, 2> t, double temperature, const Masks<T>* masks) const {
    const auto p = [&](Var<T, 2> z) { return softmax(tape, scale(tape, static_cast<T>(1 / temperature), z)); };
    const auto a = p(s), b = p(t);
    const auto term = [&](double weight, double share, Var<T, 2> d, View<const T, 1> mask) {  // rows of d that count
      auto square = multiply(tape, d, d);
      if (!Variant::as_published && mask.data) square = multiply(tape, square, tape.constant(mask.reshape(Shape<2>{d.extent(0), 1})));
      const double factor = weight * (Variant::as_published && mask.data ? share : 1) / static_cast<double>(d.extent(0));
      return scale(tape, static_cast<T>(factor), sum(tape, square));
    };
    const auto rows = [&](Var<T, 2> x) { return matmul_transposed(tape, x, x); };
    const auto columns = [&](Var<T, 2> x) {
      const auto one = reshape(tape, x, Shape<3>{1, x.extent(0), x.extent(1)});
      return reshape(tape, channel_products(tape, one, one), Shape<2>{x.extent(1), x.extent(1)});
    };
    const View<const T, 1> none{};
    return add(tape, term(batch, masks ? masks->sample_share : 1, subtract(tape, rows(b), rows(a)), masks ? masks->samples : none),
               term(classes, masks ? masks->class_share : 1, subtract(tape, columns(b), columns(a)), masks ? masks->classes : none));
  }
};

}  // namespace retort::loss
