// Feature and relational losses: golden values and gradient norms, central differences, zeros at s = t, errors.
#include <retort/loss/forward_kl.hpp>
#include <retort/loss/relational.hpp>
#include <retort/loss/standardized.hpp>
#include <retort/method/roles.hpp>

#include "golden_features.hpp"

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
        [&](auto& tape, auto s, auto t) { return Flow{}(tape, s, tape.constant(s2.view()), t, tape.constant(t2.view())); }, Fs(), Ft());
}

TEST_CASE("relational losses reproduce the golden values") {
  check_feature("SP: s=Fs; t=Ft", SimilarityPreserving{}, Fs(), Ft());
  check_feature("CC: s=fs; t=ft; embeddings=identity", CorrelationCongruence{}, vector_of(true), vector_of(false));
  check_feature("RKD_distance: s=fs; t=ft; weight 1", RelationalDistance{}, vector_of(true), vector_of(false));
  check_feature("RKD_angle: s=fs; t=ft; weight 1", RelationalAngle{}, vector_of(true), vector_of(false));
  check_feature("RKD: s=fs; t=ft; distance weight 25; angle weight 50",
        [](auto& tape, auto s, auto t) {
          return add(tape, scale(tape, 25.0, RelationalDistance{}(tape, s, t)), scale(tape, 50.0, RelationalAngle{}(tape, s, t)));
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
          using V = Var<double, 2>;
          Exchange<double, Cpu, V, V, V> seen{tape, zs, {}, {}, zs, zt};
          return Standardized{SoftTargets{.temperature = 2}}.evaluate(seen);
        },
        s.clone(), t.clone());
  check_feature("DIST: s=zs; t=zt; beta=1; gamma=1; tau=1; eps=1e-8", Dist{}, s.clone(), t.clone());
  check_feature("DIST: s=zs; t=zt; beta=1; gamma=1; tau=4; eps=1e-8", Dist{.temperature = 4}, s.clone(), t.clone());
  check_feature("MLLD_batch: s=zs; t=zt; T=4; no T^2", BatchCorrelation{}, s.clone(), t.clone());
  check_feature("MLLD_class: s=zs; t=zt; T=4; no T^2", ClassCorrelation{}, s.clone(), t.clone());
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
  for (float g : tape.gradient(leaf)) CHECK(std::isfinite(g));
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
  CHECK_THROWS_AS(RelationalDistance{}(tape, tape.constant(one.view()), tape.constant(one.view())), value_error);
}
