#pragma once

#include <cmath>
#include <retort/source/dataset.hpp>

namespace retort::source {

/// Batches of images that have nothing to do with the task, mixed by CutMix *always* (Asano & Saeed 2023, "The Augmented
/// Image Prior"): a box of side sqrt(1 - u), u ~ Beta(alpha, alpha), is pasted from a random partner. Answers are not mixed:
/// the teacher answers for the mixture. Data: any Dataset<4>, e.g. of `make_patches`, augmented or not; its labels are
/// not shown to anybody. float backends only where the data is augmented.
struct OutOfDistribution {
  using role = retort::role::source;
  static constexpr bool needs_input_gradient = false;
  double alpha = 0.25;

  template <class T, class B, class Data>
  class State {
   public:
    static_assert(data::rank_of<Data> == 4, "retort: source::OutOfDistribution needs images, a Dataset<4>; see retort/source/out_of_distribution.hpp");
    using batch_type = Batch<T, 4>;

    /// Throws value_error unless alpha > 0.
    State(const OutOfDistribution& policy, const Setup<B>& setup, const Data& data)
        : alpha_(policy.alpha), seed_(setup.seed), inner_(Dataset{.drop_last = true}, setup, data) {
      require<value_error>(alpha_ > 0, "source::OutOfDistribution: expected alpha > 0, got ", alpha_);
      Shape<4> shape = data::base(data).inputs.shape();
      shape[0] = std::min(setup.batch_size, shape[0]);
      mixed_ = Tensor<T, 4, B>(shape);
      partner_.resize(static_cast<std::size_t>(shape[0]));
    }
    index_t batches() const { return inner_.batches(); }
    void begin(std::uint64_t pass) {
      constexpr std::uint64_t purpose = 0x6375746d6978;
      stream_ = Rng(seed_).fork(purpose).fork(pass);
      at_ = 0;
      inner_.begin(pass);
    }
    bool next(batch_type& batch) {
      if (!inner_.next(batch)) return false;
      cut_mix(batch.inputs, stream_.fork(at_++));
      batch = {mixed_.view(), {}, {}};
      return true;
    }

   private:
    /// Johnk's method: U^(1/a) / (U^(1/a) + V^(1/a)) where the sum is at most 1.
    double beta(Rng& rng) const {
      for (;;) {
        const double x = std::pow(rng.uniform_double(), 1 / alpha_), y = std::pow(rng.uniform_double(), 1 / alpha_);
        if (x + y <= 1 && x + y > 0) return x / (x + y);
      }
    }
    void cut_mix(View<const T, 4> images, Rng rng) {
      const index_t n = images.extent(0), height = images.extent(1), width = images.extent(2), channels = images.extent(3);
      const double side = std::sqrt(1 - beta(rng));
      const auto range = [&](index_t extent) {
        const auto half = static_cast<index_t>(side * static_cast<double>(extent) / 2);
        const auto centre = static_cast<index_t>(rng.below(static_cast<std::uint64_t>(extent)));
        return std::pair{std::max<index_t>(0, centre - half), std::min(extent, centre + half)};
      };
      const auto [top, bottom] = range(height);
      const auto [left, right] = range(width);
      for (index_t i = 0; i < n; ++i) partner_[static_cast<std::size_t>(i)] = i;
      rng.shuffle(partner_);
      B::copy(mixed_.data(), images.data, static_cast<std::size_t>(images.size()) * sizeof(T));
      for (index_t i = 0; i < n && left < right; ++i)
        for (index_t y = top; y < bottom; ++y)
          B::copy(&mixed_(i, y, left, 0), images.data + ((partner_[static_cast<std::size_t>(i)] * height + y) * width + left) * channels,
                  static_cast<std::size_t>((right - left) * channels) * sizeof(T));
    }

    double alpha_;
    std::uint64_t seed_, at_ = 0;
    Rng stream_;
    typename Dataset::template State<T, B, Data> inner_;
    Tensor<T, 4, B> mixed_;
    std::vector<index_t> partner_;
  };
  std::string describe() const { return retort::detail::concat("out-of-distribution images, CutMix Beta(", alpha, ")"); }
};

}  // namespace retort::source
