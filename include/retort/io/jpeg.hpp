#pragma once
// Photographs, through libjpeg (component retort::jpeg).

#include <csetjmp>
#include <cstddef>
#include <cstdio>

#include <jpeglib.h>

#include <algorithm>
#include <retort/backend/cpu.hpp>
#include <retort/core/tensor.hpp>
#include <retort/data/file.hpp>
#include <string>
#include <vector>

namespace retort::io {

namespace detail {

/// libjpeg reports errors by a jump; nothing between set and jump may have a destructor, so the results live with the caller.
struct JpegDecoder {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  std::jmp_buf back;
  char message[JMSG_LENGTH_MAX] = "";
  std::vector<unsigned char> pixels;

  ~JpegDecoder() { jpeg_destroy_decompress(&info); }

  bool decode(const unsigned char* bytes, std::size_t size) {
    info.err = jpeg_std_error(&errors);
    info.client_data = this;
    errors.output_message = [](j_common_ptr) {};  // no words on the user's terminal
    errors.error_exit = [](j_common_ptr common) {
      auto* self = static_cast<JpegDecoder*>(common->client_data);
      (*common->err->format_message)(common, self->message);
      std::longjmp(self->back, 1);
    };
    if (setjmp(back)) return false;
    jpeg_create_decompress(&info);
    jpeg_mem_src(&info, bytes, static_cast<unsigned long>(size));
    jpeg_read_header(&info, TRUE);
    info.out_color_space = info.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_start_decompress(&info);
    const std::size_t row = static_cast<std::size_t>(info.output_width) * static_cast<std::size_t>(info.output_components);
    pixels.resize(row * info.output_height);
    while (info.output_scanline < info.output_height) {
      JSAMPROW to = pixels.data() + row * info.output_scanline;
      jpeg_read_scanlines(&info, &to, 1);
    }
    jpeg_finish_decompress(&info);
    return true;
  }
};

}  // namespace detail

/// Reads a JPEG file: H x W x 3, or x 1 where it is grey, pixels 0..1. Throws data_error, with the file's name, when it is
/// missing, no JPEG, corrupt or cut off.
inline Tensor<float, 3> load_jpeg(const std::string& path) {
  const auto file = data::read_file(path);
  detail::JpegDecoder decoder;
  const bool whole = decoder.decode(file.bytes.data(), file.bytes.size());
  require<data_error>(whole, path, ": ", decoder.message);
  require<data_error>(decoder.errors.num_warnings == 0, path, ": the JPEG data is corrupt or ends too early");
  Tensor<float, 3> out(Shape<3>{static_cast<index_t>(decoder.info.output_height), static_cast<index_t>(decoder.info.output_width),
                                static_cast<index_t>(decoder.info.output_components)});
  std::transform(decoder.pixels.begin(), decoder.pixels.end(), out.begin(), [](unsigned char x) { return static_cast<float>(x) / 255.f; });
  return out;
}

}  // namespace retort::io
