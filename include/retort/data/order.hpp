#pragma once

#include <retort/core/rng.hpp>
#include <retort/core/shape.hpp>
#include <span>

namespace retort::data {

/// Fills `order` with the permutation of 0 .. order.size()-1 in which epoch `epoch` visits the samples: a pure function
/// of (seed, epoch), so that a resumed run sees what the interrupted one would have seen.
inline void epoch_order(std::span<index_t> order, std::uint64_t seed, std::uint64_t epoch) {
  constexpr std::uint64_t purpose = 0x6f72646572;  // apart from the streams of augmentation and dropout
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<index_t>(i);
  Rng rng = Rng(seed).fork(purpose).fork(epoch);
  rng.shuffle(order);
}

}  // namespace retort::data
