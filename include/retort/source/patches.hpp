#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <retort/data/dataset.hpp>
#include <vector>

namespace retort::source {

/// How patches are cut from one large image (Asano & Saeed 2023).
struct PatchOptions {
  double least_area = 1.0 / 500;   ///< of the crop, relative to the half image it is taken from; the largest is 1
  double largest_aspect = 4.0 / 3; ///< and its inverse the smallest
  double rotation = 30, shear = 30;  ///< degrees, both ways
  double jitter = 0.4, hue = 0.1;  ///< brightness, contrast and saturation by up to `jitter`; hue for 3 channels
  double jitter_probability = 0.5;
};

namespace detail {

/// Keys' cubic convolution (a = -0.5), the kernel of "bicubic" resizing.
inline double cubic(double x) {
  x = std::abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/// The pixels along one axis that an output pixel is made of: weights of first, first + 1 ..., which add up to one. Pixels
/// beyond the image are its border's.
struct Taps {
  index_t first;
  std::vector<float> weight;
};
/// Those of `outputs` pixels that divide [start, start + length) evenly; when shrinking the kernel is widened, so that nothing aliases.
inline std::vector<Taps> cubic_taps(double start, double length, index_t outputs) {
  const double step = length / static_cast<double>(outputs), reach = std::max(1.0, step);
  std::vector<Taps> out(static_cast<std::size_t>(outputs));
  for (index_t i = 0; i < outputs; ++i) {
    Taps& taps = out[static_cast<std::size_t>(i)];
    const double centre = start + (static_cast<double>(i) + 0.5) * step - 0.5;
    taps.first = static_cast<index_t>(std::floor(centre - 2 * reach));
    double total = 0;
    for (index_t k = taps.first; k <= static_cast<index_t>(std::ceil(centre + 2 * reach)); ++k) {
      const double w = cubic((static_cast<double>(k) - centre) / reach);
      taps.weight.push_back(static_cast<float>(w));
      total += w;
    }
    for (float& w : taps.weight) w /= static_cast<float>(total);
  }
  return out;
}

/// A window of an image resized to `out` by cubic weights, clipped to 0..1: along its lines, then across them.
inline void resize_cubic(View<const float, 3> image, double top, double left, double height, double width, View<float, 3> out) {
  const index_t channels = image.extent(2), across = out.extent(1) * channels;
  const auto lines = cubic_taps(top, height, out.extent(0)), columns = cubic_taps(left, width, out.extent(1));
  const auto inside = [](index_t k, index_t extent) { return std::clamp<index_t>(k, 0, extent - 1); };
  const index_t from = inside(lines.front().first, image.extent(0)),
                to = inside(lines.back().first + static_cast<index_t>(lines.back().weight.size()) - 1, image.extent(0)) + 1;
  std::vector<float> narrow(static_cast<std::size_t>((to - from) * across), 0.f);
  for (index_t v = from; v < to; ++v) {
    float* at = narrow.data() + (v - from) * across;
    for (const Taps& taps : columns) {
      index_t u = taps.first;
      for (const float w : taps.weight) {
        const float* pixel = &image(v, inside(u++, image.extent(1)), 0);
        for (index_t c = 0; c < channels; ++c) at[c] += w * pixel[c];
      }
      at += channels;
    }
  }
  std::fill(out.begin(), out.end(), 0.f);
  for (index_t y = 0; y < out.extent(0); ++y) {
    float* at = &out(y, 0, 0);
    index_t v = lines[static_cast<std::size_t>(y)].first;
    for (const float w : lines[static_cast<std::size_t>(y)].weight) {
      const float* line = narrow.data() + (inside(v++, image.extent(0)) - from) * across;
      for (index_t i = 0; i < across; ++i) at[i] += w * line[i];
    }
    for (index_t i = 0; i < across; ++i) at[i] = std::clamp(at[i], 0.f, 1.f);
  }
}

/// Brightness, contrast, saturation and hue, each by a random amount, then clipped to 0..1.
inline void colour_jitter(View<float, 3> image, const PatchOptions& o, Rng rng) {
  const index_t channels = image.extent(2), pixels = image.size() / channels;
  const auto factor = [&] { return static_cast<float>(1 + o.jitter * (2 * rng.uniform_double() - 1)); };
  const auto grey = [&](const float* p) { return channels == 3 ? 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2] : p[0]; };
  const auto blend = [&](float f, auto&& towards) {  // f x + (1 - f) towards(pixel)
    for (index_t i = 0; i < pixels; ++i) {
      float* p = image.data + i * channels;
      const float t = towards(p);
      for (index_t c = 0; c < channels; ++c) p[c] = std::clamp(f * p[c] + (1 - f) * t, 0.f, 1.f);
    }
  };
  blend(factor(), [](const float*) { return 0.f; });
  double mean = 0;
  for (index_t i = 0; i < pixels; ++i) mean += static_cast<double>(grey(image.data + i * channels));
  blend(factor(), [m = static_cast<float>(mean / static_cast<double>(pixels))](const float*) { return m; });
  if (channels != 3) return;
  blend(factor(), grey);
  // A turn of the hue: rotation about the grey axis of the colour cube.
  const double angle = o.hue * (2 * rng.uniform_double() - 1) * 6.283185307179586;
  const auto c = static_cast<float>(std::cos(angle)), s = static_cast<float>(std::sin(angle));
  const float third = (1 - c) / 3, turn = s * 0.57735027f;
  for (index_t i = 0; i < pixels; ++i) {
    float* p = image.data + i * 3;
    const std::array<float, 3> q{p[0], p[1], p[2]};
    for (std::size_t k = 0; k < 3; ++k)
      p[k] = std::clamp((c + third) * q[k] + (third - turn) * q[(k + 1) % 3] + (third + turn) * q[(k + 2) % 3], 0.f, 1.f);
  }
}

}  // namespace detail

/// A picture without a photograph: overlapping discs and boxes of random grey or colour whose sizes follow a power law, so
/// that edges occur at all scales ("dead leaves", Lee, Mumford & Huang 2001; Baradad et al. 2021 learn vision from them).
/// H x W x C, pixels 0..1; a function of the seed. Throws value_error for an extent below 1.
inline Tensor<float, 3> dead_leaves(index_t height, index_t width, index_t channels, std::uint64_t seed) {
  require<value_error>(height >= 1 && width >= 1 && channels >= 1, "dead_leaves: expected positive extents, got ", height, " x ", width, " x ",
                       channels);
  Tensor<float, 3> out(Shape<3>{height, width, channels});
  Rng rng(seed);
  const double small = 1.5, large = static_cast<double>(std::min(height, width)) / 4;
  const auto leaves = static_cast<int>(static_cast<double>(height * width) / 10);
  for (int leaf = 0; leaf < leaves; ++leaf) {
    const double u = rng.uniform_double();  // density r^-3 between the two radii
    const double r = 1 / std::sqrt((1 - u) / (small * small) + u / (large * large));
    const double y0 = rng.uniform_double() * static_cast<double>(height), x0 = rng.uniform_double() * static_cast<double>(width);
    const bool disc = rng.uniform_double() < 0.5;
    std::array<float, 4> colour{};
    for (float& c : colour) c = rng.uniform();
    const auto first = [](double at) { return std::max<index_t>(0, static_cast<index_t>(std::ceil(at))); };
    for (index_t y = first(y0 - r); y < height && static_cast<double>(y) <= y0 + r; ++y)
      for (index_t x = first(x0 - r); x < width && static_cast<double>(x) <= x0 + r; ++x) {
        const double dy = static_cast<double>(y) - y0, dx = static_cast<double>(x) - x0;
        if (disc && dy * dy + dx * dx > r * r) continue;
        for (index_t c = 0; c < channels; ++c) out(y, x, c) = colour[static_cast<std::size_t>(c % 4)];
      }
  }
  return out;
}

/// Cuts `count` patches of `size` x `size` pixels from one image (H x W x C, pixels 0..1): a random half of it, a random
/// resized crop of that to floor(sqrt(2) size) pixels, a random rotation and shear, the centre, colour jitter. A function of
/// the seed and the patch's number alone. The labels of the result say nothing (all 0): it is for OutOfDistribution.
/// Throws shape_error when half the image is smaller than a patch, value_error for a count or size below 1.
inline retort::Dataset<4> make_patches(View<const float, 3> image, index_t count, index_t size, std::uint64_t seed, const PatchOptions& o = {}) {
  require<value_error>(count >= 1 && size >= 1, "make_patches: expected at least one patch of at least one pixel, got ", count, " of ", size);
  const index_t half = std::min(image.extent(0), image.extent(1)) / 2, channels = image.extent(2);
  require<shape_error>(half >= size, "make_patches: the image ", to_string(image.shape), " is too small: half of its shorter side is ", half,
                       " pixels, a patch has ", size);
  const auto big = static_cast<index_t>(std::sqrt(2.0) * static_cast<double>(size));
  retort::Dataset<4> out{Tensor<float, 4>(Shape<4>{count, size, size, channels}), std::vector<std::int32_t>(static_cast<std::size_t>(count)), 2, "patches"};
  Tensor<float, 3> crop(Shape<3>{big, big, channels});
  for (index_t n = 0; n < count; ++n) {
    Rng rng = Rng(seed).fork(static_cast<std::uint64_t>(n));
    const auto between = [&](double low, double high) { return low + (high - low) * rng.uniform_double(); };
    const double y0 = std::floor(between(0, static_cast<double>(image.extent(0) - half) + 0.999));
    const double x0 = std::floor(between(0, static_cast<double>(image.extent(1) - half) + 0.999));
    const auto side = static_cast<double>(half);
    double h = side + 1, w = side + 1;
    while (h > side || w > side) {  // no fall-back to the centre: draw until it fits
      const double area = between(o.least_area, 1) * side * side, log_aspect = between(-1, 1) * std::log(o.largest_aspect);
      w = std::max(1.0, std::sqrt(area * std::exp(log_aspect)));
      h = std::max(1.0, std::sqrt(area / std::exp(log_aspect)));
    }
    detail::resize_cubic(image, y0 + between(0, side - h), x0 + between(0, side - w), h, w, crop.view());
    // Rotation and shear about the centre, bilinear, zeros outside; only the centre is computed.
    constexpr double degree = 3.14159265358979323846 / 180;
    const double angle = between(-o.rotation, o.rotation) * degree, shear = std::tan(between(-o.shear, o.shear) * degree);
    const double ca = std::cos(angle), sa = std::sin(angle), centre = static_cast<double>(big - 1) / 2, middle = static_cast<double>(size - 1) / 2;
    for (index_t y = 0; y < size; ++y)
      for (index_t x = 0; x < size; ++x) {
        const double dy = static_cast<double>(y) - middle, dx = static_cast<double>(x) - middle;
        const double v = centre + sa * dx + ca * dy, u = centre + (ca + shear * sa) * dx + (shear * ca - sa) * dy;
        const double fv = std::floor(v), fu = std::floor(u);
        const auto at = [&](double a, double b, index_t c) -> double {
          const auto i = static_cast<index_t>(a), j = static_cast<index_t>(b);
          return i < 0 || j < 0 || i >= big || j >= big ? 0 : static_cast<double>(crop(i, j, c));
        };
        for (index_t c = 0; c < channels; ++c)
          out.inputs(n, y, x, c) = static_cast<float>(
              (1 - (v - fv)) * ((1 - (u - fu)) * at(fv, fu, c) + (u - fu) * at(fv, fu + 1, c)) +
              (v - fv) * ((1 - (u - fu)) * at(fv + 1, fu, c) + (u - fu) * at(fv + 1, fu + 1, c)));
      }
    if (rng.uniform_double() < o.jitter_probability)
      detail::colour_jitter(View<float, 3>{out.inputs.view().row(n), Shape<3>{size, size, channels}}, o, rng.fork(1));
  }
  return out;
}

/// x <- clamp(gain (x - offset), 0, 1) with the two numbers that give the pixels of all images together the mean and the
/// deviation asked for: those of the task's pixels, which whoever has the teacher has as its normaliser. On pictures of
/// another brightness a teacher may name hardly more than one class. Throws value_error for a deviation that no 0..1 pixels of
/// that mean have, and for images without contrast.
inline void match_brightness(View<float, 4> images, double mean, double deviation) {
  require<value_error>(mean > 0 && mean < 1 && deviation > 0 && deviation * deviation < mean * (1 - mean),
                       "match_brightness: expected a mean in (0, 1) and a deviation below that of black and white, got ", mean, " and ", deviation);
  constexpr std::size_t bins = 1024;
  std::array<double, bins> share{};
  for (const float x : images) share[static_cast<std::size_t>(std::clamp(x, 0.f, 1.f) * static_cast<float>(bins - 1))] += 1 / static_cast<double>(images.size());
  const auto moments = [&](double gain, double offset) {
    double first = 0, second = 0;
    for (std::size_t b = 0; b < bins; ++b) {
      const double x = std::clamp(gain * (static_cast<double>(b) / (bins - 1) - offset), 0.0, 1.0);
      first += share[b] * x, second += share[b] * x * x;
    }
    return std::pair{first, std::sqrt(std::max(0.0, second - first * first))};
  };
  const auto offset_for = [&](double gain) {  // the mean falls with the offset
    double low = -1 / gain, high = 1;
    for (int k = 0; k < 50; ++k) (moments(gain, (low + high) / 2).first > mean ? low : high) = (low + high) / 2;
    return (low + high) / 2;
  };
  double low = 1e-2, high = 1e3;  // at a fixed mean the deviation grows with the gain
  for (int k = 0; k < 50; ++k) {
    const double gain = std::sqrt(low * high);
    (moments(gain, offset_for(gain)).second < deviation ? low : high) = gain;
  }
  const double gain = std::sqrt(low * high), offset = offset_for(gain);
  require<value_error>(std::abs(moments(gain, offset).second - deviation) < 0.1 * deviation, "match_brightness: the images cannot get deviation ",
                       deviation, " at mean ", mean, ": they have too little contrast");
  for (float& x : images) x = static_cast<float>(std::clamp(gain * (static_cast<double>(x) - offset), 0.0, 1.0));
}

}  // namespace retort::source
