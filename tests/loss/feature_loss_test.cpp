// Feature and relational losses: golden values and gradient norms, central differences, zeros at s = t, errors.
#include <retort/autograd/grad_check.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/loss/forward_kl.hpp>
#include <retort/loss/relational.hpp>
#include <retort/loss/standardized.hpp>
#include <retort/method/roles.hpp>

#include "golden.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::loss;

namespace {

// The golden file's maps are N x C x H x W = 4 x 3 x 4 x 4; here they are N x H x W x C.
template <class F>
Tensor<double, 4> map_of(F f) {
  Tensor<double, 4> out(Shape{4, 4, 4, 3});
  for (int n = 0; n < 4; ++n)
    for (int c = 0; c < 3; ++c)
      for (int h = 0; h < 4; ++h)
        for (int w = 0; w < 4; ++w) out(n, h, w, c) = f(n, c, h, w);
  return out;
}
Tensor<double, 4> Fs() { return map_of([](int n, int c, int h, int w) { return std::sin(0.5 * n + 0.8 * c + 0.3 * h + 0.2 * w + 0.1); }); }
Tensor<double, 4> Ft() { return map_of([](int n, int c, int h, int w) { return std::cos(0.3 * n + 0.6 * c - 0.25 * h + 0.4 * w + 0.2); }); }
Tensor<double, 4> Gs() { return map_of([](int n, int c, int h, int w) { return std::cos(0.2 * n + 0.7 * c + 0.15 * h - 0.35 * w); }); }
Tensor<double, 4> Gt() { return map_of([](int n, int c, int h, int w) { return std::sin(0.6 * n - 0.4 * c + 0.45 * h + 0.1 * w + 0.3); }); }
Tensor<double, 2> vector_of(bool student) {
  Tensor<double, 2> out(Shape{4, 6});
  for (int n = 0; n < 4; ++n)
    for (int d = 0; d < 6; ++d) out(n, d) = student ? std::sin(0.4 * n + 0.9 * d + 0.3) : std::cos(0.8 * n + 0.35 * d + 0.1);
  return out;
}

template <class Loss, int R>
void check(const std::string& key, const Loss& loss, Tensor<double, R> s, Tensor<double, R> t) {
  CAPTURE(key);
  const auto golden = retort::test::read_golden();
  REQUIRE(golden.count(key) == 1);
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto leaf = tape.leaf(View<const double, R>(s.view()));
  const auto y = loss(tape, leaf, tape.constant(t.view()));
  tape.backward(y);
  double norm = 0;
  for (double g : tape.gradient(leaf)) norm += g * g;
  CHECK(std::abs(y.value.data[0] - golden.at(key).value) <= 1e-9 * std::max(1.0, std::abs(golden.at(key).value)));
  CHECK(std::abs(std::sqrt(norm) - golden.at(key).gradient_norm) <= 1e-6);
  const auto r = grad_check(cpu, [&](auto& tape2, auto p) { return loss(tape2, p, tape2.constant(t.view())); }, s);
  INFO("entry ", r.entry, " analytic ", r.analytic, " numeric ", r.numeric);
  CHECK(r.error < ::test::tolerance<double>::gradient);
}
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
  check("FitNet: s=Fs; t=Ft; connector=identity", Hint{}, Fs(), Ft());
  check("AT_as_published: s=Fs; t=Ft; p=2; one layer", AttentionTransfer{}, Fs(), Ft());
  check("AT_paper: s=Fs; t=Ft; p=2; one layer; batch mean of the L2 distance", AttentionTransferPaper{}, Fs(), Ft());
  check("FT: s=Fs; t=Ft; p1=2; p2=1; translator=paraphraser=identity", FactorTransfer{}, Fs(), Ft());
  check("NST: s=Fs; t=Ft", NeuronSelectivity{}, Fs(), Ft());
  check("AB: s=Fs; t=Ft; margin=1; one layer with weight 1; factor 3/1000; connector=identity", ActivationBoundary{}, Fs(), Ft());
  const auto s2 = Gs(), t2 = Gt();
  check("FSP: s=Fs then Gs; t=Ft then Gt; gradient wrt Fs only",
        [&](auto& tape, auto s, auto t) { return Flow{}(tape, s, tape.constant(s2.view()), t, tape.constant(t2.view())); }, Fs(), Ft());
}

TEST_CASE("relational losses reproduce the golden values") {
  check("SP: s=Fs; t=Ft", SimilarityPreserving{}, Fs(), Ft());
  check("CC: s=fs; t=ft; embeddings=identity", CorrelationCongruence{}, vector_of(true), vector_of(false));
  check("RKD_distance: s=fs; t=ft; weight 1", RelationalDistance{}, vector_of(true), vector_of(false));
  check("RKD_angle: s=fs; t=ft; weight 1", RelationalAngle{}, vector_of(true), vector_of(false));
  check("RKD: s=fs; t=ft; distance weight 25; angle weight 50",
        [](auto& tape, auto s, auto t) {
          return add(tape, scale(tape, 25.0, RelationalDistance{}(tape, s, t)), scale(tape, 50.0, RelationalAngle{}(tape, s, t)));
        },
        vector_of(true), vector_of(false));
  check("PKT: s=fs; t=ft; eps=1e-7", ProbabilisticTransfer{}, vector_of(true), vector_of(false));
}

TEST_CASE("LSKD, DIST and the correlations of MLLD reproduce the golden values") {
  const auto inputs = retort::test::golden_inputs<double>();
  const auto matrix = [](const std::vector<double>& v) {
    Tensor<double, 2> out(Shape{4, 5});
    std::copy(v.begin(), v.end(), out.begin());
    return out;
  };
  const auto s = matrix(inputs.student), t = matrix(inputs.teacher);
  check("LSKD: s=zs; t=zt; T=2; factor T^2; std divisor C-1; eps=1e-7",
        [](auto& tape, auto zs, auto zt) {
          using V = Var<double, 2>;
          Exchange<double, Cpu, V, V, V> seen{tape, zs, {}, {}, zs, zt};
          return Standardized{SoftTargets{.temperature = 2}}.evaluate(seen);
        },
        s.clone(), t.clone());
  check("DIST: s=zs; t=zt; beta=1; gamma=1; tau=1; eps=1e-8", Dist{}, s.clone(), t.clone());
  check("DIST: s=zs; t=zt; beta=1; gamma=1; tau=4; eps=1e-8", Dist{.temperature = 4}, s.clone(), t.clone());
  check("MLLD_batch: s=zs; t=zt; T=4; no T^2", BatchCorrelation{}, s.clone(), t.clone());
  check("MLLD_class: s=zs; t=zt; T=4; no T^2", ClassCorrelation{}, s.clone(), t.clone());
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
