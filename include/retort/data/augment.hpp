#pragma once
// Augmentation policies: what happens to an image before a batch sees it. A policy is an aggregate of hyper-parameters
// that changes one image (H x W x C) in place, and draws all its randomness from the stream it is given; so the image a
// sample becomes is a pure function of (seed, epoch, sample), whatever the batch, thread or machine.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstring>
#include <retort/core/rng.hpp>
#include <retort/data/dataset.hpp>
#include <span>
#include <tuple>

namespace retort::data {

/// What an augmentation has to offer: `check(shape)` throws when its hyper-parameters or the image shape are unfit, and
/// `operator()(image, rng)` changes one image in place.
template <class A>
concept Augmentation = std::copyable<A> && requires(const A a, Shape<3> shape, View<float, 3> image, Rng rng) {
  { a.check(shape) } -> std::same_as<void>;
  { a(image, rng) } -> std::same_as<void>;
};

/// Shifts the image by up to `padding` pixels each way and fills with zeros: the padded random crop of the CIFAR recipes
/// (He et al. 2016, sec. 4.2). All (2 padding + 1)^2 offsets are equally likely.
struct RandomCrop {
  int padding = 4;

  /// Throws value_error when `padding` is negative or not smaller than the image.
  void check(const Shape<3>& image) const {
    require<value_error>(padding >= 0 && padding < image[0] && padding < image[1],
                         "RandomCrop: expected a padding of 0 or more and below the image's height and width, got ",
                         padding, " for an image ", to_string(image));
  }
  void operator()(View<float, 3> image, Rng rng) const {
    const auto offsets = static_cast<std::uint64_t>(2 * padding + 1);
    const index_t dy = static_cast<index_t>(rng.below(offsets)) - padding;
    const index_t dx = static_cast<index_t>(rng.below(offsets)) - padding;
    const index_t height = image.extent(0), width = image.extent(1), channels = image.extent(2);
    const index_t kept = (width - (dx < 0 ? -dx : dx)) * channels;     // floats of a row that stay inside
    const index_t from = dx > 0 ? dx * channels : 0, to = dx < 0 ? -dx * channels : 0;
    for (index_t step = 0; step < height; ++step) {
      const index_t y = dy >= 0 ? step : height - 1 - step;  // never overwrite a row that is still to be read
      const index_t source = y + dy;
      float* row = image.row(y);
      if (source < 0 || source >= height) {
        std::fill(row, row + width * channels, 0.f);
        continue;
      }
      std::memmove(row + to, image.row(source) + from, static_cast<std::size_t>(kept) * sizeof(float));
      std::fill(row, row + to, 0.f);
      std::fill(row + to + kept, row + width * channels, 0.f);
    }
  }
};

/// Mirrors the image left to right with a probability.
struct HorizontalFlip {
  float probability = 0.5f;

  /// Throws value_error when `probability` lies outside [0, 1].
  void check(const Shape<3>&) const {
    require<value_error>(probability >= 0 && probability <= 1, "HorizontalFlip: expected a probability from 0 to 1, got ",
                         probability);
  }
  void operator()(View<float, 3> image, Rng rng) const {
    if (!(rng.uniform() < probability)) return;
    const index_t width = image.extent(1), channels = image.extent(2);
    for (index_t y = 0; y < image.extent(0); ++y)
      for (index_t left = 0, right = width - 1; left < right; ++left, --right) {
        float* row = image.row(y);
        std::swap_ranges(row + left * channels, row + (left + 1) * channels, row + right * channels);
      }
  }
};

/// Per channel: (pixel - mean) / deviation. Not random, so evaluation applies it too (`augment` with any seed).
template <std::size_t Channels>
struct Normalize {
  std::array<float, Channels> mean;
  std::array<float, Channels> deviation;

  /// Throws shape_error when the image has another number of channels, value_error for a deviation that is not positive.
  void check(const Shape<3>& image) const {
    require<shape_error>(image[2] == static_cast<index_t>(Channels), "Normalize: has the mean and deviation of ", Channels,
                         " channels, the image ", to_string(image), " has ", image[2]);
    for (const float d : deviation)
      require<value_error>(d > 0 && is_finite(d), "Normalize: expected positive deviations, got ", d);
    for (const float m : mean) require<value_error>(is_finite(m), "Normalize: expected finite means");
  }
  void operator()(View<float, 3> image, Rng) const {
    for (float* pixel = image.begin(); pixel != image.end(); pixel += Channels)
      for (std::size_t c = 0; c < Channels; ++c) pixel[c] = (pixel[c] - mean[c]) / deviation[c];
  }
};
template <std::size_t Channels>
Normalize(std::array<float, Channels>, std::array<float, Channels>) -> Normalize<Channels>;

/// Policies one after the other, each with a stream of its own: `Pipeline{RandomCrop{4}, HorizontalFlip{}}`.
template <class... Steps>
struct Pipeline {
  static_assert((Augmentation<Steps> && ...),
                "retort::data::Pipeline: every step must be an augmentation: copyable, with `void check(Shape<3>) const` "
                "and `void operator()(View<float, 3> image, Rng rng) const`; see retort/data/augment.hpp");
  std::tuple<Steps...> steps;

  /// Every step with its default numbers.
  constexpr Pipeline() = default;
  constexpr explicit Pipeline(Steps... in_order)
    requires(sizeof...(Steps) > 0)
      : steps(std::move(in_order)...) {}

  void check(const Shape<3>& image) const {
    std::apply([&](const Steps&... step) { (step.check(image), ...); }, steps);
  }
  void operator()(View<float, 3> image, Rng rng) const {
    std::uint64_t place = 0;
    std::apply([&](const Steps&... step) { (step(image, rng.fork(place++)), ...); }, steps);
  }
};

/// Changes a batch (N x H x W x C) in place; `samples[i]` is the number of image i in its set and names its stream.
/// Throws shape_error when the two differ in number, and what the policy's `check` throws, before any image is touched.
template <class A>
void augment(const A& policy, View<float, 4> batch, std::span<const index_t> samples, std::uint64_t seed,
             std::uint64_t epoch) {
  static_assert(Augmentation<A>,
                "retort::data::augment: the policy must be an augmentation: copyable, with `void check(Shape<3>) const` "
                "and `void operator()(View<float, 3> image, Rng rng) const`; see retort/data/augment.hpp");
  constexpr std::uint64_t purpose = 0x6175676d656e74;  // apart from the streams of the order and of dropout
  require<shape_error>(batch.extent(0) == static_cast<index_t>(samples.size()), "augment: a batch ",
                       to_string(batch.shape), " with ", samples.size(), " sample numbers");
  const Shape<3> image{batch.extent(1), batch.extent(2), batch.extent(3)};
  policy.check(image);
  const Rng stream = Rng(seed).fork(purpose).fork(epoch);
  for (index_t i = 0; i < batch.extent(0); ++i)
    policy(View<float, 3>{batch.row(i), image}, stream.fork(static_cast<std::uint64_t>(samples[static_cast<std::size_t>(i)])));
}

}  // namespace retort::data
