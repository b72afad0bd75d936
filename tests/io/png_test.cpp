#include <doctest/doctest.h>

#include <retort/backend/cpu.hpp>
#include <retort/io/png.hpp>

#include "scratch_folder.hpp"
#include "support.hpp"

using namespace retort;

TEST_CASE("PNG files hold what was drawn, grey and in colour") {
  const test::ScratchFolder folder;
  for (const index_t channels : {1, 3}) {
    Tensor<float, 3> image(Shape<3>{5, 7, channels});
    Rng rng(1);
    for (float& x : image) x = static_cast<float>(rng.below(256)) / 255.f;
    image(0, 0, 0) = 2;   // clipped
    image(4, 6, 0) = -1;
    const std::string path = folder.file("image.png");
    io::save_png(path, image.view());
    png_image file;
    std::memset(&file, 0, sizeof file);
    file.version = PNG_IMAGE_VERSION;
    REQUIRE(png_image_begin_read_from_file(&file, path.c_str()) != 0);
    CHECK(file.height == 5);
    CHECK(file.width == 7);
    CHECK(((file.format & PNG_FORMAT_FLAG_COLOR) != 0) == (channels == 3));
    file.format = channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
    std::vector<png_byte> bytes(PNG_IMAGE_SIZE(file));
    REQUIRE(png_image_finish_read(&file, nullptr, bytes.data(), 0, nullptr) != 0);
    image(0, 0, 0) = 1, image(4, 6, 0) = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) CHECK(static_cast<float>(bytes[i]) == doctest::Approx(255 * image.data()[i]));
  }
  const Tensor<float, 3> two(Shape<3>{2, 2, 2}), grey(Shape<3>{2, 2, 1});
  CHECK_THROWS_AS(io::save_png(folder.file("two.png"), two.view()), shape_error);
  CHECK_THROWS_AS(io::save_png(folder.file("no/such/folder.png"), grey.view()), data_error);
}

TEST_CASE("a contact sheet: rows, lines between, zoom and stretch") {
  Tensor<float, 4> images(Shape<4>{3, 2, 2, 1});
  for (index_t i = 0; i < 3; ++i) std::fill(images.view().row(i), images.view().row(i) + 4, static_cast<float>(i));
  const auto sheet = io::contact_sheet(images.view(), 2, 0, 2, 3);
  CHECK(sheet.shape() == Shape<3>{13, 13, 1});
  CHECK(sheet(0, 0, 0) == 0);
  CHECK(sheet(5, 12, 0) == 0.5f);  // image 1
  CHECK(sheet(7, 0, 0) == 1);      // image 2
  CHECK(sheet(6, 0, 0) == 0.5f);   // a line
  CHECK(sheet(12, 12, 0) == 0.5f); // no image 3
  CHECK(io::contact_sheet(images.view(), 9).shape() == Shape<3>{2, 8, 1});
  CHECK_THROWS_AS(io::contact_sheet(images.view(), 0), value_error);
  CHECK_THROWS_AS(io::contact_sheet(images.view(), 2, 1, 1), value_error);
}
