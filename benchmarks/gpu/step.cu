// A distillation step of a ResNet-20 on 32 x 32 images, batch 128: soft targets + cross-entropy on given logits of a teacher,
// backward, SGD with momentum; launch by launch and as a captured graph, in float and TF32. The batch lies on the device, and the
// loss is not read in between: the host may run ahead. Prints JSON lines; see run_on_device.sh.

#include <retort/cuda/kernels.cuh>
#include <retort/method/hinton.hpp>
#include <retort/nn/zoo/resnet.hpp>

#include "timing.hpp"

using namespace retort;

namespace {

/// A teacher whose logits of the one batch are given, where the student is.
struct GivenLogits {
  using role = retort::role::teacher;
  static constexpr bool differentiable = false;
  template <class>
  using rebind = GivenLogits;
  View<const float, 2> logits;

  template <class B, class E>
  Var<float, 2> answer(Pass<float, B>& pass, const E&) const {
    return pass.tape.constant(logits);
  }
  [[maybe_unused]] std::string describe() const { return "given logits"; }
};

void step(const nn::zoo::ResNet& net, const Shape<4>& shape, bool graphs, bool tf32, bench::Repetitions repeat) {
  constexpr index_t classes = 100;
  Cuda cuda;
  cuda.allow_tf32(tf32);
  cuda.replay_steps(graphs);
  const auto x = bench::uniform<float>(shape, 1, 1);
  const auto t = bench::uniform<float>(Shape{shape[0], classes}, 2, 3);
  const auto y = bench::labels(shape[0], classes);
  Network<nn::zoo::ResNet, Cuda> student(net, 1);
  Hinton<GivenLogits, nn::zoo::ResNet, Cuda> method{GivenLogits{t.view()}, student};
  Tape<float, Cuda> tape(cuda);
  Learner<optim::Sgd, float, Cuda> learner(optim::Sgd{.lr = 0.01f, .momentum = 0.9f}, method.parameters());
  learner.zero_grad();
  const source::Batch<float, 4> batch{x.view(), y.view(), {}};
  const auto run = [&] { return method.start_turn(Block::student, tape, learner, batch, Progress{.epochs = 1}, Rng(1)); };
  const double ms = bench::milliseconds(cuda, [&](int) { run(); }, repeat);
  run().value();  // throws when it is not finite
  const ReplayRecord record = cuda.replay_record();
  bench::print({.by = graphs ? "Retort, graphs" : "Retort", .work = "KD step", .type = tf32 ? "tf32" : "float", .shape = bench::text(shape), .ms = ms,
                .note = record.replayed ? std::to_string(record.launches / record.replayed) + " launches a step" : record.reason});
}

}  // namespace

int main(int argc, char** argv) {
  if (bench::no_device()) return 0;
  const bool quick = bench::quick(argc, argv);
  for (const bool tf32 : {false, true})
    for (const bool graphs : {false, true})
      if (quick)
        step(nn::zoo::resnet(8, {2, 2, 4, 4}), {2, 8, 8, 3}, graphs, tf32, {.rounds = 1, .calls = 3});
      else
        step(nn::zoo::resnet20(), {128, 32, 32, 3}, graphs, tf32, {});
}
