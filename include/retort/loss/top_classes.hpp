#pragma once

#include <retort/core/error.hpp>
#include <retort/core/shape.hpp>
#include <retort/functor/row_loss.hpp>

namespace retort::loss {

namespace detail {
/// Whether a class is among the teacher's most likely ones, as the backend's select_top found them: extras `first` and
/// `first + 1` of the row are the smallest logit of these and its column. Ties go to the lower column.
template <class V>
RETORT_HD auto in_top(const BasicCell<V>& c, int first) {
  using Index = std::remove_cvref_t<decltype(c.index)>;
  const auto column = c.extra[first + 1];
  const Index last = [column] {
    if constexpr (requires { typename Index::value_type; })
      return Index(static_cast<typename Index::value_type>(column));
    else
      return static_cast<Index>(column);
  }();
  return (c.t > V(c.extra[first])) | ((c.t == V(c.extra[first])) & (c.index <= last));
}
/// Throws value_error unless 1 <= count <= classes.
inline index_t top_count(const char* loss, index_t count, index_t classes) {
  require<value_error>(count >= 1 && count <= classes, loss, ": the top ", count, " of ", classes, " classes; expected 1 to ", classes);
  return count;
}
}  // namespace detail

}  // namespace retort::loss
