#pragma once
// The idx format of the MNIST family (MNIST, Fashion-MNIST, KMNIST, EMNIST): big-endian header, then unsigned bytes.

#include <limits>
#include <retort/data/dataset.hpp>
#include <retort/data/file.hpp>

namespace retort::data {

namespace detail {

/// Checks an idx header of `Rank` dimensions of unsigned bytes, and that the file ends with the last element.
template <int Rank>
Shape<Rank> read_idx_header(const FileBytes& file) {
  constexpr std::size_t header = 4 + 4 * Rank;
  const auto size = file.bytes.size();
  require<data_error>(size >= header, file.name, ": truncated at byte ", size, ", expected an idx header of ", header,
                      " bytes");
  const auto word = [&](std::size_t at) {
    std::uint32_t w = 0;
    for (std::size_t i = 0; i < 4; ++i) w = (w << 8) | file.bytes[at + i];
    return w;
  };
  const std::uint32_t magic = 0x0800u + Rank;  // type 8: unsigned byte
  require<data_error>(word(0) == magic, file.name, ": byte 0: expected the idx magic number ", magic, " (", Rank,
                      " dimensions of unsigned bytes), found ", word(0));
  Shape<Rank> shape;
  index_t elements = 1;
  for (int axis = 0; axis < Rank; ++axis) {
    const std::size_t at = 4 + 4 * static_cast<std::size_t>(axis);
    const index_t extent = word(at);
    require<data_error>(extent > 0, file.name, ": byte ", at, ": dimension ", axis, " is 0");
    // Divide rather than multiply: three 32-bit extents overflow 64 bits.
    require<data_error>(extent <= (std::numeric_limits<index_t>::max() >> 8) / elements, file.name, ": byte ", at,
                        ": dimension ", axis, " of ", extent, " makes the array larger than any file");
    shape[axis] = extent;
    elements *= extent;
  }
  const auto found = static_cast<index_t>(size - header);
  require<data_error>(found >= elements, file.name, ": truncated at byte ", size, ": dimensions ", to_string(shape),
                      " need ", elements + static_cast<index_t>(header), " bytes");
  require<data_error>(found == elements, file.name, ": oversized: dimensions ", to_string(shape), " end at byte ",
                      elements + static_cast<index_t>(header), ", the file has ", size);
  return shape;
}

/// Images and labels of two idx files that have been read.
inline Dataset<4> parse_idx(const FileBytes& images, const FileBytes& labels, int classes) {
  const Shape<3> shape = read_idx_header<3>(images);
  const Shape<1> count = read_idx_header<1>(labels);
  require<data_error>(shape[0] == count[0], images.name, " holds ", shape[0], " images, but ", labels.name, " holds ",
                      count[0], " labels");
  Dataset<4> out{Tensor<float, 4>({shape[0], shape[1], shape[2], 1}), {}, classes, images.name};
  const unsigned char* pixel = images.bytes.data() + 16;
  for (float& x : out.inputs) x = static_cast<float>(*pixel++) / 255.f;
  out.labels.assign(labels.bytes.begin() + 8, labels.bytes.end());
  for (std::size_t i = 0; i < out.labels.size(); ++i)
    require<data_error>(out.labels[i] < classes, labels.name, ": byte ", 8 + i, ": expected a label from 0 to ",
                        classes - 1, ", found ", out.labels[i]);
  out.validate();
  return out;
}

}  // namespace detail

/// Reads grey images (N x H x W x 1, pixels scaled from 0..255 to 0..1) and their labels from a pair of idx files.
/// Throws data_error with file and byte offset when a file is missing, has another magic number, is shorter or longer
/// than its dimensions say, when the two disagree in number, or when a label is not below `classes`.
/// Compressed files: `load_idx_gzip` in retort/io/idx_gzip.hpp.
inline Dataset<4> load_idx(const std::string& images, const std::string& labels, int classes = 10) {
  return detail::parse_idx(read_file(images), read_file(labels), classes);
}

/// The four files of a set of the MNIST family under their usual names, in `folder`.
inline TrainTest<4> load_mnist(const std::string& folder) {
  return {load_idx(folder + "/train-images-idx3-ubyte", folder + "/train-labels-idx1-ubyte"),
          load_idx(folder + "/t10k-images-idx3-ubyte", folder + "/t10k-labels-idx1-ubyte")};
}

}  // namespace retort::data
