#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/predict/logits.hpp>
#include <retort/train/generations.hpp>

#include "toy_data.hpp"

using namespace retort;

TEST_CASE("born-again generations: each taught by the one before, reproducible, the first teacher untouched") {
  using Net = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
  const Net net(nn::Linear{8, 12}, nn::Relu{}, nn::Linear{12, 3});
  const auto data = test::blobs(240, 8, 3, 1);
  Network<Net> first(net, 1);
  LabelsOnly<Net> supervised{teacher::None{}, first};
  const optim::Sgd optimizer{.lr = 0.1f, .momentum = 0.9f};
  const FitOptions options{.epochs = 5, .seed = 3};
  fit(supervised, data, optimizer, options);
  const auto weights = [](Network<Net>& n) {
    std::vector<float> out;
    for (auto& [name, v] : n.tensors()) out.insert(out.end(), v.begin(), v.end());
    return out;
  };
  const auto before = weights(first);
  auto students = fit_generations(first, 2, data, optimizer, options);
  REQUIRE(students.size() == 2);
  CHECK(weights(first) == before);
  CHECK(weights(students[0]) != weights(students[1]));
  auto again = fit_generations(first, 2, data, optimizer, options);
  for (std::size_t g = 0; g < 2; ++g) CHECK(weights(again[g]) == weights(students[g]));
  // The second generation agrees with the first more than with chance: it learned from it.
  Cpu cpu;
  const auto a = predict_logits(students[0], data, cpu), b = predict_logits(students[1], data, cpu);
  int same = 0;
  for (index_t i = 0; i < a.extent(0); ++i)
    same += std::max_element(a.view().row(i), a.view().row(i) + 3) - a.view().row(i) == std::max_element(b.view().row(i), b.view().row(i) + 3) - b.view().row(i);
  CHECK(same > 0.9 * 240);
  CHECK_THROWS_AS(fit_generations(first, 0, data, optimizer, options), value_error);
}
