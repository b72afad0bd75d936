#include <doctest/doctest.h>

#include <retort/autograd/grad_check.hpp>
#include <retort/nn/footprint.hpp>
#include <retort/nn/network.hpp>
#include <retort/nn/zoo/l3.hpp>
#include <retort/nn/zoo/mlp.hpp>
#include <retort/nn/zoo/resnet.hpp>
#include <retort/backend/cpu_kernels.hpp>

#include "support.hpp"

using namespace retort;
namespace zoo = nn::zoo;

TEST_CASE("footprint: parameters and storage of the published networks, with and without the last batch norm") {
  struct Row {
    index_t trainable, all, trainable_signed, all_signed;
    double megabytes;
  };
  const Row rows[]{{4688066, 4691908, 4687042, 4689860, 18.77}, {1173602, 1175524, 1173090, 1174500, 4.702}, {583010, 584420, 582754, 583908, 2.338},
                   {398306, 399460, 398178, 399204, 1.598}};
  for (std::size_t i = 0; i < 4; ++i) {
    CAPTURE(i);
    const Footprint with = footprint(zoo::l3_rectified(zoo::sea_widths[i]), zoo::sea_input), without = footprint(zoo::l3(zoo::sea_widths[i]), zoo::sea_input);
    CHECK(with.parameters == rows[i].trainable);
    CHECK(with.stored() == rows[i].all);
    CHECK(without.parameters == rows[i].trainable_signed);
    CHECK(without.stored() == rows[i].all_signed);
    CHECK(Footprint::megabytes(with.stored()) == doctest::Approx(rows[i].megabytes).epsilon(5e-4));
  }
  CHECK(footprint(zoo::l3_rectified(zoo::l3_widths), zoo::l3_input).parameters == 4688066);
  CHECK(Footprint::megabytes(1000000, 1) == 1.0);
}

TEST_CASE("footprint: maps, peak and multiply-adds of the published networks") {
  const auto of = [](std::size_t i) { return footprint(zoo::l3(zoo::sea_widths[i]), zoo::sea_input); };
  const Footprint teacher = footprint(zoo::l3(zoo::l3_widths), zoo::l3_input);
  CHECK(4 * teacher.largest_map == 13041664);
  CHECK(4 * of(0).largest_map == 819200);
  for (std::size_t i = 1; i < 4; ++i) CHECK(4 * of(i).largest_map == 409600);
  CHECK(Footprint::megabytes(teacher.two_buffers) == doctest::Approx(26.1).epsilon(2e-3));
  CHECK(Footprint::megabytes(of(0).two_buffers) == doctest::Approx(1.64).epsilon(2e-3));
  for (std::size_t i = 1; i < 4; ++i) CHECK(Footprint::megabytes(of(i).two_buffers) == doctest::Approx(0.82).epsilon(2e-3));
  const double millions[]{636, 160, 131, 122};
  CHECK(static_cast<double>(teacher.multiply_adds) / 1e6 == doctest::Approx(10203).epsilon(1e-3));
  for (std::size_t i = 0; i < 4; ++i) CHECK(static_cast<double>(of(i).multiply_adds) / 1e6 == doctest::Approx(millions[i]).epsilon(5e-3));
}

TEST_CASE("footprint is a constant expression, and agrees with the parameters that a network makes") {
  constexpr Footprint small = footprint(zoo::l3_rectified({8, 16, 16, 16}), Shape<4>{1, 32, 25, 1});
  static_assert(small.parameters == 13658 && small.stored() == 13884);
  CHECK(static_cast<double>(small.multiply_adds) / 1e6 == doctest::Approx(1.46).epsilon(5e-3));
  CHECK(Network<zoo::L3Rectified>(zoo::l3_rectified({8, 16, 16, 16})).parameter_count() == small.parameters);
  CHECK(footprint(zoo::resnet20(), Shape<4>{1, 32, 32, 3}).parameters == Network<zoo::ResNet>(zoo::resnet20()).parameter_count());
  const auto mlp = zoo::mlp({800, 8, 5});
  CHECK(footprint(mlp, Shape{1, 800}) == Footprint{.parameters = 801 * 8 + 9 * 5, .buffers = 0, .largest_map = 800, .two_buffers = 808, .multiply_adds = 6440});
}

TEST_CASE("global_max_pool: the largest of each channel on maps of any shape, and its gradient") {
  for (const Shape<4> shape : {Shape<4>{2, 8, 6, 3}, Shape<4>{2, 3, 7, 9}, Shape<4>{1, 4, 4, 2}, Shape<4>{2, 5, 1, 3}}) {
    Cpu cpu;
    Tape<double, Cpu> tape(cpu);
    const auto x = test::randn(shape, 1);
    const auto y = global_max_pool(tape, tape.constant(x.view()));
    REQUIRE(y.shape() == Shape<2>{shape[0], shape[3]});
    for (index_t n = 0; n < shape[0]; ++n)
      for (index_t c = 0; c < shape[3]; ++c) {
        double best = -1e300;
        for (index_t h = 0; h < shape[1]; ++h)
          for (index_t w = 0; w < shape[2]; ++w) best = std::max(best, x.view()(n, h, w, c));
        CHECK(y.value(n, c) == best);
      }
  }
}
