#pragma once
// The boundary to xtensor: views without copies both ways, and NumPy's .npy files. Link `retort::xtensor`.

#if __has_include(<xtensor/containers/xadapt.hpp>)  // from 0.26 on
#include <xtensor/containers/xadapt.hpp>
#include <xtensor/containers/xarray.hpp>
#include <xtensor/containers/xtensor.hpp>
#include <xtensor/io/xnpy.hpp>
#else  // up to 0.25
#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>
#include <xtensor/xnpy.hpp>
#include <xtensor/xtensor.hpp>
#endif

#include <algorithm>
#include <array>
#include <fstream>
#include <retort/backend/cpu.hpp>
#include <retort/core/tensor.hpp>
#include <string>
#include <vector>

namespace retort::io {

/// The elements of a view as an xtensor expression, without a copy: reads and writes reach the view's memory, which must
/// outlive the result. Use it at once; do not store lazy expressions made of it.
template <class T, int Rank>
auto to_xtensor(View<T, Rank> view) {
  std::array<std::size_t, static_cast<std::size_t>(Rank)> shape;
  std::transform(view.shape.extent.begin(), view.shape.extent.end(), shape.begin(),
                 [](index_t e) { return static_cast<std::size_t>(e); });
  return xt::adapt(view.data, static_cast<std::size_t>(view.size()), xt::no_ownership(), shape);
}
template <class T, int Rank, class B>
auto to_xtensor(Tensor<T, Rank, B>& tensor) {
  return to_xtensor(tensor.view());
}
template <class T, int Rank, class B>
auto to_xtensor(const Tensor<T, Rank, B>& tensor) {
  return to_xtensor(tensor.view());
}
template <class T, int Rank, class B>
void to_xtensor(Tensor<T, Rank, B>&&) = delete;  // the memory would be gone

/// A view of an xtensor container or adaptor, without a copy: `from_xtensor<2>(array)`. The container must outlive the
/// view. Throws shape_error when its dimension is not `Rank` or its elements do not lie row by row without gaps
/// (column-major, transposed or strided): copy it into an xt::xarray first.
template <int Rank, class E>
auto from_xtensor(E& expression) {
  using plain = std::remove_const_t<E>;
  static_assert(requires(E& e) { e.data(); e.strides(); },
                "retort::io::from_xtensor: expected a container or adaptor that owns or adapts memory (xt::xarray, "
                "xt::xtensor, xt::adapt); evaluate a lazy expression into an xt::xarray first; see retort/io/xtensor.hpp");
  using T = std::conditional_t<std::is_const_v<E>, const typename plain::value_type, typename plain::value_type>;
  std::string found;
  for (const auto e : expression.shape()) found += (found.empty() ? "" : ", ") + std::to_string(e);
  require<shape_error>(expression.dimension() == static_cast<std::size_t>(Rank), "from_xtensor: expected rank ", Rank,
                       ", got the shape (", found, ")");
  Shape<Rank> shape;
  index_t dense = 1;
  for (int axis = Rank - 1; axis >= 0; --axis) {
    const auto at = static_cast<std::size_t>(axis);
    shape[axis] = static_cast<index_t>(expression.shape()[at]);
    // xtensor sets the stride of an axis of extent 1 to 0.
    require<shape_error>(shape[axis] <= 1 || static_cast<index_t>(expression.strides()[at]) == dense,
                         "from_xtensor: the array of shape (", found, ") is not row-major and dense: axis ", axis,
                         " has stride ", static_cast<index_t>(expression.strides()[at]), ", expected ", dense);
    dense *= shape[axis];
  }
  return View<T, Rank>{expression.data() + expression.data_offset(), shape};
}

/// Writes a tensor as a NumPy .npy file. Throws data_error when the file cannot be written.
template <class T, int Rank>
void save_npy(const std::string& path, View<T, Rank> view) {
  std::ofstream out(path, std::ios::binary);
  if (out) {
    const std::string bytes = xt::dump_npy(to_xtensor(view));
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush();
  }
  require<data_error>(out.good(), "cannot write '", path, "'");
}

/// Reads a .npy file of element type `T` and `Rank` dimensions, in row-major or column-major order. Throws data_error when
/// the file is missing, is no .npy file, holds another element type, is truncated or oversized; shape_error for another
/// rank.
template <class T, int Rank>
Tensor<T, Rank> load_npy(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  require<data_error>(in.good(), "cannot open '", path, "'");
  xt::xarray<T, xt::layout_type::dynamic> array;
  try {
    array = xt::load_npy<T>(in);
  } catch (const std::exception& e) {
    throw data_error(retort::detail::concat(path, ": no .npy file of the element type asked for: ", e.what()));
  }
  // xtensor reads on past the end of a short file; the stream knows.
  require<data_error>(in.good(), path, ": truncated: the shape in its header needs ", array.size() * sizeof(T),
                      " bytes of elements");
  require<data_error>(in.peek() == std::ifstream::traits_type::eof(), path, ": oversized: the shape in its header needs ",
                      array.size() * sizeof(T), " bytes of elements, more follow");
  require<shape_error>(array.dimension() == static_cast<std::size_t>(Rank), path, ": expected rank ", Rank, ", found ",
                       array.dimension());
  Shape<Rank> shape;
  for (int axis = 0; axis < Rank; ++axis) shape[axis] = static_cast<index_t>(array.shape()[static_cast<std::size_t>(axis)]);
  Tensor<T, Rank> out(shape);
  std::copy(array.template begin<xt::layout_type::row_major>(), array.template end<xt::layout_type::row_major>(), out.begin());
  return out;
}

}  // namespace retort::io
