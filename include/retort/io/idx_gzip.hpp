#pragma once
// The idx loader for files as they are distributed, compressed with gzip. Link `retort::zlib`.

#include <zlib.h>

#include <retort/data/idx.hpp>

namespace retort::data {

namespace detail {

/// Reads a gzip file (or, as zlib does, a plain one) whole.
inline FileBytes read_gzip(const std::string& path) {
  struct Close {
    void operator()(gzFile f) const { gzclose(f); }
  };
  const std::unique_ptr<gzFile_s, Close> file(gzopen(path.c_str(), "rb"));
  require<data_error>(file != nullptr, "cannot open '", path, "': ", std::strerror(errno));
  FileBytes out{path, {}};
  constexpr unsigned chunk = 1u << 20;
  for (int got = 1; got > 0;) {
    const std::size_t had = out.bytes.size();
    out.bytes.resize(had + chunk);
    got = gzread(file.get(), out.bytes.data() + had, chunk);
    out.bytes.resize(had + static_cast<std::size_t>(got > 0 ? got : 0));
  }
  // A file that ends inside the compressed stream gives all it has and reports the cut only here.
  int code = Z_OK;
  const char* reason = gzerror(file.get(), &code);
  require<data_error>(code == Z_OK || code == Z_STREAM_END, path, ": damaged or truncated gzip data after ",
                      out.bytes.size(), " uncompressed bytes: ", reason);
  return out;
}

}  // namespace detail

/// As `load_idx`, for files compressed with gzip. Byte offsets in messages count uncompressed bytes; damaged or truncated
/// compression is a data_error too.
inline Dataset<4> load_idx_gzip(const std::string& images, const std::string& labels, int classes = 10) {
  return detail::parse_idx(detail::read_gzip(images), detail::read_gzip(labels), classes);
}

}  // namespace retort::data
