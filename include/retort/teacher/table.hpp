#pragma once

#include <retort/core/error.hpp>
#include <retort/nn/layer.hpp>

namespace retort::teacher::detail {

/// The rows `ids` of a table as a constant of the pass. Throws value_error for an id that is not in the table.
template <class T, class B, class U>
Var<T, 2> table_rows(const char* who, Pass<T, B>& pass, View<const U, 2> table, View<const std::int64_t, 1> ids) {
  const View<T, 2> out = pass.tape.allocate(Shape<2>{ids.size(), table.extent(1)});
  for (index_t i = 0; i < ids.size(); ++i) {
    const index_t id = ids.data[i];
    require<value_error>(id >= 0 && id < table.extent(0), who, ": sample ", id, " is not among the ", table.extent(0), " that it has answers for");
    for (index_t c = 0; c < table.extent(1); ++c) out(i, c) = static_cast<T>(table(id, c));
  }
  return pass.tape.constant(out);
}

}  // namespace retort::teacher::detail
