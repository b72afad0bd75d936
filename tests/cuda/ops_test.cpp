// Every kernel of the CUDA backend against the CPU's, in double: values, both ways of writing, odd sizes.

#include <algorithm>
#include <limits>
#include <retort/autograd/ops.hpp>
#include <retort/cuda/kernels.cuh>
#include <retort/functor/optimizer.hpp>

#include "fixture.hpp"

namespace {

using namespace retort;
using namespace test;
using G = Kernels<Cuda>;
#if defined(RETORT_ON_DEVICE)
#define RETORT_ABSENT(name) template <class... A> static int name(A&&...) { return 0; }
/// In place of the CPU's kernels: `same` then looks at the device's results only.
struct K {
  RETORT_ABSENT(accumulate)
  RETORT_ABSENT(accumulate_by)
  RETORT_ABSENT(activation_backward)
  RETORT_ABSENT(activation_forward)
  RETORT_ABSENT(activation_forward_masked)
  RETORT_ABSENT(add_scalar)
  RETORT_ABSENT(arg_max_rows)
  RETORT_ABSENT(average_pool_backward)
  RETORT_ABSENT(average_pool_forward)
  RETORT_ABSENT(batch_norm_backward)
  RETORT_ABSENT(batch_norm_fold)
  RETORT_ABSENT(batch_norm_statistics)
  RETORT_ABSENT(binary)
  RETORT_ABSENT(binary_backward)
  RETORT_ABSENT(clamp)
  RETORT_ABSENT(column_sum)
  RETORT_ABSENT(conv2d_backward_data)
  RETORT_ABSENT(conv2d_backward_weights)
  RETORT_ABSENT(conv2d_forward)
  RETORT_ABSENT(copy_columns)
  RETORT_ABSENT(dropout_mask)
  RETORT_ABSENT(gather_rows)
  RETORT_ABSENT(gemm)
  RETORT_ABSENT(global_average_pool_backward)
  RETORT_ABSENT(global_average_pool_forward)
  RETORT_ABSENT(item)
  RETORT_ABSENT(kink_mask)
  RETORT_ABSENT(log_softmax_backward)
  RETORT_ABSENT(log_softmax_forward)
  RETORT_ABSENT(mark_errors)
  RETORT_ABSENT(masked_scale)
  RETORT_ABSENT(max_pool_backward)
  RETORT_ABSENT(max_pool_forward)
  RETORT_ABSENT(max_pool_forward_replay)
  RETORT_ABSENT(pick_columns)
  RETORT_ABSENT(pick_columns_backward)
  RETORT_ABSENT(repeat_axis)
  RETORT_ABSENT(scale_shift)
  RETORT_ABSENT(scale_shift_backward)
  RETORT_ABSENT(scaled_sum)
  RETORT_ABSENT(scatter_add_rows)
  RETORT_ABSENT(select_top)
  RETORT_ABSENT(softmax_backward)
  RETORT_ABSENT(softmax_forward)
  RETORT_ABSENT(sum_axis)
  RETORT_ABSENT(sum_of_squares)
  RETORT_ABSENT(update)
  RETORT_ABSENT(update_running)
  RETORT_ABSENT(upsample_nearest_backward)
  RETORT_ABSENT(upsample_nearest_forward)
};
#else
using K = Kernels<Cpu>;
#endif

/// The same tensors on both sides, and what became of them. Those on the device may be stored in a narrower type.
template <int R, class T = double, class Stored = T>
struct Pair {
  Tensor<T, R> cpu;
  Tensor<Stored, R, Cuda> gpu;
  Pair(Shape<R> shape, std::uint64_t seed) : Pair(randn<T>(shape, seed)) {}
  explicit Pair(Tensor<T, R> values) : cpu(std::move(values)), gpu(cpu.shape()) {
    const std::vector<Stored> stored(cpu.begin(), cpu.end());
    std::copy(stored.begin(), stored.end(), cpu.begin());
    Cuda::copy(gpu.data(), stored.data(), stored.size() * sizeof(Stored));
  }
  View<const T, R> c() const { return cpu.view(); }
  View<const Stored, R> g() const { return gpu.view(); }
  void same(double tolerance = 1e-12) const {
    const std::vector<Stored> expected(cpu.begin(), cpu.end());  // rounded once, at the end
    test::same(expected, host(gpu), tolerance);
  }
};

template <class A, class B>
void same_number(A cpu, B gpu) {
  same(std::vector<double>{double(cpu)}, std::vector<double>{double(gpu)}, 1e-12);
}

#if !defined(RETORT_ON_DEVICE)
/// How often cuBLASLt was asked to plan and to multiply, kernels were launched, and what is allocated.
struct Calls {
  long plans = emulation::heuristics, products = emulation::fused_products, launches = emulation::launches;
  std::size_t bytes = emulation::DeviceMemory::instance().used;
};
#endif

/// Products with each epilogue, of factors that begin `offset` elements behind the first, on either side.
template <class T, class Stored, class F>
void epilogues(Cpu& cpu, Cuda& gpu, index_t offset, double tolerance, F&& between) {
  using Number = cuda::Sum<Stored>;
  const index_t m = 5, n = 12, k = 7;
  const Pair<1, Number, Stored> a(Shape{m * k + offset}, 1), b(Shape{k * n + offset}, 2);
  const Pair<1, Number> bias(Shape{n + offset}, 4);
  const auto at = [offset]<class V>(View<V, 1> view, index_t rows, index_t columns) { return View<V, 2>{view.data + offset, {rows, columns}}; };
  for (const bool biased : {false, true})
    for (const auto epilogue : {Epilogue::none, Epilogue::relu}) {
      Pair<1, Number, T> c(Shape{m * n + offset}, 3);
      K::gemm(cpu, Transpose::no, Transpose::no, at(a.c(), m, k), at(b.c(), k, n), at(c.cpu.view(), m, n), Write::replace,
              biased ? bias.c().data + offset : nullptr, epilogue);
      cuda::Gemm::gemm<T, Stored>(gpu, Transpose::no, Transpose::no, at(a.g(), m, k), at(b.g(), k, n), at(c.gpu.view(), m, n), Write::replace,
                           biased ? bias.g().data + offset : nullptr, epilogue);
      c.same(tolerance);
      between(biased, epilogue == Epilogue::relu);
    }
}

Tensor<std::int32_t, 1, Cuda> on_device(const std::vector<std::int32_t>& v) {
  return tensor_of<Cuda>(Shape{static_cast<index_t>(v.size())}, v);
}

struct Backends {
  Cpu cpu;
  Cuda gpu;
};

}  // namespace

TEST_CASE_FIXTURE(Backends, "CUDA products with transposition, addition, bias and ReLU") {
  for (auto ta : {Transpose::no, Transpose::yes})
    for (auto tb : {Transpose::no, Transpose::yes})
      for (auto write : {Write::replace, Write::add}) {
        const Pair<2> a(ta == Transpose::no ? Shape{5, 7} : Shape{7, 5}, 1), b(tb == Transpose::no ? Shape{7, 3} : Shape{3, 7}, 2);
        const Pair<1> bias(Shape{3}, 4);
        Pair<2> c(Shape{5, 3}, 3);
        K::gemm(cpu, ta, tb, a.c(), b.c(), c.cpu.view(), write, bias.cpu.data(), Epilogue::relu);
        G::gemm(gpu, ta, tb, a.g(), b.g(), c.gpu.view(), write, bias.gpu.data(), Epilogue::relu);
        c.same();
      }
  const Pair<2> a(Shape{5, 7}, 1);
  Pair<2> c(Shape{5, 3}, 3);
  CHECK_THROWS_WITH_AS(G::gemm(gpu, Transpose::no, Transpose::no, a.g(), a.g(), c.gpu.view()),
                       doctest::Contains("gemm: a (5, 7) times b (5, 7) does not give c (5, 3)"), shape_error);
  const auto all = [&](auto&& between) {
    for (const index_t offset : {0, 1}) {
      epilogues<double, double>(cpu, gpu, offset, tolerance<double, Cpu>::value, between);
      epilogues<float, float>(cpu, gpu, offset, tolerance<float, Cpu>::value, between);
      epilogues<float, BFloat16>(cpu, gpu, offset, tolerance<float, Cpu>::value, between);
      epilogues<BFloat16, BFloat16>(cpu, gpu, offset, tolerance<BFloat16, Cuda>::value, between);
      gpu.allow_tf32(true);
      epilogues<float, float>(cpu, gpu, offset, tolerance<Tf32, Cuda>::value, between);
      gpu.allow_tf32(false);
    }
  };
  all([](bool, bool) {});
#if !defined(RETORT_ON_DEVICE)
  Calls before;
  long wanted = 0;
  all([&](bool biased, bool relu) { wanted += biased || relu; });
  Calls after;
  CHECK(after.products - before.products == wanted);
  CHECK(after.launches - before.launches == 2 * 2);  // a bias as BFloat16
  CHECK(after.plans == before.plans);
  CHECK(after.bytes == before.bytes);
  Cuda other;
  emulation::no_heuristic = true;
  for (const bool again : {false, true}) {
    before = {};
    epilogues<double, double>(cpu, other, 0, tolerance<double, Cpu>::value, [](bool, bool) {});
    epilogues<BFloat16, BFloat16>(cpu, other, 0, tolerance<BFloat16, Cuda>::value, [](bool, bool) {});
    after = {};
    CHECK(after.products == before.products);
    CHECK(after.launches - before.launches == 3 + 4);  // before and after the product, where BFloat16 has both a bias and ReLU
    CHECK(after.plans - before.plans == (again ? 0 : 6));
  }
  emulation::no_heuristic = false;
#endif
}

TEST_CASE_FIXTURE(Backends, "CUDA convolutions: strides, padding, groups, depthwise, more than one tile") {
  struct Shapes {
    Conv2dGeometry g;
    index_t h, w, ci, co;
  };
  for (const Shapes& s : {Shapes{{3, 3, 1, 1, 1}, 6, 5, 3, 70}, Shapes{{3, 3, 2, 1, 1}, 7, 6, 4, 5}, Shapes{{1, 1, 1, 0, 1}, 5, 5, 6, 4},
                          Shapes{{5, 3, 1, 2, 2}, 6, 7, 4, 6}, Shapes{{3, 3, 2, 0, 6}, 7, 7, 6, 6}}) {
    CAPTURE(s.g.groups);
    const Pair<4> x(Shape{2, s.h, s.w, s.ci}, 1), w(Shape{index_t{s.g.kernel_h}, index_t{s.g.kernel_w}, s.ci / s.g.groups, s.co}, 2);
    const Pair<1> bias(Shape{s.co}, 3);
    const Shape<4> out = s.g.output(x.cpu.shape(), s.co);
    Pair<4> y(out, 4), dx(x.cpu.shape(), 5), dw(w.cpu.shape(), 6);
    K::conv2d_forward(cpu, s.g, x.c(), w.c(), bias.cpu.data(), y.cpu.view(), Epilogue::relu);
    G::conv2d_forward(gpu, s.g, x.g(), w.g(), bias.gpu.data(), y.gpu.view(), Epilogue::relu);
    y.same();
    const Pair<4> dy(out, 7);
    for (auto write : {Write::add, Write::replace}) {
      K::conv2d_backward_data(cpu, s.g, dy.c(), w.c(), dx.cpu.view(), write);
      G::conv2d_backward_data(gpu, s.g, dy.g(), w.g(), dx.gpu.view(), write);
      dx.same();
      K::conv2d_backward_weights(cpu, s.g, x.c(), dy.c(), dw.cpu.view(), write);
      G::conv2d_backward_weights(gpu, s.g, x.g(), dy.g(), dw.gpu.view(), write);
      dw.same();
    }
  }
}

namespace {
template <int R>
Tensor<float, R> whole_numbers(Shape<R> shape, std::uint64_t seed) {
  auto out = randn<float>(shape, seed, 3);
  for (float& x : out) x = std::round(x);
  return out;
}

/// All three products of a convolution, of operands stored as `Stored`, TF32 allowed: within `bound` of the CPU's. What BFloat16
/// gives as float was not rounded at all.
template <class Stored, class Make>
void convolves(Backends& on, const Conv2dGeometry& g, index_t h, index_t w, index_t ci, index_t co, double bound, const Make& make) {
  CAPTURE(ci);
  CAPTURE(co);
  using P = Pair<4, float, Stored>;
  on.gpu.allow_tf32(true);
  const P x(make(Shape{3, h, w, ci}, 1)), weight(make(Shape{index_t{g.kernel_h}, index_t{g.kernel_w}, ci / g.groups, co}, 2));
  const Pair<1, float> bias(make(Shape{co}, 3));
  const Shape<4> out = g.output(x.cpu.shape(), co);
  P y(make(out, 4)), dx(make(x.cpu.shape(), 5));
  Pair<4, float> rectified(make(out, 4)), dw(make(weight.cpu.shape(), 6));
  const P dy(make(out, 7));
  K::conv2d_forward(on.cpu, g, x.c(), weight.c(), bias.cpu.data(), y.cpu.view());
  G::conv2d_forward(on.gpu, g, x.g(), weight.g(), bias.gpu.data(), y.gpu.view());
  K::conv2d_forward(on.cpu, g, x.c(), weight.c(), nullptr, rectified.cpu.view(), Epilogue::relu);
  G::conv2d_forward<float, Stored>(on.gpu, g, x.g(), weight.g(), nullptr, rectified.gpu.view(), Epilogue::relu);
  K::conv2d_backward_data(on.cpu, g, dy.c(), weight.c(), dx.cpu.view(), Write::add);
  G::conv2d_backward_data(on.gpu, g, dy.g(), weight.g(), dx.gpu.view(), Write::add);
  K::conv2d_backward_weights(on.cpu, g, x.c(), dy.c(), dw.cpu.view(), Write::add);
  G::conv2d_backward_weights<float, Stored>(on.gpu, g, x.g(), dy.g(), dw.gpu.view(), Write::add);
  const double as_float = std::is_same_v<Stored, float> ? bound : tolerance<float>::value;
  y.same(bound), dx.same(bound), rectified.same(as_float), dw.same(as_float);
#if !defined(RETORT_ON_DEVICE)
  if constexpr (std::is_same_v<Stored, float>)
    if (bound > tolerance<float>::value)  // the factors were rounded
      CHECK(std::min({distance(host(y.cpu), host(y.gpu)), distance(host(dx.cpu), host(dx.gpu)), distance(host(dw.cpu), host(dw.gpu))}) > tolerance<float>::value);
#endif
}
template <class Stored>
void convolves(Backends& on, double rounded) {
  const auto whole = [](auto shape, std::uint64_t seed) { return whole_numbers(shape, seed); };
  const auto any = [](auto shape, std::uint64_t seed) { return randn<float>(shape, seed); };
  const double exact = tolerance<float>::value;
  convolves<Stored>(on, {1, 3, 1, 1, 1}, 5, 7, 3, 70, exact, whole);    // two tiles of rows and of columns
  convolves<Stored>(on, {3, 3, 2, 1, 1}, 5, 4, 17, 33, exact, whole);   // one more than a fragment has, one more than the narrow tile
  convolves<Stored>(on, {1, 1, 1, 0, 1}, 5, 5, 6, 4, exact, whole);
  convolves<Stored>(on, {5, 3, 1, 2, 2}, 4, 5, 10, 6, exact, whole);
  convolves<Stored>(on, {3, 3, 3, 0, 3}, 7, 8, 9, 21, rounded, any);
  convolves<Stored>(on, {3, 3, 1, 1, 1}, 4, 5, 20, 9, rounded, any);
  convolves<Stored>(on, {3, 3, 2, 0, 6}, 7, 7, 6, 6, exact, whole);     // depthwise: without a tile
  convolves<Stored>(on, {3, 1, 1, 1, 40}, 9, 11, 40, 40, exact, whole); // more than a warp, pixels in more than one part
}
}  // namespace

TEST_CASE_FIXTURE(Backends, "CUDA convolutions on tensor cores: whole numbers exactly, others within TF32") {
  convolves<float>(*this, tolerance<Tf32, Cuda>::value);
}

TEST_CASE_FIXTURE(Backends, "CUDA convolutions stored as BFloat16: whole numbers exactly, others rounded once") {
  convolves<BFloat16>(*this, tolerance<BFloat16, Cuda>::value);
  const Tensor<BFloat16, 4, Cuda> x(Shape{1, 4, 4, 3}), w(Shape{3, 3, 3, 5});
  Tensor<BFloat16, 4, Cuda> y(Shape{1, 4, 3, 5});
  const auto wrong = doctest::Contains("expected shape (1, 4, 4, 5), got (1, 4, 3, 5)");
  CHECK_THROWS_WITH_AS(G::conv2d_forward(gpu, {}, x.view(), w.view(), nullptr, y.view()), wrong, shape_error);
  Tensor<float, 4, Cuda> dw(w.shape());
  CHECK_THROWS_WITH_AS((G::conv2d_backward_weights<float, BFloat16>(gpu, {}, x.view(), y.view(), dw.view(), Write::add)), wrong, shape_error);
  CHECK_THROWS_AS(G::conv2d_backward_data(gpu, {.stride = 0}, y.view(), w.view(), y.view(), Write::add), value_error);
}

TEST_CASE("TF32 is the nearest number of ten bits of mantissa") {
  Rng rng(3);
  for (int i = 0; i < 2000; ++i) {
    const double x = static_cast<float>((1 + rng.uniform()) * std::exp2(rng.uniform(-30, 30))), unit = std::exp2(std::floor(std::log2(x)) - 10);
    const double y = cuda::conv::to_tf32(static_cast<float>(i % 2 ? x : -x)), half_way = std::floor(x / unit) * unit + unit / 2;
    CHECK(std::abs(y) == std::floor(x / unit + 0.5) * unit);
    CHECK(std::abs(double(cuda::conv::to_tf32(static_cast<float>(half_way)))) == half_way + unit / 2);
  }
  CHECK(std::isnan(cuda::conv::to_tf32(std::numeric_limits<float>::quiet_NaN())));
  CHECK(cuda::conv::to_tf32(std::numeric_limits<float>::infinity()) == std::numeric_limits<float>::infinity());
}

TEST_CASE_FIXTURE(Backends, "CUDA column sums and batch normalisation, through and around the batch's statistics") {
  const index_t rows = 600, width = 37;
  const Pair<2> x(Shape{rows, width}, 1), dy(Shape{rows, width}, 2);
  const Pair<1> gamma(Shape{width}, 3), beta(Shape{width}, 4);
  Pair<1> mean(Shape{width}, 5), variance(Shape{width}, 6), inv(Shape{width}, 7), scale(Shape{width}, 8), shift(Shape{width}, 9), running(Shape{width}, 10);
  K::batch_norm_statistics(cpu, x.c(), mean.cpu.data(), variance.cpu.data());
  G::batch_norm_statistics(gpu, x.g(), mean.gpu.data(), variance.gpu.data());
  mean.same(), variance.same();
  K::update_running(cpu, width, 0.1, 1.01, mean.cpu.data(), running.cpu.data());
  G::update_running(gpu, width, 0.1, 1.01, mean.gpu.data(), running.gpu.data());
  running.same();
  K::batch_norm_fold(cpu, width, mean.cpu.data(), variance.cpu.data(), gamma.cpu.data(), beta.cpu.data(), 1e-5, inv.cpu.data(), scale.cpu.data(), shift.cpu.data());
  G::batch_norm_fold(gpu, width, mean.gpu.data(), variance.gpu.data(), gamma.gpu.data(), beta.gpu.data(), 1e-5, inv.gpu.data(), scale.gpu.data(), shift.gpu.data());
  scale.same(), shift.same();
  Pair<2> y(Shape{rows, width}, 11), dx(Shape{rows, width}, 12);
  Pair<1> dgamma(Shape{width}, 13), dbeta(Shape{width}, 14);
  K::scale_shift(cpu, x.c(), scale.cpu.data(), shift.cpu.data(), y.cpu.view(), Epilogue::relu);
  G::scale_shift(gpu, x.g(), scale.gpu.data(), shift.gpu.data(), y.gpu.view(), Epilogue::relu);
  y.same();
  for (bool through : {true, false})
    for (auto write : {Write::add, Write::replace}) {
      if (through) {
        K::batch_norm_backward(cpu, x.c(), y.c(), dy.c(), mean.cpu.data(), inv.cpu.data(), gamma.cpu.data(), dgamma.cpu.data(), dbeta.cpu.data(), write, dx.cpu.view(), write, Epilogue::relu);
        G::batch_norm_backward(gpu, x.g(), y.g(), dy.g(), mean.gpu.data(), inv.gpu.data(), gamma.gpu.data(), dgamma.gpu.data(), dbeta.gpu.data(), write, dx.gpu.view(), write, Epilogue::relu);
      } else {
        K::scale_shift_backward(cpu, x.c(), y.c(), dy.c(), mean.cpu.data(), inv.cpu.data(), gamma.cpu.data(), dgamma.cpu.data(), dbeta.cpu.data(), write, dx.cpu.view(), write);
        G::scale_shift_backward(gpu, x.g(), y.g(), dy.g(), mean.gpu.data(), inv.gpu.data(), gamma.gpu.data(), dgamma.gpu.data(), dbeta.gpu.data(), write, dx.gpu.view(), write);
      }
      dx.same(), dgamma.same(), dbeta.same();
    }
  K::column_sum(cpu, dy.c(), dbeta.cpu.data(), Write::add);
  G::column_sum(gpu, dy.g(), dbeta.gpu.data(), Write::add);
  dbeta.same();
}

TEST_CASE_FIXTURE(Backends, "CUDA pooling and upsampling, overlapping windows and padding") {
  for (const PoolGeometry& g : {PoolGeometry{2, 2, 0}, PoolGeometry{3, 2, 1}, PoolGeometry{3, 1, 1}}) {
    const Pair<4> x(Shape{2, 7, 6, 5}, 1);
    const Shape<4> out = g.output(x.cpu.shape());
    Pair<4> y(out, 2), dx(x.cpu.shape(), 3);
    const Pair<4> dy(out, 4);
    Tensor<std::int32_t, 4> index(out);
    Tensor<std::int32_t, 4, Cuda> gpu_index(out);
    K::max_pool_forward(cpu, g, x.c(), y.cpu.view(), index.data());
    G::max_pool_forward(gpu, g, x.g(), y.gpu.view(), gpu_index.data());
    y.same();
    same(host(index), host(gpu_index), 1e-12);
    for (auto write : {Write::add, Write::replace}) {
      K::max_pool_backward(cpu, g, dy.c(), index.data(), dx.cpu.view(), write);
      G::max_pool_backward(gpu, g, dy.g(), gpu_index.data(), dx.gpu.view(), write);
      dx.same();
      K::average_pool_backward(cpu, g, dy.c(), dx.cpu.view(), write);
      G::average_pool_backward(gpu, g, dy.g(), dx.gpu.view(), write);
      dx.same();
    }
    K::average_pool_forward(cpu, g, x.c(), y.cpu.view());
    G::average_pool_forward(gpu, g, x.g(), y.gpu.view());
    y.same();
    K::max_pool_forward_replay(cpu, g, x.c(), y.cpu.view(), index.data());
    G::max_pool_forward_replay(gpu, g, x.g(), y.gpu.view(), gpu_index.data());
    y.same();
  }
  const Pair<4> x(Shape{2, 3, 4, 5}, 1);
  Pair<2> mean(Shape{2, 5}, 2);
  Pair<4> dx(x.cpu.shape(), 3), up(Shape{2, 6, 8, 5}, 4);
  K::global_average_pool_forward(cpu, x.c(), mean.cpu.view());
  G::global_average_pool_forward(gpu, x.g(), mean.gpu.view());
  mean.same();
  K::global_average_pool_backward(cpu, mean.c(), dx.cpu.view(), Write::add);
  G::global_average_pool_backward(gpu, mean.g(), dx.gpu.view(), Write::add);
  dx.same();
  K::upsample_nearest_forward(cpu, 2, x.c(), up.cpu.view());
  G::upsample_nearest_forward(gpu, 2, x.g(), up.gpu.view());
  up.same();
  K::upsample_nearest_backward(cpu, 2, up.c(), dx.cpu.view(), Write::add);
  G::upsample_nearest_backward(gpu, 2, up.g(), dx.gpu.view(), Write::add);
  dx.same();
}

TEST_CASE_FIXTURE(Backends, "CUDA softmax and choices within rows") {
  for (index_t width : {2, 31, 33, 70}) {
    const Pair<2> x(Shape{5, width}, 1), dy(Shape{5, width}, 2);
    Pair<2> y(x.cpu.shape(), 3), dx(x.cpu.shape(), 4);
    K::softmax_forward(cpu, x.c(), y.cpu.view()), G::softmax_forward(gpu, x.g(), y.gpu.view());
    y.same();
    K::softmax_backward(cpu, y.c(), dy.c(), dx.cpu.view(), Write::add), G::softmax_backward(gpu, y.g(), dy.g(), dx.gpu.view(), Write::add);
    dx.same();
    K::log_softmax_forward(cpu, x.c(), y.cpu.view()), G::log_softmax_forward(gpu, x.g(), y.gpu.view());
    y.same();
    K::log_softmax_backward(cpu, y.c(), dy.c(), dx.cpu.view(), Write::replace), G::log_softmax_backward(gpu, y.g(), dy.g(), dx.gpu.view(), Write::replace);
    dx.same();
    Tensor<std::int32_t, 1> best(Shape{5});
    Tensor<std::int32_t, 1, Cuda> gpu_best(Shape{5});
    K::arg_max_rows(cpu, x.c(), best.data()), G::arg_max_rows(gpu, x.g(), gpu_best.data());
    same(host(best), host(gpu_best), 1e-12);
    Pair<2> top(Shape{5, 3}, 5), wrong(Shape{5, 1}, 6), picked(Shape{5, 1}, 7);
    K::select_top(cpu, x.c(), 2, top.cpu.view()), G::select_top(gpu, x.g(), 2, top.gpu.view());
    top.same();
    const auto columns = host(gpu_best);
    const std::vector<std::int32_t> labels{columns[0], 0, 1, columns[3], 1};
    const auto gpu_labels = on_device(labels);
    const View<const std::int32_t, 1> host_labels{labels.data(), {5}};
    same_number(K::mark_errors(cpu, x.c(), host_labels, wrong.cpu.view()), G::mark_errors(gpu, x.g(), gpu_labels.view(), wrong.gpu.view()));
    wrong.same();
    K::pick_columns(cpu, x.c(), host_labels, picked.cpu.view()), G::pick_columns(gpu, x.g(), gpu_labels.view(), picked.gpu.view());
    picked.same();
    K::pick_columns_backward(cpu, picked.c(), host_labels, dx.cpu.view(), Write::add);
    G::pick_columns_backward(gpu, picked.g(), gpu_labels.view(), dx.gpu.view(), Write::add);
    dx.same();
  }
}

TEST_CASE_FIXTURE(Backends, "CUDA element-wise kernels, broadcasting, reductions, gathering") {
  for (const auto& shapes : {std::pair{Shape{3, 4, 5}, Shape{3, 4, 5}}, std::pair{Shape{3, 1, 5}, Shape{1, 4, 1}}, std::pair{Shape{3, 4, 5}, Shape{1, 1, 5}}}) {
    const Pair<3> a(shapes.first, 1), b(shapes.second, 2), dy(Shape{3, 4, 5}, 3);
    Pair<3> y(Shape{3, 4, 5}, 4), da(shapes.first, 5), db(shapes.second, 6);
    K::binary(cpu, functor::Multiply{}, a.c(), b.c(), y.cpu.view()), G::binary(gpu, functor::Multiply{}, a.g(), b.g(), y.gpu.view());
    y.same();
    for (auto write : {Write::add, Write::replace}) {
      K::binary_backward(cpu, functor::Divide{}, false, a.c(), b.c(), dy.c(), da.cpu.view(), write);
      G::binary_backward(gpu, functor::Divide{}, false, a.g(), b.g(), dy.g(), da.gpu.view(), write);
      da.same();
      K::binary_backward(cpu, functor::Divide{}, true, a.c(), b.c(), dy.c(), db.cpu.view(), write);
      G::binary_backward(gpu, functor::Divide{}, true, a.g(), b.g(), dy.g(), db.gpu.view(), write);
      db.same();
    }
  }
  for (int axis : {0, 1, 2}) {
    const Pair<3> x(Shape{3, 4, 5}, 1);
    Shape<3> reduced{3, 4, 5};
    reduced[axis] = 1;
    Pair<3> y(reduced, 2), dx(Shape{3, 4, 5}, 3);
    K::sum_axis(cpu, axis, x.c(), y.cpu.view()), G::sum_axis(gpu, axis, x.g(), y.gpu.view());
    y.same();
    K::repeat_axis(cpu, axis, y.c(), dx.cpu.view(), Write::add), G::repeat_axis(gpu, axis, y.g(), dx.gpu.view(), Write::add);
    dx.same();
  }
  const Pair<1> x(Shape{5000}, 1);
  Pair<1> y(Shape{5000}, 2), one(Shape{1}, 3);
  K::scaled_sum(cpu, 0.5, x.c(), one.cpu.view()), G::scaled_sum(gpu, 0.5, x.g(), one.gpu.view());
  one.same();
  same_number(K::sum_of_squares(cpu, x.c()), G::sum_of_squares(gpu, x.g()));
  same_number(K::item(cpu, one.cpu.data()), G::item(gpu, one.gpu.data()));
  K::accumulate_by(cpu, 2., one.cpu.data(), x.c(), y.cpu.view(), Write::add), G::accumulate_by(gpu, 2., one.gpu.data(), x.g(), y.gpu.view(), Write::add);
  const View<const double, 1> none{};
  K::accumulate_by(cpu, 2., one.cpu.data(), none, y.cpu.view(), Write::add), G::accumulate_by(gpu, 2., one.gpu.data(), none, y.gpu.view(), Write::add);
  K::accumulate(cpu, 3., x.c(), y.cpu.view(), Write::add), G::accumulate(gpu, 3., x.g(), y.gpu.view(), Write::add);
  K::add_scalar(cpu, 3., y.cpu.view()), G::add_scalar(gpu, 3., y.gpu.view());
  K::clamp(cpu, 4., y.cpu.view()), G::clamp(gpu, 4., y.gpu.view());
  y.same();
  std::vector<std::uint8_t> mask(5000);
  Tensor<std::uint8_t, 1, Cuda> gpu_mask(Shape{5000});
  K::dropout_mask(cpu, Rng(3), 0.3f, 4999, mask.data()), G::dropout_mask(gpu, Rng(3), 0.3f, 4999, gpu_mask.data());
  same(mask, host(gpu_mask), 1e-12);
  K::masked_scale(cpu, mask.data(), 2., x.c(), y.cpu.view(), Write::add), G::masked_scale(gpu, gpu_mask.data(), 2., x.g(), y.gpu.view(), Write::add);
  y.same();
  const Pair<2> table(Shape{6, 4}, 1);
  Pair<2> rows(Shape{5, 4}, 2), dtable(Shape{6, 4}, 3), wide(Shape{5, 9}, 4);
  const std::vector<std::int32_t> index{5, 0, 5, 2, 1};
  const auto gpu_index = on_device(index);
  const View<const std::int32_t, 1> host_index{index.data(), {5}};
  K::gather_rows(cpu, table.c(), host_index, rows.cpu.view()), G::gather_rows(gpu, table.g(), gpu_index.view(), rows.gpu.view());
  rows.same();
  for (auto write : {Write::add, Write::replace}) {
    K::scatter_add_rows(cpu, rows.c(), host_index, dtable.cpu.view(), write), G::scatter_add_rows(gpu, rows.g(), gpu_index.view(), dtable.gpu.view(), write);
    dtable.same();
    K::copy_columns(cpu, rows.c(), 1, wide.cpu.view(), 4, 3, write), G::copy_columns(gpu, rows.g(), 1, wide.gpu.view(), 4, 3, write);
    wide.same();
  }
}

TEST_CASE_FIXTURE(Backends, "CUDA activations, live and replayed, and an optimiser's rule on one tensor") {
  const auto check = [&](auto f) {
    const Pair<1> x(Shape{300}, 1), dy(Shape{300}, 2);
    Pair<1> y(Shape{300}, 3), dx(Shape{300}, 4);
    K::activation_forward(cpu, f, x.c(), y.cpu.view()), G::activation_forward(gpu, f, x.g(), y.gpu.view());
    y.same();
    K::activation_backward(cpu, f, x.c(), y.c(), dy.c(), dx.cpu.view(), Write::add), G::activation_backward(gpu, f, x.g(), y.g(), dy.g(), dx.gpu.view(), Write::add);
    dx.same();
    if constexpr (decltype(f)::kink) {
      std::vector<std::uint8_t> mask(300);
      Tensor<std::uint8_t, 1, Cuda> gpu_mask(Shape{300});
      K::kink_mask(cpu, dy.c(), mask.data()), G::kink_mask(gpu, dy.g(), gpu_mask.data());
      K::activation_forward_masked(cpu, f, x.c(), y.cpu.view(), mask.data()), G::activation_forward_masked(gpu, f, x.g(), y.gpu.view(), gpu_mask.data());
      y.same();
      K::activation_backward(cpu, f, x.c(), y.c(), dy.c(), dx.cpu.view(), Write::replace, mask.data());
      G::activation_backward(gpu, f, x.g(), y.g(), dy.g(), dx.gpu.view(), Write::replace, gpu_mask.data());
      dx.same();
    }
  };
  check(functor::Relu{});
  check(functor::LeakyRelu{.slope = 0.2f});
  check(functor::Gelu{});
  check(functor::Tanh{});
  check(functor::Sigmoid{});
  const Pair<1> grad(Shape{300}, 1);
  Pair<1> m(Shape{300}, 2), w(Shape{300}, 3);
  Pair<1> v(Shape{300}, 4);
  for (index_t i = 0; i < 300; ++i) v.cpu(i) = std::abs(v.cpu(i));
  Cuda::copy(v.gpu.data(), v.cpu.data(), 300 * sizeof(double));
  const functor::AdamStep<double> adam{0.1, 0.9, 0.99, 1e-8, 1.5, 2., 0.01, 0.1};
  K::update(cpu, adam, ParameterUpdate<double>{grad.cpu.data(), w.cpu.data(), m.cpu.data(), v.cpu.data(), 300});
  G::update(gpu, adam, ParameterUpdate<double>{grad.gpu.data(), w.gpu.data(), m.gpu.data(), v.gpu.data(), 300});
  m.same(), v.same(), w.same();
}

namespace {
/// The kernel's answer, and the one of a sorted row, for rows full of equal values and of both zeros.
template <class T>
void selects(index_t width, index_t top) {
  CAPTURE(width);
  CAPTURE(top);
  constexpr index_t rows = 5;
  auto values = normals<T>(rows * width, static_cast<std::uint64_t>(width + top), 2);
  for (std::size_t i = 0; i < values.size(); ++i)
    if (i / static_cast<std::size_t>(width) % 2 == 0) values[i] = std::round(values[i]);  // -0 among them
  if (width > 2) values[1] = std::numeric_limits<T>::infinity(), values[2] = -values[1];
  Cuda gpu;
  const auto x = tensor_of<Cuda>(Shape{rows, width}, values);
  Tensor<T, 2, Cuda> out(Shape{rows, 3});
  G::select_top(gpu, x.view(), top, out.view());
  std::vector<T> expected;
  for (index_t r = 0; r < rows; ++r) {
    const T* row = values.data() + r * width;
    std::vector<index_t> order(static_cast<std::size_t>(width));
    for (index_t c = 0; c < width; ++c) order[static_cast<std::size_t>(c)] = c;
    std::stable_sort(order.begin(), order.end(), [&](index_t a, index_t b) { return row[a] > row[b]; });
    const index_t at = order[static_cast<std::size_t>(top - 1)];
    for (const T v : {row[at], static_cast<T>(at), row[order.back()]}) expected.push_back(v);
  }
  CHECK(host(out) == expected);
}
}  // namespace

TEST_CASE("the k-th largest of a row, by searches and by digits, with ties and infinities") {
  for (const index_t width : {1, 2, 31, 32, 33, 257, 700})
    for (const index_t top : {1, 3, 5, 8, 9, 20, 250, 700})
      if (top <= width) selects<float>(width, top), selects<double>(width, top);
}
