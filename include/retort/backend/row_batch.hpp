#pragma once
// What a row loss is evaluated on, for every backend.

#include <retort/core/view.hpp>

namespace retort {

/// Inputs of a row loss over N rows of C classes. An empty view is an absent input. Logits may be stored in another type than
/// the losses compute in (BFloat16 on the CUDA backend).
template <class T, class Stored = T>
struct RowBatch {
  View<const Stored, 2> student{};           ///< logits, N x C
  View<const Stored, 2> teacher{};           ///< logits, N x C
  View<const std::int32_t, 1> labels{};      ///< N, in [0, C), or `ignored_label`
  View<const std::uint8_t, 1> mask{};        ///< N; rows that a `Masked` loss counts
  View<const T, 1> weight{};                 ///< N, a factor per row; may be negative (suppression) or 0
  View<const T, 1> temperature{};            ///< N, > 0; replaces the temperature of every loss that has one
  View<const T, 2> extras{};                 ///< N x K, numbers per row that losses see as c.extra[k]
  // Rows that are a part of a larger batch are reduced as that batch: its number of rows (0: these are all) and labels.
  index_t of_rows = 0;
  View<const std::int32_t, 1> all_labels{};
};

/// What is wanted of a row loss. An empty view is not wanted. Everything is overwritten, not added to, and must not
/// overlap the inputs. Gradients are those of the reduced loss, row weights included.
template <class T, class Stored = T>
struct RowGradients {
  View<Stored, 2> student{};  ///< N x C
  View<Stored, 2> teacher{};  ///< N x C; every loss that looks at the teacher must have teacher_grad
  View<T, 1> temperature{};  ///< N; by the row's temperature, or by all the losses' own temperatures moving together
  View<T, 2> extras{};       ///< N x K
  View<T, 1> per_row{};      ///< N; not a gradient: the row's loss without row weight and reduction
};

}  // namespace retort
