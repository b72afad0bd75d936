// Layers over text: against loops written out, by differences, and blind to padding.
#include <doctest/doctest.h>

#include <retort/autograd/grad_check.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/loss/cross_entropy.hpp>
#include <retort/method/hinton.hpp>
#include <retort/nn/zoo/text.hpp>
#include <retort/predict/logits.hpp>
#include <retort/train/fit.hpp>
#include <retort/train/metrics.hpp>

#include "count_allocations.hpp"
#include "scratch_folder.hpp"
#include "support.hpp"

using namespace retort;

namespace {

constexpr double gradient = ::test::tolerance<double>::gradient, exact = ::test::tolerance<double>::value;
const std::vector<std::int32_t> uneven{4, 1, 0, 3};
const SequenceLengths lengths{uneven.data(), {4}};
const std::vector<std::int32_t> token_ids{1, 2, 1, 4, 3, 0, 0, 0, 0, 0, 0, 0, 2, 2, 4, 0};
const View<const std::int32_t, 2> ids{token_ids.data(), {4, 4}};

/// Any fixed mixture of the entries, so that a gradient of every size is looked at.
template <class B, int R>
Var<double, 1> mixture(Tape<double, B>& tape, Var<double, R> x) {
  const View<double, R> w = tape.allocate(x.shape());
  for (index_t i = 0; i < w.size(); ++i) w.data[i] = std::sin(1.7 * static_cast<double>(i) + 0.3);
  return sum(tape, multiply(tape, x, tape.constant(w)));
}
/// Token ids as a network takes them.
Tensor<float, 2> sentences() {
  Tensor<float, 2> out(Shape{4, 4});
  std::copy(token_ids.begin(), token_ids.end(), out.begin());
  return out;
}
template <class Net>
Tensor<double, 2> answer(Network<Net, Double<Cpu>>& network, const Tensor<float, 2>& input) {
  Cpu cpu;
  const Dataset<2> data{input.clone(), std::vector<std::int32_t>(static_cast<std::size_t>(input.extent(0))), 2, "text"};
  return predict_logits(network, data, cpu);
}
/// Gradients of all parameters of a network by differences, in training mode without dropout.
template <class Net>
void check_parameters(Net net, double tolerance = gradient) {
  Cpu cpu;
  Network<Net, Double<Cpu>> network(std::move(net), 3);
  const auto input = sentences();
  Tensor<double, 2> x(input.shape());
  std::copy(input.begin(), input.end(), x.begin());
  Tape<double, Cpu> tape(cpu);
  ReplayLog<Cpu> log;
  using Kinks = Tape<double, Cpu>::Kinks;
  const auto run = [&](Kinks kinks) {
    tape.reset();
    tape.set_kinks(kinks, &log);
    auto pass = Pass<double, Cpu>::training(tape, Rng(1));
    return mixture(tape, result_of(network.forward(pass, tape.constant(x.view()))));
  };
  network.zero_grad();
  tape.backward(run(Kinks::record));
  for (auto& p : network.parameters()) {
    REQUIRE(p.slot->written);
    double largest = 1e-2, worst = 0;
    for (index_t i = 0; i < p.value.size(); i += 1 + p.value.size() / 25) {
      const double at = p.value.data[i], h = 1e-4;
      const auto shifted = [&](double by) {
        p.value.data[i] = at + by;
        return tape.item(run(Kinks::replay));
      };
      const double numeric = (8 * (shifted(h) - shifted(-h)) - (shifted(2 * h) - shifted(-2 * h))) / (12 * h);
      p.value.data[i] = at;
      largest = std::max(largest, std::abs(numeric));
      worst = std::max(worst, std::abs(numeric - p.slot->data[i]));
    }
    CHECK(worst / largest < tolerance);
  }
}

}  // namespace

TEST_CASE("operations on sequences: gradients by differences") {
  Cpu cpu;
  auto table = ::test::randn(Shape{5, 3}, 1), rows = ::test::randn(Shape{6, 5}, 2);
  for (const bool mean : {true, false})
    CHECK(grad_check(cpu, [&](auto& tape, auto t) { return mixture(tape, embedding_bag(tape, t, ids, lengths, mean)); }, table).error < gradient);
  auto x = ::test::randn(Shape{4, 4, 6}, 3), k = ::test::randn(Shape{4, 4, 6}, 4), v = ::test::randn(Shape{4, 4, 6}, 5);
  for (const index_t kernel : {1, 2, 3, 5})
    CHECK(grad_check(cpu, [&](auto& tape, auto s) { return mixture(tape, windows(tape, s, lengths, kernel)); }, x).error < gradient);
  CHECK(grad_check(cpu, [&](auto& tape, auto s) { return mixture(tape, max_over_time(tape, s, lengths)); }, x).error < gradient);
  CHECK(grad_check(cpu, [&](auto& tape, auto s) { return mixture(tape, mean_over_time(tape, s, lengths)); }, x).error < gradient);
  auto gamma = ::test::randn(Shape{5}, 6), beta = ::test::randn(Shape{5}, 7);
  CHECK(grad_check(cpu, [&](auto& tape, auto s, auto g, auto b) { return mixture(tape, layer_norm(tape, s, g, b, 1e-5)); }, rows, gamma, beta).error < gradient);
  for (const index_t heads : {1, 2, 3})
    CHECK(grad_check(cpu, [&](auto& tape, auto q, auto key, auto value) { return mixture(tape, attention(tape, q, key, value, lengths, heads)); }, x, k, v).error <
          gradient);
  CHECK(grad_check(cpu, [&](auto& tape, auto s) { return mixture(tape, attention(tape, s, s, s, lengths, 2)); }, x).error < gradient);
}

TEST_CASE("operations on sequences: values against loops") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  const auto table = ::test::randn(Shape{5, 3}, 1);
  const auto x = ::test::randn(Shape{4, 4, 6}, 3), k = ::test::randn(Shape{4, 4, 6}, 4), v = ::test::randn(Shape{4, 4, 6}, 5);
  const auto bag = embedding_bag(tape, tape.constant(table.view()), ids, lengths, true).value;
  CHECK(bag(0, 1) == doctest::Approx((table(1, 1) + table(2, 1) + table(1, 1) + table(4, 1)) / 4).epsilon(exact));
  CHECK(bag(2, 1) == 0);
  const auto wide = windows(tape, tape.constant(x.view()), lengths, 3).value;
  CHECK(wide(0, 1, 0) == x(0, 0, 0));
  CHECK(wide(0, 1, 6 + 2) == x(0, 1, 2));
  CHECK(wide(0, 1, 12 + 5) == x(0, 2, 5));
  CHECK(wide(0, 0, 3) == 0);
  CHECK(wide(3, 2, 12) == 0);  // the fourth position is not part of the sentence
  CHECK(max_over_time(tape, tape.constant(x.view()), lengths).value(3, 2) == std::max({x(3, 0, 2), x(3, 1, 2), x(3, 2, 2)}));
  CHECK(mean_over_time(tape, tape.constant(x.view()), lengths).value(3, 2) == doctest::Approx((x(3, 0, 2) + x(3, 1, 2) + x(3, 2, 2)) / 3).epsilon(exact));
  CHECK(max_over_time(tape, tape.constant(x.view()), lengths).value(2, 0) == 0);

  const auto y = attention(tape, tape.constant(x.view()), tape.constant(k.view()), tape.constant(v.view()), lengths, 2).value;
  for (index_t n = 0; n < 4; ++n)
    for (index_t t = 0; t < 4; ++t)
      for (index_t d = 0; d < 6; ++d) {
        double total = 0, value = 0;
        for (index_t u = 0; t < uneven[static_cast<std::size_t>(n)] && u < uneven[static_cast<std::size_t>(n)]; ++u) {
          double dot = 0;
          for (index_t c = d / 3 * 3; c < d / 3 * 3 + 3; ++c) dot += x(n, t, c) * k(n, u, c);
          const double w = std::exp(dot / std::sqrt(3.));
          total += w;
          value += w * v(n, u, d);
        }
        CHECK(y(n, t, d) == doctest::Approx(total > 0 ? value / total : 0).epsilon(1e-10));
      }

  const auto rows = ::test::randn(Shape{3, 4}, 2, 5);
  const std::vector<double> one(4, 1), zero(4, 0);
  const auto normal = layer_norm(tape, tape.constant(rows.view()), tape.constant(View<const double, 1>{one.data(), {4}}), tape.constant(View<const double, 1>{zero.data(), {4}}), 0).value;
  for (index_t r = 0; r < 3; ++r) {
    double sum = 0, square = 0;
    for (index_t d = 0; d < 4; ++d) sum += normal(r, d), square += normal(r, d) * normal(r, d);
    CHECK(std::abs(sum) < 1e-10);
    CHECK(square / 4 == doctest::Approx(1).epsilon(exact));
  }
}

TEST_CASE("text networks: parameter gradients by differences") {
  check_parameters(nn::zoo::bag_of_words(5, {4, 3}, 2));
  check_parameters(nn::zoo::text_cnn(5, 3, 2, 2, 0, {2, 3}));
  check_parameters(nn::zoo::text_transformer(5, 4, 4, 2, 2, 2, 0));
  check_parameters(nn::Sequential<nn::TokenEmbedding, nn::Conv1d, nn::Relu, nn::Positionwise<nn::Linear>, nn::MultiHeadAttention, nn::MeanOverTime>(
      nn::TokenEmbedding{5, 3}, nn::Conv1d{3, 4, 3}, nn::Relu{}, {nn::Linear{4, 6}}, nn::MultiHeadAttention{6, 2}, nn::MeanOverTime{}));
}

TEST_CASE("text networks are blind to padding: more of it, or longer neighbours in the batch, change nothing") {
  const auto input = sentences();
  Tensor<float, 2> padded(Shape{4, 9}), alone(Shape{1, 4});
  for (index_t i = 0; i < 4; ++i) std::copy_n(input.view().row(i), 4, padded.view().row(i));
  std::copy_n(input.view().row(1), 4, alone.begin());
  const auto check = [&](auto net) {
    Network<decltype(net), Double<Cpu>> network(std::move(net), 5);
    const auto a = answer(network, input), b = answer(network, padded), c = answer(network, alone);
    CHECK(std::equal(a.begin(), a.end(), b.begin()));
    for (index_t k = 0; k < a.extent(1); ++k) CHECK(c(0, k) == doctest::Approx(a(1, k)).epsilon(exact));
  };
  check(nn::zoo::bag_of_words(5, {4}, 3));
  check(nn::zoo::text_cnn(5, 4, 3, 3));
  check(nn::zoo::text_transformer(5, 9, 4, 2, 2, 3));
}

TEST_CASE("text networks learn what they are made for: order, which a bag of words cannot see") {
  // "1 before 2" against "2 before 1", among other tokens
  Dataset<2> data{Tensor<float, 2>(Shape{300, 8}), {}, 2, "order"};
  Rng rng(4);
  for (index_t i = 0; i < 300; ++i) {
    const bool first = i % 2;
    data.labels.push_back(first);
    const auto length = static_cast<index_t>(5 + rng.below(4)), at = static_cast<index_t>(rng.below(static_cast<std::uint64_t>(length - 1)));
    for (index_t t = 0; t < length; ++t) data.inputs(i, t) = static_cast<float>(3 + rng.below(5));
    data.inputs(i, at) = first ? 1 : 2;
    data.inputs(i, at + 1) = first ? 2 : 1;
  }
  const auto accuracy = [&](auto net) {
    Cpu cpu;
    using Net = decltype(net);
    Network<Net> network(std::move(net), 1);
    LabelsOnly<Net> method{teacher::None{}, network};
    fit(method, data, optim::Adam{.lr = 1e-2f}, {.epochs = 12, .batch_size = 20, .seed = 2});
    return metrics::accuracy(predict_logits(network, data, cpu), data.label_view());
  };
  CHECK(accuracy(nn::zoo::text_cnn(8, 8, 8, 2, 0)) > 0.97);
  CHECK(accuracy(nn::zoo::text_transformer(8, 8, 16, 2, 2, 2, 0)) > 0.97);
  CHECK(accuracy(nn::zoo::bag_of_words(8, {16}, 2)) < 0.75);
}

TEST_CASE("text networks allocate nothing once a batch of the largest shape has passed") {
  Cpu cpu;
  Network<nn::zoo::TextTransformer> network(nn::zoo::text_transformer(5, 4, 8, 2, 1, 2), 1);
  const auto input = sentences();
  Tape<float, Cpu> tape(cpu);
  const auto parameters = network.parameters();
  const auto step = [&] {
    tape.reset();
    for (const auto& p : parameters) p.slot->written = false;
    auto pass = Pass<float, Cpu>::training(tape, Rng(1));
    tape.backward(sum(tape, result_of(network.forward(pass, tape.constant(input.view())))));
  };
  step();
  step();
  const auto before = allocations.load();
  step();
  CHECK(allocations.load() == before);
}

TEST_CASE("text: bad ids, lengths and extents are typed errors") {
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Network<nn::zoo::TextCnn, Double<Cpu>> cnn(nn::zoo::text_cnn(4, 3, 2, 2));
  CHECK(::test::message_of<value_error>([&] { answer(cnn, sentences()); }).find("token 3 of sample 0 is 4") != std::string::npos);
  auto half = sentences();
  half(0, 1) = 1.5f;
  CHECK_THROWS_AS(answer(cnn, half), value_error);
  Network<nn::zoo::TextTransformer, Double<Cpu>> small(nn::zoo::text_transformer(5, 3, 4, 2, 1, 2));
  CHECK(::test::message_of<shape_error>([&] { answer(small, sentences()); }).find("a sentence of 4 tokens, there are 3 positions") != std::string::npos);
  const auto x = ::test::randn(Shape{4, 3, 6}, 1);
  const auto var = tape.constant(x.view());
  CHECK(::test::message_of<value_error>([&] { mean_over_time(tape, var, lengths); }).find("sample 0 has length 4, expected 0 to 3") != std::string::npos);
  CHECK_THROWS_AS(max_over_time(tape, var, SequenceLengths{uneven.data(), {3}}), shape_error);
  CHECK_THROWS_AS(attention(tape, var, var, var, lengths, 4), shape_error);
  const std::vector<std::int32_t> whole{3, 3, 3, 3};
  CHECK_THROWS_AS(windows(tape, var, {whole.data(), {4}}, 0), value_error);
  const auto table = ::test::randn(Shape{4, 3}, 1);
  CHECK_THROWS_AS(embedding_bag(tape, tape.constant(table.view()), ids, lengths, true), value_error);
  CHECK_THROWS_AS((Network<nn::MultiHeadAttention>(nn::MultiHeadAttention{6, 4})), value_error);
  CHECK_THROWS_AS(nn::zoo::bag_of_words(5, {}, 2), value_error);
  CHECK_THROWS_AS(nn::zoo::text_transformer(5, 4, 4, 2, 0, 2), value_error);
}
