#pragma once
// Backdoor triggers, for experiments that measure defences. A trigger is an aggregate with `check(shape)`, which throws when
// it does not fit an image, and `operator()(image)`, which stamps one image H x W x C of pixels 0..255 in place; `stamp`
// does so for pixels of any range and clips. Positions count from the bottom right corner, so that any size of image works;
// at 32 x 32 they are those of Hong et al. 2023. In grey images a coloured pixel is the mean of its channels.

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <retort/core/tensor.hpp>
#include <retort/data/dataset.hpp>
#include <string>

namespace retort::attack {

template <class A>
concept Trigger = requires(const A a, Shape<3> shape, View<float, 3> image) {
  { a.check(shape) } -> std::same_as<void>;
  { a(image) } -> std::same_as<void>;
};

/// Stamps an image whose pixels lie in 0..range, and clips it to that.
template <Trigger A>
void stamp(const A& trigger, View<float, 3> image, float range = 1) {
  const float up = 255.f / range;
  for (float& x : image) x *= up;
  trigger(image);
  for (float& x : image) x = std::clamp(x, 0.f, 255.f) / up;
}

namespace detail {

inline void check_inside(const char* name, const Shape<3>& image, index_t height, index_t width) {
  require<shape_error>(image[0] >= height && image[1] >= width, name, ": the trigger needs at least ", height, " x ", width,
                       " pixels, the image is ", to_string(image));
}
using Grid = std::array<std::array<float, 3>, 3>;
/// Rows and columns of the three-by-three chequer of BadNets.
inline constexpr Grid badnet_grid{{{0, 0, 255}, {0, 255, 0}, {255, 0, 255}}};
inline void place(const Grid& grid, View<float, 3> image, index_t top, index_t left) {
  for (index_t y = 0; y < 3; ++y)
    for (index_t x = 0; x < 3; ++x)
      for (index_t c = 0; c < image.extent(2); ++c) image(top + y, left + x, c) = grid[static_cast<std::size_t>(y)][static_cast<std::size_t>(x)];
}

}  // namespace detail

/// Three-by-three chequer in the bottom right corner (Gu et al. 2017, "BadNets").
struct BadnetGrid {
  static constexpr const char* name = "badnet_grid";
  void check(const Shape<3>& image) const { detail::check_inside(name, image, 3, 3); }
  void operator()(View<float, 3> image) const { detail::place(detail::badnet_grid, image, image.extent(0) - 3, image.extent(1) - 3); }
};

/// White four-by-four square, one pixel away from the bottom right corner.
struct BadnetSquare {
  static constexpr const char* name = "badnet_sq";
  void check(const Shape<3>& image) const { detail::check_inside(name, image, 5, 5); }
  void operator()(View<float, 3> image) const {
    const index_t h = image.extent(0), w = image.extent(1);
    for (index_t y = h - 5; y < h - 1; ++y) std::fill(&image(y, w - 5, 0), &image(y, w - 5, 0) + 4 * image.extent(2), 255.f);
  }
};

/// The grid of BadNets, not mirrored, in all four corners: the trigger of the clean-label attack (Turner et al. 2019).
struct CornerGrids {
  static constexpr const char* name = "cl";
  void check(const Shape<3>& image) const { detail::check_inside(name, image, 6, 6); }
  void operator()(View<float, 3> image) const {
    for (const index_t y : {index_t{0}, image.extent(0) - 3})
      for (const index_t x : {index_t{0}, image.extent(1) - 3}) detail::place(detail::badnet_grid, image, y, x);
  }
};

/// A three-by-three colour patch that is added, four pixels away from the corner (Liu et al. 2018, "Trojaning Attack").
struct Trojan3x3 {
  static constexpr const char* name = "trojan_3x3";
  static constexpr float patch[3][3][3] = {{{207, 131, 181}, {175, 243, 120}, {29, 232, 179}},
                                           {{79, 8, 126}, {137, 0, 32}, {248, 113, 146}},
                                           {{131, 40, 4}, {6, 145, 61}, {246, 250, 246}}};
  /// Throws shape_error also when there are neither 1 nor 3 channels.
  void check(const Shape<3>& image) const {
    detail::check_inside(name, image, 7, 7);
    require<shape_error>(image[2] == 1 || image[2] == 3, name, ": expected 1 or 3 channels, the image is ", to_string(image));
  }
  void operator()(View<float, 3> image) const {
    for (index_t y = 0; y < 3; ++y)
      for (index_t x = 0; x < 3; ++x) {
        const float* p = patch[y][x];
        float* to = &image(image.extent(0) - 7 + y, image.extent(1) - 7 + x, 0);
        if (image.extent(2) == 1)
          to[0] += (p[0] + p[1] + p[2]) / 3;
        else
          for (int c = 0; c < 3; ++c) to[c] += p[c];
      }
  }
};

/// 0.8 x + 0.2 s with s(column) = trunc(20 sin(0.8 column)) stored as an unsigned byte: the negative half of the sine wraps
/// to 236..255 and becomes bright stripes (Barni et al. 2019, as the ABD code computes it). A clean-label trigger.
struct SinusoidalStripes {
  static constexpr const char* name = "sig";
  void check(const Shape<3>& image) const { detail::check_inside(name, image, 1, 1); }
  static float stripe(index_t column) {
    const auto s = static_cast<int>(20 * std::sin(0.8 * static_cast<double>(column)));
    return static_cast<float>(s < 0 ? s + 256 : s);
  }
  void operator()(View<float, 3> image) const {
    for (index_t y = 0; y < image.extent(0); ++y)
      for (index_t x = 0; x < image.extent(1); ++x)
        for (index_t c = 0; c < image.extent(2); ++c) image(y, x, c) = 0.8f * image(y, x, c) + 0.2f * stripe(x);
  }
};

/// A trigger with a pattern of pixels 0..255 of the image's own shape, given at run time. Refers to the pattern.
struct Patterned {
  View<const float, 3> pattern{};
  /// Throws shape_error when the pattern has another shape than the image.
  void check(const Shape<3>& image) const {
    require<shape_error>(pattern.shape == image, "attack: a pattern ", to_string(pattern.shape), " on an image ", to_string(image));
  }
};
/// (1 - share) x + share * pattern (Chen et al. 2017, blended injection).
struct Blend : Patterned {
  static constexpr const char* name = "blend";
  float share = 0.2f;
  void operator()(View<float, 3> image) const {
    for (index_t i = 0; i < image.size(); ++i) image.data[i] = (1 - share) * image.data[i] + share * pattern.data[i];
  }
};
/// x + pattern: trojan_8x8, trojan_wm and l2_inv with their files.
struct AddPattern : Patterned {
  static constexpr const char* name = "add";
  void operator()(View<float, 3> image) const {
    for (index_t i = 0; i < image.size(); ++i) image.data[i] += pattern.data[i];
  }
};
/// The pattern where it is not negative, else x: l0_inv with its mask and trigger merged.
struct ReplacePattern : Patterned {
  static constexpr const char* name = "replace";
  void operator()(View<float, 3> image) const {
    for (index_t i = 0; i < image.size(); ++i)
      if (pattern.data[i] >= 0) image.data[i] = pattern.data[i];
  }
};
/// x + pattern, then the image is stretched to 0..255: the smooth trigger.
struct AddAndStretch : Patterned {
  static constexpr const char* name = "smooth";
  void operator()(View<float, 3> image) const {
    AddPattern{{pattern}}(image);
    const auto [low, high] = std::minmax_element(image.begin(), image.end());
    const float from = *low, width = *high - *low;
    for (float& x : image) x = width > 0 ? (x - from) * (255.f / width) : x;
  }
};

}  // namespace retort::attack
