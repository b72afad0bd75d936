// Feature and relational losses: golden values and gradient norms, central differences, zeros at s = t, errors.
#include <retort/loss/forward_kl.hpp>
#include <retort/loss/relational.hpp>
#include <retort/loss/standardized.hpp>
#include <retort/method/roles.hpp>

#include "golden_features.hpp"
#include "scratch_folder.hpp"

using namespace retort;
using namespace retort::loss;
using namespace retort::test;

namespace {

template <class Loss, int R>
double at_equality(const Loss& loss, Tensor<double, R> s) {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto leaf = tape.leaf(View<const double, R>(s.view()));
  const auto y = loss(tape, leaf, tape.constant(s.view()));
  tape.backward(y);
  for (double g : tape.gradient(leaf)) CHECK(std::isfinite(g));
  return std::abs(y.value.data[0]);
}

}  // namespace

TEST_CASE("feature losses reproduce the golden values") {
  check_feature("FitNet: s=Fs; t=Ft; connector=identity", Hint{}, Fs(), Ft());
  check_feature("AT_as_published: s=Fs; t=Ft; p=2; one layer", AttentionTransfer{}, Fs(), Ft());
  check_feature("AT_paper: s=Fs; t=Ft; p=2; one layer; batch mean of the L2 distance", AttentionTransferPaper{}, Fs(), Ft());
  check_feature("FT: s=Fs; t=Ft; p1=2; p2=1; translator=paraphraser=identity", FactorTransfer{}, Fs(), Ft());
  check_feature("NST: s=Fs; t=Ft", NeuronSelectivity{}, Fs(), Ft());
  check_feature("AB: s=Fs; t=Ft; margin=1; one layer with weight 1; factor 3/1000; connector=identity", ActivationBoundary{}, Fs(), Ft());
  const auto s2 = Gs(), t2 = Gt();
  check_feature("FSP: s=Fs then Gs; t=Ft then Gt; gradient wrt Fs only",
        [&](auto& tape, auto s, auto t) {
          using T = typename decltype(s)::value_type;
          const auto other = [&](const Tensor<double, 4>& x) {
            const View<T, 4> v = tape.allocate(x.shape());
            std::copy(x.begin(), x.end(), v.begin());
            return tape.constant(v);
          };
          return Flow{}(tape, s, other(s2), t, other(t2));
        },
        Fs(), Ft());
}

TEST_CASE("relational losses reproduce the golden values") {
  check_feature("SP: s=Fs; t=Ft", SimilarityPreserving{}, Fs(), Ft());
  check_feature("CC: s=fs; t=ft; embeddings=identity", CorrelationCongruence{}, vector_of(true), vector_of(false));
  check_feature("RKD_distance: s=fs; t=ft; weight 1", RelationalDistance{}, vector_of(true), vector_of(false));
  check_feature("RKD_angle: s=fs; t=ft; weight 1", RelationalAngle{}, vector_of(true), vector_of(false));
  check_feature("RKD: s=fs; t=ft; distance weight 25; angle weight 50",
        [](auto& tape, auto s, auto t) {
          using T = typename decltype(s)::value_type;
          return add(tape, scale(tape, T(25), RelationalDistance{}(tape, s, t)), scale(tape, T(50), RelationalAngle{}(tape, s, t)));
        },
        vector_of(true), vector_of(false));
  check_feature("PKT: s=fs; t=ft; eps=1e-7", ProbabilisticTransfer{}, vector_of(true), vector_of(false));
}

TEST_CASE("LSKD, DIST and the correlations of MLLD reproduce the golden values") {
  const auto inputs = retort::test::golden_inputs<double>();
  const auto matrix = [](const std::vector<double>& v) {
    Tensor<double, 2> out(Shape{4, 5});
    std::copy(v.begin(), v.end(), out.begin());
    return out;
  };
  const auto s = matrix(inputs.student), t = matrix(inputs.teacher);
  check_feature("LSKD: s=zs; t=zt; T=2; factor T^2; std divisor C-1; eps=1e-7",
        [](auto& tape, auto zs, auto zt) {
          using V = decltype(zs);
          Exchange<typename V::value_type, Cpu, V, V, V> seen{tape, zs, {}, {}, zs, zt};
          return Standardized{SoftTargets{.temperature = 2}}.evaluate(seen);
        },
        s.clone(), t.clone());
  check_feature("DIST: s=zs; t=zt; beta=1; gamma=1; tau=1; eps=1e-8", Dist{}, s.clone(), t.clone());
  check_feature("DIST: s=zs; t=zt; beta=1; gamma=1; tau=4; eps=1e-8", Dist{.temperature = 4}, s.clone(), t.clone());
  check_feature("MLLD_batch: s=zs; t=zt; T=4; no T^2", BatchCorrelation{}, s.clone(), t.clone());
  check_feature("MLLD_class: s=zs; t=zt; T=4; no T^2", ClassCorrelation{}, s.clone(), t.clone());
}

TEST_CASE_TEMPLATE("DIST's fused kernel is the chain of tape operations", T, float, double) {
  Cpu cpu(2);
  // Of two classes or two samples alone every correlation is 1 or -1, and its gradient rounding.
  for (const auto& [n, c] : {std::pair<index_t, index_t>{4, 5}, {5, 7}, {33, 100}, {3, 1000}}) {
    const auto s = ::test::randn<T>(Shape{n, c}, 1), t = ::test::randn<T>(Shape{n, c}, 2);
    const Dist loss{.temperature = 2, .beta = 3, .gamma = 0.5, .weight = 1.5};
    const auto outcome = [&](auto&& evaluate) {
      Tape<T, Cpu> tape(cpu);
      const auto leaf = tape.leaf(View<const T, 2>(s.view()));
      const auto y = evaluate(tape, leaf, tape.constant(t.view()));
      tape.backward(y);
      std::vector<T> all(tape.gradient(leaf).begin(), tape.gradient(leaf).end());
      return std::pair(y.value.data[0], all);
    };
    const auto [fused, g] = outcome(loss);
    const auto [chain, h] = outcome([&](auto& tape, auto a, auto b) { return loss.on_tape(tape, a, b); });
    CHECK(std::abs(fused - chain) <= value_tolerance<T> * std::abs(chain));
    CHECK(max_difference(g, h) <= gradient_tolerance<T> * max_abs(h));
  }
}

TEST_CASE_TEMPLATE("LSKD, DIST and the correlations of MLLD are finite at logits of 1e4, T = 0.1, two classes and a vocabulary", T, float, double) {
  Cpu cpu;
  const auto finite = [&](const char* name, index_t classes, const auto& loss) {
    CAPTURE(name);
    CAPTURE(classes);
    for (bool opposed : {false, true}) {
      Tensor<T, 2> s(Shape{index_t{4}, classes}), t(s.shape());
      for (index_t r = 0; r < 4; ++r)
        for (index_t c = 0; c < classes; ++c) {
          s(r, c) = r == 3 ? T(1e4) : T(c % 3 == r % 3 ? 1e4 : -1e4);  // the last row is constant
          t(r, c) = opposed ? -s(r, c) : T((c + r) % 2 ? 1e4 : -1e4);
        }
      Tape<T, Cpu> tape(cpu);
      const auto leaf = tape.leaf(View<const T, 2>(s.view()));
      const auto y = loss(tape, leaf, tape.constant(t.view()));
      tape.backward(y);
      CHECK(std::isfinite(y.value.data[0]));
      for (T g : tape.gradient(leaf)) REQUIRE(std::isfinite(g));
    }
  };
  const auto standardized = [](double temperature) {
    return [temperature](auto& tape, auto zs, auto zt) {
      using V = decltype(zs);
      Exchange<T, Cpu, V, V, V> seen{tape, zs, {}, {}, zs, zt};
      return Standardized{SoftTargets{.temperature = temperature}}.evaluate(seen);
    };
  };
  for (double temperature : {0.1, 1.}) {
    for (index_t classes : {2, 17, 128256}) {
      finite("LSKD", classes, standardized(temperature));
      finite("DIST", classes, Dist{.temperature = temperature});
      if (classes > 100) continue;  // a product of C x C
      finite("MLLD, classes", classes, ClassCorrelation{temperature});
    }
    finite("MLLD, batch", 2, BatchCorrelation{temperature});
  }
  // A batch without labelled rows: nothing counts.
  const auto s = ::test::randn<T>(Shape{4, 5}, 1), t = ::test::randn<T>(Shape{4, 5}, 2);
  Tensor<std::int32_t, 1> labels(Shape{index_t{4}});
  std::fill(labels.begin(), labels.end(), ignored_label);
  Tape<T, Cpu> tape(cpu);
  const auto leaf = tape.leaf(View<const T, 2>(s.view()));
  using V = Var<T, 2>;
  Exchange<T, Cpu, V, V, V> seen{tape, leaf, {}, {}, leaf, tape.constant(t.view())};
  seen.labels = labels.view();
  const auto y = Standardized{ForwardKl<TokenMean, TSquared>{.temperature = 2}}.evaluate(seen);
  tape.backward(y);
  CHECK(y.value.data[0] == 0);
  for (T g : tape.gradient(leaf)) CHECK(g == 0);
}

TEST_CASE("SRD by hand: 2 log of the summed distances, with its gradient; finite at equality") {
  Tensor<double, 2> s(Shape{2, 2}), t(Shape{2, 2});
  const double a[] = {1, 2, 3, 4}, b[] = {0, 4, 3.5, 3.5};
  std::copy_n(a, 4, s.begin()), std::copy_n(b, 4, t.begin());
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto leaf = tape.leaf(View<const double, 2>(s.view()));
  const auto y = LogDistance{}(tape, leaf, tape.constant(t.view()));
  tape.backward(y);
  CHECK(y.value.data[0] == doctest::Approx(2 * std::log(4.)).epsilon(value_tolerance<double>));  // 1 + 2 + 1/2 + 1/2
  const double slope[] = {0.5, -0.5, -0.5, 0.5};
  for (int i = 0; i < 4; ++i) CHECK(tape.gradient(leaf).data[i] == doctest::Approx(slope[i]).epsilon(gradient_tolerance<double>));
  CHECK(std::isfinite(at_equality(LogDistance{}, s.clone())));
}

TEST_CASE("standardising constant logits gives zeros and a defined gradient") {
  Cpu cpu;
  Tape<float, Cpu> tape(cpu);
  Tensor<float, 2> z(Shape{2, 4});
  for (float& x : z) x = 3;
  const auto leaf = tape.leaf(View<const float, 2>(z.view()));
  const auto y = standardize_rows(tape, leaf);
  for (float v : y.value) CHECK(v == 0);
  tape.backward(sum(tape, multiply(tape, y, y)));
  for (float g : tape.gradient(leaf)) CHECK(g == 0);
}

TEST_CASE("standardised rows: mean 0, deviation 1, gradients by differences, with a rest of a vector") {
  Cpu cpu;
  auto z = ::test::randn<double>(Shape{3, 13}, 4);
  for (index_t i = 0; i < 13; ++i) z(1, i) = 100 + 3 * z(1, i);
  Tape<double, Cpu> tape(cpu);
  const auto y = standardize_rows(tape, tape.constant(View<const double, 2>(z.view())));
  for (index_t r = 0; r < 3; ++r) {
    double mean = 0, square = 0;
    for (index_t i = 0; i < 13; ++i) mean += y.value(r, i) / 13, square += y.value(r, i) * y.value(r, i) / 12;
    CHECK(std::abs(mean) < value_tolerance<double>);
    CHECK(square == doctest::Approx(1).epsilon(1e-6));  // epsilon stands beside the deviation
  }
  const auto weight = ::test::randn<double>(Shape{3, 13}, 5);
  const auto twice = [&](Tape<double, Cpu>& t, Var<double, 2> x) {  // the second use adds to the gradient
    return sum(t, multiply(t, t.constant(View<const double, 2>(weight.view())), add(t, standardize_rows(t, x), multiply(t, standardize_rows(t, x), x))));
  };
  CHECK(grad_check(cpu, twice, z).error < ::test::tolerance<double>::gradient);
}

TEST_CASE("feature losses vanish where student and teacher agree, with finite gradients") {
  CHECK(at_equality(Hint{}, Fs()) <= 1e-12);
  CHECK(at_equality(AttentionTransfer{}, Fs()) <= 1e-12);
  CHECK(at_equality(AttentionTransferPaper{}, Fs()) <= 2e-12);  // the floor of the distance
  CHECK(at_equality(FactorTransfer{}, Fs()) <= 1e-12);
  CHECK(at_equality(NeuronSelectivity{}, Fs()) <= 1e-12);
  CHECK(at_equality(SimilarityPreserving{}, Fs()) <= 1e-12);
  CHECK(at_equality(CorrelationCongruence{}, vector_of(true)) <= 1e-12);
  CHECK(at_equality(RelationalDistance{}, vector_of(true)) <= 1e-12);
  CHECK(at_equality(RelationalAngle{}, vector_of(true)) <= 1e-12);
  CHECK(at_equality(ProbabilisticTransfer{}, vector_of(true)) <= 1e-12);
  Tensor<double, 2> same(Shape{4, 6});  // identical samples: distances of zero are defined
  for (double& x : same) x = 0.5;
  CHECK(at_equality(RelationalAngle{}, same.clone()) <= 1e-12);
}

TEST_CASE("the memory of RKD's angles grows with N^2, not N^3") {
  Cpu cpu;
  auto bytes = [&](index_t n) {
    Tape<float, Cpu> tape(cpu);
    auto s = ::test::randn<float>(Shape{n, index_t{16}}, 1), t = ::test::randn<float>(Shape{n, index_t{16}}, 2);
    tape.backward(RelationalAngle{}(tape, tape.leaf(View<const float, 2>(s.view())), tape.constant(t.view())));
    return tape.capacity();
  };
  CHECK(bytes(256) < 256u * 256u * 256u * sizeof(float) / 10);
}

TEST_CASE("mismatched features and single samples are typed errors") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Tensor<double, 4> a(Shape{2, 4, 4, 3}), b(Shape{2, 4, 4, 5});
  Tensor<double, 2> one(Shape{1, 3});
  CHECK_THROWS_AS(Hint{}(tape, tape.constant(a.view()), tape.constant(b.view())), shape_error);
  CHECK_THROWS_AS(CorrelationCongruence{}(tape, tape.constant(one.view()), tape.constant(one.view())), value_error);
  CHECK(::test::message_of<value_error>([&] { RelationalDistance{}(tape, tape.constant(one.view()), tape.constant(one.view())); }) ==
        "loss::RelationalDistance: expected at least 2 samples, got 1; where that is the rest of a data set, leave it out: source::Dataset{.drop_last = true}");
}
