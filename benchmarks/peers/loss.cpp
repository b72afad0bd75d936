// Row losses with the gradient to the student's logits, on 256 x 1000: soft targets alone, and a sum of four losses.
// PyTorch computes the value and runs its autograd; several phrasings compete and the best counts.

#include <retort/loss/hinton_loss.hpp>
#include <retort/loss/jensen_shannon.hpp>
#include <retort/loss/logit_distance.hpp>
#include <retort/loss/reverse_kl.hpp>
#include <torch/torch.h>

#include "peers.hpp"
#include "torch_data.hpp"

namespace peers {

namespace {

constexpr double temperature = 4;

struct Four {
  loss::SoftTargets soft{.temperature = temperature};
  loss::CrossEntropy<BatchMean> hard{};
  loss::ReverseKl<BatchMean, loss::TSquared> reverse{.temperature = temperature};
  loss::JensenShannon<BatchMean, loss::TSquared> middle{.temperature = temperature};
  constexpr auto terms() const { return loss::Sum{soft, hard, reverse, middle}; }
};

/// The same with the squared difference of logits in place of Jensen-Shannon.
struct FourSimple {
  loss::SoftTargets soft{.temperature = temperature};
  loss::CrossEntropy<BatchMean> hard{};
  loss::ReverseKl<BatchMean, loss::TSquared> reverse{.temperature = temperature};
  loss::LogitMse<ElementMean> logits{};
  constexpr auto terms() const { return loss::Sum{soft, hard, reverse, logits}; }
};

torch::Tensor with_gradient(const torch::Tensor& s, const std::function<torch::Tensor(const torch::Tensor&)>& f) {
  s.mutable_grad() = torch::Tensor();
  const torch::Tensor value = f(s);
  value.backward();
  return value;
}

torch::Tensor kl(const torch::Tensor& log_q, const torch::Tensor& log_p) {  // KL(p || q), summed over classes, mean over rows
  return at::kl_div(log_q, log_p, at::Reduction::Sum, true) / log_q.size(0);
}
torch::Tensor kl_by_hand(const torch::Tensor& log_q, const torch::Tensor& log_p) {
  return (log_p.exp() * (log_p - log_q)).sum() / log_q.size(0);
}

}  // namespace

void loss_group() {
  std::printf("\n## Row losses with gradient, 256 x 1000, T = %g\n\n"
              "| loss | Retort | PyTorch, kl_div(log_target) | PyTorch, products and sums | ratio |\n|---|---|---|---|---|\n", temperature);
  const index_t n = 256, c = 1000;
  Cpu cpu;
  const auto s = filled(Shape{n, c}, 1), t = filled(Shape{n, c}, 2);
  std::vector<std::int32_t> labels;
  for (index_t i = 0; i < n; ++i) labels.push_back(static_cast<std::int32_t>(i % c));
  Tensor<float, 2> g(Shape{n, c});
  const RowBatch<float> batch{.student = s.view(), .teacher = t.view(), .labels = {labels.data(), {n}}};
  const RowGradients<float> out{.student = g.view()};

  const auto ts = torch::from_blob(const_cast<float*>(s.data()), {n, c}).clone().set_requires_grad(true);
  const auto tt = torch::from_blob(const_cast<float*>(t.data()), {n, c}).clone();
  const auto ty = torch::arange(n).remainder(c);
  const double scale = temperature * temperature;
  using Divergence = torch::Tensor (*)(const torch::Tensor&, const torch::Tensor&);
  const auto soft = [&](Divergence d) {
    return [=](const torch::Tensor& z) {
      return scale * d(torch::log_softmax(z / temperature, 1), torch::log_softmax(tt / temperature, 1));
    };
  };
  const auto four = [&](Divergence d) {
    return [=](const torch::Tensor& z) {
      const auto ls = torch::log_softmax(z / temperature, 1), lt = torch::log_softmax(tt / temperature, 1);
      const auto lm = torch::logaddexp(ls, lt) - std::log(2.0);
      return scale * (d(ls, lt) + d(lt, ls) + 0.5 * (d(lm, lt) + d(lm, ls))) + torch::nn::functional::cross_entropy(z, ty);
    };
  };
  const auto simple = [&](Divergence d) {
    return [=](const torch::Tensor& z) {
      const auto ls = torch::log_softmax(z / temperature, 1), lt = torch::log_softmax(tt / temperature, 1);
      return scale * (d(ls, lt) + d(lt, ls)) + torch::nn::functional::cross_entropy(z, ty) + torch::mse_loss(z, tt);
    };
  };
  const auto compare = [&](const char* name, auto&& loss, const auto& phrase) {
    const auto ours = [&] { return K::row_loss(cpu, loss, batch, out); };
    const double mine = ours();
    for (Divergence d : {&kl, &kl_by_hand}) {
      const double theirs = with_gradient(ts, phrase(d)).template item<double>();
      if (std::abs(mine - theirs) > 1e-4 * std::abs(theirs)) throw std::runtime_error(std::string(name) + ": values differ");
      expect_equal(name, torch::from_blob(g.data(), {n, c}), ts.grad());
    }
    row(name, {{"Retort", [&] { ours(); }}, {"kl_div", [&] { with_gradient(ts, phrase(&kl)); }},
               {"by hand", [&] { with_gradient(ts, phrase(&kl_by_hand)); }}});
  };
  compare("soft targets", loss::SoftTargets{.temperature = temperature}, soft);
  compare("soft targets + cross-entropy + reverse KL + Jensen-Shannon", Four{}, four);
  compare("soft targets + cross-entropy + reverse KL + squared logit difference", FourSimple{}, simple);
}

}  // namespace peers
