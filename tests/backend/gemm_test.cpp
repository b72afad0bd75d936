#include "backend/reference.hpp"

using namespace test;

namespace {

template <class T>
void check_gemm(index_t m, index_t n, index_t k, Cpu& cpu) {
  for (int mode = 0; mode < 32; ++mode) {
    const bool at = mode & 1, bt = mode & 2, add = mode & 4, biased = mode & 8, relu = mode & 16;
    const auto a = random<T, 2>(at ? Shape{k, m} : Shape{m, k}, 1);
    const auto b = random<T, 2>(bt ? Shape{n, k} : Shape{k, n}, 2);
    const auto bias = random<T, 1>(Shape{n}, 3);
    auto c = random<T, 2>(Shape{m, n}, 4);
    std::vector<double> expected(static_cast<std::size_t>(m * n));
    for (index_t i = 0; i < m; ++i)
      for (index_t j = 0; j < n; ++j) {
        double sum = (add ? static_cast<double>(c(i, j)) : 0.0) + (biased ? static_cast<double>(bias(j)) : 0.0);
        for (index_t l = 0; l < k; ++l)
          sum += static_cast<double>(at ? a(l, i) : a(i, l)) * static_cast<double>(bt ? b(j, l) : b(l, j));
        expected[static_cast<std::size_t>(i * n + j)] = relu ? std::max(sum, 0.0) : sum;
      }
    if (!add)
      for (T& v : c) v = std::numeric_limits<T>::quiet_NaN();  // replace must not read what was there
    K::gemm(cpu, at ? Transpose::yes : Transpose::no, bt ? Transpose::yes : Transpose::no, a, b, c.view(),
            add ? Write::add : Write::replace, biased ? bias.data() : nullptr, relu ? Epilogue::relu : Epilogue::none);
    CAPTURE(m);
    CAPTURE(n);
    CAPTURE(k);
    CAPTURE(mode);
    CHECK(deviation(c, expected) < tolerance<T>(k));
  }
}

}  // namespace

TEST_CASE_TEMPLATE("gemm equals plain loops for every transposition, write mode and epilogue", T, float, double) {
  Cpu one, three(3);
  const index_t shapes[][3] = {{1, 1, 1},   {3, 5, 7},    {12, 32, 16}, {13, 33, 300}, {32, 10, 32}, {32, 32, 64},
                               {64, 10, 5}, {25, 47, 31}, {7, 100, 1},  {1, 257, 19},  {130, 3, 2},  {5, 16, 600}};
  for (const auto& s : shapes) {
    check_gemm<T>(s[0], s[1], s[2], one);
    check_gemm<T>(s[0], s[1], s[2], three);
  }
}

TEST_CASE("gemm at sizes that cross the boundaries of panels and of depth") {
  Cpu one, two(2);
  for (Cpu* cpu : {&one, &two}) check_gemm<float>(18, 70, 530, *cpu);
}

TEST_SUITE("slow") {  // two minutes under the sanitizers
  TEST_CASE("gemm at sizes that cross every block boundary") {
    Cpu one, two(2);
    const index_t shapes[][3] = {{150, 530, 530}, {300, 70, 1040}};
    for (const auto& s : shapes) {
      check_gemm<float>(s[0], s[1], s[2], one);
      check_gemm<float>(s[0], s[1], s[2], two);
    }
  }
}

TEST_CASE("gemm: degenerate extents and mismatched shapes") {
  Cpu cpu;
  Tensor<float, 2> a(Shape{2, 0}), b(Shape{0, 3}), c(Shape{2, 3});
  const float bias[] = {1, -2, 3};
  for (float& v : c) v = 7;
  K::gemm(cpu, Transpose::no, Transpose::no, a, b, c.view(), Write::replace, bias, Epilogue::relu);
  CHECK(c(1, 0) == 1);
  CHECK(c(1, 1) == 0);
  CHECK(c(0, 2) == 3);
  Tensor<float, 2> d(Shape{4, 5});
  try {
    K::gemm(cpu, Transpose::no, Transpose::yes, d, c, c.view());
    FAIL("expected shape_error");
  } catch (const shape_error& e) {
    const std::string what = e.what();
    CHECK(what.find("(4, 5)") != std::string::npos);
    CHECK(what.find("(2, 3)") != std::string::npos);
  }
}

TEST_CASE_TEMPLATE("column_sum equals plain loops", T, float, double) {
  Cpu cpu;
  const index_t shapes[][2] = {{1, 1}, {5, 3}, {64, 10}, {33, 100}, {700, 37}, {0, 4}};
  for (const auto& s : shapes)
    for (Write write : {Write::replace, Write::add}) {
      const auto x = random<T, 2>(Shape{s[0], s[1]}, 5);
      auto out = random<T, 1>(Shape{s[1]}, 6);
      std::vector<double> expected(static_cast<std::size_t>(s[1]));
      for (index_t j = 0; j < s[1]; ++j) {
        double sum = write == Write::add ? static_cast<double>(out(j)) : 0.0;
        for (index_t i = 0; i < s[0]; ++i) sum += static_cast<double>(x(i, j));
        expected[static_cast<std::size_t>(j)] = sum;
      }
      K::column_sum(cpu, x, out.data(), write);
      CHECK(deviation(out, expected) < tolerance<T>(s[0]));
    }
}
