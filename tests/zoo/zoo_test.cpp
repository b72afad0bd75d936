// The zoo: parameter counts against the published ones, shapes of all taps, one training step.
#include <doctest/doctest.h>

#include <retort/backend/cpu_kernels.hpp>
#include <retort/nn/network.hpp>
#include <retort/nn/zoo/mlp.hpp>
#include <retort/nn/zoo/mobilenet_v2.hpp>
#include <retort/nn/zoo/resnet.hpp>
#include <retort/nn/zoo/shufflenet_v2.hpp>
#include <retort/nn/zoo/vgg.hpp>
#include <retort/nn/zoo/wide_resnet.hpp>

#include "support.hpp"

using namespace retort;
using namespace retort::nn;

namespace {

template <class Net>
index_t count(Net net) {
  return Network<Net>(std::move(net), 1).parameter_count();
}
/// The output of a frozen pass over two images.
template <class Net, class F>
void look(Net net, index_t size, index_t channels, F&& f) {
  Network<Net> network(std::move(net), 1);
  Cpu cpu;
  Tape<float, Cpu> tape(cpu);
  const auto x = test::randn<float>(Shape{2, size, size, channels}, 1);
  auto pass = Pass<float, Cpu>::frozen(tape);
  f(network.forward(pass, tape.constant(x.view())));
}
template <int I, class O>
Shape<4> stage_of(const O& o) {
  return feature_of(tap<zoo::stage<I>>(o)).shape();
}

}  // namespace

TEST_CASE("parameter counts for 100 classes are the published ones") {
  CHECK(count(zoo::resnet8()) == 83892);
  CHECK(count(zoo::resnet20()) == 278324);
  CHECK(count(zoo::resnet32()) == 472756);
  CHECK(count(zoo::resnet56()) == 861620);
  CHECK(count(zoo::resnet110()) == 1736564);
  CHECK(count(zoo::resnet8x4()) == 1233540);
  CHECK(count(zoo::resnet32x4()) == 7433860);
  CHECK(count(zoo::wide_resnet(40, 2)) == 2255156);
  CHECK(count(zoo::wide_resnet(16, 2)) == 703284);
  CHECK(count(zoo::wide_resnet(40, 1)) == 569780);
  CHECK(count(zoo::vgg8()) == 3965028);
  CHECK(count(zoo::vgg13()) == 9462180);
  CHECK(count(zoo::mobilenet_v2()) == 812836);
  CHECK(count(zoo::shufflenet_v2()) == 1355528);
  CHECK(count(zoo::lenet()) == 61706);
  CHECK(count(zoo::lenet(10, 1, 32)) == 61706);
  CHECK(count(zoo::mlp({784, 100, 10})) == 784 * 100 + 100 + 100 * 10 + 10);
}

TEST_CASE("taps of a residual network: stem, stages before and behind the last activation, pooled vector, classifier") {
  look(zoo::resnet20(10), 32, 3, [](const auto& out) {
    CHECK(result_of(out).shape() == Shape{2, 10});
    CHECK(tap<zoo::stem>(out).shape() == Shape{2, 32, 32, 16});
    CHECK(stage_of<1>(out) == Shape{2, 32, 32, 16});
    CHECK(stage_of<2>(out) == Shape{2, 16, 16, 32});
    CHECK(stage_of<3>(out) == Shape{2, 8, 8, 64});
    CHECK(tap<zoo::pooled>(out).shape() == Shape{2, 64});
    CHECK(tap<zoo::classifier>(out).weight.shape() == Shape{64, 10});
    const auto before = tap<zoo::preact<2>>(out).value, behind = tap<zoo::stage<2>>(out).value;
    for (index_t i = 0; i < before.size(); ++i) REQUIRE(std::max(before.data[i], 0.f) == behind.data[i]);
  });
}

TEST_CASE("taps of the other families") {
  look(zoo::wide_resnet(16, 1, 10), 32, 3, [](const auto& out) {
    CHECK(stage_of<1>(out) == Shape{2, 32, 32, 16});
    CHECK(stage_of<3>(out) == Shape{2, 8, 8, 64});
    CHECK(tap<zoo::preact<1>>(out).gamma.size() == 16);
    CHECK(tap<zoo::preact<3>>(out).value.shape() == Shape{2, 8, 8, 64});
  });
  look(zoo::vgg8(10), 32, 3, [](const auto& out) {
    CHECK(stage_of<4>(out) == Shape{2, 4, 4, 512});
    CHECK(stage_of<5>(out) == Shape{2, 4, 4, 512});
    CHECK(tap<zoo::preact<4>>(out).beta.size() == 512);
  });
  look(zoo::mobilenet_v2(10), 32, 3, [](const auto& out) {
    CHECK(stage_of<1>(out) == Shape{2, 16, 16, 12});
    CHECK(stage_of<4>(out) == Shape{2, 2, 2, 160});
    CHECK(tap<zoo::pooled>(out).shape() == Shape{2, 1280});
  });
  look(zoo::shufflenet_v2(10), 32, 3, [](const auto& out) {
    CHECK(stage_of<1>(out) == Shape{2, 16, 16, 116});
    CHECK(stage_of<3>(out) == Shape{2, 4, 4, 464});
  });
  look(zoo::lenet(), 28, 1, [](const auto& out) {
    CHECK(stage_of<2>(out) == Shape{2, 10, 10, 16});
    CHECK(tap<zoo::pooled>(out).shape() == Shape{2, 84});
  });
  look(zoo::mlp({75, 20, 30, 4}), 5, 3, [](const auto& out) { CHECK(tap<zoo::pooled>(out).shape() == Shape{2, 30}); });
}

TEST_CASE("depths and widths that no network has are errors") {
  CHECK_THROWS_WITH_AS(zoo::resnet(21, {16, 16, 32, 64}), doctest::Contains("6n + 2, got 21"), value_error);
  CHECK_THROWS_AS(zoo::wide_resnet(15, 2), value_error);
  CHECK_THROWS_AS(zoo::vgg({1, 1, 0, 1, 1}), value_error);
  CHECK_THROWS_AS(zoo::mobilenet_v2(10, 0), value_error);
  CHECK_THROWS_AS(zoo::shufflenet_v2(10, {115, 232, 464, 1024}), value_error);
  CHECK_THROWS_AS(zoo::lenet(10, 1, 30), value_error);
  CHECK_THROWS_AS(zoo::mlp({3}), value_error);
}
