// The chunked output layer with its loss equals the layer, then the loss.
#include <doctest/doctest.h>

#include <retort/autograd/grad_check.hpp>
#include <retort/autograd/ops_linear_loss.hpp>
#include <retort/autograd/ops_nn.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/loss/hinton_loss.hpp>
#include <retort/loss/jensen_shannon.hpp>
#include <support.hpp>

using namespace retort;

namespace {
constexpr index_t rows = 7, width = 5, classes = 33;
const loss::Sum tokens{loss::JensenShannon<TokenMean, loss::TSquared>{.temperature = 2}, loss::CrossEntropy<TokenMean>{.weight = 0.5}};
}  // namespace

TEST_CASE("linear_row_loss equals linear, then row_loss, whatever the chunks") {
  Cpu cpu;
  const auto x = test::randn(Shape{rows, width}, 1), w = test::randn(Shape{width, classes}, 2), taught = test::randn(Shape{rows, 4}, 4),
             taught_w = test::randn(Shape{index_t{4}, classes}, 5);
  const auto b = test::randn(Shape{classes}, 3), taught_b = test::randn(Shape{classes}, 6);
  const std::vector<std::int32_t> labels{3, ignored_label, 0, 32, ignored_label, 7, 9};
  const View<const std::int32_t, 1> y{labels.data(), {rows}};
  Tape<double, Cpu> tape(cpu);
  const auto differentiate = [&](index_t chunk_bytes) {
    tape.reset();
    const auto vx = tape.leaf(x.view()), vw = tape.leaf(w.view());
    const auto vb = tape.leaf(b.view());
    Var<double, 1> value;
    if (chunk_bytes == 0) {
      const auto t = linear(tape, tape.constant(taught.view()), tape.constant(taught_w.view()), tape.constant(taught_b.view()));
      value = row_loss(tape, tokens, RowLossInputs<double>{.student = linear(tape, vx, vw, vb), .teacher = t, .labels = y});
    } else {
      value = linear_row_loss(tape, tokens, LinearLossInputs<double>{vx, vw, vb, {.hidden = taught.view(), .weights = taught_w.view(), .bias = taught_b.view()}, y},
                              chunk_bytes);
    }
    value = scale(tape, 0.5, value);  // a seed other than one
    tape.backward(value);
    std::vector<double> out{tape.item(value)};
    for (auto g : {tape.gradient(vx).flat(), tape.gradient(vw).flat(), tape.gradient(vb).flat()}) out.insert(out.end(), g.begin(), g.end());
    return out;
  };
  const auto expected = differentiate(0);
  for (index_t chunk_rows : {1, 2, 3, 7, 100}) {
    const auto actual = differentiate(chunk_rows * 3 * classes * index_t{sizeof(double)});
    REQUIRE(actual.size() == expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i)
      CHECK(actual[i] == doctest::Approx(expected[i]).epsilon(test::tolerance<double>::value).scale(1));
  }
}

TEST_CASE("linear_row_loss: gradients, and no more memory than asked for") {
  Cpu cpu;
  auto x = test::randn(Shape{rows, width}, 1), w = test::randn(Shape{width, classes}, 2);
  const auto t = test::randn(Shape{rows, classes}, 3);
  const auto report = grad_check(
      cpu,
      [&](auto& tape, auto vx, auto vw) {
        return linear_row_loss(tape, loss::SoftTargets{.temperature = 2}, LinearLossInputs<double>{vx, vw, {}, {.logits = t.view()}}, 2000);
      },
      x, w);
  CHECK(report.error < test::tolerance<double>::gradient);

  const index_t many = 400, vocabulary = 5000, chunk_bytes = 1 << 20;
  const auto h = test::randn<float>(Shape{many, index_t{8}}, 1), out = test::randn<float>(Shape{index_t{8}, vocabulary}, 2);
  Tape<float, Cpu> tape(cpu);
  const auto vh = tape.leaf(h.view()), vo = tape.leaf(out.view());
  linear_row_loss(tape, loss::SoftTargets{}, LinearLossInputs<float>{vh, vo, {}, {.hidden = h.view(), .weights = out.view()}}, chunk_bytes);
  const auto held = static_cast<index_t>(tape.capacity() + cpu.scratch().capacity());
  CHECK(held < many * vocabulary * index_t{sizeof(float)});  // one matrix of logits alone
}

TEST_CASE("linear_row_loss: shapes that do not fit are named") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto x = test::randn(Shape{rows, width}, 1), w = test::randn(Shape{width, classes}, 2), t = test::randn(Shape{rows, index_t{4}}, 3);
  const auto vx = tape.leaf(x.view()), vw = tape.leaf(w.view());
  const auto run = [&](const LinearLossInputs<double>& in) { linear_row_loss(tape, loss::SoftTargets{}, in); };
  CHECK_THROWS_WITH_AS(run({vx, vx, {}, {}}), "linear_row_loss: hidden states of shape (7, 5), output weights of shape (7, 5)", shape_error);
  CHECK_THROWS_WITH_AS(run({vx, vw, {}, {.logits = t.view()}}), "linear_row_loss: expected teacher logits of shape (7, 33), got (7, 4)", shape_error);
  CHECK_THROWS_WITH_AS(run({vx, vw, {}, {.hidden = t.view(), .weights = w.view()}}), doctest::Contains("the teacher's hidden states have shape (7, 4), its weights (5, 33)"),
                       shape_error);
  CHECK_THROWS_WITH_AS(run({vx, vw, {}, {}}), doctest::Contains("teacher logits have shape (0, 0)"), shape_error);
}
