#include "backend/reference.hpp"

using namespace test;

namespace {

const Shape<2> shapes[] = {{1, 1}, {2, 3}, {64, 16}, {1000, 16}, {37, 33}, {300, 64}, {129, 100}, {4, 700}};

struct Moments {
  std::vector<double> mean, variance;
};

template <class T>
Moments moments(const Tensor<T, 2>& x) {
  const index_t rows = x.extent(0), n = x.extent(1);
  Moments m{std::vector<double>(static_cast<std::size_t>(n)), std::vector<double>(static_cast<std::size_t>(n))};
  for (index_t j = 0; j < n; ++j) {
    double sum = 0, square = 0;
    for (index_t r = 0; r < rows; ++r) sum += static_cast<double>(x(r, j)) / static_cast<double>(rows);
    for (index_t r = 0; r < rows; ++r) square += std::pow(static_cast<double>(x(r, j)) - sum, 2);
    m.mean[static_cast<std::size_t>(j)] = sum;
    m.variance[static_cast<std::size_t>(j)] = square / static_cast<double>(rows);
  }
  return m;
}

}  // namespace

TEST_CASE_TEMPLATE("batch norm statistics equal plain loops", T, float, double) {
  Cpu one, two(2);
  for (Cpu* cpu : {&one, &two})
    for (const Shape<2>& s : shapes) {
      const auto x = random<T, 2>(s, 1);
      const Moments expected = moments(x);
      Tensor<T, 1> mean(Shape{s[1]}), variance(Shape{s[1]});
      K::batch_norm_statistics(*cpu, x, mean.data(), variance.data());
      CAPTURE(to_string(s));
      CHECK(deviation(mean, expected.mean) < tolerance<T>(1));
      CHECK(deviation(variance, expected.variance) < tolerance<T>(1));
    }
}

TEST_CASE("batch norm statistics survive a mean far above the deviation") {
  Cpu cpu;
  for (Shape<2> s : {Shape{4096, 16}, Shape{333, 7}}) {
    auto x = random<float, 2>(s, 2, 999, 1001);
    for (index_t j = 0; j < s[1]; ++j) x(0, j) = 900;  // a first row that is no good estimate of the mean
    const Moments expected = moments(x);
    Tensor<float, 1> mean(Shape{s[1]}), variance(Shape{s[1]});
    K::batch_norm_statistics(cpu, x, mean.data(), variance.data());
    for (index_t j = 0; j < s[1]; ++j) {
      CHECK(mean(j) == doctest::Approx(expected.mean[static_cast<std::size_t>(j)]).epsilon(tolerance<float>(1)));
      // Each x - mean is rounded at 1000, so the squares carry 1000 * epsilon.
      CHECK(variance(j) ==
            doctest::Approx(expected.variance[static_cast<std::size_t>(j)]).epsilon(1000 * tolerance<float>(1)));
    }
  }
}

TEST_CASE_TEMPLATE("scale_shift equals plain loops", T, float, double) {
  Cpu one, two(2);
  for (Cpu* cpu : {&one, &two})
    for (const Shape<2>& s : shapes)
      for (Epilogue epilogue : {Epilogue::none, Epilogue::relu}) {
        const auto x = random<T, 2>(s, 1);
        const auto scale = random<T, 1>(Shape{s[1]}, 2), shift = random<T, 1>(Shape{s[1]}, 3);
        std::vector<double> expected;
        for (index_t i = 0; i < s.size(); ++i) {
          const double v = static_cast<double>(x.data()[i]) * static_cast<double>(scale(i % s[1])) +
                           static_cast<double>(shift(i % s[1]));
          expected.push_back(epilogue == Epilogue::relu ? std::max(v, 0.0) : v);
        }
        Tensor<T, 2> y(s);
        K::scale_shift(*cpu, x, scale.data(), shift.data(), y.view(), epilogue);
        CHECK(deviation(y, expected) < tolerance<T>(1));
      }
}

TEST_CASE_TEMPLATE("batch norm gradients equal plain loops, in training and with constant statistics", T, float, double) {
  Cpu one, two(2);
  for (const Shape<2>& s : shapes) {
    const index_t n = s[1], rows = s[0];
    const auto x = random<T, 2>(s, 1), y = random<T, 2>(s, 2), dy = random<T, 2>(s, 3);
    const auto mean = random<T, 1>(Shape{n}, 4), inv_std = random<T, 1>(Shape{n}, 5, 0.5, 2), gamma = random<T, 1>(Shape{n}, 6);
    std::vector<std::uint8_t> mask;
    Rng rng(7);
    for (index_t i = 0; i < s.size(); ++i) mask.push_back(static_cast<std::uint8_t>(rng.below(2)));
    for (int mode = 0; mode < 64; ++mode) {
      const bool training = mode & 1, relu = mode & 2, masked = mode & 4, add = mode & 8, affine = mode & 16, wants_dx = mode & 32;
      std::vector<double> edx(static_cast<std::size_t>(s.size())), edgamma, edbeta;
      for (index_t j = 0; j < n; ++j) {
        auto g = [&](index_t r) {
          const bool on = !relu || (masked ? mask[static_cast<std::size_t>(r * n + j)] != 0 : y(r, j) > T{0});
          return on ? static_cast<double>(dy(r, j)) : 0.0;
        };
        auto xhat = [&](index_t r) { return (static_cast<double>(x(r, j)) - static_cast<double>(mean(j))) * static_cast<double>(inv_std(j)); };
        double sum = 0, dot = 0;
        for (index_t r = 0; r < rows; ++r) {
          sum += g(r);
          dot += g(r) * xhat(r);
        }
        edgamma.push_back(dot + (add ? 1 : 0));
        edbeta.push_back(sum + (add ? 1 : 0));
        const double scale = (affine ? static_cast<double>(gamma(j)) : 1.0) * static_cast<double>(inv_std(j));
        for (index_t r = 0; wants_dx && r < rows; ++r) {
          double d = g(r);
          if (training) d -= (sum + xhat(r) * dot) / static_cast<double>(rows);
          edx[static_cast<std::size_t>(r * n + j)] = scale * d + (add ? 0.5 : 0.0);
        }
      }

      for (Cpu* cpu : {&one, &two}) {
        Tensor<T, 1> dgamma(Shape{n}), dbeta(Shape{n});
        Tensor<T, 2> dx(s);
        for (T& v : dgamma) v = add ? T{1} : std::numeric_limits<T>::quiet_NaN();
        for (T& v : dbeta) v = add ? T{1} : std::numeric_limits<T>::quiet_NaN();
        for (T& v : dx) v = add ? T(0.5) : std::numeric_limits<T>::quiet_NaN();
        const Write write = add ? Write::add : Write::replace;
        const auto run = [&](auto kernel) {
          kernel(wants_dx ? dx.view() : View<T, 2>{}, affine ? gamma.data() : nullptr,
                 affine || !wants_dx ? dgamma.data() : nullptr, affine || !wants_dx ? dbeta.data() : nullptr);
        };
        const Epilogue epilogue = relu ? Epilogue::relu : Epilogue::none;
        if (training)
          run([&](auto out, const T* ga, T* dg, T* db) {
            K::batch_norm_backward(*cpu, x, y, dy, mean.data(), inv_std.data(), ga, dg, db, write, out, write, epilogue,
                                   masked ? mask.data() : nullptr);
          });
        else
          run([&](auto out, const T* ga, T* dg, T* db) {
            K::scale_shift_backward(*cpu, x, y, dy, mean.data(), inv_std.data(), ga, dg, db, write, out, write,
                                    epilogue, masked ? mask.data() : nullptr);
          });
        CAPTURE(to_string(s));
        CAPTURE(mode);
        CAPTURE(cpu->threads());
        if (wants_dx) CHECK(deviation(dx, edx) < tolerance<T>(rows));
        if (affine || !wants_dx) {
          CHECK(deviation(dgamma, edgamma) < tolerance<T>(rows));
          CHECK(deviation(dbeta, edbeta) < tolerance<T>(rows));
        }
      }
    }
  }
}

TEST_CASE("normalisation rejects mismatched shapes") {
  Cpu cpu;
  Tensor<float, 2> x(Shape{4, 3}), y(Shape{4, 2});
  Tensor<float, 1> c(Shape{3});
  CHECK_THROWS_AS(K::scale_shift(cpu, x, c.data(), c.data(), y.view()), shape_error);
  CHECK_THROWS_AS(K::batch_norm_backward(cpu, x, x, y, c.data(), c.data(), nullptr, nullptr, nullptr, Write::replace,
                                         x.view(), Write::replace),
                  shape_error);
}
