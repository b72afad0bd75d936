#pragma once

#include <retort/autograd/ops_loss.hpp>
#include <retort/core/permutation.hpp>
#include <retort/data/gather.hpp>
#include <retort/loss/connectors.hpp>
#include <retort/loss/learned.hpp>
#include <retort/nn/reveal.hpp>

namespace retort {

/// Noise-contrastive loss of the rows v (N x D) against rows of a bank (Tian et al. 2020, CRD): with scores
/// P_k = exp(<bank[index(n, k)], v_n> / tau) / z, column 0 of `index` positive and c = noise + 1e-7,
/// -1/N sum_n [log(P_0 / (P_0 + c)) + sum_{k>0} log(noise / (P_k + c))]. The gathered rows never exist in memory.
template <class T, class B>
Var<T, 1> contrast(Tape<T, B>& tape, Var<T, 2> v, View<const T, 2> bank, View<const std::int32_t, 2> index, double tau, double z, double noise) {
  View<T, 2> gradient{};
  if (v.slot && tape.recording()) gradient = tape.allocate(v.shape());
  const double value = Kernels<B>::contrast(tape.backend(), tau, z, noise, v.value, bank, index, gradient);
  return with_gradient(tape, static_cast<T>(value), v, gradient);
}

namespace loss {

/// Contrastive representation distillation (Tian et al. 2020, CRD) of two features, at its published defaults: both sides are
/// embedded (linear, 128, unit norm) and each is told its own sample from `negatives` others in a memory bank of the other
/// side. Positives are the sample itself, negatives come from other classes, without repetition while there are enough of
/// them. After scoring, the sample's bank rows move towards its embeddings: norm(momentum * old + (1 - momentum) * new).
/// The normaliser of each direction is fixed by the first batch. Weight 0.8.
///
/// Needs a data set with labels and a source that names its samples (`ids`): value_error otherwise. Embeddings learn with
/// the student; embeddings, banks and normalisers are in checkpoints. 2 * samples * width numbers of memory; a step needs
/// N * (negatives + 1) indices beside it and no gathered rows.
template <class StudentTag, class TeacherTag = StudentTag>
struct Contrastive {
  double weight = 0.8;
  index_t negatives = 16384;  ///< K >= 1
  index_t width = 128;
  double temperature = 0.07;  ///< > 0
  double momentum = 0.5;      ///< in [0, 1)

  template <class T, class B>
  struct State {
    nn::Built<nn::Linear, T, B> student, teacher;
    nn::Buffer<T, B> student_bank, teacher_bank;  // samples x width
    nn::Buffer<T, B> normalizers;                 // of the student's direction and the teacher's; 0: not fixed yet
    std::vector<std::int32_t> by_class;           // samples, class by class
    std::vector<index_t> first;                   // of each class in it; classes + 1 entries
    std::vector<std::int32_t> labels;
    template <class F>
    void visit(F&& f) {
      student.visit(nn::under(f, "student."));
      teacher.visit(nn::under(f, "teacher."));
      f("student_bank", student_bank);
      f("teacher_bank", teacher_bank);
      f("normalizers", normalizers);
    }
  };

  template <class S>
  auto make(S& start) const {
    using T = typename S::scalar;
    using B = typename S::context;
    static_assert(!std::is_same_v<std::remove_cvref_t<decltype(start.data)>, data::None>,
                  "retort: loss::Contrastive needs a data set: its memory banks hold one row per sample; see retort/loss/contrastive.hpp");
    require<value_error>(negatives >= 1 && width >= 1 && temperature > 0 && momentum >= 0 && momentum < 1,
                         "loss::Contrastive: expected negatives >= 1, width >= 1, a temperature above 0 and 0 <= momentum < 1, got ", negatives,
                         ", ", width, ", ", temperature, ", ", momentum);
    const auto linear = [&](index_t in) { return nn::build<T, B>(nn::Linear{.in = in, .out = width, .init = nn::Init::glorot}, start.rng); };
    auto student = linear(feature_of(tap<StudentTag>(start.exchange.student)).shape().row_size());
    auto teacher = linear(feature_of(tap<TeacherTag>(start.exchange.teacher)).shape().row_size());
    const auto bank = [&] {
      nn::Buffer<T, B> out{Tensor<T, 1, B>(Shape{start.samples * width})};
      const double bound = 1 / std::sqrt(static_cast<double>(width) / 3);
      for (T& x : out.value) x = static_cast<T>(bound * (2 * start.rng.uniform_double() - 1));
      return out;
    };
    auto first_bank = bank();
    State<T, B> s{std::move(student), std::move(teacher), std::move(first_bank), bank(), {Tensor<T, 1, B>(Shape{2})}, {}, {}, data::base(start.data).labels};
    s.first.assign(static_cast<std::size_t>(start.classes) + 1, 0);
    for (const std::int32_t y : s.labels) ++s.first[static_cast<std::size_t>(y) + 1];
    for (std::size_t c = 1; c < s.first.size(); ++c) s.first[c] += s.first[c - 1];
    require<value_error>(std::none_of(s.first.begin(), s.first.end() - 1,
                                      [&, c = std::size_t{0}](index_t at) mutable { return s.first[++c] - at == start.samples; }),
                         "loss::Contrastive: all samples are of one class, so there are no negatives");
    s.by_class.resize(s.labels.size());
    auto next = s.first;
    for (std::size_t i = 0; i < s.labels.size(); ++i)
      s.by_class[static_cast<std::size_t>(next[static_cast<std::size_t>(s.labels[i])]++)] = static_cast<std::int32_t>(i);
    return s;
  }

  template <class E, class S>
  auto evaluate(E& exchange, S& state) const {
    auto& tape = exchange.tape;
    using T = typename std::remove_reference_t<decltype(tape)>::value_type;
    using B = typename std::remove_reference_t<decltype(tape)>::backend_type;
    static_assert(B::host_accessible, "retort: loss::Contrastive draws from its memory bank on the host; use the CPU backend");
    const index_t n = result_of(exchange.student).extent(0), samples = static_cast<index_t>(state.labels.size());
    require<value_error>(exchange.ids.size() == n, "loss::Contrastive: expected the ids of ", n, " samples, got ", exchange.ids.size(),
                         "; the source must name its samples");
    auto pass = own_pass(exchange);
    const auto embed = [&](auto& head, auto x) { return normalized(tape, head(pass, flatten(tape, x)), 1); };
    const auto s = embed(state.student, feature_of(tap<StudentTag>(exchange.student)));
    const auto t = embed(state.teacher, tape.detach(feature_of(tap<TeacherTag>(exchange.teacher))));

    const View<std::int32_t, 2> index{tape.template allocate_raw<std::int32_t>(n * (negatives + 1)), {n, negatives + 1}};
    for (index_t i = 0; i < n; ++i) draw(state, exchange.ids.data[i], exchange.rng.fork(0x637264).fork(static_cast<std::uint64_t>(i)), index.row(i));

    const bool training = exchange.turn == decltype(exchange.turn){};
    const double noise = static_cast<double>(negatives) / static_cast<double>(samples);
    const auto bank = [&](auto& buffer) { return View<T, 2>{buffer.value.data(), {samples, width}}; };
    const auto direction = [&](index_t which, Var<T, 2> v, View<T, 2> other) {
      double z = static_cast<double>(state.normalizers.value.data()[which]);
      if (z == 0) {
        z = Kernels<B>::contrast_mean(tape.backend(), temperature, v.value, View<const T, 2>(other), View<const std::int32_t, 2>(index)) *
            static_cast<double>(samples);
        if (training) state.normalizers.value.data()[which] = static_cast<T>(z);
      }
      return contrast(tape, v, View<const T, 2>(other), View<const std::int32_t, 2>(index), temperature, z, noise);
    };
    const auto value = add(tape, direction(0, s, bank(state.teacher_bank)), direction(1, t, bank(state.student_bank)));
    if (training) {
      Kernels<B>::contrast_remember(tape.backend(), momentum, s.value, View<const std::int32_t, 2>(index), bank(state.student_bank));
      Kernels<B>::contrast_remember(tape.backend(), momentum, t.value, View<const std::int32_t, 2>(index), bank(state.teacher_bank));
    }
    return scale(tape, static_cast<T>(weight), value);
  }

 private:
  /// Positive, then negatives: a random walk through all samples of other classes, begun anew where it ends.
  template <class S>
  void draw(const S& state, std::int64_t id, const Rng& rng, std::int32_t* to) const {
    const auto samples = static_cast<index_t>(state.labels.size());
    const auto y = static_cast<std::size_t>(state.labels[static_cast<std::size_t>(id)]);
    const index_t end = state.first[y + 1], others = samples - (end - state.first[y]);
    const Permutation shuffled(others, rng);
    to[0] = static_cast<std::int32_t>(id);
    for (index_t k = 0; k < negatives; ++k) {
      const index_t at = end + shuffled(k % others);
      to[1 + k] = state.by_class[static_cast<std::size_t>(at < samples ? at : at - samples)];
    }
  }
};

}  // namespace loss
}  // namespace retort
