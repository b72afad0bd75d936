#pragma once
// Images as PNG files, through libpng (component retort::png).

#include <png.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <retort/backend/cpu.hpp>
#include <retort/core/error.hpp>
#include <retort/core/tensor.hpp>
#include <string>
#include <vector>

namespace retort::io {

/// Writes an image H x W x C, C = 1 (grey) or 3 (red, green, blue), pixels 0..1; others are clipped. Throws shape_error for
/// other channels or an empty image, data_error when the file cannot be written.
inline void save_png(const std::string& path, View<const float, 3> image) {
  const index_t channels = image.extent(2);
  require<shape_error>((channels == 1 || channels == 3) && !image.empty(), "save_png: expected height x width x 1 or 3, got ", to_string(image.shape));
  std::vector<png_byte> bytes(static_cast<std::size_t>(image.size()));
  std::transform(image.begin(), image.end(), bytes.begin(), [](float x) { return static_cast<png_byte>(std::lround(255 * std::clamp(x, 0.f, 1.f))); });
  png_image file;
  std::memset(&file, 0, sizeof file);
  file.version = PNG_IMAGE_VERSION;
  file.height = static_cast<png_uint_32>(image.extent(0));
  file.width = static_cast<png_uint_32>(image.extent(1));
  file.format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  require<data_error>(png_image_write_to_file(&file, path.c_str(), 0, bytes.data(), 0, nullptr) != 0, "save_png: cannot write '", path, "': ", file.message);
}

/// Many images N x H x W x C as one, `columns` to a row, each `zoom` times as large, with lines of one pixel between them. The
/// pixels of all are stretched together from [low, high] to 0..1. Throws value_error for fewer than one column or zoom.
inline Tensor<float, 3> contact_sheet(View<const float, 4> images, index_t columns, float low = 0, float high = 1, index_t zoom = 1) {
  require<value_error>(columns >= 1 && zoom >= 1 && low < high && images.size() > 0, "contact_sheet: expected images, at least 1 column, a zoom of 1 or "
                       "more and low < high, got ", to_string(images.shape), ", ", columns, ", ", zoom, ", ", low, " and ", high);
  const index_t n = images.extent(0), h = images.extent(1) * zoom, w = images.extent(2) * zoom, channels = images.extent(3);
  Tensor<float, 3> sheet(Shape<3>{(n + columns - 1) / columns * (h + 1) - 1, std::min(n, columns) * (w + 1) - 1, channels});
  std::fill(sheet.begin(), sheet.end(), 0.5f);
  for (index_t i = 0; i < n; ++i)
    for (index_t y = 0; y < h; ++y)
      for (index_t x = 0; x < w; ++x)
        for (index_t c = 0; c < channels; ++c)
          sheet(i / columns * (h + 1) + y, i % columns * (w + 1) + x, c) = (images(i, y / zoom, x / zoom, c) - low) / (high - low);
  return sheet;
}

}  // namespace retort::io
