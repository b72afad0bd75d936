#include <doctest/doctest.h>

#include <fstream>
#include <retort/backend/cpu.hpp>
#include <retort/io/jpeg.hpp>

#include "scratch_folder.hpp"
#include "support.hpp"

using namespace retort;

namespace {

/// A JPEG file of one colour, as libjpeg writes it.
std::string flat_jpeg(unsigned width, unsigned height, int channels, unsigned char level) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &memory, &size);
  info.image_width = width, info.image_height = height;
  info.input_components = channels;
  info.in_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 100, TRUE);
  jpeg_start_compress(&info, TRUE);
  std::vector<unsigned char> row(width * static_cast<unsigned>(channels), level);
  JSAMPROW from = row.data();
  while (info.next_scanline < height) jpeg_write_scanlines(&info, &from, 1);
  jpeg_finish_compress(&info);
  std::string out(reinterpret_cast<char*>(memory), size);
  jpeg_destroy_compress(&info);
  std::free(memory);
  return out;
}

}  // namespace

TEST_CASE("JPEG files: shape and pixels, grey and colour; broken files are refused by name") {
  const test::ScratchFolder folder;
  const std::string path = folder.file("photo.jpg");
  const auto write = [&](const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; };
  for (const int channels : {1, 3}) {
    write(flat_jpeg(20, 12, channels, 100));
    const auto image = io::load_jpeg(path);
    CHECK(image.shape() == Shape<3>{12, 20, channels});
    for (const float x : image) CHECK(std::abs(255 * x - 100) <= 1.01f);  // the codec rounds to whole levels
  }
  const std::string good = flat_jpeg(64, 64, 3, 30);
  for (const std::string& bad : {std::string(), std::string("not a photograph"), good.substr(0, good.size() / 2)}) {
    write(bad);
    try {
      io::load_jpeg(path);
      FAIL("a broken file was read");
    } catch (const data_error& e) {
      CHECK(std::string(e.what()).find("photo.jpg") != std::string::npos);
    }
  }
  CHECK_THROWS_AS(io::load_jpeg(folder.file("missing.jpg")), data_error);
}
