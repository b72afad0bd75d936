#pragma once
// Generators of the data-free literature: a vector to an image in the student's input space, by two doublings.

#include <retort/nn/network.hpp>

namespace retort::source {

/// The generator of ZSKT (Micaelli & Storkey 2019).
using ZsktNet = nn::Sequential<nn::Linear, nn::Unflatten, nn::BatchNorm, nn::Upsample, nn::Conv2d, nn::BatchNorm, nn::LeakyRelu, nn::Upsample,
                               nn::Conv2d, nn::BatchNorm, nn::LeakyRelu, nn::Conv2d, nn::BatchNorm>;

/// latent -> (H/4 x W/4 x width) -> H x W x channels; the last layer is a batch normalisation with learned scale, so the
/// output is in *normalised* pixel space: a teacher trained on 0..1 pixels wants `data_free_generator`. The paper's
/// width is 128. Throws value_error unless H and W are multiples of 4.
inline ZsktNet zskt_generator(index_t latent, index_t height, index_t width_px, index_t channels, index_t width = 128) {
  require<value_error>(height % 4 == 0 && width_px % 4 == 0 && height > 0 && width_px > 0 && width % 2 == 0,
                       "zskt_generator: expected height and width in multiples of 4 and an even number of channels, got ", height, ", ",
                       width_px, ", ", width);
  return ZsktNet(nn::Linear{latent, width * height * width_px / 16}, nn::Unflatten(height / 4, width_px / 4, width), nn::BatchNorm{width},
                 nn::Upsample{2}, nn::Conv2d{width, width}, nn::BatchNorm{width}, nn::LeakyRelu(0.2f), nn::Upsample{2},
                 nn::Conv2d{width, width / 2}, nn::BatchNorm{width / 2}, nn::LeakyRelu(0.2f), nn::Conv2d{width / 2, channels},
                 nn::BatchNorm{channels});
}

/// (x - mean) / deviation per channel, as a layer: the data set's normaliser behind a generator of 0..1 pixels. Empty
/// lists leave the pixels as they are.
struct Standardize : nn::Stateless {
  std::vector<float> mean, deviation;
  Standardize() = default;
  Standardize(std::vector<float> m, std::vector<float> d) : mean(std::move(m)), deviation(std::move(d)) {}
  /// Throws shape_error when there are not as many means and deviations as channels.
  template <class T, class B>
  Var<T, 4> forward(nn::NoState&, Pass<T, B>& pass, Var<T, 4> x) const {
    if (mean.empty()) return x;
    const index_t channels = x.extent(3);
    require<shape_error>(static_cast<index_t>(mean.size()) == channels && mean.size() == deviation.size(), describe(), ": input ",
                         to_string(x.shape()));
    const auto row = [&](const std::vector<float>& of) {
      return pass.tape.constant(pass.tape.from_host(Shape<4>{1, 1, 1, channels}, [&](View<T, 4> to) { std::copy(of.begin(), of.end(), to.begin()); }));
    };
    return divide(pass.tape, subtract(pass.tape, x, row(mean)), row(deviation));
  }
  std::string describe() const { return retort::detail::concat("Standardize(", mean.size(), " channels)"); }
};

/// The generators of the DataFree family (DAFL, DFQ, DFAD, CMI): 0..1 pixels by a sigmoid, then the data set's normaliser.
using DataFreeNet = nn::Sequential<nn::Linear, nn::Unflatten, nn::BatchNorm, nn::Upsample, nn::Conv2d, nn::BatchNorm, nn::LeakyRelu,
                                   nn::Upsample, nn::Conv2d, nn::BatchNorm, nn::LeakyRelu, nn::Conv2d, nn::Sigmoid, Standardize>;

/// `width` 64 as published; `expansion` 4 is the large one, 2 the small. Throws value_error unless H and W are multiples of 4.
inline DataFreeNet data_free_generator(index_t latent, index_t height, index_t width_px, index_t channels, index_t width = 64,
                                       index_t expansion = 4, Standardize normaliser = {}) {
  require<value_error>(height % 4 == 0 && width_px % 4 == 0 && height > 0 && width_px > 0,
                       "data_free_generator: expected height and width in multiples of 4, got ", height, " and ", width_px);
  const index_t first = expansion * width, second = 2 * width;
  return DataFreeNet(nn::Linear{latent, first * height * width_px / 16}, nn::Unflatten(height / 4, width_px / 4, first), nn::BatchNorm{first},
                     nn::Upsample{2}, nn::Conv2d{.in = first, .out = second, .bias = false}, nn::BatchNorm{second}, nn::LeakyRelu(0.2f),
                     nn::Upsample{2}, nn::Conv2d{.in = second, .out = width, .bias = false}, nn::BatchNorm{width}, nn::LeakyRelu(0.2f),
                     nn::Conv2d{width, channels}, nn::Sigmoid{}, std::move(normaliser));
}

}  // namespace retort::source
