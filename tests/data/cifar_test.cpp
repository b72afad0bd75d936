#include <doctest/doctest.h>

#include <array>
#include <retort/data/cifar.hpp>

#include "real_data.hpp"
#include "scratch_folder.hpp"

using namespace retort;
using data::load_cifar;
using test::message_of;

namespace {

/// One record: byte p of plane c is (p + 50 c) mod 256.
std::string record(unsigned char label) {
  std::string out(1, static_cast<char>(label));
  for (int plane = 0; plane < 3; ++plane)
    for (int p = 0; p < 1024; ++p) out += static_cast<char>(p + 50 * plane);
  return out;
}

}  // namespace

TEST_CASE("cifar: planes become channels, files are joined in order") {
  const test::ScratchFolder folder;
  const auto set = load_cifar({folder.write("a.bin", record(3) + record(0)), folder.write("b.bin", record(9))});
  CHECK(set.inputs.shape() == Shape{3, 32, 32, 3});
  CHECK(set.labels == std::vector<std::int32_t>{3, 0, 9});
  CHECK(set.classes == 10);
  for (int plane = 0; plane < 3; ++plane)
    for (int y : {0, 5, 31})
      for (int x : {0, 7, 31})
        CHECK(set.inputs(2, y, x, plane) == doctest::Approx((y * 32 + x + 50 * plane) % 256 / 255.));
}

TEST_CASE("cifar: every malformed file gives a typed error with file and byte") {
  const test::ScratchFolder folder;
  const auto fails = [&](const std::string& bytes, int classes = 10) {
    return message_of<data_error>([&] { load_cifar({folder.write("bad.bin", bytes)}, classes); });
  };
  const std::string name = folder.file("bad.bin"), good = record(1) + record(2);
  CHECK(fails(good).empty());
  CHECK(fails(good.substr(0, 4000)) == name + ": expected a whole number of 3073-byte records, found 4000 bytes: 927 "
                                              "bytes after the last whole record at byte 3073");
  CHECK(fails(good + "x") == name + ": expected a whole number of 3073-byte records, found 6147 bytes: 1 bytes after "
                                    "the last whole record at byte 6146");
  CHECK(fails("").find("found 0 bytes") != std::string::npos);
  CHECK(fails(record(1) + record(10)) == name + ": byte 3073: expected a label from 0 to 9, found 10");
  CHECK(fails(good, 2) == name + ": byte 3073: expected a label from 0 to 1, found 2");
  CHECK_THROWS_AS(load_cifar({}), value_error);
  CHECK_THROWS_AS(load_cifar({folder.file("none.bin")}), data_error);
  CHECK_THROWS_AS(load_cifar({folder.write("zero.bin", record(0))}, 1), value_error);
}

TEST_SUITE("needs-cifar10") {
  TEST_CASE("CIFAR-10: the channel means of the whole set, ten classes of about the same size") {
    const std::string folder = test::real_data("cifar10", "train.bin", "https://www.cs.toronto.edu/~kriz/cifar.html");
    if (folder.empty()) return;
    const auto set = load_cifar({folder + "/train.bin", folder + "/test.bin"});
    std::array<double, 3> mean{};
    for (index_t i = 0; i < set.inputs.size(); ++i) mean[static_cast<std::size_t>(i % 3)] += set.inputs.data()[i];
    for (double& m : mean) m /= static_cast<double>(set.inputs.size() / 3);
    CHECK(mean[0] == doctest::Approx(0.4914).epsilon(0.02));
    CHECK(mean[1] == doctest::Approx(0.4822).epsilon(0.02));
    CHECK(mean[2] == doctest::Approx(0.4465).epsilon(0.02));
    for (int c = 0; c < 10; ++c)
      CHECK(static_cast<double>(std::count(set.labels.begin(), set.labels.end(), c)) ==
            doctest::Approx(static_cast<double>(set.size()) / 10).epsilon(0.15));
  }
}
