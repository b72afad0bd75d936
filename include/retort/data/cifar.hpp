#pragma once

#include <retort/data/dataset.hpp>
#include <retort/data/file.hpp>

namespace retort::data {

/// Reads CIFAR-10 batches in the binary layout (Krizhevsky 2009): per image one label byte, then 32x32 pixels in planes
/// red, green, blue. The files are joined in the order given: N x 32 x 32 x 3, pixels scaled from 0..255 to 0..1.
/// Throws data_error with file and byte offset when a file is missing, is empty or not a whole number of 3073-byte
/// records (truncated or oversized), or holds a label that is not below `classes`.
inline Dataset<4> load_cifar(const std::vector<std::string>& files, int classes = 10) {
  constexpr std::size_t side = 32, pixels = side * side, record = 1 + 3 * pixels;
  require<value_error>(!files.empty(), "load_cifar: expected at least one file name");
  std::vector<FileBytes> read;
  std::size_t count = 0;
  for (const std::string& name : files) {
    read.push_back(read_file(name));
    const std::size_t size = read.back().bytes.size();
    require<data_error>(size > 0 && size % record == 0, name, ": expected a whole number of ", record,
                        "-byte records, found ", size, " bytes: ", size % record, " bytes after the last whole record at byte ",
                        size / record * record);
    count += size / record;
  }
  Dataset<4> out{Tensor<float, 4>({static_cast<index_t>(count), side, side, 3}), {}, classes, files.front()};
  out.labels.reserve(count);
  float* to = out.inputs.data();
  for (const FileBytes& file : read)
    for (std::size_t at = 0; at < file.bytes.size(); at += record) {
      const unsigned char* from = file.bytes.data() + at;
      require<data_error>(*from < classes, file.name, ": byte ", at, ": expected a label from 0 to ", classes - 1, ", found ",
                          static_cast<int>(*from));
      out.labels.push_back(*from++);
      for (std::size_t p = 0; p < pixels; ++p)
        for (std::size_t plane = 0; plane < 3; ++plane) *to++ = static_cast<float>(from[plane * pixels + p]) / 255.f;
    }
  out.validate();
  return out;
}

}  // namespace retort::data
