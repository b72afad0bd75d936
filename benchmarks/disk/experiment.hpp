#pragma once
// What DiSK's experiments share: arms with equal starts and equal student passes, and a table with paired tests.

#include "trial.hpp"

namespace experiment {

/// The gates that a method's guide gives the samples of a set.
template <class Method, class Data>
std::vector<float> gates_of(Method& method, const Data& data) {
  Cpu cpu;
  const auto g = predict_logits<float>(cpu, data, [&](auto& pass, const auto& q) {
    const auto s = method.student_policy().answer(pass, q);
    const auto t = method.teacher_policy().answer(pass, q);
    Exchange<float, Cpu, std::remove_const_t<decltype(q.input)>, std::remove_const_t<decltype(s)>, std::remove_const_t<decltype(t)>> e{pass.tape, q.input, {}, q.ids, s, t};
    method.censor_policy().apply(e);
    return e.extras;
  });
  return {g.begin(), g.end()};
}

/// A gate that is the same for all samples, and follows the mean of a DiSK run from epoch to epoch: what is left of
/// DiSK without selection.
struct MeanGate {
  using role = retort::role::censor;
  std::vector<float> by_epoch;
  int passes_per_epoch = 1;
  template <class E>
  void apply(E& exchange) const {
    const auto gate = exchange.tape.allocate(Shape<2>{result_of(exchange.student).extent(0), 1});
    const auto at = static_cast<std::size_t>(exchange.progress.epoch / passes_per_epoch);
    std::fill(gate.begin(), gate.end(), by_epoch[std::min(at, by_epoch.size() - 1)]);
    exchange.extras = exchange.tape.constant(gate);
  }
  std::string describe() const { return "mean gate"; }
};

/// One setting of DiSK and of the training that all arms share.
struct Recipe {
  int rounds = 20, student_passes = 3, guide_passes = 3, warmup = 5;
  double student_temperature = 3.5, teacher_temperature = 4, kd_temperature = 4, kd_tuned = 0, hint_weight = 0.9, hard_weight = 0.1;
  index_t hints = 10;
  censor::CosinePrice price{};
  censor::Budget budget{};
  double max_ce = 5;
  float lr = 0.05f, guide_lr = 0.05f;
  index_t batch_size = 32;

  static Recipe from(const Arguments& a, Recipe r) {
    r.rounds = a.count("rounds", r.rounds);
    r.student_passes = a.count("student_passes", r.student_passes);
    r.guide_passes = a.count("guide_passes", r.guide_passes);
    r.student_temperature = a.number("ts", r.student_temperature);
    r.teacher_temperature = a.number("tt", r.teacher_temperature);
    r.kd_temperature = a.number("kd_t", r.kd_temperature);
    r.kd_tuned = a.number("kd_tuned", r.kd_tuned);
    r.hint_weight = a.number("hint", r.hint_weight);
    r.hard_weight = a.number("hard", r.hard_weight);
    r.hints = a.count("hints", static_cast<int>(r.hints));
    r.price = {a.number("price_min", r.price.min), a.number("price_max", r.price.max), r.rounds};
    r.budget.min = a.number("budget", r.budget.min);
    r.budget.max = std::max(r.budget.min, a.number("budget_max", a.number("budget", r.budget.max)));
    r.lr = static_cast<float>(a.number("lr", r.lr));
    r.guide_lr = static_cast<float>(a.number("guide_lr", r.guide_lr));
    return r;
  }
  optim::Sgd optimizer() const { return {.lr = lr, .momentum = 0.9f, .weight_decay = 1e-4f, .schedule = {.rule = optim::Cosine{}}}; }
  FitOptions options(int epochs, std::uint64_t seed) const { return {.epochs = epochs, .batch_size = batch_size, .seed = seed}; }
  int passes() const { return rounds * student_passes; }
  loss::HintonLoss kd(double temperature) const { return {.soft = {.temperature = temperature, .weight = hint_weight}, .hard = {.weight = hard_weight}}; }
  template <class Loss>
  Loss scaffold() const {
    Loss l{.hint = {.temperature = student_temperature, .teacher_temperature = teacher_temperature, .weight = hint_weight}, .hard = {.weight = hard_weight}};
    if constexpr (std::is_same_v<Loss, loss::ScaffoldedSoftTargets>) l.help.count = hints;
    return l;
  }
};

/// A student distilled by DiSK in the form `Method`, and the gates at the end.
template <class Method, class Teacher, class Student, class Guide, class Data>
std::vector<float> disk(const Recipe& r, Teacher& teacher, Student& student, Guide guide, const Data& train, std::uint64_t seed,
                        double* help_on_errors = nullptr, std::vector<float>* mean_by_epoch = nullptr) {
  using Censor = typename Method::censor;
  typename Censor::Options options{.penalty = {.price = r.price, .budget = r.budget}, .phases = {r.warmup, r.student_passes, r.guide_passes}};
  if (options.penalty.max_ce < 1e6) options.penalty.max_ce = r.max_ce;
  options.optimizer.lr = r.guide_lr;
  Method method{teacher, student, r.scaffold<typename Method::loss>(), Censor(guide, options)};
  const Report report = fit(method, train, r.optimizer(), r.options(r.rounds, seed), callbacks::GuideLog{});
  if (mean_by_epoch)
    for (const auto& epoch : report.epochs) mean_by_epoch->push_back(static_cast<float>(epoch.metric("help")));
  if (help_on_errors) *help_on_errors = method.censor_policy().summary().help_on_errors;
  return gates_of(method, train);
}

/// The same student passes with given gates.
template <class Method, class Teacher, class Student, class Data>
void gated(const Recipe& r, Teacher& teacher, Student& student, std::vector<float> gates, const Data& train, std::uint64_t seed) {
  typename Method::template with_censor<censor::Gates> method{teacher, student, r.scaffold<typename Method::loss>(), {std::move(gates)}};
  fit(method, train, r.optimizer(), r.options(r.passes(), seed));
}

/// All arms on one student, from one start: cross-entropy alone, KD, DiSK, and the controls with DiSK's final gates made
/// constant, permuted among the samples, or 0.
template <class Method, class Teacher, class Start, class Guide, class Train, class Test>
void all_arms(const Recipe& r, Teacher& teacher, Start& start, Guide guide, const Train& train, const Test& test, std::uint64_t seed,
              Table& table, double (*score)(Start&, const Test&), bool controls = true, Table* gates_table = nullptr) {
  using Net = std::remove_cvref_t<decltype(start.architecture())>;
  using Kd = typename Method::template with_loss<loss::HintonLoss>::template with_censor<censor::None>;
  table.add("start (CE checkpoint)", score(start, test));
  const auto arm = [&](const char* name, auto&& run) {
    Start student = start.clone();
    run(student);
    table.add(name, score(student, test));
  };
  arm("CE", [&](Start& s) {
    LabelsOnly<Net> method{teacher::None{}, s};
    fit(method, train, r.optimizer(), r.options(r.passes(), seed));
  });
  const auto kd = [&](double temperature) {
    return [&r, &teacher, &train, seed, temperature](Start& s) {
      Kd method{teacher, s, r.kd(temperature)};
      fit(method, train, r.optimizer(), r.options(r.passes(), seed));
    };
  };
  arm("KD", kd(r.kd_temperature));
  if (r.kd_tuned > 0) arm("KD, tuned temperature", kd(r.kd_tuned));  // chosen on the validation split, as DiSK's own are
  std::vector<float> gates, by_epoch;
  double on_errors = 0;
  arm("DiSK", [&](Start& s) { gates = disk<Method>(r, teacher, s, guide, train, seed, &on_errors, &by_epoch); });
  const double mean = std::accumulate(gates.begin(), gates.end(), 0.) / static_cast<double>(gates.size());
  if (gates_table) gates_table->add("mean gate", mean), gates_table->add("mean gate of errors", on_errors), gates_table->add("mean gate over the run", std::accumulate(by_epoch.begin(), by_epoch.end(), 0.) / static_cast<double>(by_epoch.size()));
  if (!controls) return;
  arm("constant gate", [&](Start& s) { gated<Method>(r, teacher, s, std::vector<float>(gates.size(), static_cast<float>(mean)), train, seed); });
  arm("mean gate of each epoch", [&](Start& s) {
    typename Method::template with_censor<MeanGate> method{teacher, s, r.scaffold<typename Method::loss>(), {by_epoch, r.student_passes}};
    fit(method, train, r.optimizer(), r.options(r.passes(), seed));
  });
  auto mixed = gates;
  Rng rng = Rng(seed).fork(99);
  rng.shuffle(mixed);
  arm("random gate", [&](Start& s) { gated<Method>(r, teacher, s, mixed, train, seed); });
  arm("frozen final gates", [&](Start& s) { gated<Method>(r, teacher, s, gates, train, seed); });
  arm("no gate", [&](Start& s) { gated<Method>(r, teacher, s, std::vector<float>(gates.size(), 0.f), train, seed); });
}

}  // namespace experiment
