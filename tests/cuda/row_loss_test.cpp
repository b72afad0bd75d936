// The row-loss kernel against the CPU's engine: many losses, shapes at and around the sizes of a warp and of a block.

#include <array>
#include <retort/cuda/kernels.cuh>
#include <retort/loss/decoupled.hpp>
#include <retort/loss/hinton_loss.hpp>
#include <retort/loss/jensen_shannon.hpp>
#include <retort/loss/logit_distance.hpp>
#include <retort/loss/normalized.hpp>
#include <retort/loss/reverse_kl.hpp>
#include <retort/loss/scaffolded_soft_targets.hpp>
#include <retort/loss/skew_kl.hpp>
#include <retort/loss/total_variation.hpp>

#include "fixture.hpp"

namespace {

using namespace retort;
using namespace test;

struct OwnLoss {
  float weight = 1.f;
  struct Acc { float s = 0; };
  RETORT_HD Acc   identity() const { return {}; }
  RETORT_HD Acc   add(Acc a, Cell c) const { float d = c.z - c.t; a.s += d * d; return a; }
  RETORT_HD Acc   merge(Acc a, Acc b) const { return {a.s + b.s}; }
  RETORT_HD float value(Acc a) const { return 0.5f * weight * a.s; }
  RETORT_HD float grad(Acc, Cell c) const { return weight * (c.z - c.t); }
};

struct Options {
  bool weights = false, temperatures = false, mask = false, ignored = false;
  index_t extras = 0;
  bool teacher_gradient = false, temperature_gradient = false;
  double scale = 3;
};

/// Everything that a loss gives, on one backend, as host values.
template <class T>
struct Outcome {
  std::vector<T> value, student, teacher, temperature, extras, per_row;
};

template <class B, class T, class Loss>
Outcome<T> run(B& backend, const Loss& loss, index_t n, index_t c, const Options& o) {
  Rng rng(5);
  std::vector<std::int32_t> labels;
  std::vector<std::uint8_t> mask;
  std::vector<T> weights, temperatures, extras;
  for (index_t r = 0; r < n; ++r) {
    labels.push_back(o.ignored && r % 3 == 1 ? ignored_label : static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(c))));
    mask.push_back(r % 4 != 2);
    weights.push_back(static_cast<T>(rng.uniform(-1, 2)));
    temperatures.push_back(static_cast<T>(rng.uniform(1, 6)));
    for (index_t k = 0; k < o.extras; ++k) extras.push_back(static_cast<T>(k == 0 ? rng.uniform() : k == 1 ? 0.5 : k == 2 ? c : -4));
  }
  const auto s = tensor_of<B>(Shape{n, c}, normals<T>(n * c, 1, o.scale)), t = tensor_of<B>(Shape{n, c}, normals<T>(n * c, 2, o.scale));
  const auto y = tensor_of<B>(Shape{n}, labels);
  const auto m = tensor_of<B>(Shape{n}, mask);
  const auto w = tensor_of<B>(Shape{n}, weights), tau = tensor_of<B>(Shape{n}, temperatures);
  const index_t columns = std::max<index_t>(1, o.extras);
  auto e = tensor_of<B>(Shape{n, columns}, extras.empty() ? std::vector<T>(static_cast<std::size_t>(n)) : extras);
  Tensor<T, 2, B> ds(Shape{n, c}), dt(Shape{n, c}), de(Shape{n, columns});
  Tensor<T, 1, B> dtau(Shape{n}), rows(Shape{n}), value(Shape{1});

  RowBatch<T> in{.student = s.view(), .teacher = t.view(), .labels = y.view()};
  RowGradients<T> out{.student = ds.view(), .per_row = rows.view()};
  if (o.weights) in.weight = w.view();
  if (o.temperatures) in.temperature = tau.view();
  if (o.mask) in.mask = m.view();
  if (o.extras) in.extras = std::as_const(e).view(), out.extras = de.view();
  if (o.teacher_gradient) out.teacher = dt.view();
  if (o.temperature_gradient) out.temperature = dtau.view();
  Kernels<B>::row_loss(backend, loss, in, out, value.view());
  return {host(value), host(ds), host(dt), host(dtau), host(de), host(rows)};
}

template <class T, class Loss>
void compare(const Loss& loss, const Options& o = {}, std::vector<index_t> classes = {3, 31, 32, 33, 129, 257, 600, 2100}) {
  Cuda cuda;
#if !defined(RETORT_ON_DEVICE)
  Cpu cpu;
#endif
  const double tolerance = sizeof(T) == 4 ? 2e-5 : 1e-12;
  for (index_t c : classes)
    for (index_t n : {index_t{1}, index_t{7}}) {
      if (c > 300 && n > 1) continue;
      CAPTURE(c);
      CAPTURE(n);
      const auto actual = run<Cuda, T>(cuda, loss, n, c, o);
#if !defined(RETORT_ON_DEVICE)
      const auto expected = run<Cpu, T>(cpu, loss, n, c, o);
#else
      const auto& expected = actual;
#endif
      same(expected.value, actual.value, tolerance);
      same(expected.student, actual.student, tolerance);
      same(expected.per_row, actual.per_row, tolerance);
      same(expected.teacher, actual.teacher, tolerance);
      same(expected.temperature, actual.temperature, 10 * tolerance);
      same(expected.extras, actual.extras, tolerance);
    }
}

}  // namespace

TEST_CASE("CUDA row losses agree with the CPU") {
  const loss::SoftTargets soft{.temperature = 4};
  compare<double>(soft, {.teacher_gradient = true, .temperature_gradient = true});
  compare<float>(soft, {}, {3, 33, 129, 300, 1100, 4101});
  compare<double>(loss::CrossEntropy<BatchMean>{.label_smoothing = 0.1});
  compare<double>(loss::CrossEntropy<TokenMean>{}, {.ignored = true}, {33});
  compare<double>(loss::ReverseKl<BatchMean, loss::TSquared>{.temperature = 2}, {.teacher_gradient = true});
  compare<double>(loss::JensenShannon<BatchMean, loss::TSquared>{.temperature = 2, .beta = 0.3}, {.teacher_gradient = true});
  compare<double>(loss::TotalVariation<BatchMean>{});
  compare<double>(loss::DecoupledKd<BatchMean>{});
  compare<double>(loss::NormalizedKd<BatchMean>{.temperature = 2});
  compare<double>(loss::LogitMse<ElementMean>{});
  compare<float>(OwnLoss{.weight = 0.5f}, {}, {1, 3, 33, 129, 1001});
}

TEST_CASE("CUDA sums of losses at several temperatures, with weights, masks and extras, agree with the CPU") {
  const loss::Sum four{loss::SoftTargets{.temperature = 4}, loss::CrossEntropy<BatchMean>{}, loss::ReverseKl<BatchMean, loss::TSquared>{.temperature = 4},
                       loss::JensenShannon<BatchMean, loss::TSquared>{.temperature = 4}};
  compare<double>(four, {.weights = true});
  compare<float>(four, {.weights = true});
  const loss::Sum rounds{loss::SoftTargets{.temperature = 4}, loss::ReverseKl<BatchMean, loss::TSquared>{.temperature = 2},
                         loss::Masked{loss::CrossEntropy<BatchMean>{}}, loss::Scaled{loss::ForwardKl<BatchMean, loss::NoTSquared>{.temperature = 1}, -0.3}};
  compare<double>(rounds, {.weights = true, .mask = true, .teacher_gradient = false});
  compare<double>(rounds, {.temperatures = true, .mask = true, .temperature_gradient = false});
  compare<double>(loss::Sum{loss::ScaffoldedHint{}, loss::CrossEntropy<BatchMean>{.weight = 0.1}}, {.extras = 4});
}

TEST_CASE("CUDA row losses stay finite and right at large logits") {
  const loss::SoftTargets soft{.temperature = 4};
  compare<double>(soft, {.scale = 1e4}, {2, 33, 300});
  compare<float>(loss::Sum{soft, loss::CrossEntropy<BatchMean>{}}, {.scale = 80}, {2, 33, 300});
}

namespace {
std::vector<BFloat16> rounded(const std::vector<float>& values) {
  std::vector<BFloat16> out;
  for (const float x : values) out.emplace_back(x);
  return out;
}
std::vector<float> floats(const std::vector<BFloat16>& values) { return {values.begin(), values.end()}; }

/// Logits stored as BFloat16 give what the same numbers stored as float give, gradients rounded.
template <class Loss>
void stored(const Loss& loss, index_t n, index_t c) {
  CAPTURE(c);
  Cuda cuda;
  const auto s = rounded(normals<float>(n * c, 1, 3)), t = rounded(normals<float>(n * c, 2, 3));
  std::vector<std::int32_t> labels;
  for (index_t r = 0; r < n; ++r) labels.push_back(static_cast<std::int32_t>(7 * r % c));
  const auto y = tensor_of<Cuda>(Shape{n}, labels);
  Tensor<float, 1, Cuda> value(Shape{1}), narrow_value(Shape{1});
  const auto wide_s = tensor_of<Cuda>(Shape{n, c}, floats(s)), wide_t = tensor_of<Cuda>(Shape{n, c}, floats(t));
  Tensor<float, 2, Cuda> gs(Shape{n, c}), gt(Shape{n, c});
  Kernels<Cuda>::row_loss(cuda, loss, RowBatch<float>{.student = wide_s.view(), .teacher = wide_t.view(), .labels = y.view()},
                          RowGradients<float>{.student = gs.view(), .teacher = gt.view()}, value.view());
  const auto narrow_s = tensor_of<Cuda>(Shape{n, c}, s), narrow_t = tensor_of<Cuda>(Shape{n, c}, t);
  Tensor<BFloat16, 2, Cuda> narrow_gs(Shape{n, c}), narrow_gt(Shape{n, c});
  Kernels<Cuda>::row_loss(cuda, loss, RowBatch<float, BFloat16>{.student = narrow_s.view(), .teacher = narrow_t.view(), .labels = y.view()},
                          RowGradients<float, BFloat16>{.student = narrow_gs.view(), .teacher = narrow_gt.view()}, narrow_value.view());
  same(host(value), host(narrow_value), 1e-6);
  same(floats(rounded(host(gs))), floats(host(narrow_gs)), 0x1p-8);
  same(floats(rounded(host(gt))), floats(host(narrow_gt)), 0x1p-8);
}

/// Rows that start anywhere, in arrays that start at `offsets` (student, teacher, gradient): what the CPU gives, and nothing is
/// written beside the rows.
template <class Stored>
void starting_at(const std::array<index_t, 3>& offsets, index_t c) {
  CAPTURE(c);
  CAPTURE(offsets[2]);
  const index_t n = 3, room = n * c + 16;
  // two temperatures, so that gradients are added to, and a loss with sums of its own
  const loss::Sum loss{loss::SoftTargets{.temperature = 4}, loss::ReverseKl<BatchMean, loss::TSquared>{.temperature = 2}, loss::TotalVariation<BatchMean>{}};
  const auto values = [&](std::uint64_t seed) {
    const auto narrow = rounded(normals<float>(n * c, seed, 3));
    return std::vector<Stored>(narrow.begin(), narrow.end());
  };
  const auto s = values(1), t = values(2);
  const auto placed = [&](const std::vector<Stored>& from, index_t offset) {
    std::vector<Stored> out(static_cast<std::size_t>(room), Stored(7.f));
    std::copy(from.begin(), from.end(), out.begin() + offset);
    return tensor_of<Cuda>(Shape{room}, out);
  };
  const auto gpu_s = placed(s, offsets[0]), gpu_t = placed(t, offsets[1]);
  auto gpu_g = placed({}, 0);
  Tensor<float, 1, Cuda> value(Shape{1});
  Cuda cuda;
  const Shape shape{n, c};
  Kernels<Cuda>::row_loss(cuda, loss, RowBatch<float, Stored>{.student = {gpu_s.data() + offsets[0], shape}, .teacher = {gpu_t.data() + offsets[1], shape}},
                          RowGradients<float, Stored>{.student = {gpu_g.data() + offsets[2], shape}}, value.view());
  auto written = host(gpu_g);
  const auto first = written.begin() + offsets[2];
  std::vector<float> gradient(first, first + n * c);
  for (auto at = written.begin(); at != written.end(); ++at)
    if (at < first || at >= first + n * c) CHECK(float(*at) == 7.f);
  std::vector<float> expected = gradient, expected_value = host(value);
#if !defined(RETORT_ON_DEVICE)
  Cpu cpu;
  const auto cpu_s = tensor_of<Cpu>(shape, std::vector<float>(s.begin(), s.end())), cpu_t = tensor_of<Cpu>(shape, std::vector<float>(t.begin(), t.end()));
  Tensor<float, 2> g(shape);
  Tensor<float, 1> v(Shape{1});
  Kernels<Cpu>::row_loss(cpu, loss, RowBatch<float>{.student = cpu_s.view(), .teacher = cpu_t.view()}, RowGradients<float>{.student = g.view()}, v.view());
  expected = host(g), expected_value = host(v);
#endif
  same(expected_value, host(value), tolerance<float>::value);
  same(expected, gradient, std::max<double>(tolerance<float>::value, sizeof(Stored) == 2 ? tolerance<BFloat16, Cuda>::value : 0));
}
}  // namespace

TEST_CASE("CUDA row losses on rows that start anywhere, sixteen bytes at a time where they can") {
  for (const index_t c : {2, 31, 32, 33, 1000, 1001, 2100})
    for (const std::array<index_t, 3>& offsets : {std::array<index_t, 3>{0, 0, 0}, {1, 1, 1}, {3, 0, 1}}) {
      starting_at<float>(offsets, c);
      starting_at<BFloat16>(offsets, c);
    }
}

TEST_CASE("BFloat16 rounds to the nearest, ties to even") {
  Rng rng(3);
  for (int i = 0; i < 20000; ++i) {
    std::uint32_t word = rng.next_u32();
    if (i % 3 == 0) word = (word & 0xffff0000u) | 0x8000u;  // half way
    float x;
    std::memcpy(&x, &word, sizeof x);
    const BFloat16 y(x);
    if (std::isnan(x)) {
      CHECK(std::isnan(float(y)));
      continue;
    }
    const auto neighbour = [&](int by) {
      BFloat16 z;
      z.bits = static_cast<std::uint16_t>(y.bits + by);
      return double(float(z));
    };
    if (!std::isfinite(float(y)) || !std::isfinite(neighbour(1)) || (y.bits & 0x7fff) == 0) continue;
    const double mine = std::abs(float(y) - double(x)), other = std::min(std::abs(neighbour(1) - double(x)), std::abs(neighbour(-1) - double(x)));
    CHECK(mine <= other);
    if (mine == other) CHECK(y.bits % 2 == 0);
  }
  CHECK(float(BFloat16(std::numeric_limits<float>::infinity())) == std::numeric_limits<float>::infinity());
  CHECK(float(BFloat16(std::numeric_limits<float>::max())) == std::numeric_limits<float>::infinity());
  CHECK(std::signbit(float(BFloat16(-0.f))));
}

TEST_CASE("CUDA row losses on logits stored as BFloat16") {
  const loss::SoftTargets soft{.temperature = 4};
  const loss::JensenShannon<BatchMean, loss::TSquared> middle{.temperature = 4};
  for (const index_t c : {5, 33, 300, 2100, 8200}) stored(soft, c > 300 ? 1 : 3, c);
  stored(loss::Sum{soft, middle}, 3, 300);
}

TEST_CASE("products of operands stored as BFloat16, and sums in float") {
  Cuda cuda;
  const index_t m = 5, n = 7, k = 33;
  const auto a = rounded(normals<float>(m * k, 1)), b = rounded(normals<float>(k * n, 2));
  const std::vector<float> before = normals<float>(m * n, 3);
  const auto product = [&]<class In, class Out>(In, Out, Transpose ta, Transpose tb, Write write) {
    const auto as = [](const auto& values, auto type) {
      if constexpr (std::is_same_v<decltype(type), float>)
        return floats(values);
      else
        return values;
    };
    const auto x = tensor_of<Cuda>(ta == Transpose::yes ? Shape{k, m} : Shape{m, k}, as(a, In{})),
               w = tensor_of<Cuda>(tb == Transpose::yes ? Shape{n, k} : Shape{k, n}, as(b, In{}));
    auto y = tensor_of<Cuda>(Shape{m, n}, as(rounded(before), Out{}));
    cuda::Gemm::gemm<Out, In>(cuda, ta, tb, x.view(), w.view(), y.view(), write);
    const auto out = host(y);
    return std::vector<float>(out.begin(), out.end());
  };
  for (const auto ta : {Transpose::no, Transpose::yes})
    for (const auto tb : {Transpose::no, Transpose::yes})
      for (const auto write : {Write::replace, Write::add}) {
        const auto expected = product(float{}, float{}, ta, tb, write);
        same(expected, product(BFloat16{}, float{}, ta, tb, write), 1e-6);
        same(expected, product(BFloat16{}, BFloat16{}, ta, tb, write), 0x1p-8);
      }
  const Tensor<BFloat16, 2, Cuda> x(Shape{2, 3}), w(Shape{2, 3});
  Tensor<float, 2, Cuda> y(Shape{2, 3});
  CHECK_THROWS_AS((cuda::Gemm::gemm<float, BFloat16>(cuda, Transpose::no, Transpose::no, x.view(), w.view(), y.view())), shape_error);
}

TEST_CASE("CUDA row losses report wrong shapes, and a wrong label makes the loss NaN") {
  Cuda cuda;
  const auto s = tensor_of<Cuda>(Shape{2, 3}, normals<float>(6, 1)), t = tensor_of<Cuda>(Shape{2, 4}, normals<float>(8, 1));
  Tensor<float, 1, Cuda> value(Shape{1});
  CHECK_THROWS_WITH_AS(cuda::RowLossKernels::row_loss(cuda, loss::SoftTargets{}, RowBatch<float>{.student = s.view(), .teacher = t.view()},
                                                      RowGradients<float>{}, value.view()),
                       doctest::Contains("student logits have shape (2, 3), teacher logits have shape (2, 4)"), shape_error);
  const auto y = tensor_of<Cuda>(Shape{2}, std::vector<std::int32_t>{1, 3});
  cuda::RowLossKernels::row_loss(cuda, loss::CrossEntropy<BatchMean>{}, RowBatch<float>{.student = s.view(), .labels = y.view()},
                                 RowGradients<float>{}, value.view());
  CHECK(std::isnan(host(value)[0]));
}
