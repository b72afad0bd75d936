#pragma once
// Random views of a batch of images through which gradients reach the images. Each is built of gather_rows over the table of
// pixels, so its gradient is that of a tested operation.

#include <algorithm>
#include <array>
#include <cmath>
#include <retort/autograd/ops.hpp>
#include <retort/core/rng.hpp>

namespace retort::source {

/// A pixel of a view: the weighted sum of pixels of its image; row or column outside the image: black, 0.
struct Tap {
  index_t row = 0, column = 0;
  double weight = 1;
};

namespace detail {

/// A view of the batch's own shape: `where(image, row, column)` gives the taps of a pixel.
template <std::size_t Taps, class T, class B, class F>
Var<T, 4> view_of(Tape<T, B>& tape, Var<T, 4> x, F&& where) {
  const index_t n = x.extent(0), height = x.extent(1), width = x.extent(2), pixels = n * height * width;
  std::array<std::int32_t*, Taps> index;
  std::array<T*, Taps> weight;
  for (std::size_t k = 0; k < Taps; ++k) {
    index[k] = tape.template allocate_raw<std::int32_t>(pixels);
    weight[k] = tape.template allocate_raw<T>(pixels);
  }
  index_t at = 0;
  for (index_t i = 0; i < n; ++i)
    for (index_t r = 0; r < height; ++r)
      for (index_t c = 0; c < width; ++c, ++at) {
        const std::array<Tap, Taps> taps = where(i, r, c);
        for (std::size_t k = 0; k < Taps; ++k) {
          const bool inside = taps[k].row >= 0 && taps[k].row < height && taps[k].column >= 0 && taps[k].column < width;
          index[k][at] = static_cast<std::int32_t>(inside ? (i * height + taps[k].row) * width + taps[k].column : 0);
          weight[k][at] = inside ? static_cast<T>(taps[k].weight) : T(0);
        }
      }
  const auto table = reshape(tape, x, Shape<2>{pixels, x.extent(3)});
  const auto part = [&](std::size_t k) {
    return multiply(tape, gather_rows(tape, table, View<const std::int32_t, 1>{index[k], {pixels}}),
                    tape.constant(View<const T, 2>{weight[k], {pixels, 1}}));
  };
  auto out = part(0);
  for (std::size_t k = 1; k < Taps; ++k) out = add(tape, out, part(k));
  return reshape(tape, out, x.shape());
}

}  // namespace detail

/// All images rolled by up to `share` of their size, the same way, and mirrored left to right half of the time.
template <class T, class B>
Var<T, 4> rolled(Tape<T, B>& tape, Var<T, 4> x, double share, Rng rng) {
  const auto offset = [&](index_t extent) {
    const auto reach = static_cast<index_t>(share * static_cast<double>(extent));
    return static_cast<index_t>(rng.below(static_cast<std::uint64_t>(2 * reach + 1))) - reach + extent;
  };
  const index_t height = x.extent(1), width = x.extent(2), down = offset(height), right = offset(width);
  const bool mirror = rng.uniform() < 0.5f;
  return detail::view_of<1>(tape, x, [=](index_t, index_t r, index_t c) {
    return std::array{Tap{(r + down) % height, ((mirror ? width - 1 - c : c) + right) % width}};
  });
}

/// Each image shifted by up to `padding` pixels, black coming in, and mirrored half of the time.
template <class T, class B>
Var<T, 4> shifted(Tape<T, B>& tape, Var<T, 4> x, int padding, const Rng& rng) {
  const index_t width = x.extent(2);
  const auto choices = static_cast<std::uint64_t>(2 * padding + 1);
  return detail::view_of<1>(tape, x, [&](index_t i, index_t r, index_t c) {
    const Rng own = rng.fork(static_cast<std::uint64_t>(i));
    const auto offset = [&](std::uint64_t word) { return static_cast<index_t>((std::uint64_t{own.at(word)} * choices) >> 32) - padding; };
    return std::array{Tap{r + offset(0), ((own.at(2) & 1) ? width - 1 - c : c) + offset(1)}};
  });
}

/// Of each image a random part with `least_area` to all of its area and an aspect of 3/4 to 4/3 where that fits, resized to the image by
/// bilinear interpolation, and mirrored half of the time.
template <class T, class B>
Var<T, 4> resized_crop(Tape<T, B>& tape, Var<T, 4> x, double least_area, const Rng& rng) {
  const auto height = static_cast<double>(x.extent(1)), width = static_cast<double>(x.extent(2));
  struct Crop {
    double top, left, high, wide;
    bool mirror;
  };
  const auto draw = [&](index_t i) {
    Rng own = rng.fork(static_cast<std::uint64_t>(i));
    const double area = (least_area + (1 - least_area) * own.uniform_double()) * height * width;
    const double aspect = std::clamp(std::exp((2 * own.uniform_double() - 1) * std::log(4.0 / 3)), area / (height * height),
                                     width * width / area);  // so that it fits
    const double high = std::sqrt(area / aspect), wide = std::sqrt(area * aspect);
    const double top = own.uniform_double() * (height - high), left = own.uniform_double() * (width - wide);
    return Crop{top, left, high, wide, own.uniform() < 0.5f};
  };
  index_t drawn = -1;
  Crop crop{};
  return detail::view_of<4>(tape, x, [&](index_t i, index_t r, index_t c) {
    if (i != drawn) crop = draw(drawn = i);
    const double across = crop.mirror ? width - 1 - static_cast<double>(c) : static_cast<double>(c);
    const double v = std::clamp(crop.top + (static_cast<double>(r) + 0.5) * crop.high / height - 0.5, 0.0, height - 1);
    const double u = std::clamp(crop.left + (across + 0.5) * crop.wide / width - 0.5, 0.0, width - 1);
    const auto top = std::min(static_cast<index_t>(v), x.extent(1) - 1), left = std::min(static_cast<index_t>(u), x.extent(2) - 1);
    const double fv = v - static_cast<double>(top), fu = u - static_cast<double>(left);  // 0 on the last row and column
    return std::array{Tap{top, left, (1 - fv) * (1 - fu)}, Tap{top, left + 1, (1 - fv) * fu}, Tap{top + 1, left, fv * (1 - fu)},
                      Tap{top + 1, left + 1, fv * fu}};
  });
}

}  // namespace retort::source
