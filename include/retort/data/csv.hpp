#pragma once
// Tables of numbers as text: one sample per line, one column of them the class label.

#include <charconv>
#include <limits>
#include <retort/data/dataset.hpp>
#include <retort/data/file.hpp>
#include <string_view>

namespace retort::data {

/// How to read a table.
struct CsvOptions {
  int label_column = -1;  ///< counted from 0; negative counts from the end, -1 is the last
  int header = 0;         ///< lines to skip at the top
  char separator = ',';
  int classes = 0;  ///< 0: one more than the largest label in the file
};

namespace detail {

inline std::string_view trimmed(std::string_view field) {
  while (!field.empty() && (field.front() == ' ' || field.front() == '\t')) field.remove_prefix(1);
  while (!field.empty() && (field.back() == ' ' || field.back() == '\t')) field.remove_suffix(1);
  return field;
}

/// The whole field as a number of type T, or false.
template <class T>
bool parse_number(std::string_view field, T& out) {
  const auto [end, status] = std::from_chars(field.data(), field.data() + field.size(), out);
  return status == std::errc() && end == field.data() + field.size();
}
/// A class number, also one that a tool with floating-point columns has written: "3" or "3.0".
inline bool parse_label(std::string_view field, std::int32_t& out) {
  if (parse_number(field, out)) return true;
  double value = 0;
  if (!parse_number(field, value) || !(value >= 0 && value <= double(std::numeric_limits<std::int32_t>::max()))) return false;
  out = static_cast<std::int32_t>(value);
  return out == value;
}

}  // namespace detail

/// Reads a table of numbers into N x (columns - 1) inputs and integer labels. No quoting, no missing values; empty lines
/// are passed over; Windows line ends are accepted. Throws data_error naming file, line and column (both from 1) and what
/// stands there: a field that is not a finite number, a label that is not a whole number in range (3.0 is one), a line that is too short
/// or too long; also when the file has no samples. Throws value_error when there are fewer than two classes.
inline Dataset<2> load_csv(const std::string& path, const CsvOptions& options = {}) {
  const FileBytes file = read_file(path);
  std::string_view rest(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size());
  if (rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);  // the byte-order mark of UTF-8
  std::vector<float> values;
  std::vector<std::int32_t> labels;
  index_t columns = 0, line = 0, first_line = 0;
  std::vector<std::string_view> fields;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    std::string_view text = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    ++line;
    if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
    if (line <= options.header || detail::trimmed(text).empty()) continue;

    fields.clear();
    for (std::size_t at = 0; at != std::string_view::npos;) {
      const std::size_t comma = text.find(options.separator, at);
      fields.push_back(detail::trimmed(text.substr(at, comma == std::string_view::npos ? comma : comma - at)));
      at = comma == std::string_view::npos ? comma : comma + 1;
    }
    const auto count = static_cast<index_t>(fields.size());
    if (columns == 0) {
      columns = count;
      first_line = line;
      require<data_error>(columns >= 2, path, ", line ", line, ": expected a label and at least one input separated by '",
                          std::string(1, options.separator), "', found one column: '", text.substr(0, 40), "'");
    }
    require<data_error>(count == columns, path, ", line ", line, ": expected ", columns, " columns as in line ",
                        first_line, ", found ", count);
    const index_t label_at = options.label_column < 0 ? columns + options.label_column : options.label_column;
    require<value_error>(label_at >= 0 && label_at < columns, path, ": label_column ", options.label_column,
                         " is outside the ", columns, " columns of the table");
    const char* const hint = line == first_line ? "; is this line a header (CsvOptions::header)?" : "";
    for (index_t c = 0; c < columns; ++c) {
      const std::string_view field = fields[static_cast<std::size_t>(c)];
      if (c == label_at) {
        std::int32_t label = 0;
        constexpr std::int32_t most_classes = 1 << 20;  // beyond, the column is hardly a label
        const bool good = detail::parse_label(field, label) && label >= 0 && label < (options.classes ? options.classes : most_classes);
        require<data_error>(good, path, ", line ", line, ", column ", c + 1, ": expected an integer label ",
                            retort::detail::concat("from 0 to ", (options.classes ? options.classes : most_classes) - 1),
                            ", found '", field.substr(0, 40), "'", hint);
        labels.push_back(label);
      } else {
        float value = 0;
        require<data_error>(detail::parse_number(field, value) && is_finite(value), path, ", line ", line, ", column ",
                            c + 1, ": expected a finite number, found '", field.substr(0, 40), "'", hint);
        values.push_back(value);
      }
    }
  }
  require<data_error>(!labels.empty(), path, ": no samples in ", line, " lines (", options.header, " of them header)");
  const int classes = options.classes ? options.classes : 1 + *std::max_element(labels.begin(), labels.end());
  Dataset<2> out{Tensor<float, 2>({static_cast<index_t>(labels.size()), columns - 1}), std::move(labels), classes, path};
  std::copy(values.begin(), values.end(), out.inputs.begin());
  out.validate();
  return out;
}

}  // namespace retort::data
