#pragma once

#include <array>
#include <retort/nn/zoo/tags.hpp>

namespace retort::nn::zoo {

/// Two convolutions (with bias) of one width, each with batch norm and ReLU.
using L3Block = Sequential<Conv2d, BatchNorm, Relu, Conv2d, BatchNorm, Relu>;

/// The audio branch of Look, Listen and Learn (Arandjelovic & Zisserman 2017; OpenL3, Cramer et al. 2019) on mel images
/// N x bands x frames x 1, and the students of SEA (Srivastava et al. 2021): batch norm of the image, four blocks with
/// maximum pooling between them, an embedding convolution and a maximum over the map. This form ends in the convolution
/// itself, so the embedding is signed: the teacher's, and a student's that can reach signed targets.
using L3 = Sequential<BatchNorm, L3Block, MaxPool, L3Block, MaxPool, L3Block, MaxPool, Unit, Conv2d, GlobalMaxPool>;
/// The same with batch norm and ReLU behind the embedding convolution, as in the students that SEA's authors released: it
/// never gives a negative value.
using L3Rectified = Sequential<BatchNorm, L3Block, MaxPool, L3Block, MaxPool, L3Block, MaxPool, Unit, Unit, GlobalMaxPool>;

namespace detail {
template <class Net, class Last>
constexpr Net l3_of(const std::array<index_t, 4>& w, Last last) {
  const auto block = [](index_t in, index_t out) { return L3Block(Conv2d{in, out}, BatchNorm{out}, Relu{}, Conv2d{out, out}, BatchNorm{out}, Relu{}); };
  return Net(BatchNorm{1}, block(1, w[0]), MaxPool{2}, block(w[0], w[1]), MaxPool{2}, block(w[1], w[2]), MaxPool{2},
             Unit(Conv2d{w[2], w[3]}, BatchNorm{w[3]}, Relu{}), std::move(last), GlobalMaxPool{});
}
}  // namespace detail

/// `widths`: channels of the four blocks; the last is the embedding's.
constexpr L3 l3(const std::array<index_t, 4>& widths) { return detail::l3_of<L3>(widths, Conv2d{widths[3], widths[3]}); }
constexpr L3Rectified l3_rectified(const std::array<index_t, 4>& widths) {
  return detail::l3_of<L3Rectified>(widths, Unit(Conv2d{widths[3], widths[3]}, BatchNorm{widths[3]}, Relu{}));
}

/// The widths of OpenL3's audio network and of SEA's students 0 to 3, with embeddings of 512, 512, 256, 128 and 64.
inline constexpr std::array<index_t, 4> l3_widths{64, 128, 256, 512};
inline constexpr std::array<std::array<index_t, 4>, 4> sea_widths{{{64, 128, 256, 512}, {32, 64, 128, 256}, {32, 64, 128, 128}, {32, 64, 128, 64}}};
/// The extents of their inputs, bands x frames: one second at 48 kHz and at 8 kHz.
inline constexpr Shape<4> l3_input{1, 256, 199, 1}, sea_input{1, 64, 50, 1};

}  // namespace retort::nn::zoo
