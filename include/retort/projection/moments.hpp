#pragma once

#include <cmath>
#include <concepts>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/core/tensor.hpp>
#include <vector>

namespace retort::projection {

/// Vectors as rows: a View or Tensor of rank 2 over float or double.
template <class M>
concept Rows = requires { typename M::value_type; } && std::convertible_to<const M&, View<const typename M::value_type, 2>>;

/// Mean and covariance of vectors that come in pieces: nothing but n + n^2 doubles is held. Pieces merge by the formula of
/// Chan, Golub & LeVeque (1983), so that the order of the pieces matters by rounding only.
class Moments {
 public:
  /// Of vectors of `width` entries.
  explicit Moments(index_t width) : mean_(Shape{width}), scatter_(Shape{width, width}) {}

  index_t width() const { return mean_.extent(0); }
  index_t count() const { return count_; }
  View<const double, 1> mean() const { return mean_.view(); }
  /// Sum over the vectors of (z - mean)(z - mean)^T, symmetric.
  View<const double, 2> scatter() const { return scatter_.view(); }
  /// Population covariance of entries i and j.
  double covariance(index_t i, index_t j) const { return count_ ? scatter_.view()(i, j) / static_cast<double>(count_) : 0; }
  /// Population standard deviation of entry i.
  double deviation(index_t i) const { return std::sqrt(std::max(0.0, covariance(i, i))); }

  /// Takes vectors N x width into account. Throws shape_error for another width, value_error for a value that is not finite.
  template <Rows M>
  Moments& add(const M& vectors) {
    const View<const typename M::value_type, 2> rows = vectors;
    require<shape_error>(rows.extent(1) == width(), "Moments: expected vectors of ", width(), " entries, got ", to_string(rows.shape));
    constexpr index_t piece = 256;
    for (index_t first = 0; first < rows.extent(0); first += piece) merge(of_piece(rows.rows(first, std::min(first + piece, rows.extent(0)))));
    return *this;
  }
  /// The moments of z W + shift: mean m W + shift, scatter W^T S W. Throws shape_error for a matrix of other height.
  Moments mapped(View<const double, 2> matrix, View<const double, 1> shift) const {
    require<shape_error>(matrix.extent(0) == width() && shift.extent(0) == matrix.extent(1), "Moments: vectors of ", width(),
                         " entries do not fit a matrix ", to_string(matrix.shape), " with a shift of ", shift.extent(0));
    Moments out(matrix.extent(1));
    out.count_ = count_;
    Cpu cpu;
    Tensor<double, 2> half(matrix.shape);
    Kernels<Cpu>::gemm(cpu, Transpose::no, Transpose::no, scatter(), matrix, half.view());
    Kernels<Cpu>::gemm(cpu, Transpose::yes, Transpose::no, matrix, View<const double, 2>(half.view()), out.scatter_.view());
    const View<const double, 2> m{mean_.data(), {1, width()}};
    Kernels<Cpu>::gemm(cpu, Transpose::no, Transpose::no, m, matrix, View<double, 2>{out.mean_.data(), {1, out.width()}}, Write::replace, shift.data);
    return out;
  }
  /// Takes another's vectors into account. Throws shape_error for another width.
  Moments& merge(const Moments& other) {
    require<shape_error>(other.width() == width(), "Moments: expected vectors of ", width(), " entries, got ", other.width());
    if (other.count_ == 0) return *this;
    const double a = static_cast<double>(count_), b = static_cast<double>(other.count_), total = a + b;
    std::vector<double> gap(static_cast<std::size_t>(width()));
    for (index_t i = 0; i < width(); ++i) gap[static_cast<std::size_t>(i)] = other.mean_.data()[i] - mean_.data()[i];
    for (index_t i = 0; i < width(); ++i) {
      const double share = a * b / total * gap[static_cast<std::size_t>(i)];
      double* mine = scatter_.view().row(i);
      const double* theirs = other.scatter_.view().row(i);
      for (index_t j = 0; j < width(); ++j) mine[j] += theirs[j] + share * gap[static_cast<std::size_t>(j)];
    }
    for (index_t i = 0; i < width(); ++i) mean_.data()[i] += b / total * gap[static_cast<std::size_t>(i)];
    count_ += other.count_;
    return *this;
  }

 private:
  template <class T>
  Moments of_piece(View<const T, 2> rows) const {
    Moments out(width());
    out.count_ = rows.extent(0);
    const double n = static_cast<double>(out.count_);
    for (index_t r = 0; r < rows.extent(0); ++r)
      for (index_t i = 0; i < width(); ++i) out.mean_.data()[i] += static_cast<double>(rows(r, i));
    for (double& m : out.mean_) m /= n;
    Tensor<double, 2> centred(rows.shape);
    for (index_t r = 0; r < rows.extent(0); ++r)
      for (index_t i = 0; i < width(); ++i) {
        require<value_error>(std::isfinite(static_cast<double>(rows(r, i))), "Moments: row ", r, ", entry ", i, " is not finite");
        centred.view()(r, i) = static_cast<double>(rows(r, i)) - out.mean_.data()[i];
      }
    Cpu cpu;
    const View<const double, 2> z = centred.view();
    Kernels<Cpu>::gemm(cpu, Transpose::yes, Transpose::no, z, z, out.scatter_.view());
    return out;
  }
  index_t count_ = 0;
  Tensor<double, 1> mean_;
  Tensor<double, 2> scatter_;
};

/// The moments of some vectors N x n.
template <Rows M>
Moments moments_of(const M& rows) {
  return std::move(Moments(rows.extent(1)).add(rows));
}

}  // namespace retort::projection
