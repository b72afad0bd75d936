#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <retort/autograd/grad_check.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/nn/graph/plp.hpp>
#include <retort/nn/network.hpp>
#include <sstream>

#include "graph/small_graphs.hpp"
#include "support.hpp"

using namespace retort;
using Tol = test::tolerance<double>;

namespace {

using Values = std::vector<double>;
std::map<std::string, Values> golden(const std::string& wanted) {
  std::ifstream in(RETORT_SOURCE_DIR "/tests/golden/graph-golden.tsv");
  std::map<std::string, Values> out;
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::string name, tensor;
    fields >> name >> tensor;
    if (name == wanted)
      for (double x; fields >> x;) out[tensor].push_back(x);
  }
  REQUIRE_MESSAGE(!out.empty(), "no golden values of ", wanted);
  return out;
}
double worst(const Values& expected, const double* actual) {
  double out = 0, largest = 1;
  for (const double e : expected) largest = std::max(largest, std::abs(e));
  for (std::size_t i = 0; i < expected.size(); ++i) out = std::max(out, std::abs(expected[i] - actual[i]) / largest);
  return out;
}

/// Output and all gradients of a layer against PyTorch's, the inputs' against finite differences too.
template <class Layer>
void check_golden(const std::string& name, Layer layer, const GraphView<double>& graph) {
  CAPTURE(name);
  auto values = golden(name);
  Cpu cpu;
  Tape<double, Cpu> tape(cpu);
  Network<Layer, Double<Cpu>> net(std::move(layer), 1);
  net.visit([&](const std::string& parameter, auto& p) {
    CAPTURE(parameter);
    REQUIRE(values[parameter].size() == static_cast<std::size_t>(p.value.size()));
    std::copy(values[parameter].begin(), values[parameter].end(), p.value.begin());
  });
  Pass<double, Cpu> pass{tape, false, true, BatchStatistics::running};
  pass.graph = &graph;
  const auto matrix = [](const Values& v) { return View<const double, 2>{v.data(), {7, static_cast<index_t>(v.size()) / 7}}; };
  const auto x = tape.leaf(matrix(values["x"]));
  const auto y = net.forward(pass, x);
  REQUIRE(values["y"].size() == static_cast<std::size_t>(y.size()));
  CHECK(worst(values["y"], y.value.data) < Tol::value);
  tape.backward(sum(tape, multiply(tape, y, tape.constant(matrix(values["factor"])))));
  CHECK(worst(values["dx"], tape.gradient(x).data) < Tol::value);
  net.visit([&](const std::string& parameter, auto& p) {
    CAPTURE(parameter);
    if constexpr (requires { p.slot; }) CHECK(worst(values["d" + parameter], p.slot.data) < Tol::value);
  });
  Tensor<double, 2> at(matrix(values["x"]).shape);
  std::copy(values["x"].begin(), values["x"].end(), at.begin());
  CHECK(grad_check(cpu, [&](auto& t, auto v) {
          Pass<double, Cpu> again{t, false, false, BatchStatistics::running};
          again.graph = &graph;
          return sum(t, multiply(t, net.forward(again, v), t.constant(matrix(values["factor"]))));
        }, at).error < Tol::gradient);
}

}  // namespace

TEST_CASE("graph layers: outputs and gradients as in PyTorch, and as finite differences have them") {
  const test::SmallGraph g(true);
  namespace gnn = nn::graph;
  check_golden("gcn_narrow", gnn::Gcn{5, 3}, g.view);
  check_golden("gcn_wide", gnn::Gcn{5, 8}, g.view);
  check_golden("sage", gnn::Sage{5, 3}, g.view);
  check_golden("sage_gcn", gnn::SageGcn{5, 3}, g.view);
  check_golden("gin", gnn::Gin{nn::sequential(nn::Linear{5, 6}, nn::Relu{}, nn::Linear{6, 3}), 0.25f}, g.view);
  check_golden("sgc", gnn::Sgc{5, 3}, g.view);
  check_golden("appnp", gnn::Appnp{3, 0.2f}, g.view);
  check_golden("gat", gnn::Gat{5, 3, 2, false, 0, 0, 0.2f}, g.view);
  check_golden("gat_average", gnn::Gat{5, 3, 2, true}, g.view);
  auto labelled = g.view;
  const std::int32_t labels[] = {2, ignored_label, ignored_label, ignored_label, 0, ignored_label, ignored_label};
  labelled.labels = {labels, {7}};
  check_golden("plp", gnn::Plp{.in = 5, .classes = 3, .nodes = 7, .steps = 4, .hidden = 4}, labelled);
}
