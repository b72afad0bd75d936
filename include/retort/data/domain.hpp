#pragma once

#include <retort/data/dataset.hpp>

namespace retort::data {

/// Where a student's data comes from, at equal size: `n` samples without repeats, round(share * n) of them from `target` and
/// the rest from `general`, a pure function of the seed. share 1: the target domain alone (SEA); 0: general data alone, its
/// control; between: a mixed corpus. Labels stay where both sets have the same classes, else the result is unlabelled.
/// Throws value_error for a share outside [0, 1] or a set that has too few samples, shape_error when samples differ in shape.
template <int Rank>
Dataset<Rank> domain(const Dataset<Rank>& target, const Dataset<Rank>& general, double share, index_t n, std::uint64_t seed) {
  require<value_error>(share >= 0 && share <= 1 && n >= 1, "data::domain: expected a share in [0, 1] and at least 1 sample, got ", share, " and ", n);
  require<shape_error>(target.inputs.shape().row_size() == general.inputs.shape().row_size(), "data::domain: samples of ", to_string(target.inputs.shape()),
                       " and ", to_string(general.inputs.shape()));
  const auto own = static_cast<index_t>(std::llround(share * static_cast<double>(n)));
  const auto drawn = [&](const Dataset<Rank>& from, index_t count, std::uint64_t stream) {
    require<value_error>(count <= from.size(), "data::domain: asked for ", count, " samples of '", from.name, "', which has ", from.size());
    std::vector<index_t> order(static_cast<std::size_t>(from.size()));
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<index_t>(i);
    Rng rng = Rng(seed).fork(stream);
    rng.shuffle(order);
    order.resize(static_cast<std::size_t>(count));
    return from.subset(order);
  };
  const Dataset<Rank> a = drawn(target, own, 0), b = drawn(general, n - own, 1);
  Shape<Rank> shape = target.inputs.shape();
  shape[0] = n;
  Dataset<Rank> out{Tensor<float, Rank>(shape), {}, 0, target.name + " and " + general.name};
  std::copy(a.inputs.begin(), a.inputs.end(), out.inputs.begin());
  std::copy(b.inputs.begin(), b.inputs.end(), out.inputs.begin() + a.inputs.size());
  if (target.labelled() && general.labelled() && target.classes == general.classes) {
    out.labels = a.labels;
    out.labels.insert(out.labels.end(), b.labels.begin(), b.labels.end());
    out.classes = target.classes;
  }
  return out;
}

}  // namespace retort::data
