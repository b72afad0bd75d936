#pragma once
// Graphs from files: the citation text format, a table with an edge list, and the TU collection's format.

#include <memory>
#include <retort/data/csv.hpp>
#include <retort/data/graphs.hpp>
#include <retort/data/nodes.hpp>

namespace retort::data {

namespace detail {

/// Calls f(fields, line) for each line that is not blank; fields are split at any of `separators`, which may repeat only if `merge`.
template <class F>
void each_line(const FileBytes& file, std::string_view separators, bool merge, F&& f) {
  std::string_view rest(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size());
  std::vector<std::string_view> fields;
  for (index_t line = 1; !rest.empty(); ++line) {
    const std::size_t end = rest.find('\n');
    std::string_view text = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
    if (trimmed(text).empty()) continue;
    fields.clear();
    for (std::size_t at = 0; at != std::string_view::npos;) {
      const std::size_t stop = text.find_first_of(separators, at);
      const auto field = trimmed(text.substr(at, stop == std::string_view::npos ? stop : stop - at));
      if (!merge || !field.empty()) fields.push_back(field);
      at = stop == std::string_view::npos ? stop : stop + 1;
    }
    f(std::as_const(fields), line);
  }
}
template <class T>
T number_at(const FileBytes& file, index_t line, std::string_view field, const char* what) {
  T out{};
  require<data_error>(parse_number(field, out), file.name, ", line ", line, ": expected ", what, ", found '", std::string(field.substr(0, 40)), "'");
  return out;
}

}  // namespace detail

/// Pairs of node numbers, one pair per line, separated by a comma, blanks or a tab. `first` is the number of the first node (1
/// in the TU format). Throws data_error naming file and line for a line that is no pair of nodes in [first, first + nodes).
inline std::vector<graph::Edge> read_edges(const std::string& path, index_t nodes, std::int32_t first = 0) {
  const FileBytes file = read_file(path);
  std::vector<graph::Edge> out;
  detail::each_line(file, ", \t", true, [&](const auto& fields, index_t line) {
    require<data_error>(fields.size() == 2, path, ", line ", line, ": expected two node numbers, found ", fields.size(), " fields");
    graph::Edge e{};
    std::int32_t* ends[] = {&e.from, &e.to};
    for (std::size_t k = 0; k < 2; ++k) {
      const auto node = detail::number_at<std::int32_t>(file, line, fields[k], "a node number");
      require<data_error>(node >= first && node < first + nodes, path, ", line ", line, ": node ", node, " does not exist, expected ", first, " to ", first + nodes - 1);
      *ends[k] = node - first;
    }
    out.push_back(e);
  });
  return out;
}

/// Divides each row by the sum of its magnitudes; rows of zeros stay.
inline void normalize_rows_l1(View<float, 2> x) {
  for (index_t r = 0; r < x.extent(0); ++r) {
    double sum = 0;
    for (index_t c = 0; c < x.extent(1); ++c) sum += std::abs(static_cast<double>(x(r, c)));
    for (index_t c = 0; sum > 0 && c < x.extent(1); ++c) x(r, c) = static_cast<float>(x(r, c) / sum);
  }
}
/// Divides each row by its Euclidean norm; rows of zeros stay.
inline void normalize_rows_l2(View<float, 2> x) {
  for (index_t r = 0; r < x.extent(0); ++r) {
    double sum = 0;
    for (index_t c = 0; c < x.extent(1); ++c) sum += static_cast<double>(x(r, c)) * static_cast<double>(x(r, c));
    for (index_t c = 0; sum > 0 && c < x.extent(1); ++c) x(r, c) = static_cast<float>(x(r, c) / std::sqrt(sum));
  }
}
/// Subtracts the mean of each column and divides by its deviation, both over the rows `of` alone (the training part); columns
/// that are constant there are only centred.
inline void standardize_columns(View<float, 2> x, std::span<const index_t> of, index_t first_column = 0) {
  for (index_t c = first_column; c < x.extent(1); ++c) {
    double mean = 0, square = 0;
    for (const index_t r : of) mean += static_cast<double>(x(r, c)) / static_cast<double>(of.size());
    for (const index_t r : of) square += (static_cast<double>(x(r, c)) - mean) * (static_cast<double>(x(r, c)) - mean) / static_cast<double>(of.size());
    const double deviation = square > 0 ? std::sqrt(square) : 1;
    for (index_t r = 0; r < x.extent(0); ++r) x(r, c) = static_cast<float>((static_cast<double>(x(r, c)) - mean) / deviation);
  }
}

/// A citation graph as text. Nodes, a line each, by tabs: id (0, 1, ... in order), split (train, val, test; `-` or nothing:
/// none), label (`-` or nothing: unknown), positions of the features that are 1. Edges: see read_edges. `features` and
/// `classes` 0: one more than the largest in the file. Throws data_error naming file and line; what validate throws.
inline NodeDataset load_citation(const std::string& nodes, const std::string& edges, index_t features = 0, int classes = 0) {
  const FileBytes file = read_file(nodes);
  NodeDataset out;
  out.name = nodes;
  std::vector<std::vector<std::int32_t>> bags;
  std::int32_t widest = -1, highest = -1;
  detail::each_line(file, "\t", false, [&](const auto& fields, index_t line) {
    const auto id = static_cast<index_t>(bags.size());
    require<data_error>(fields.size() <= 4, nodes, ", line ", line, ": expected id, split, label and features by tabs, found ", fields.size(), " fields");
    const auto named = detail::number_at<index_t>(file, line, fields[0], "a node number");
    require<data_error>(named == id, nodes, ", line ", line, ": expected node ", id, ", found ", named, "; nodes are numbered in order");
    const std::string_view split = fields.size() > 1 ? fields[1] : "", label = fields.size() > 2 ? fields[2] : "", bag = fields.size() > 3 ? fields[3] : "";
    if (split == "train")
      out.train.push_back(id);
    else if (split == "val")
      out.val.push_back(id);
    else if (split == "test")
      out.test.push_back(id);
    else
      require<data_error>(split.empty() || split == "-", nodes, ", line ", line, ": expected the split train, val, test or -, found '", std::string(split.substr(0, 40)), "'");
    const std::int32_t y = label.empty() || label == "-" ? -1 : detail::number_at<std::int32_t>(file, line, label, "a label");
    require<data_error>(y >= -1 && (!classes || y < classes), nodes, ", line ", line, ": label ", y, " is out of range");
    out.labels.push_back(y);
    highest = std::max(highest, y);
    bags.emplace_back();
    for (std::size_t at = 0; at < bag.size();) {
      const std::size_t stop = std::min(bag.find(' ', at), bag.size());
      if (stop > at) {
        const auto f = detail::number_at<std::int32_t>(file, line, bag.substr(at, stop - at), "the position of a feature");
        require<data_error>(f >= 0 && (!features || f < features), nodes, ", line ", line, ": feature ", f, " is out of range");
        widest = std::max(widest, f);
        bags.back().push_back(f);
      }
      at = stop + 1;
    }
  });
  require<data_error>(!bags.empty(), nodes, ": no nodes");
  out.classes = classes ? classes : highest + 1;
  out.inputs = Tensor<float, 2>(Shape{static_cast<index_t>(bags.size()), std::max<index_t>(features ? features : widest + 1, 1)});
  for (std::size_t i = 0; i < bags.size(); ++i)
    for (const std::int32_t f : bags[i]) out.inputs(i, f) = 1;
  const auto list = read_edges(edges, out.size());
  out.adjacency = graph::Adjacency(out.size(), list);
  out.validate();
  return out;
}

/// Which columns of a table make a node data set.
struct NodeTableOptions {
  std::string label, sensitive;               ///< names of columns; no sensitive attribute when empty
  std::string label_one = "1", sensitive_one = "1";  ///< the field that counts as 1; all others count as 0
  std::vector<std::string> drop{};            ///< columns that are no features
  bool sensitive_is_feature = true;           ///< the attribute stays among the features (RELIANT)
};

/// A table with a header line: features (numbers; the sensitive attribute as 0 or 1), a binary label, a binary attribute. The
/// adjacency is empty and there is no split yet. Throws data_error naming file and line, or a column that is not there.
inline NodeDataset load_node_table(const std::string& path, const NodeTableOptions& options) {
  const FileBytes file = read_file(path);
  NodeDataset out;
  out.name = path;
  out.classes = 2;
  std::vector<std::string> names;
  std::vector<std::size_t> kept;
  std::size_t label = 0, sensitive = 0;
  std::vector<float> values;
  detail::each_line(file, ",", false, [&](const auto& fields, index_t line) {
    if (names.empty()) {
      names.assign(fields.begin(), fields.end());
      const auto find = [&](const std::string& name) {
        const auto at = std::find(names.begin(), names.end(), name);
        require<data_error>(at != names.end(), path, ", line 1: no column is named '", name, "'");
        return static_cast<std::size_t>(at - names.begin());
      };
      label = find(options.label);
      sensitive = options.sensitive.empty() ? names.size() : find(options.sensitive);
      for (const auto& d : options.drop) find(d);
      for (std::size_t c = 0; c < names.size(); ++c)
        if (c != label && (c != sensitive || options.sensitive_is_feature) && std::find(options.drop.begin(), options.drop.end(), names[c]) == options.drop.end())
          kept.push_back(c);
      return;
    }
    require<data_error>(fields.size() == names.size(), path, ", line ", line, ": expected ", names.size(), " columns as in the header, found ", fields.size());
    out.labels.push_back(fields[label] == options.label_one);
    if (sensitive < names.size()) out.sensitive.push_back(fields[sensitive] == options.sensitive_one);
    for (const std::size_t c : kept)
      values.push_back(c == sensitive ? static_cast<float>(out.sensitive.back()) : detail::number_at<float>(file, line, fields[c], "a number"));
  });
  require<data_error>(!out.labels.empty() && !kept.empty(), path, ": no samples or no features");
  out.inputs = Tensor<float, 2>(Shape{static_cast<index_t>(out.labels.size()), static_cast<index_t>(kept.size())});
  std::copy(values.begin(), values.end(), out.inputs.begin());
  out.adjacency = graph::Adjacency(out.size(), {});
  return out;
}

/// Graphs of the TU collection and the store that they refer to.
struct TuGraphs {
  std::unique_ptr<GraphDataset::Store> store;
  GraphDataset all;
  index_t attribute_columns = 0;  ///< the last columns of the features are real attributes; those before, one-hot node labels
};

/// FOLDER/NAME_A.txt, _graph_indicator, _graph_labels, _node_labels and, if there, _node_attributes (Morris et al. 2020, "TUDataset").
/// Graph labels are numbered in ascending order. Throws data_error naming the files whose lengths disagree, or file and line.
inline TuGraphs load_tu(const std::string& folder, const std::string& name) {
  const std::string stem = folder + "/" + name + "_";
  const auto column = [&](const std::string& which) {
    const FileBytes file = read_file(stem + which + ".txt");
    std::vector<std::int32_t> out;
    detail::each_line(file, ",", false, [&](const auto& fields, index_t line) { out.push_back(detail::number_at<std::int32_t>(file, line, fields[0], "a whole number")); });
    return out;
  };
  const auto indicator = column("graph_indicator"), graph_labels = column("graph_labels"), node_labels = column("node_labels");
  const std::size_t nodes = indicator.size();
  require<data_error>(nodes > 0 && !graph_labels.empty(), stem, "graph_indicator.txt: no nodes or no graphs");
  require<data_error>(node_labels.size() == nodes, stem, "node_labels.txt has ", node_labels.size(), " lines, ", stem, "graph_indicator.txt has ", nodes);
  TuGraphs out{std::make_unique<GraphDataset::Store>(), {}, 0};
  out.store->ptr.push_back(0);
  for (std::size_t v = 0; v < nodes; ++v) {
    const auto g = static_cast<std::size_t>(indicator[v]);
    require<data_error>(g == out.store->ptr.size() || (g == out.store->ptr.size() + 1 && v > 0), stem, "graph_indicator.txt, line ", v + 1, ": graph ", indicator[v],
                        " follows graph ", out.store->ptr.size(), "; graphs are numbered from 1, in order");
    if (g == out.store->ptr.size() + 1) out.store->ptr.push_back(static_cast<index_t>(v));
  }
  out.store->ptr.push_back(static_cast<index_t>(nodes));
  require<data_error>(graph_labels.size() + 1 == out.store->ptr.size(), stem, "graph_labels.txt has ", graph_labels.size(), " lines, ", stem,
                      "graph_indicator.txt names ", out.store->ptr.size() - 1, " graphs");
  const auto distinct = [](std::vector<std::int32_t> v) {
    std::sort(v.begin(), v.end());
    v.erase(std::unique(v.begin(), v.end()), v.end());
    return v;
  };
  const auto position = [](const std::vector<std::int32_t>& sorted, std::int32_t x) { return std::lower_bound(sorted.begin(), sorted.end(), x) - sorted.begin(); };
  const auto classes = distinct(graph_labels), kinds = distinct(node_labels);
  std::vector<float> attributes;
  if (std::FILE* there = std::fopen((stem + "node_attributes.txt").c_str(), "rb")) {
    std::fclose(there);
    const FileBytes file = read_file(stem + "node_attributes.txt");
    std::size_t lines = 0;
    detail::each_line(file, ",", false, [&](const auto& fields, index_t line) {
      if (lines++ == 0) out.attribute_columns = static_cast<index_t>(fields.size());
      require<data_error>(static_cast<index_t>(fields.size()) == out.attribute_columns, file.name, ", line ", line, ": expected ", out.attribute_columns,
                          " attributes, found ", fields.size());
      for (const auto f : fields) attributes.push_back(detail::number_at<float>(file, line, f, "a number"));
    });
    require<data_error>(lines == nodes, file.name, " has ", lines, " lines, ", stem, "graph_indicator.txt has ", nodes);
  }
  const auto width = static_cast<index_t>(kinds.size()) + out.attribute_columns;
  out.store->inputs = Tensor<float, 2>(Shape{static_cast<index_t>(nodes), width});
  for (std::size_t v = 0; v < nodes; ++v) {
    float* row = out.store->inputs.view().row(static_cast<index_t>(v));
    row[position(kinds, node_labels[v])] = 1;
    std::copy_n(attributes.begin() + static_cast<std::ptrdiff_t>(v) * out.attribute_columns, out.attribute_columns, row + kinds.size());
  }
  const auto edges = read_edges(stem + "A.txt", static_cast<index_t>(nodes), 1);
  out.store->adjacency = graph::Adjacency(static_cast<index_t>(nodes), edges, {.undirected = false});
  out.all = {out.store.get(), {}, {}, static_cast<int>(classes.size()), name};
  for (std::size_t g = 0; g < graph_labels.size(); ++g) {
    out.all.members.push_back(static_cast<index_t>(g));
    out.all.labels.push_back(static_cast<std::int32_t>(position(classes, graph_labels[g])));
  }
  out.all.validate();
  return out;
}

}  // namespace retort::data
