// Censors that do not learn.
#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/censor/threshold.hpp>
#include <retort/censor/weights.hpp>

#include "fixture.hpp"
#include "worlds.hpp"

using namespace retort;
using namespace retort::censor;
using test::Mlp;
using test::weights;

TEST_CASE("thresholds on confidence, entropy and loss, of either network") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  test::Batch b(12, 5);
  auto turn = b.turn(tape, tape.constant(View<const double, 2>(b.student.view())), {});
  const auto kept = [&](auto censor) {
    censor.apply(turn);
    return std::vector<double>(turn.weights.begin(), turn.weights.end());
  };
  const auto confident = kept(Threshold<Confidence>{.low = 0.6}), unsure = kept(Threshold<Entropy>{.low = 0.7, .outside = 0.25}),
             easy = kept(Threshold<LabelLoss, OfStudent>{.high = 1.5});
  int changes = 0;
  for (index_t r = 0; r < 12; ++r) {
    const auto i = static_cast<std::size_t>(r);
    const auto t = test::softmax(b.teacher.view().row(r), 5), s = test::softmax(b.student.view().row(r), 5);
    double entropy = 0;
    for (double p : t) entropy -= p * std::log(p);
    CHECK(confident[i] == (*std::max_element(t.begin(), t.end()) >= 0.6 ? 1 : 0));
    CHECK(unsure[i] == (entropy >= 0.7 ? 1 : 0.25));
    CHECK(easy[i] == (-std::log(s[static_cast<std::size_t>(b.labels[i])]) <= 1.5 ? 1 : 0));
    changes += confident[i] != confident[0];
  }
  CHECK(changes > 0);
  CHECK_THROWS_AS(kept(Threshold<Confidence>{.low = 2, .high = 1}), value_error);
  turn.labels = {};
  CHECK_THROWS_AS(kept(Threshold<LabelLoss>{}), shape_error);
}

TEST_CASE("given weights: zero for half the data is training on the other half's gradients") {
  test::World world;
  std::vector<float> half(240);
  for (std::size_t i = 0; i < 240; ++i) half[i] = i % 2 ? 0.f : 1.f;
  const auto train = [&](std::vector<float> table) {
    Network<Mlp> student(test::mlp(8, 3, 4), 5);
    Hinton<Mlp, Mlp>::with_censor<Weights> method{world.teacher, student, {}, {std::move(table)}};
    fit(method, world.data, optim::Sgd{.lr = 0.05f}, {.epochs = 1, .batch_size = 240});
    return weights(student);
  };
  Network<Mlp> plain(test::mlp(8, 3, 4), 5);
  const auto start = weights(plain);
  Hinton<Mlp, Mlp> method{world.teacher, plain, {}};
  fit(method, world.data, optim::Sgd{.lr = 0.05f}, {.epochs = 1, .batch_size = 240});
  const auto all = train(std::vector<float>(240, 1.f)), one = train(half);
  for (float& w : half) w = 1 - w;
  const auto other = train(half);
  CHECK(all == weights(plain));
  for (std::size_t i = 0; i < all.size(); ++i)  // one step: the halves' moves add up
    CHECK(one[i] + other[i] - start[i] == doctest::Approx(all[i]).epsilon(1e-4));
  CHECK_THROWS_WITH_AS(train({1, 2, 3}), doctest::Contains("240, got 3"), shape_error);
}

TEST_CASE("given gates: none is the plain loss, full help changes it, more than one is refused") {
  test::World world;
  using Method = Hinton<Mlp, Mlp>::with_loss<loss::ScaffoldedSoftTargets>;
  const auto train = [&](float gate) {
    Network<Mlp> student(test::mlp(8, 3, 4), 5);
    Method::with_censor<Gates> method{world.teacher, student, test::top3(), {std::vector<float>(240, gate)}};
    fit(method, world.data, optim::Sgd{.lr = 0.05f}, {.epochs = 1});
    return weights(student);
  };
  Network<Mlp> plain(test::mlp(8, 3, 4), 5);
  Method method{world.teacher, plain, test::top3()};
  fit(method, world.data, optim::Sgd{.lr = 0.05f}, {.epochs = 1});
  CHECK(train(0) == weights(plain));
  CHECK(train(1) != weights(plain));
  CHECK_THROWS_WITH_AS(train(1.5f), doctest::Contains("expected 0 to 1"), value_error);
}
