#include <doctest/doctest.h>

#include <numeric>
#include <retort/data/idx.hpp>

#include "idx_files.hpp"
#include "real_data.hpp"
#include "scratch_folder.hpp"

using namespace retort;
using data::load_idx;
using test::idx_file;
using test::message_of;

TEST_CASE("idx: images scaled to 0..1, N x H x W x 1, with their labels") {
  const test::ScratchFolder folder;
  const auto set = load_idx(folder.write("images", idx_file({3, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255})),
                            folder.write("labels", idx_file({3}, {2, 0, 1})), 3);
  CHECK(set.inputs.shape() == Shape{3, 2, 2, 1});
  CHECK(set.inputs(1, 1, 0, 0) == doctest::Approx(6 / 255.));
  CHECK(set.inputs(2, 1, 1, 0) == 1.f);
  CHECK(set.labels == std::vector<std::int32_t>{2, 0, 1});
  CHECK(set.classes == 3);
}

TEST_CASE("idx: every malformed file gives a typed error with file and byte") {
  const test::ScratchFolder folder;
  const std::string images = idx_file({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}), labels = idx_file({2}, {0, 1});
  const auto fails = [&](const std::string& image_bytes, const std::string& label_bytes) {
    return message_of<data_error>(
        [&] { load_idx(folder.write("i", image_bytes), folder.write("l", label_bytes), 10); });
  };
  const std::string i = folder.file("i"), l = folder.file("l");
  CHECK(fails(images, labels).empty());
  CHECK(fails("", labels) == i + ": truncated at byte 0, expected an idx header of 16 bytes");
  CHECK(fails(images.substr(0, 9), labels) == i + ": truncated at byte 9, expected an idx header of 16 bytes");
  CHECK(fails(images.substr(0, 20), labels) == i + ": truncated at byte 20: dimensions (2, 2, 2) need 24 bytes");
  CHECK(fails(images + "x", labels) == i + ": oversized: dimensions (2, 2, 2) end at byte 24, the file has 25");
  CHECK(fails(images, labels.substr(0, 9)) == l + ": truncated at byte 9: dimensions (2) need 10 bytes");
  CHECK(fails(images, labels + "xx") == l + ": oversized: dimensions (2) end at byte 10, the file has 12");
  CHECK(fails(labels + images, labels) ==
        i + ": byte 0: expected the idx magic number 2051 (3 dimensions of unsigned bytes), found 2049");
  CHECK(fails(images, images) ==
        l + ": byte 0: expected the idx magic number 2049 (1 dimensions of unsigned bytes), found 2051");
  CHECK(fails(images, idx_file({3}, {0, 1, 1})) == i + " holds 2 images, but " + l + " holds 3 labels");
  CHECK(fails(images, idx_file({2}, {0, 10})) == l + ": byte 9: expected a label from 0 to 9, found 10");
  CHECK(fails(idx_file({0, 2, 2}, {}), labels) == i + ": byte 4: dimension 0 is 0");
  // Extents whose product overflows 64 bits must not be mistaken for a small array.
  CHECK(fails(idx_file({0x80000000u, 0x80000000u, 4}, {}), labels).find("larger than any file") != std::string::npos);
  CHECK(message_of<data_error>([&] { load_idx(folder.file("none"), l); }).find("cannot open '" + folder.path()) == 0);
  CHECK_THROWS_AS(load_idx(folder.write("i", images), folder.write("l", labels), 1), data_error);
}

namespace {
double mean_pixel(const Dataset<4>& set) {
  return std::accumulate(set.inputs.begin(), set.inputs.end(), 0.0) / static_cast<double>(set.inputs.size());
}
std::vector<std::int32_t> first_labels(const Dataset<4>& set) { return {set.labels.begin(), set.labels.begin() + 8}; }
}  // namespace

// The first labels and the mean pixel are those of the whole sets and of their first few thousand samples alike.
TEST_SUITE("needs-mnist") {
  TEST_CASE("MNIST") {
    const std::string folder = test::real_data("mnist", "train-images-idx3-ubyte", "http://yann.lecun.com/exdb/mnist");
    if (folder.empty()) return;
    const auto [train, held_out] = data::load_mnist(folder);
    CHECK(train.inputs.shape().row_size() == 28 * 28);
    CHECK(first_labels(train) == std::vector<std::int32_t>{5, 0, 4, 1, 9, 2, 1, 3});
    CHECK(first_labels(held_out) == std::vector<std::int32_t>{7, 2, 1, 0, 4, 1, 4, 9});
    CHECK(mean_pixel(train) == doctest::Approx(0.1307).epsilon(0.02));
    CHECK(held_out.inputs(3, 10, 12, 0) == doctest::Approx(251 / 255.));
  }
}
TEST_SUITE("needs-fashion-mnist") {
  TEST_CASE("Fashion-MNIST") {
    const std::string folder =
        test::real_data("fashion-mnist", "train-images-idx3-ubyte", "https://github.com/zalandoresearch/fashion-mnist");
    if (folder.empty()) return;
    const auto [train, held_out] = data::load_mnist(folder);
    CHECK(first_labels(train) == std::vector<std::int32_t>{9, 0, 0, 3, 0, 2, 7, 2});
    CHECK(first_labels(held_out) == std::vector<std::int32_t>{9, 2, 1, 1, 6, 1, 4, 6});
    CHECK(mean_pixel(train) == doctest::Approx(0.2860).epsilon(0.02));
    CHECK(train.inputs(3, 10, 12, 0) == doctest::Approx(104 / 255.));
  }
}
