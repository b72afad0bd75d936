// Whole training steps: forward, soft targets (T = 4) + cross-entropy, backward, SGD with momentum. The teacher's logits
// are given on both sides. PyTorch through its C++ API, without Python's overhead.

#include <memory>
#include <torch/torch.h>
#include <training_step.hpp>

#include "peers.hpp"
#include "torch_data.hpp"

namespace peers {

namespace {

/// PyTorch's side.
struct Theirs {
  torch::nn::Sequential net;
  torch::Tensor x, y, t;
  torch::optim::SGD optimizer;

  Theirs(torch::nn::Sequential n, torch::Tensor input, bool channels_last)
      : net(std::move(n)), x(std::move(input)), y(torch::arange(x.size(0)).remainder(10)), t(torch::randn({x.size(0), 10})),
        optimizer(net->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9)) {
    if (!channels_last) return;
    x = x.contiguous(at::MemoryFormat::ChannelsLast);
    torch::NoGradGuard off;
    for (auto& p : net->parameters())
      if (p.dim() == 4) p.set_data(p.contiguous(at::MemoryFormat::ChannelsLast));
  }
  void step() {
    optimizer.zero_grad();
    const auto s = net->forward(x);
    const auto soft = 16 * at::kl_div(torch::log_softmax(s / 4, 1), torch::log_softmax(t / 4, 1), at::Reduction::Sum, true) / x.size(0);
    (0.9 * soft + 0.1 * torch::nn::functional::cross_entropy(s, y)).backward();
    optimizer.step();
  }
};

void mlp(index_t in, index_t hidden, index_t batch) {
  bench::TrainingStep<bench::Mlp, 2> ours(bench::mlp(in, hidden), Shape{batch, in}, 1);
  Theirs theirs(torch::nn::Sequential(torch::nn::Linear(in, hidden), torch::nn::ReLU(), torch::nn::Linear(hidden, 10)),
                torch::randn({batch, in}), false);
  row(retort::detail::concat("MLP ", in, "-", hidden, "-10, batch ", batch),
      {{"Retort", [&] { ours.step(); }}, {"PyTorch", [&] { theirs.step(); }}});
}

void cnn(index_t batch) {
  bench::TrainingStep<bench::Cnn, 4> ours(bench::small_cnn(), Shape{batch, index_t{32}, index_t{32}, index_t{3}}, 1);
  const auto make = [&](bool channels_last) {
    namespace t = torch::nn;
    const auto conv = [](int in, int out) { return t::Conv2d(t::Conv2dOptions(in, out, 3).padding(1)); };
    return Theirs(t::Sequential(conv(3, 16), t::ReLU(), t::MaxPool2d(2), conv(16, 32), t::ReLU(), t::MaxPool2d(2), t::Flatten(),
                                t::Linear(2048, 10)),
                  torch::randn({batch, 3, 32, 32}), channels_last);
  };
  Theirs nchw = make(false), nhwc = make(true);
  row(retort::detail::concat("CNN conv16-pool-conv32-pool-fc10 @ 32, batch ", batch),
      {{"Retort", [&] { ours.step(); }}, {"NCHW", [&] { nchw.step(); }}, {"channels_last", [&] { nhwc.step(); }}});
}

}  // namespace

void step() {
  std::printf("\n## Training step: soft targets + cross-entropy, SGD with momentum\n\n"
              "| net | Retort | PyTorch | ratio |\n|---|---|---|---|\n");
  for (index_t batch : {128, 64, 32, 8}) mlp(784, 256, batch);
  mlp(64, 32, 32);
  std::printf("\n| net | Retort | PyTorch NCHW | PyTorch channels_last | ratio |\n|---|---|---|---|---|\n");
  for (index_t batch : {64, 16, 1}) cnn(batch);
}

/// Two threads over one, wall clock: Retort alone. Medians too: the best of one thread is of a moment when it had a core to
/// itself, and two threads rarely both have. The ceiling beside them is what the machine gives two trainings that share nothing,
/// each on a thread of its own, over one of them alone: what lies between the two is Retort's.
void threads() {
  std::printf("\n## Retort, two threads over one, wall clock\n\n| net | 1 thread, best | 2 threads | speed-up | ceiling | 1 thread, median | 2 threads | speed-up | ceiling |\n"
              "|---|---|---|---|---|---|---|---|---|\n");
  const auto compare = [](const char* name, const auto& make) {
    auto one = make(1), two = make(2), other = make(1);
    Cpu pair(2);
    std::vector<Candidate> ways{{"1", [&] { one->step(); }},
                                {"2", [&] { two->step(); }},
                                {"apart", [&] {
                                   pair.parallel(2, 1, [&](index_t begin, index_t end, int) {
                                     for (index_t i = begin; i < end; ++i) (i == 0 ? one : other)->step();
                                   });
                                 }}};
    race(ways, &bench::wall_seconds);
    std::printf("| %s ", name);
    for (double Candidate::*time : {&Candidate::seconds, &Candidate::median}) {
      const double a = ways[0].*time, b = ways[1].*time, apart = ways[2].*time;
      std::printf("| %.3f | %.3f | **%.2f** | %.2f ", a * 1e3, b * 1e3, a / b, 2 * a / apart);
    }
    std::printf("|\n");
    std::fflush(stdout);
  };
  compare("MLP 784-256-10, batch 512", [](int threads) { return std::make_unique<bench::TrainingStep<bench::Mlp, 2>>(bench::mlp(784, 256), Shape{512, 784}, threads); });
  compare("CNN conv16-pool-conv32-pool-fc10 @ 32, batch 64",
          [](int threads) { return std::make_unique<bench::TrainingStep<bench::Cnn, 4>>(bench::small_cnn(), Shape{64, 32, 32, 3}, threads); });
}

}  // namespace peers
