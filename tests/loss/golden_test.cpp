#include "golden.hpp"

using namespace retort;
using namespace retort::test;
using namespace retort::loss;

namespace {

template <class T>
void check_all() {
  const auto golden = read_golden();
  const auto p = golden_inputs<T>();
  CHECK(double(p.student[0]) == doctest::Approx(0.199666833294));
  CHECK(double(p.teacher[0]) == doctest::Approx(2.940199733524));
  using Jsd = JensenShannon<BatchMean, NoTSquared>;
  check_row(golden, "CE: s=zs; labels=y", CrossEntropy<BatchMean>{}, p);
  check_row(golden, "KD: s=zs; t=zt; T=4; factor T^2", SoftTargets{.temperature = 4}, p);
  check_row(golden, "KD: s=zs; t=zt; T=1", ForwardKl<BatchMean, NoTSquared>{}, p);
  check_row(golden, "FKL: s=zs; t=zt; T=1", ForwardKl<TokenMean, NoTSquared>{}, p);
  check_row(golden, "RKL: s=zs; t=zt; T=1", ReverseKl<BatchMean, NoTSquared>{}, p);
  check_row(golden, "Symmetric: s=zs; t=zt; lambda=0.5",
            Sum{Scaled{ForwardKl<BatchMean, NoTSquared>{}, 0.5}, ReverseKl<BatchMean, NoTSquared>{.weight = 0.5}}, p);
  check_row(golden, "JSD: s=zs; t=zt; beta=0.5 (weight of teacher in M)", Jsd{.beta = 0.5}, p);
  check_row(golden, "JSD: s=zs; t=zt; beta=0.1 (weight of teacher in M)", Jsd{.beta = 0.1}, p);
  check_row(golden, "SRRL_logit: s=zs as z'; t=zt; weight 1", LogitMse<ElementMean>{}, p);
  Problem<T> one_hot = p;
  for (std::size_t n = 0; n < 4; ++n)
    one_hot.labels[n] = static_cast<std::int32_t>(std::max_element(p.student.begin() + 5 * long(n), p.student.begin() + 5 * long(n) + 5) -
                                                  (p.student.begin() + 5 * long(n)));
  check_row(golden, "OneHot: s=zs as classifier logits; target=argmax", CrossEntropy<BatchMean>{}, one_hot);
}

}  // namespace

TEST_CASE("row losses reproduce the golden values in double") { check_all<double>(); }
TEST_CASE("row losses reproduce the golden values in float") { check_all<float>(); }
