#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <retort/core/error.hpp>
#include <string>
#include <vector>

namespace retort::data {

/// The bytes of a file, and its name for messages.
struct FileBytes {
  std::string name;
  std::vector<unsigned char> bytes;
};

/// Reads a whole file. Throws data_error with the system's reason when it cannot be opened or read.
inline FileBytes read_file(const std::string& path) {
  struct Close {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rb"));
  require<data_error>(file != nullptr, "cannot open '", path, "': ", std::strerror(errno));
  FileBytes out{path, {}};
  constexpr std::size_t chunk = std::size_t{1} << 20;
  for (std::size_t got = chunk; got == chunk;) {
    const std::size_t had = out.bytes.size();
    out.bytes.resize(had + chunk);
    got = std::fread(out.bytes.data() + had, 1, chunk, file.get());
    out.bytes.resize(had + got);
  }
  require<data_error>(!std::ferror(file.get()), "cannot read '", path, "' beyond byte ", out.bytes.size(), ": ",
                      std::strerror(errno));
  return out;
}

}  // namespace retort::data
