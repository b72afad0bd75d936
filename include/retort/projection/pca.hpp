#pragma once
// Principal components, through Eigen's symmetric eigensolver (component retort::eigen).

#include <Eigen/Eigenvalues>
#include <retort/projection/projection.hpp>

namespace retort::projection {

/// The leading eigenvectors of the covariance, of the centred vectors, unwhitened: y = W^T (z - mean), in order of
/// decreasing variance; of each the entry of largest magnitude is positive, which fixes its sign. The mean squared error
/// of reconstruction is the sum of the eigenvalues left out. Throws value_error unless 1 <= components <= width, and for
/// fewer than two vectors.
struct Pca {
  index_t components = 64;

  Affine fit(const Moments& of) const {
    require<value_error>(components >= 1 && components <= of.width(), "projection::Pca: expected 1 to ", of.width(), " components, got ", components);
    require<value_error>(of.count() >= 2, "projection::Pca: expected at least 2 vectors to fit to, got ", of.count());
    const auto solver = decompose(of);
    Tensor<double, 2> w(Shape{of.width(), components});
    for (index_t k = 0; k < components; ++k) {
      const Eigen::VectorXd v = solver.eigenvectors().col(of.width() - 1 - k);
      Eigen::Index top = 0;
      v.cwiseAbs().maxCoeff(&top);
      for (index_t i = 0; i < of.width(); ++i) w.view()(i, k) = v(top) > 0 ? v(i) : -v(i);
    }
    return Affine::centred(of, std::move(w));
  }
  /// All eigenvalues of the population covariance, the largest first.
  static std::vector<double> spectrum(const Moments& of) {
    const auto solver = decompose(of);
    const auto& values = solver.eigenvalues();
    return {std::make_reverse_iterator(values.data() + values.size()), std::make_reverse_iterator(values.data())};
  }
  std::string describe() const { return detail::concat("PCA to ", components); }

 private:
  static Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> decompose(const Moments& of) {
    const Eigen::Map<const Eigen::MatrixXd> scatter(of.scatter().data, of.width(), of.width());
    Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(scatter / static_cast<double>(of.count()));
    require<error>(solver.info() == Eigen::Success, "projection::Pca: the eigenvalue iteration did not converge");
    return solver;
  }
};

/// SEA's projection (Srivastava et al. 2021): standardised by entry, then principal components, not whitened.
using StandardizedPca = Chain<Standardize, Pca>;
inline StandardizedPca standardized_pca(index_t components) { return StandardizedPca(Standardize{}, Pca{components}); }

}  // namespace retort::projection
