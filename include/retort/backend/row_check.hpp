#pragma once
// The checks of a row loss's arguments, compiled once for all losses.

#include <algorithm>
#include <retort/backend/row_batch.hpp>
#include <retort/backend/row_terms.hpp>
#include <retort/core/finite.hpp>

namespace retort::detail::rows {

/// What the checks have to know of a loss, without its type: they are compiled once for all losses.
struct TermInfo {
  const char* name;
  RowNeeds needs;
  bool masked, skips_ignored_rows, softmax, teacher_grad;
  bool tempered = false, teacher_tempered = false;
  double temperature = 1, teacher_temperature = 1;
  index_t least_classes = 1;
};

template <class Term>
TermInfo term_info(const Term& term, bool teacher_grad) {
  using Loss = typename Term::loss_type;
  TermInfo out{.name = detail::name_of<Loss>(),
               .needs = Term::needs,
               .masked = Term::masked,
               .skips_ignored_rows = Term::reduction::skips_ignored_rows,
               .softmax = (pass_bits<Term, 0>() | pass_bits<Term, 1>()) != 0,
               .teacher_grad = teacher_grad};
  if constexpr (detail::Tempered<Loss>) out.tempered = true, out.temperature = double(term.loss.temperature);
  if constexpr (requires { Loss::least_classes; }) out.least_classes = Loss::least_classes;
  if constexpr (detail::TeacherTempered<Loss>) out.teacher_tempered = true, out.teacher_temperature = detail::teacher_temperature_of(term.loss);
  return out;
}

inline void check_temperature(double t, const char* whose, index_t at) {
  require<value_error>(t > 0 && is_finite(t), "row loss: ", whose, at, " has temperature ", t,
                       "; expected a finite number above 0");
}

/// All checks that can be made before anything is written; those of labels and temperatures only where the host can read
/// them. Cold: compiled for size, which is most of its cost.
template <class T, class Stored>
[[gnu::cold]] void check_batch(const RowBatch<T, Stored>& in, const RowGradients<T, Stored>& out, const TermInfo* terms, int count,
                               bool readable = true) {
  const Shape<2> shape = in.student.shape;
  const index_t rows = shape[0], classes = shape[1];
  require<shape_error>(!in.student.empty(), "row loss: expected student logits of at least one row and one class, got shape ", shape);
  RowNeeds needs;
  bool softmax = false, masked = false;
  bool may_ignore = true, may_mask = true;  // a row without a valid label, when all losses that look at labels leave it out
  for (const TermInfo* t = terms; t != terms + count; ++t) {
    needs.teacher |= t->needs.teacher;
    needs.labels |= t->needs.labels;
    needs.extras = std::max(needs.extras, t->needs.extras);
    softmax |= t->softmax;
    masked |= t->masked;
    may_ignore &= !t->needs.labels || t->masked || t->skips_ignored_rows;
    may_mask &= !t->needs.labels || t->masked;
    require<value_error>(classes >= t->least_classes, "row loss: term ", t - terms, " (", t->name, ") needs at least ",
                         t->least_classes, " classes, got ", classes);
    if (t->tempered) check_temperature(t->temperature, "term ", t - terms);
    if (t->teacher_tempered) check_temperature(t->teacher_temperature, "the teacher in term ", t - terms);
    const bool both_sides = t->teacher_grad || !t->needs.teacher;
    require<value_error>((out.teacher.empty() || both_sides) &&
                             (out.temperature.empty() || !t->tempered || (both_sides && !t->teacher_tempered)),
                         "row loss: term ", t - terms, " (", t->name,
                         ") has no teacher_grad, or has a teacher_temperature: it gives no such gradient");
  }
  require<shape_error>(!needs.teacher || in.teacher.shape == shape, "row loss: student logits have shape ", shape,
                       ", teacher logits have shape ", in.teacher.shape,
                       in.teacher.empty() ? "; has the method a teacher?" : "; networks of different classes or vocabularies need loss::OnSharedVocabulary");
  require<value_error>(!softmax || classes > 1, "row loss: a softmax over one class is constant; expected 2 classes or more");
  require<shape_error>(!needs.labels || !in.labels.empty(), "row loss: this loss needs labels, and the batch has none (without data, censor::PseudoLabels<> gives them)");
  require<shape_error>(!masked || !in.mask.empty() || !in.labels.empty(),
                       "row loss: a Masked loss needs the batch's mask or labels, and the batch has neither");
  const auto check_length = [rows](const char* what, bool given, index_t length) {
    require<shape_error>(!given || length == rows, "row loss: expected ", rows, " ", what, ", got ", length);
  };
  check_length("labels", in.labels.data, in.labels.size());
  check_length("mask bytes", in.mask.data, in.mask.size());
  check_length("weights", in.weight.data, in.weight.size());
  check_length("temperatures", in.temperature.data, in.temperature.size());
  check_length("temperature gradients", out.temperature.data, out.temperature.size());
  check_length("per-row losses", out.per_row.data, out.per_row.size());
  require<shape_error>(needs.extras == 0 || (in.extras.shape[0] == rows && in.extras.shape[1] >= needs.extras),
                       "row loss: this loss needs extras of ", rows, " rows and ", needs.extras, " columns, got shape ", in.extras.shape);
  const auto check_like = [](const char* what, const auto& view, Shape<2> expected) {
    if (view.data != nullptr)
      require<shape_error>(view.shape == expected, what, ": expected shape ", expected, ", got ", view.shape);
  };
  check_like("row loss: student gradient", out.student, shape);
  check_like("row loss: teacher gradient", out.teacher, shape);
  check_like("row loss: extras gradient", out.extras, in.extras.shape);
  if (!readable) return;
  if (needs.labels)
    for (index_t r = 0; r < rows; ++r) {
      const std::int32_t y = in.labels.data[r];
      if (y >= 0 && y < classes) continue;
      const bool ignored = (may_ignore && y == ignored_label) || (may_mask && !in.mask.empty() && in.mask.data[r] == 0);
      require<value_error>(ignored, "row loss: label ", y, " of row ", r, " is outside [0, ", classes, ")");
    }
  if (!in.temperature.empty())
    for (index_t r = 0; r < rows; ++r) check_temperature(double(in.temperature.data[r]), "row ", r);
}

}  // namespace retort::detail::rows
