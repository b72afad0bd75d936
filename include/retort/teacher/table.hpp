#pragma once

#include <retort/core/error.hpp>
#include <retort/data/gather.hpp>
#include <retort/nn/layer.hpp>

namespace retort::teacher::detail {

/// What a teacher asks that has one answer per sample. Throws value_error for augmented data.
template <class Data>
void require_fixed_inputs(const char* who) {
  require<value_error>(!data::is_augmented<Data>, who, ": the data is augmented, so one answer per sample cannot be right; use teacher::Frozen or drop "
                       "the augmentation");
}
/// The same, with `rows` answers that came from elsewhere. Throws shape_error for a data set of another size.
template <class Data>
void require_answers(const char* who, index_t rows, index_t samples) {
  require_fixed_inputs<Data>(who);
  require<shape_error>(rows == samples, who, ": ", rows, " rows for a data set of ", samples);
}

/// The rows `ids` of a table as a constant of the pass. Throws value_error for an id that is not in the table.
template <class T, class B, class U>
Var<T, 2> table_rows(const char* who, Pass<T, B>& pass, View<const U, 2> table, View<const std::int64_t, 1> ids) {
  return pass.tape.constant(pass.tape.from_host(Shape<2>{ids.size(), table.extent(1)}, [&](View<T, 2> out) {
    for (index_t i = 0; i < ids.size(); ++i) {
      const index_t id = ids.data[i];
      require<value_error>(id >= 0 && id < table.extent(0), who, ": sample ", id, " is not among the ", table.extent(0), " that it has answers for");
      for (index_t c = 0; c < table.extent(1); ++c) out(i, c) = static_cast<T>(table(id, c));
    }
  }));
}

}  // namespace retort::teacher::detail
