#pragma once
// Determinantal subsets, through Eigen's symmetric eigensolver (component retort::eigen).

#include <Eigen/Eigenvalues>
#include <retort/sample/sample.hpp>

namespace retort::sample {

enum class RowNorm { none, l1, l2 };

/// The kernel of a determinantal point process on a pool: L_ij = q_i (f_i . f_j) q_j + ridge [i = j], f the vectors scaled
/// to norm 1, q the relevance where `quality`, else 1.
struct DppKernel {
  RowNorm norm = RowNorm::l2;
  double ridge = 0.1;
  bool quality = false;

  /// M x M, symmetric. Throws value_error for a vector of norm 0, a negative ridge, or a relevance that is not positive.
  Eigen::MatrixXd of(const Pool& pool, const char* who) const {
    require<value_error>(ridge >= 0, who, ": expected a ridge of at least 0, got ", ridge);
    if (quality) detail::check_relevance(who, pool);
    Eigen::MatrixXd f(pool.size(), pool.vectors.extent(1));
    for (index_t i = 0; i < pool.size(); ++i) {
      for (index_t j = 0; j < f.cols(); ++j) f(i, j) = static_cast<double>(pool.vectors(i, j));
      const double size = norm == RowNorm::none ? 1 : norm == RowNorm::l1 ? f.row(i).lpNorm<1>() : f.row(i).norm();
      require<value_error>(size > 0 && std::isfinite(size), who, ": vector ", i, " has norm ", size, " and cannot be scaled");
      f.row(i) *= (quality ? pool.relevance[static_cast<std::size_t>(i)] : 1.) / size;
    }
    Eigen::MatrixXd kernel = f * f.transpose();
    kernel.diagonal().array() += ridge;
    return kernel;
  }
  std::string describe() const {
    return retort::detail::concat(quality ? "quality and diversity" : "diversity", norm == RowNorm::l1 ? ", L1 rows" : norm == RowNorm::l2 ? ", L2 rows" : "",
                                  ", ridge ", ridge);
  }
};

/// An exact k-DPP (Kulesza & Taskar 2011): a subset S of k with probability det(L_S) / e_k(eigenvalues of L). O(M^3).
/// SEA's `dpp_div` is {.kernel = {.norm = RowNorm::l1}}, its `dpp` also `quality`; there the ridge outweighs the rows, and
/// the draw is nearly uniform: with L2 rows diversity matters. Throws value_error when L has a rank below k.
struct KDpp {
  DppKernel kernel{};

  std::vector<index_t> select(const Pool& pool, index_t k, Rng rng) const {
    detail::check("sample::KDpp", pool, k);
    if (k == 0) return {};
    const index_t m = pool.size();
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(kernel.of(pool, "sample::KDpp"));
    require<error>(solver.info() == Eigen::Success, "sample::KDpp: the eigenvalue iteration did not converge");
    const double top = solver.eigenvalues()(m - 1);
    std::vector<long double> lambda;
    for (index_t i = 0; i < m; ++i) lambda.push_back(solver.eigenvalues()(i) > 1e-12 * top ? solver.eigenvalues()(i) / top : 0);
    require<value_error>(std::count_if(lambda.begin(), lambda.end(), [](long double l) { return l > 0; }) >= k,
                         "sample::KDpp: the kernel's rank is below ", k, "; use a positive ridge or choose fewer");
    // e(j, i): elementary symmetric polynomial j of the first i eigenvalues.
    const auto columns = static_cast<std::size_t>(m + 1);
    std::vector<long double> e(static_cast<std::size_t>(k + 1) * columns, 0.L);
    std::fill_n(e.begin(), columns, 1.L);
    for (std::size_t j = 1; j <= static_cast<std::size_t>(k); ++j)
      for (std::size_t i = 1; i < columns; ++i) e[j * columns + i] = e[j * columns + i - 1] + lambda[i - 1] * e[(j - 1) * columns + i - 1];
    Eigen::MatrixXd v(m, k);
    for (index_t i = m, left = k; left > 0; --i) {
      const auto at = static_cast<std::size_t>(left) * columns + static_cast<std::size_t>(i);
      const long double take = lambda[static_cast<std::size_t>(i - 1)] * e[at - columns - 1] / e[at];
      if (i == left || rng.uniform_double() < static_cast<double>(take)) v.col(--left) = solver.eigenvectors().col(i - 1);
    }
    // The projection process onto those eigenvectors, by incremental orthogonalisation.
    std::vector<index_t> chosen;
    Eigen::VectorXd mass = v.rowwise().squaredNorm();
    Eigen::MatrixXd basis(m, k);
    for (index_t step = 0; step < k; ++step) {
      double at = rng.uniform_double() * mass.cwiseMax(0).sum();
      index_t i = 0;
      for (index_t next = 0; next < m; ++next)
        if (mass(next) > 0) {
          i = next;
          at -= mass(next);
          if (at < 0) break;
        }
      basis.col(step) = (v * v.row(i).transpose() - basis.leftCols(step) * basis.row(i).head(step).transpose()) / std::sqrt(mass(i));
      mass -= basis.col(step).cwiseAbs2();
      mass(i) = 0;
      chosen.push_back(i);
    }
    std::sort(chosen.begin(), chosen.end());
    return chosen;
  }
  std::string describe() const { return "k-DPP (" + kernel.describe() + ")"; }
};

/// The likeliest subset, greedily (Chen, Zhang & Zhou 2018): the next vector is the one that enlarges det(L_S) most.
/// Deterministic, O(M k^2) after the kernel. Throws value_error when no vector enlarges it.
struct GreedyDpp {
  DppKernel kernel{};

  std::vector<index_t> select(const Pool& pool, index_t k, Rng) const {
    detail::check("sample::GreedyDpp", pool, k);
    const Eigen::MatrixXd l = kernel.of(pool, "sample::GreedyDpp");
    Eigen::VectorXd gain = l.diagonal();
    Eigen::MatrixXd rows(pool.size(), k);
    std::vector<index_t> chosen;
    const double floor = pool.size() ? 1e-12 * gain.maxCoeff() : 0;
    for (index_t step = 0; step < k; ++step) {
      Eigen::Index i = 0;
      require<value_error>(gain.maxCoeff(&i) > floor, "sample::GreedyDpp: the kernel's rank is below ", k, "; use a positive ridge or choose fewer");
      rows.col(step) = (l.col(i) - rows.leftCols(step) * rows.row(i).head(step).transpose()) / std::sqrt(gain(i));
      gain -= rows.col(step).cwiseAbs2();
      gain(i) = -1;
      for (const index_t c : chosen) gain(c) = -1;
      chosen.push_back(i);
    }
    std::sort(chosen.begin(), chosen.end());
    return chosen;
  }
  std::string describe() const { return "greedy DPP (" + kernel.describe() + ")"; }
};

}  // namespace retort::sample
