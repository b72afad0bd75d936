#pragma once
// The names of the taps of all zoo networks, so that one loss fits every pair of them.

#include <retort/nn/activation.hpp>
#include <retort/nn/conv2d.hpp>
#include <retort/nn/pool.hpp>
#include <retort/nn/repeat.hpp>
#include <retort/nn/reveal.hpp>

namespace retort::nn::zoo {

struct stem;                          ///< behind the first activation
template <int I> struct stage;        ///< behind the last activation of stage I, counted from 1
template <int I> struct preact;       ///< the same before that activation
struct pooled;                        ///< the vector that enters the classifier
struct classifier;                    ///< the classifier itself: an nn::Reveal of the last nn::Linear

using Head = Reveal<classifier, Linear>;
using Unit = Sequential<Conv2d, BatchNorm, Relu>;       ///< convolution, batch norm, ReLU
using Projection = Sequential<Conv2d, BatchNorm>;

/// A convolution without bias, padded to keep the size at stride 1.
inline Conv2d plain_conv(index_t in, index_t out, int kernel = 3, int stride = 1, index_t groups = 1) {
  return {in, out, kernel, stride, kernel / 2, static_cast<int>(groups), false};
}

}  // namespace retort::nn::zoo
