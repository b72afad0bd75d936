#pragma once

#include <algorithm>
#include <retort/loss/standardized.hpp>
#include <vector>

namespace retort {

/// Which classes of a student and a teacher are the same: two lists of one length, column by column. Made once, from the
/// tokenizers; what neither list names is left out of the loss on both sides.
class VocabularyMap {
 public:
  /// Throws value_error for lists of different length, fewer than two columns, or columns named twice or below 0.
  VocabularyMap(std::vector<std::int32_t> student, std::vector<std::int32_t> teacher) : student_(std::move(student)), teacher_(std::move(teacher)) {
    require<value_error>(student_.size() == teacher_.size() && student_.size() >= 2, "VocabularyMap: expected two lists of one length of 2 or more, got ",
                         student_.size(), " and ", teacher_.size());
    for (const auto* list : {&student_, &teacher_}) {
      std::vector<std::int32_t> sorted = *list;
      std::sort(sorted.begin(), sorted.end());
      require<value_error>(sorted.front() >= 0 && std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(), "VocabularyMap: the ",
                           list == &student_ ? "student" : "teacher", "'s list names a column twice or one below 0");
    }
    shared_.assign(static_cast<std::size_t>(*std::max_element(student_.begin(), student_.end())) + 1, -1);
    for (std::size_t i = 0; i < student_.size(); ++i) shared_[static_cast<std::size_t>(student_[i])] = static_cast<std::int32_t>(i);
  }
  /// The first `count` columns of both: one tokenizer, padded to different sizes (151936 and 152064 of one model family).
  static VocabularyMap first(index_t count) {
    std::vector<std::int32_t> same(static_cast<std::size_t>(std::max<index_t>(count, 0)));
    for (std::size_t i = 0; i < same.size(); ++i) same[i] = static_cast<std::int32_t>(i);
    return {same, same};
  }
  index_t size() const { return static_cast<index_t>(student_.size()); }
  View<const std::int32_t, 1> student() const { return {student_.data(), {size()}}; }
  View<const std::int32_t, 1> teacher() const { return {teacher_.data(), {size()}}; }
  /// A student's label among the shared columns; `ignored_label` when it is not one of them.
  std::int32_t label(std::int32_t student_label) const {
    if (student_label < 0 || static_cast<std::size_t>(student_label) >= shared_.size()) return ignored_label;
    const std::int32_t at = shared_[static_cast<std::size_t>(student_label)];
    return at < 0 ? ignored_label : at;
  }

 private:
  std::vector<std::int32_t> student_, teacher_, shared_;
};

namespace loss {

/// A logit loss between networks of different vocabularies: both see the columns that they share, in the map's order, so that
/// the softmaxes are over these alone. Labels outside them become `ignored_label`: take TokenMean or Masked where the
/// inner loss looks at labels. There is no default map; without one, different sizes are a shape_error.
template <class Inner>
struct OnSharedVocabulary {
  VocabularyMap map;
  Inner inner{};

  /// Throws shape_error when the map names a column that a network does not have.
  template <class E>
  auto evaluate(E& exchange) const {
    auto& tape = exchange.tape;
    auto seen = exchange;
    const auto shared = [&](const char* whose, auto logits, View<const std::int32_t, 1> columns) {
      const std::int32_t last = *std::max_element(columns.begin(), columns.end());
      require<shape_error>(last < logits.extent(1), "loss::OnSharedVocabulary: the map names column ", last, " of the ", whose, ", whose logits have shape ",
                           to_string(logits.shape()));
      return gather_columns(tape, logits, columns);
    };
    detail::replace_result(seen.student, shared("student", result_of(exchange.student), map.student()));
    detail::replace_result(seen.teacher, shared("teacher", result_of(exchange.teacher), map.teacher()));
    if (exchange.labels.size() > 0) {
      const auto labels = tape.on_host(exchange.labels);
      seen.labels = tape.template from_host<std::int32_t>(labels.shape, [&](View<std::int32_t, 1> to) {
        for (index_t i = 0; i < labels.size(); ++i) to(i) = map.label(labels(i));
      });
    }
    return loss::evaluate(inner, seen);
  }
};
template <class Inner>
OnSharedVocabulary(VocabularyMap, Inner) -> OnSharedVocabulary<Inner>;

}  // namespace loss
}  // namespace retort
