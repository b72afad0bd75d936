// Graph operations, forward and backward, and a graph network's training: the same text on both backends.

#include <cmath>
#include <limits>
#include <retort/cuda/graph_source.cuh>
#include <retort/cuda/kernels.cuh>
#include <retort/loss/node.hpp>
#include <retort/nn/graph/layers.hpp>
#include <retort/train/fit.hpp>

#include "fixture.hpp"
#include "graph/two_groups.hpp"

namespace {

using namespace retort;
using namespace test;

constexpr index_t nodes = 150;

/// Rows of 0 to 8 entries in any order; row 3 has none, row 5 all columns twice, some columns have none.
Csr ragged() {
  Csr p;
  p.clear(nodes);
  Rng rng(1);
  for (index_t r = 0; r < nodes; ++r) {
    const index_t n = r == 3 ? 0 : r == 5 ? 2 * nodes : static_cast<index_t>(rng.below(9));
    for (index_t k = 0; k < n; ++k) p.col.push_back(static_cast<std::int32_t>(r == 5 ? k % nodes : static_cast<index_t>(rng.below(nodes - 9))));
    p.end_row();
  }
  p.finish();
  return p;
}

template <class B, class V>
Tensor<V, 1, B> copied(const std::vector<V>& v) { return tensor_of<B>(Shape{static_cast<index_t>(v.size())}, v); }

/// A pattern in a backend's memory.
template <class B>
struct Pattern {
  Csr host = ragged();
  Tensor<std::int32_t, 1, B> ptr = copied<B>(host.ptr), col = copied<B>(host.col), t_ptr = copied<B>(host.t_ptr), t_col = copied<B>(host.t_col),
                             t_entry = copied<B>(host.t_entry);
  index_t entries = static_cast<index_t>(host.col.size());
  CsrView view() const { return {nodes, nodes, entries, ptr.data(), col.data(), t_ptr.data(), t_col.data(), t_entry.data()}; }
};

/// Every graph operation with its gradients: what `f` gives, and the gradients to its arguments of a sum in which each entry
/// has a factor of its own.
template <class T, class B>
struct Probe {
  B& backend;
  std::vector<double> out;

  void take(View<const T, 1> v) {
    std::vector<T> values(static_cast<std::size_t>(v.size()));
    B::copy(values.data(), v.data, values.size() * sizeof(T));
    out.insert(out.end(), values.begin(), values.end());
  }
  template <class F, class... V>
  void operator()(const F& f, V&... arguments) {
    Tape<T, B> tape(backend);
    const auto run = [&](auto... x) {
      const auto y = f(tape, x...);
      const auto factor = tensor_of<B>(y.shape(), normals<T>(y.size(), 99));
      tape.backward(sum(tape, multiply(tape, tape.constant(factor.view()), y)));
      take(View<const T, 1>(y.value.flat()));
      (take(View<const T, 1>(tape.gradient(x).flat())), ...);
    };
    run(tape.leaf(arguments.view())...);
  }
};

template <class T, class B>
std::vector<double> operations(B& backend, index_t width, int heads) {
  const Pattern<B> pattern;
  const CsrView edges = pattern.view();
  Probe<T, B> probe{backend, {}};
  const auto random = [](index_t rows, index_t columns, std::uint64_t seed) { return tensor_of<B>(Shape{rows, columns}, normals<T>(rows * columns, seed)); };
  const auto x = random(nodes, width, 1), z = random(nodes, width, 2), w = random(pattern.entries, heads, 3), s = random(nodes, heads, 4),
             t = random(nodes, heads, 5);
  GraphView<T> graph;
  graph.edges = edges;
  const auto fixed = normals<T>(pattern.entries, 6);
  std::vector<T> transposed;
  for (const std::int32_t e : pattern.host.t_entry) transposed.push_back(fixed[static_cast<std::size_t>(e)]);
  const auto weight = copied<B>(fixed), t_weight = copied<B>(transposed);
  graph.weight[0] = weight.data(), graph.t_weight[0] = t_weight.data();
  probe([&](auto& tape, auto a) { return propagate(tape, graph, Norm::symmetric, a); }, x);
  probe([&](auto& tape, auto a) { return propagate(tape, graph, Norm::mean, a); }, x);  // without weights: ones
  probe([&](auto& tape, auto v, auto a) { return propagate(tape, edges, v, a); }, w, x);
  probe([&](auto& tape, auto v, auto a) { return propagate(tape, edges, dropout(tape, v, 0.5f, Rng(7)), propagate(tape, edges, v, a)); }, w, x);
  probe([&](auto& tape, auto a, auto b) { return edge_products(tape, edges, a, b, heads); }, x, z);
  probe([&](auto& tape, auto a) { return edge_products(tape, edges, a, a, heads); }, x);  // one gradient from both sides
  probe([&](auto& tape, auto a, auto b) { return edge_sums(tape, edges, a, b); }, s, t);
  probe([&](auto& tape, auto a) { return edge_sums(tape, edges, a); }, s);
  probe([&](auto& tape, auto v) { return edge_softmax(tape, edges, v); }, w);
  probe([&](auto& tape, auto v) { return multiply(tape, v, edge_softmax(tape, edges, v)); }, w);
  const auto ptr = copied<B>(std::vector<std::int32_t>{0, 4, 4, 5, 120, nodes});
  probe([&](auto& tape, auto a) { return segment_sum(tape, ptr.view(), a); }, x);
  probe([&](auto& tape, auto a) { return add(tape, segment_mean(tape, ptr.view(), a), segment_max(tape, ptr.view(), a)); }, x);
  const auto equal = tensor_of<B>(Shape{nodes, width}, std::vector<T>(static_cast<std::size_t>(nodes * width), T(2)));
  probe([&](auto& tape, auto a) { return segment_max(tape, ptr.view(), a); }, equal);
  Tensor<T, 2, B> best(Shape{index_t{5}, width});
  Tensor<std::int32_t, 1, B> winner(Shape{5 * width});
  Kernels<B>::segment_max(backend, 5, ptr.data(), false, x.view(), best.view(), winner.data());
  Kernels<B>::segment_max(backend, 5, ptr.data(), true, z.view(), best.view(), winner.data());
  probe.take(View<const T, 1>(best.view().flat()));
  std::vector<std::int32_t> at(static_cast<std::size_t>(winner.size()));
  B::copy(at.data(), winner.data(), at.size() * sizeof(std::int32_t));
  for (const std::int32_t r : at) probe.out.push_back(double(r) / nodes);
  const auto bias = tensor_of<B>(Shape{width}, normals<T>(width, 8));
  probe([&](auto& tape, auto a, auto b) { return sparse_linear(tape, edges, weight.data(), a, b); }, x, bias);
  const auto index = copied<B>(std::vector<std::int32_t>(pattern.host.col.begin(), pattern.host.col.begin() + nodes));
  probe([&](auto& tape, auto a) { return add(tape, a, scatter_rows(tape, a, index.view(), nodes)); }, x);
  probe([&](auto& tape, auto a) { return gather_rows(tape, a, index.view()); }, x);
  return probe.out;
}

/// The weights after some epochs.
template <class Net, class Backend>
std::vector<double> trained(const Net& net) {
  Network<Net, Backend> teacher(net, 1), student(net, 2);
  NodeHinton<Net, Net, Backend> method{teacher, student};
  const auto data = two_groups(60, 1);
  const Report report = fit(method, data, optim::Adam{.lr = 0.02f}, {.epochs = 4, .seed = 3});
  std::vector<double> out{report.epochs.back().loss};
  append_tensors(student, out);
  return out;
}

}  // namespace

TEST_CASE("CUDA graph operations and their gradients: ragged rows, an empty one and a long one, whole packs and odd widths") {
  Cpu cpu;
  Cuda cuda;
  for (const auto& [width, heads] : {std::pair{index_t{1}, 1}, {6, 2}, {7, 1}, {8, 2}, {70, 1}, {72, 36}, {99, 33}}) {
    CAPTURE(width);
    CAPTURE(heads);
    const auto actual = operations<double>(cuda, width, heads);
    same(RETORT_CPU_SIDE(operations<double>(cpu, width, heads), actual), actual, 1e-12);
  }
  CHECK(operations<double>(cuda, 8, 2) == operations<double>(cuda, 8, 2));
  const auto actual = operations<float>(cuda, 8, 2);
  same(RETORT_CPU_SIDE(operations<float>(cpu, 8, 2), actual), actual, tolerance<float>::value);
}

TEST_CASE_FIXTURE(Cuda, "the host knows how many entries a pattern on the device has") {
  const Csr pattern = ragged();
  cuda::Copies copies;
  const CsrView edges = copies(pattern.view());
  const auto x = tensor_of<Cuda>(Shape{nodes, index_t{4}}, normals<double>(nodes * 4, 1));
  Tape<double, Cuda> tape(*this);
  const auto v = tape.constant(x.view());
#if !defined(RETORT_ON_DEVICE)
  const long before = emulation::blocking_copies;
#endif
  const auto products = edge_products(tape, edges, v, v, 2);
  CHECK(products.shape() == Shape{static_cast<index_t>(pattern.col.size()), 2});
  CHECK_THROWS_AS(edge_softmax(tape, edges, v), shape_error);
  CHECK_THROWS_AS(propagate(tape, edges, v, v), shape_error);
#if !defined(RETORT_ON_DEVICE)
  CHECK(emulation::blocking_copies == before);
#endif
}

TEST_CASE_FIXTURE(Cuda, "indices on the device that leave the table give NaN where they read, and nothing where they add") {
  const auto none = std::numeric_limits<double>::quiet_NaN();
  const std::int32_t least = std::numeric_limits<std::int32_t>::min(), most = std::numeric_limits<std::int32_t>::max();
  const auto table = copied<Cuda>(std::vector<double>{1, 2, 3, 4, 5, 6});  // three rows of two
  const auto index = copied<Cuda>(std::vector<std::int32_t>{2, -1, 3, 0, most, least}), column = copied<Cuda>(std::vector<std::int32_t>{1, 2, least});
  Tensor<double, 2, Cuda> d_table(Shape{3, 2}), d_picked(Shape{3, 2});
  GradientSlot<double> of_table{d_table.data()}, of_picked{d_picked.data()};
  Tape<double, Cuda> tape(*this);
  const View<const double, 2> at{table.data(), {3, 2}};
  const auto rows = gather_rows(tape, tape.leaf(at, of_table), index.view()), picked = pick_columns(tape, tape.leaf(at, of_picked), column.view());
  const auto alike = [](const std::vector<double>& expected, const std::vector<double>& actual) {
    REQUIRE(actual.size() == expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) CHECK((std::isnan(expected[i]) ? std::isnan(actual[i]) : actual[i] == expected[i]));
  };
  alike({5, 6, none, none, none, none, 1, 2, none, none, none, none}, host(rows.value));
  alike({2, none, none}, host(picked.value));
  tape.backward(add(tape, sum(tape, rows), sum(tape, picked)));
  alike({1, 1, 0, 0, 1, 1}, host(d_table));
  alike({0, 1, 0, 0, 0, 0}, host(d_picked));
  tape.reset();
  alike({0, 0, 0, 0, 1, 2}, host(scatter_rows(tape, tape.constant(View<const double, 2>{table.data(), {3, 2}}), copied<Cuda>(std::vector<std::int32_t>{2, -1, 3}).view(), 3).value));
}

TEST_CASE_FIXTURE(Cuda, "positions that arrived in any order stand in order within their rows") {
  const auto index = copied<Cuda>(std::vector<std::int32_t>{2, 0, 2, 2, 1, 0}), ptr = copied<Cuda>(std::vector<std::int32_t>{0, 2, 3, 6}),
             arrived = copied<Cuda>(std::vector<std::int32_t>{5, 1, 4, 3, 0, 2});
  Tensor<std::int32_t, 1, Cuda> order(Shape{6});
  cuda::map(*this, "put_in_order", 6, cuda::sparse::PutInOrder{index.data(), ptr.data(), arrived.data(), 3, order.data()});
  CHECK(host(order) == std::vector<std::int32_t>{1, 5, 4, 0, 2, 3});
}

TEST_CASE("soft targets between networks of a graph convolution and attention: the CUDA backend trains as the CPU does") {
  using nn::graph::Gat, nn::graph::Gcn;
  const auto net = nn::sequential(Gcn{.in = 4, .out = 6, .dropout = 0.2f}, nn::Relu{}, Gat{.in = 6, .out = 2, .heads = 3, .average = true, .attention_dropout = 0.3f});
  using Net = std::remove_cv_t<decltype(net)>;
  const auto cuda = trained<Net, Double<Cuda>>(net);
  same(RETORT_CPU_SIDE((trained<Net, Double<Cpu>>(net)), cuda), cuda, 1e-9);
}
