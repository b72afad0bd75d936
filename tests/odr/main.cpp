#include <doctest/doctest.h>

double first(long n);
double second(long n);

TEST_CASE("two units with all headers, compiled for different instruction sets, live in one binary") {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2")) {
    MESSAGE("SKIPPED: the second unit needs AVX2");
    return;
  }
#endif
  for (long n = 1; n < 100; n += 16) {
    const double a = first(n), b = second(n);
    CHECK(a > 0);
    CHECK(a == doctest::Approx(b).epsilon(1e-5));
  }
}
