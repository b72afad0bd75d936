// Steps replayed as graphs: the same bits as launches one by one, whatever changes between steps, and a reason where not.

#include <retort/autograd/hvp.hpp>
#include <retort/autograd/ops_nn.hpp>
#include <retort/cuda/kernels.cuh>
#include <retort/optim/optimizer.hpp>

#include "fixture.hpp"

namespace {

using namespace retort;
using namespace test;
using G = Kernels<Cuda>;
using View1 = View<double, 1>;

/// Runs f(cuda, buffer, step) for each step, eagerly and gathered, and compares what the buffers hold afterwards.
template <class F>
ReplayRecord replayed(int steps, F&& f) {
  std::vector<double> results[2];
  ReplayRecord record;
  for (const bool on : {false, true}) {
    Cuda cuda;
    cuda.replay_steps(on);
    auto buffer = tensor_of<Cuda>(Shape{8, 8}, normals<double>(64, 1));
    for (int step = 0; step < steps; ++step) {
      cuda.begin_step();
      f(cuda, buffer.view(), step);
      cuda.end_step();
    }
    cuda.synchronize();
    results[on] = host(buffer);
    record = cuda.replay_record();
  }
  CHECK(results[0] == results[1]);
  return record;
}
void adds(Cuda& cuda, View<double, 2> y, int count, double value = 0.5) {
  for (int k = 0; k < count; ++k) G::add_scalar(cuda, value + k, y.rows(k % 8, k % 8 + 1).flat());
}
void times(Cuda& cuda, View<double, 2> y) {  // rows 4 to 7 = (rows 0 to 3) y
  G::gemm(cuda, Transpose::no, Transpose::no, View<const double, 2>(y.rows(0, 4)), View<const double, 2>(y), y.rows(4, 8), Write::add);
}

}  // namespace

TEST_CASE("the third pass through a sequence is one graph, and launches that changed get their new arguments") {
  auto r = replayed(6, [](Cuda& cuda, View<double, 2> y, int step) {
    adds(cuda, y, 9);
    G::accumulate(cuda, 0.5 / (1 + step), View<const double, 1>(y.rows(1, 2).flat()), y.rows(2, 3).flat(), Write::add);
    times(cuda, y);
    G::accumulate(cuda, step % 2 ? 1e-3 : 2e-3, View<const double, 1>(y.rows(4, 5).flat()), y.rows(0, 1).flat(), Write::replace);
  });
  CHECK(r.segments == 6);
  CHECK(r.replayed == 4);
  CHECK(r.captured == 1);
  CHECK(r.launches == 4 * 12);
  CHECK(r.patched == 4 * 2);
}

TEST_CASE("sequences that alternate, grow, shrink or depart in their middle are found again") {
  // ten of one, one of another with the same beginning
  auto r = replayed(44, [](Cuda& cuda, View<double, 2> y, int step) {
    adds(cuda, y, 5);
    if (step % 11 == 10) G::fill(cuda, double(step), y.rows(7, 8).flat());
  });
  CHECK(r.captured == 2);
  CHECK(r.replayed == 44 - 2 - 2);
  r = replayed(24, [](Cuda& cuda, View<double, 2> y, int step) { adds(cuda, y, step % 3 ? 6 : 8); });
  CHECK(r.captured == 2);
  CHECK(r.replayed == 24 - 2 - 2);
  r = replayed(9, [](Cuda& cuda, View<double, 2> y, int step) {
    adds(cuda, y, 5);
    if (step == 6) G::fill(cuda, 0.25, y.rows(6, 8).flat());  // the same kernel: it departs at the end
    adds(cuda, y, 3);
  });
  CHECK(r.replayed == 9 - 2 - 1);
  CHECK(r.reason.find("a new sequence") == 0);
}

TEST_CASE("a product with other addresses is a sequence of its own") {
  const auto r = replayed(10, [](Cuda& cuda, View<double, 2> y, int step) {
    adds(cuda, y, 4, 1e-3);
    G::gemm(cuda, Transpose::no, Transpose::yes, View<const double, 2>(y.rows(step % 2, step % 2 + 2)), View<const double, 2>(y.rows(0, 8)), y.rows(4 + step % 2, 6 + step % 2));
  });
  CHECK(r.captured == 2);
  CHECK(r.replayed == 10 - 4);
}

TEST_CASE("a product with an epilogue is one launch of a replayed step, and asks for no memory") {
  std::size_t used = 0;
  const auto r = replayed(6, [&](Cuda& cuda, View<double, 2> y, int step) {
    adds(cuda, y, 4, 1e-3);
    const View<double, 2> a{y.row(4), {2, 4}}, b{y.row(0), {4, 8}};
    for (const auto epilogue : {Epilogue::none, Epilogue::relu}) {
      G::gemm<double>(cuda, Transpose::no, Transpose::no, a, b, y.rows(6, 8), Write::replace, y.row(5), epilogue);
      G::accumulate(cuda, 0.5 / (1 + step), View<const double, 1>(y.rows(6, 7).flat()), y.rows(3, 4).flat(), Write::add);
    }
#if !defined(RETORT_ON_DEVICE)
    if (step > 0) CHECK(emulation::DeviceMemory::instance().used == used);
    used = emulation::DeviceMemory::instance().used;
#endif
  });
  CHECK(r.captured == 1);
  CHECK(r.replayed == 4);
  CHECK(r.launches == 4 * 8);
}

TEST_CASE("a read in the middle of a step sees all launches before it and ends a graph") {
  const auto r = replayed(5, [](Cuda& cuda, View<double, 2> y, int) {
    adds(cuda, y, 5);
    const double square = G::sum_of_squares(cuda, View<const double, 1>(y.flat()));
    for (int k = 0; k < 5; ++k) G::accumulate(cuda, 1 / std::sqrt(square), View<const double, 1>(y.rows(k, k + 1).flat()), y.rows(k + 1, k + 2).flat(), Write::replace);
    static_cast<void>(G::item(cuda, y.data));
    G::add_scalar(cuda, 1., y.flat());
  });
  CHECK(r.segments == 15);
  CHECK(r.captured == 2);
  CHECK(r.replayed == 3 * 2);
  CHECK(r.reason == "only 1 launches before the host reads a result");
}

TEST_CASE("more sequences than are remembered, and sequences that come once") {
  const auto r = replayed(150, [](Cuda& cuda, View<double, 2> y, int step) {
    for (int bit = 1; bit <= 32; bit *= 2)  // 48 sequences of six launches, in turn
      if (step % 48 & bit)
        G::add_scalar(cuda, 1e-3, y.rows(0, 1).flat());
      else
        G::clamp(cuda, 2., y.rows(0, 1).flat());
  });
  CHECK(r.replayed == 0);  // each is forgotten before it comes again
}

TEST_CASE("a Hessian-vector product reads two norms and is otherwise replayed") {
  const auto product = [](bool on) {
    Cuda cuda;
    cuda.replay_steps(on);
    Tape<double, Cuda> tape(cuda);
    ReplayLog<Cuda> log;
    auto x = tensor_of<Cuda>(Shape{3, 4}, normals<double>(12, 1)), w = tensor_of<Cuda>(Shape{4, 5}, normals<double>(20, 2));
    Tensor<double, 2, Cuda> hv(Shape{3, 4}), gw(Shape{4, 5}), mixed(Shape{4, 5});
    GradientSlot<double> slot{gw.data()};
    std::vector<double> out;
    for (int step = 0; step < 5; ++step) {
      const auto v = tensor_of<Cuda>(Shape{3, 4}, normals<double>(12, 10 + static_cast<std::uint64_t>(step)));
      cuda.begin_step();
      const ParameterRef<double> parameters[] = {{w.view().flat(), &slot}};
      const View1 mixes[] = {mixed.view().flat()};
      hvp(tape, x.view(), v.view(),
          [&](auto& t, Var<double, 2> in) {
            const auto y = activate(t, functor::Relu{}, matmul(t, in, t.leaf(View<const double, 2>(w.view()), slot)));
            return sum(t, multiply(t, y, multiply(t, y, y)));
          },
          hv.view(), std::span<const ParameterRef<double>>(parameters), std::span<const View1>(mixes), log, {.relative_step = 1e-4});
      cuda.end_step();
      for (const auto& part : {host(hv), host(mixed)}) out.insert(out.end(), part.begin(), part.end());
    }
    if (on) {
      CHECK(cuda.replay_record().replayed == 3);
      CHECK(cuda.replay_record().patched > 0);  // the length of the step changes with v
    }
    return out;
  };
  const auto eager = product(false);
  CHECK(product(true) == eager);
}

TEST_CASE("a captured product is not taken for one of other arithmetic") {
  Cuda cuda;
  cuda.replay_steps(true);
  auto a = tensor_of<Cuda>(Shape{4, 4}, normals<float>(16, 1));
  Tensor<float, 2, Cuda> c(Shape{4, 4});
  for (int step = 0; step < 8; ++step) {
    cuda.allow_tf32(step >= 4);
    cuda.begin_step();
    for (int k = 0; k < 4; ++k) G::gemm(cuda, Transpose::no, Transpose::no, View<const float, 2>(a.view()), View<const float, 2>(a.view()), c.view());
    cuda.end_step();
  }
  CHECK(cuda.replay_record().captured == 2);
}

TEST_CASE("parameters that join while a step is held back: their table is made anew") {
  std::vector<double> results[2];
  for (const bool on : {false, true}) {
    Cuda cuda;
    cuda.replay_steps(on);
    Tensor<double, 1, Cuda> gradient(Shape{64});
    auto weight = tensor_of<Cuda>(Shape{64}, normals<double>(64, 1));
    GradientSlot<double> slots[2] = {{gradient.data()}, {gradient.data() + 32}};
    const ParameterRef<double> parameters[] = {{weight.view().rows(0, 32), &slots[0]}, {weight.view().rows(32, 64), &slots[1]}};
    const optim::Sgd sgd{.lr = 0.5f};
    auto state = sgd.make<double, Cuda>(parameters);
    for (int step = 0; step < 8; ++step) {
      cuda.begin_step();
      for (int k = 0; k < 6; ++k) G::fill(cuda, double(step + k), gradient.view());
      slots[0].written = true, slots[1].written = step >= 5;
      sgd.step<double, Cuda>(state, cuda, parameters, 0.5);
      cuda.end_step();
    }
    if (on) CHECK(cuda.replay_record().replayed > 0);
    results[on] = host(weight);
  }
  CHECK(results[0] == results[1]);
}

#if !defined(RETORT_ON_DEVICE)
TEST_CASE("a driver that makes no graphs is named as the reason, once, and the steps go on") {
  emulation::refuse_graphs = true;
  const auto r = replayed(5, [](Cuda& cuda, View<double, 2> y, int) {
    adds(cuda, y, 5);
    times(cuda, y);
  });
  emulation::refuse_graphs = false;
  CHECK(r.replayed == 0);
  CHECK(r.reason.find("no graph: cudaGraphInstantiate") == 0);
}

TEST_CASE("a replayed step asks the device once, and a copy that knows no context is refused in its middle") {
  Cuda cuda;
  cuda.replay_steps(true);
  auto y = tensor_of<Cuda>(Shape{8, 8}, normals<double>(64, 1));
  const auto step = [&](auto&& middle) {
    cuda.begin_step();
    adds(cuda, y.view(), 5);
    middle();
    adds(cuda, y.view(), 5);
    cuda.end_step();
  };
  for (int k = 0; k < 3; ++k) step([] {});
  const long graphs = emulation::graph_launches, made = emulation::graphs_made;
  step([] {});
  CHECK(emulation::graph_launches == graphs + 1);
  CHECK(emulation::graphs_made == made);
  double out = 0;
  const auto before = host(y);
  try {
    step([&] { Cuda::copy(&out, y.data(), sizeof out); });
    FAIL("the copy went through");
  } catch (const cuda_error& e) {
    CHECK(std::string(e.what()).find("Use Cuda::transfer") != std::string::npos);
    cuda.abandon_step();
  }
  CHECK(host(y) == before);  // nothing of a step that failed was launched
  step([&] { cuda.transfer(&out, y.data(), sizeof out); });
  CHECK(out > before[0]);
}
#endif
