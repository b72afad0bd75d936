#include <doctest/doctest.h>

#include <retort/io/idx_gzip.hpp>

#include "idx_files.hpp"
#include "scratch_folder.hpp"

using namespace retort;
using data::load_idx_gzip;
using test::message_of;

namespace {

void write_gzip(const std::string& path, const std::string& content) {
  gzFile file = gzopen(path.c_str(), "wb");
  REQUIRE(file != nullptr);
  REQUIRE(gzwrite(file, content.data(), static_cast<unsigned>(content.size())) == static_cast<int>(content.size()));
  REQUIRE(gzclose(file) == Z_OK);
}

}  // namespace

TEST_CASE("idx.gz gives the same set as the plain files") {
  const test::ScratchFolder folder;
  std::vector<unsigned char> pixels(300 * 28 * 28);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<unsigned char>(i * i >> 7);
  std::vector<unsigned char> classes(300);
  for (std::size_t i = 0; i < classes.size(); ++i) classes[i] = static_cast<unsigned char>(i % 10);
  const std::string images = test::idx_file({300, 28, 28}, pixels), labels = test::idx_file({300}, classes);
  write_gzip(folder.file("i.gz"), images);
  write_gzip(folder.file("l.gz"), labels);
  const auto packed = load_idx_gzip(folder.file("i.gz"), folder.file("l.gz"));
  const auto plain = data::load_idx(folder.write("i", images), folder.write("l", labels));
  CHECK(packed.inputs.shape() == plain.inputs.shape());
  CHECK(std::equal(plain.inputs.begin(), plain.inputs.end(), packed.inputs.begin()));
  CHECK(packed.labels == plain.labels);
}

TEST_CASE("idx.gz: cut, damaged, missing, and uncompressed content that does not fit its header") {
  const test::ScratchFolder folder;
  std::vector<unsigned char> pixels(64 * 64);
  Rng rng(4);
  for (auto& p : pixels) p = static_cast<unsigned char>(rng.below(256));  // random: does not compress away
  const std::string images = test::idx_file({1, 64, 64}, pixels);
  write_gzip(folder.file("l"), test::idx_file({1}, {1}));
  write_gzip(folder.file("whole"), images);
  const std::string packed = [&] {
    const auto read = data::read_file(folder.file("whole"));
    return std::string(read.bytes.begin(), read.bytes.end());
  }();
  const auto fails = [&](const std::string& name) {
    return message_of<data_error>([&] { load_idx_gzip(folder.file(name), folder.file("l")); });
  };
  CHECK(fails("whole").empty());
  folder.write("cut", packed.substr(0, packed.size() / 2));
  CHECK(fails("cut").find("damaged or truncated gzip data") != std::string::npos);
  std::string damaged = packed;
  damaged[packed.size() / 2] = static_cast<char>(~damaged[packed.size() / 2]);
  folder.write("damaged", damaged);
  CHECK(fails("damaged").find("damaged or truncated gzip data") != std::string::npos);
  write_gzip(folder.file("long"), images + "x");
  CHECK(fails("long") == folder.file("long") + ": oversized: dimensions (1, 64, 64) end at byte 4112, the file has 4113");
  CHECK(fails("none").find("cannot open '") == 0);
}
