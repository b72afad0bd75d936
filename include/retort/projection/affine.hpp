#pragma once

#include <retort/projection/moments.hpp>
#include <retort/train/checkpoint.hpp>

namespace retort::projection {

/// A fitted projection, whatever policy made it: y = z W + shift, from n entries to d. In double, so that a saved and
/// loaded one gives the same bits.
class Affine {
 public:
  Affine() = default;
  /// Throws shape_error unless `shift` has one entry per column of `matrix`, value_error for values that are not finite.
  Affine(Tensor<double, 2> matrix, Tensor<double, 1> shift) : matrix_(std::move(matrix)), shift_(std::move(shift)) {
    require<shape_error>(shift_.extent(0) == matrix_.extent(1) && !matrix_.empty(), "projection: a shift ", to_string(shift_.shape()),
                         " does not fit a matrix ", to_string(matrix_.shape()));
    require<value_error>(first_not_finite(shift_.view()) < 0 && first_not_finite(matrix_.view()) < 0, "projection: a value is not finite");
  }

  /// (z - mean) W.
  static Affine centred(const Moments& of, Tensor<double, 2> matrix) {
    Tensor<double, 1> shift(Shape{matrix.extent(1)});
    for (index_t i = 0; i < matrix.extent(0); ++i)
      for (index_t k = 0; k < matrix.extent(1); ++k) shift.data()[k] -= of.mean()(i) * matrix.view()(i, k);
    return {std::move(matrix), std::move(shift)};
  }

  bool empty() const { return matrix_.empty(); }
  Affine copy() const {
    Tensor<double, 2> w(matrix_.shape());
    Tensor<double, 1> b(shift_.shape());
    std::copy(matrix_.begin(), matrix_.end(), w.begin());
    std::copy(shift_.begin(), shift_.end(), b.begin());
    return {std::move(w), std::move(b)};
  }
  index_t in_dim() const { return matrix_.extent(0); }
  index_t out_dim() const { return matrix_.extent(1); }
  View<const double, 2> matrix() const { return matrix_.view(); }
  View<const double, 1> shift() const { return shift_.view(); }

  /// N x n to N x d. Throws shape_error for vectors of another width.
  template <Rows M>
  auto transform(const M& vectors) const {
    using T = typename M::value_type;
    const View<const T, 2> rows = vectors;
    require<shape_error>(rows.extent(1) == in_dim(), "projection: fitted to vectors of ", in_dim(), " entries, got ", to_string(rows.shape));
    Tensor<double, 2> exact(rows.shape), product(Shape{rows.extent(0), out_dim()});
    std::copy(rows.begin(), rows.end(), exact.begin());
    Cpu cpu;
    Kernels<Cpu>::gemm(cpu, Transpose::no, Transpose::no, View<const double, 2>(exact.view()), matrix(), product.view(), Write::replace, shift_.data());
    Tensor<T, 2> out(product.shape());
    std::transform(product.begin(), product.end(), out.begin(), [](double v) { return static_cast<T>(v); });
    return out;
  }
  /// This one, then another. Throws shape_error when the widths do not meet.
  Affine then(const Affine& next) const {
    require<shape_error>(next.in_dim() == out_dim(), "projection: one to ", out_dim(), " entries cannot be followed by one from ", next.in_dim());
    Cpu cpu;
    Tensor<double, 2> w(Shape{in_dim(), next.out_dim()});
    Tensor<double, 1> b(Shape{next.out_dim()});
    Kernels<Cpu>::gemm(cpu, Transpose::no, Transpose::no, matrix(), next.matrix(), w.view());
    const View<const double, 2> row{shift_.data(), {1, out_dim()}};
    Kernels<Cpu>::gemm(cpu, Transpose::no, Transpose::no, row, next.matrix(), View<double, 2>{b.data(), {1, next.out_dim()}}, Write::replace, next.shift_.data());
    return {std::move(w), std::move(b)};
  }

  /// Writes it to a file, and reads one back: same bits. Throw data_error for what the file system refuses and for a file
  /// that is missing, truncated or corrupt; a loaded one whose widths are not `in` and `out` is a checkpoint_error.
  void save(const std::string& path) const {
    CheckpointWriter writer;
    writer.add("projection.matrix", View<const double, 1>{matrix_.data(), {matrix_.size()}});
    writer.add("projection.shift", View<const double, 1>{shift_.data(), {shift_.size()}});
    writer.commit(path);
  }
  static Affine load(const std::string& path, index_t in, index_t out) {
    const CheckpointReader reader(path);
    Tensor<double, 2> w(Shape{in, out});
    Tensor<double, 1> b(Shape{out});
    reader.read("projection.matrix", w.view().flat());
    reader.read("projection.shift", b.view());
    return {std::move(w), std::move(b)};
  }

 private:
  Tensor<double, 2> matrix_;
  Tensor<double, 1> shift_;
};

}  // namespace retort::projection
