// Every row loss with its gradient, on 256 x 1000, beside the usual PyTorch phrasing; and what RKD's angles and CRD's banks
// take, in time and memory.

#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <retort/loss/contrastive.hpp>
#include <retort/loss/decoupled.hpp>
#include <retort/loss/hinton_loss.hpp>
#include <retort/loss/jensen_shannon.hpp>
#include <retort/loss/logit_distance.hpp>
#include <retort/loss/mini_finetuning.hpp>
#include <retort/loss/normalized.hpp>
#include <retort/loss/regularizers.hpp>
#include <retort/loss/relational.hpp>
#include <retort/loss/skew_kl.hpp>
#include <retort/loss/soft_cross_entropy.hpp>
#include <retort/loss/standardized.hpp>
#include <retort/loss/symmetric_kl.hpp>
#include <retort/loss/top_k.hpp>
#include <retort/loss/total_variation.hpp>
#include <retort/loss/transformed_teacher.hpp>
#include <retort/method/roles.hpp>
#include <torch/torch.h>

#include "peers.hpp"
#include "torch_data.hpp"

namespace peers {

namespace {

using At = at::Tensor;
namespace F = torch::nn::functional;
constexpr double T = 4;

At with_gradient(const At& s, const std::function<At(const At&)>& f) {
  s.mutable_grad() = At();
  const At value = f(s);
  value.backward();
  return value;
}
At kl(const At& log_q, const At& log_p) { return at::kl_div(log_q, log_p, at::Reduction::Sum, true) / log_q.size(0); }
At at_temperature(const At& z, double t) { return torch::log_softmax(t == 1 ? z : z / t, 1); }

/// Bytes by which the peak of resident memory grows while f runs, in a process of its own.
double peak_growth(const std::function<void()>& f) {
  int ends[2];
  require<error>(pipe(ends) == 0, "peak_growth: no pipe");
  const pid_t child = fork();
  if (child == 0) {
    std::ofstream("/proc/self/clear_refs") << "5";
    const auto field = [](const char* name) {
      std::ifstream in("/proc/self/status");
      for (std::string word; in >> word;)
        if (word == name) {
          double kilobytes;
          in >> kilobytes;
          return kilobytes * 1024;
        }
      return 0.;
    };
    const double before = field("VmRSS:");
    f();
    const double grown = field("VmHWM:") - before;
    if (write(ends[1], &grown, sizeof grown) != sizeof grown) _exit(1);
    _exit(0);
  }
  double grown = -1;
  close(ends[1]);
  const bool ok = read(ends[0], &grown, sizeof grown) == sizeof grown;
  close(ends[0]);
  int status;
  waitpid(child, &status, 0);
  require<error>(ok && status == 0, "peak_growth: the measured process failed");
  return grown;
}

/// Time and memory of both sides, which leave their values in `mine` and `theirs`.
void two_sides(const char* name, const std::function<void()>& ours, const std::function<void()>& torch_side, const double& mine, const double& theirs) {
  const double our_memory = peak_growth(ours), their_memory = peak_growth(torch_side);
  std::vector<Candidate> both{{"Retort", ours}, {"PyTorch", torch_side}};
  race(both);
  require<value_error>(std::abs(mine - theirs) < 1e-3 * theirs, name, ": values ", mine, " and ", theirs);
  std::printf("| Retort | %.1f | %.1f |\n| PyTorch | %.1f | %.1f |\n| ratio | **%.2f** | **%.1f** |\n", both[0].seconds * 1e3, our_memory * 1e-6,
              both[1].seconds * 1e3, their_memory * 1e-6, both[1].seconds / both[0].seconds, their_memory / our_memory);
}

void angles() {
  std::printf("\n## RKD's angles with gradient, 256 samples of 64 features\n\n| side | ms | memory, MB |\n|---|---|---|\n");
  const index_t n = 256, d = 64;
  const auto s = filled(Shape{n, d}, 1), t = filled(Shape{n, d}, 2);
  Cpu cpu;
  Tape<float, Cpu> tape(cpu);
  const auto ts = torch::from_blob(const_cast<float*>(s.data()), {n, d}).clone().set_requires_grad(true);
  const auto tt = torch::from_blob(const_cast<float*>(t.data()), {n, d}).clone();
  double mine = 0, theirs = 0;
  const auto ours = [&] {
    tape.reset();
    const auto leaf = tape.leaf(View<const float, 2>(s.view()));
    const auto y = loss::RelationalAngle{}(tape, leaf, tape.constant(t.view()));
    tape.backward(y);
    mine = y.value.data[0];
  };
  const auto cosines = [](const At& f) {
    const At e = F::normalize(f.unsqueeze(0) - f.unsqueeze(1), F::NormalizeFuncOptions().p(2).dim(2));
    return torch::bmm(e, e.transpose(1, 2)).view(-1);
  };
  const auto torch_side = [&] { theirs = with_gradient(ts, [&](const At& z) { return F::smooth_l1_loss(cosines(z), cosines(tt)); }).item<double>(); };
  two_sides("angles", ours, torch_side, mine, theirs);
}

void contrast_row() {
  const index_t n = 64, samples = 50000, width = 128, negatives = 16384;
  std::printf("\n## CRD's contrast with gradient, one direction: 64 samples, 16384 negatives from a bank of 50000 x 128\n\n"
              "| side | ms | memory, MB |\n|---|---|---|\n");
  const auto bank = filled(Shape{samples, width}, 1), v = filled(Shape{n, width}, 2);
  Tensor<std::int32_t, 2> index(Shape{n, negatives + 1});
  Tensor<std::int64_t, 2> wide(index.shape());
  Rng rng(3);
  for (index_t i = 0; i < index.size(); ++i) wide.data()[i] = index.data()[i] = static_cast<std::int32_t>(rng.below(samples));
  Cpu cpu;
  Tape<float, Cpu> tape(cpu);
  const double tau = 1, noise = static_cast<double>(negatives) / samples, z = 7e4;
  double mine = 0, theirs = 0;
  const auto ours = [&] {
    tape.reset();
    const auto leaf = tape.leaf(View<const float, 2>(v.view()));
    const auto y = contrast(tape, leaf, View<const float, 2>(bank.view()), View<const std::int32_t, 2>(index.view()), tau, z, noise);
    tape.backward(y);
    mine = y.value.data[0];
  };
  const auto tv = torch::from_blob(const_cast<float*>(v.data()), {n, width}).clone().set_requires_grad(true);
  const auto tb = torch::from_blob(const_cast<float*>(bank.data()), {samples, width});
  const auto ti = torch::from_blob(wide.data(), {n * (negatives + 1)}, torch::kLong);
  const auto torch_side = [&] {
    theirs = with_gradient(tv, [&](const At& x) {
               const At rows = torch::index_select(tb, 0, ti).view({n, negatives + 1, width});
               const At p = torch::exp(torch::bmm(rows, x.view({n, width, 1})).squeeze(2) / tau) / z;
               const At first = p.select(1, 0), rest = p.narrow(1, 1, negatives);
               return -(torch::log(first / (first + noise + 1e-7)).sum() + torch::log(noise / (rest + noise + 1e-7)).sum()) / n;
             }).item<double>();
  };
  two_sides("contrast", ours, torch_side, mine, theirs);
}

}  // namespace

void row_losses() {
  std::printf("\n## Each row loss with gradient, 256 x 1000, T = %g where a loss has a temperature\n\n| loss | Retort | PyTorch | ratio |\n|---|---|---|---|\n", T);
  const index_t n = 256, c = 1000;
  Cpu cpu;
  Tape<float, Cpu> tape(cpu);
  const auto s = filled(Shape{n, c}, 1), t = filled(Shape{n, c}, 2);
  std::vector<std::int32_t> labels;
  for (index_t i = 0; i < n; ++i) labels.push_back(static_cast<std::int32_t>(i % c));
  Tensor<float, 2> g(Shape{n, c}), top(Shape{n, index_t{3}});
  RowBatch<float> batch{.student = s.view(), .teacher = t.view(), .labels = {labels.data(), {n}}};
  const RowGradients<float> out{.student = g.view()};
  const auto ts = torch::from_blob(const_cast<float*>(s.data()), {n, c}).clone().set_requires_grad(true);
  const auto tt = torch::from_blob(const_cast<float*>(t.data()), {n, c}).clone();
  const auto ty = torch::arange(n).remainder(c), column = ty.unsqueeze(1);

  const auto race_with = [&](const char* name, const std::function<double()>& ours, const std::function<At(const At&)>& phrase) {
    const double mine = ours(), theirs = with_gradient(ts, phrase).item<double>();
    require<value_error>(std::abs(mine - theirs) <= 2e-4 * std::abs(theirs), name, ": values ", mine, " and ", theirs);
    row(name, {{"Retort", [&] { ours(); }}, {"PyTorch", [&] { with_gradient(ts, phrase); }}});
  };
  const auto compare = [&](const char* name, const auto& loss, const std::function<At(const At&)>& phrase) {
    race_with(name, [&] { return double(K::row_loss(cpu, loss, batch, out)); }, phrase);
  };
  const double t2 = T * T;
  compare("cross-entropy", loss::CrossEntropy<BatchMean>{}, [&](const At& z) { return F::cross_entropy(z, ty); });
  compare("label smoothing", loss::CrossEntropy<BatchMean>{.label_smoothing = 0.1},
          [&](const At& z) { return F::cross_entropy(z, ty, F::CrossEntropyFuncOptions().label_smoothing(0.1)); });
  compare("forward KL", loss::SoftTargets{.temperature = T}, [&](const At& z) { return t2 * kl(at_temperature(z, T), at_temperature(tt, T)); });
  compare("reverse KL", loss::ReverseKl<BatchMean, loss::TSquared>{.temperature = T},
          [&](const At& z) { return t2 * kl(at_temperature(tt, T), at_temperature(z, T)); });
  compare("symmetric KL", loss::SymmetricKl<BatchMean, loss::TSquared>{.temperature = T}, [&](const At& z) {
    const At a = at_temperature(z, T), b = at_temperature(tt, T);
    return t2 * 0.5 * (kl(a, b) + kl(b, a));
  });
  compare("Jensen-Shannon", loss::JensenShannon<BatchMean, loss::TSquared>{.temperature = T}, [&](const At& z) {
    const At a = at_temperature(z, T), b = at_temperature(tt, T), m = torch::logaddexp(a, b) - std::log(2.0);
    return t2 * 0.5 * (kl(m, b) + kl(m, a));
  });
  const auto mixture = [](const At& a, const At& b, double share) { return torch::logaddexp(a + std::log(share), b + std::log(1 - share)); };
  compare("skew forward KL", loss::SkewForwardKl<BatchMean>{}, [&](const At& z) {
    const At a = at_temperature(z, 1), b = at_temperature(tt, 1);
    return kl(mixture(b, a, 0.1), b);
  });
  compare("skew reverse KL", loss::SkewReverseKl<BatchMean>{}, [&](const At& z) {
    const At a = at_temperature(z, 1), b = at_temperature(tt, 1);
    return kl(mixture(a, b, 0.1), a);
  });
  compare("total variation", loss::TotalVariation<BatchMean>{},
          [&](const At& z) { return 0.5 * (torch::softmax(z, 1) - torch::softmax(tt, 1)).abs().sum() / n; });
  compare("soft cross-entropy", loss::SoftCrossEntropy<BatchMean, loss::TSquared>{.temperature = T},
          [&](const At& z) { return -t2 * (torch::softmax(tt / T, 1) * at_temperature(z, T)).sum() / n; });
  compare("WSLD", loss::WeightedSoftLabels<BatchMean>{.temperature = T}, [&](const At& z) {
    const auto each = F::CrossEntropyFuncOptions().reduction(torch::kNone);
    const At w = 1 - torch::exp(-F::cross_entropy(z.detach(), ty, each) / (F::cross_entropy(tt, ty, each) + 1e-7));
    return -t2 * (w * (torch::softmax(tt / T, 1) * at_temperature(z, T)).sum(1)).mean();
  });
  const At away = F::one_hot(ty, c).to(torch::kFloat) * -1000;
  compare("DKD", loss::DecoupledKd<BatchMean>{.temperature = T}, [&](const At& z) {
    const At ps = torch::softmax(z / T, 1).gather(1, column), pt = torch::softmax(tt / T, 1).gather(1, column);
    const At bs = torch::cat({ps, 1 - ps}, 1), bt = torch::cat({pt, 1 - pt}, 1);
    return t2 * (at::kl_div(torch::log(bs), bt, at::Reduction::Sum, false) / n + 8 * kl(torch::log_softmax(z / T + away, 1), torch::log_softmax(tt / T + away, 1)));
  });
  compare("NKD", loss::NormalizedKd<BatchMean>{.temperature = T}, [&](const At& z) {
    const At target = -(torch::softmax(tt, 1).gather(1, column) * at_temperature(z, 1).gather(1, column)).mean();
    return target - 1.5 * t2 * (torch::softmax(tt / T + away, 1) * torch::log_softmax(z / T + away, 1)).sum() / n;
  });
  compare("TTM", loss::TransformedTeacherMatching<BatchMean>{}, [&](const At& z) { return kl(at_temperature(z, 1), torch::log_softmax(tt * 0.1, 1)); });
  compare("WTTM", loss::WeightedTransformedTeacherMatching<BatchMean>{}, [&](const At& z) {
    const At p = torch::pow(torch::softmax(tt, 1), 0.2), u = p.sum(1, true), q = p / u;
    return (u.squeeze(1) * (q * (torch::log(q) - at_temperature(z, 1))).sum(1)).mean();
  });
  compare("logit squared difference", loss::LogitMse<ElementMean>{}, [&](const At& z) { return torch::mse_loss(z, tt); });
  compare("logit absolute difference", loss::LogitL1<ElementMean>{}, [&](const At& z) { return torch::l1_loss(z, tt); });
  compare("MFT", loss::MiniFineTuning<BatchMean, loss::TSquared>{.temperature = T}, [&](const At& z) {
    const At p = torch::softmax(tt / T, 1), py = p.gather(1, column);
    const auto [pa, a] = p.max(1, true);
    const At lambda = torch::where(a == column, (torch::clamp(py + 0.2, {}, 1) - pa) / (1 - pa + 1e-7), (pa - py + 0.2) / (1 + pa - py + 1e-7));
    const At q = ((1 - lambda) * p).scatter_add(1, column, lambda);
    return t2 * at::kl_div(at_temperature(z, T), q, at::Reduction::Sum, false) / n;
  });
  compare("confidence penalty", loss::ConfidencePenalty<BatchMean>{.weight = 1}, [&](const At& z) {
    const At l = at_temperature(z, 1);
    return (l.exp() * l).sum() / n;
  });
  compare("virtual teacher", loss::VirtualTeacher<BatchMean, loss::TSquared>{.temperature = T}, [&](const At& z) {
    const At design = torch::full({n, c}, std::log(0.05 / (c - 1))).scatter(1, column, std::log(0.95));
    return t2 * kl(at_temperature(z, T), at_temperature(design, T));
  });
  const auto top_k = [&]<class Tail>(const char* name, Tail, bool tail) {
    const loss::TopKForwardKlRows<Tail, BatchMean, loss::TSquared> rows{.temperature = T};
    race_with(
        name,
        [&] {
          K::select_top(cpu, View<const float, 2>(t.view()), 50, top.view());
          batch.extras = top.view();
          return double(K::row_loss(cpu, rows, batch, out));
        },
        [&, tail](const At& z) {
          const At lq = at_temperature(z, T), lp = at_temperature(tt, T);
          const auto [best, at] = lp.topk(50, 1);
          const At q = lq.gather(1, at), value = (best.exp() * (best - q)).sum(1);
          if (!tail) return t2 * value.mean();
          const At mt = 1 - best.exp().sum(1), ms = 1 - q.exp().sum(1);
          return t2 * (value + mt * torch::log(mt / ms)).mean();
        });
  };
  top_k("top-50 forward KL, zero tail", loss::ZeroTail{}, false);
  top_k("top-50 forward KL, uniform tail", loss::UniformTail{}, true);

  // Not row losses of the engine: made of tape operations, or a kernel of their own.
  const auto on_tape = [&](auto&& make) {
    return [&, make] {
      tape.reset();
      const auto leaf = tape.leaf(View<const float, 2>(s.view()));
      const auto y = make(leaf, tape.constant(t.view()));
      tape.backward(y);
      return double(y.value.data[0]);
    };
  };
  using V = Var<float, 2>;
  race_with("LSKD (tape)", on_tape([&](V zs, V zt) {
              Exchange<float, Cpu, V, V, V> seen{tape, zs, {}, {}, zs, zt};
              return loss::Standardized{loss::SoftTargets{.temperature = 2}}.evaluate(seen);
            }),
            [&](const At& z) {
              const auto standard = [](const At& x) { return (x - x.mean(1, true)) / (1e-7 + x.std(1, true, true)); };
              return 4 * kl(at_temperature(standard(z), 2), at_temperature(standard(tt), 2));
            });
  race_with("DIST", on_tape([&](V zs, V zt) { return loss::Dist{}(tape, zs, zt); }), [&](const At& z) {
    const At a = torch::softmax(z, 1), b = torch::softmax(tt, 1);
    const auto part = [&](int axis) {
      const At x = a - a.mean(axis, true), y = b - b.mean(axis, true);
      return 1 - ((x * y).sum(axis) / (x.norm(2, axis) * y.norm(2, axis) + 1e-8)).mean();
    };
    return part(1) + part(0);
  });
  angles();
  contrast_row();
}

}  // namespace peers
