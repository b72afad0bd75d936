// Batch norm in training mode with ReLU, 64 images: forward, and forward with all gradients. PyTorch has no fused kernel
// of the two on the CPU; its ReLU runs in place.

#include "peers.hpp"
#include "torch_data.hpp"

namespace peers {

namespace {

struct TorchNorm {
  at::Tensor x, dy, gamma, beta, running_mean, running_var;
  std::tuple<at::Tensor, at::Tensor, at::Tensor> forward() const {
    auto out = at::native_batch_norm(x, gamma, beta, running_mean, running_var, true, 0.1, 1e-5);
    std::get<0>(out).relu_();
    return out;
  }
  std::tuple<at::Tensor, at::Tensor, at::Tensor> both() const {
    const auto [y, mean, inv_std] = forward();
    return at::native_batch_norm_backward(at::threshold_backward(dy, y, 0), x, gamma, running_mean, running_var, mean,
                                          inv_std, true, 1e-5, {true, true, true});
  }
};

}  // namespace

void norm() {
  std::printf("\n## Batch norm (training) + ReLU, N = 64\n\n"
              "| C @ H | pass | Retort | PyTorch NCHW | PyTorch channels_last | ratio |\n|---|---|---|---|---|---|\n");
  const index_t shapes[][2] = {{16, 32}, {32, 16}, {64, 8}};
  for (const auto& [c, h] : shapes) {
    Cpu cpu;
    const auto x = filled(Shape{64, h, h, c}, 1), dy = filled(Shape{64, h, h, c}, 2);
    Tensor<float, 4> y(x.shape()), dx(x.shape());
    Tensor<float, 1> mean(Shape{c}), variance(Shape{c}), inv_std(Shape{c}), gamma(Shape{c}), beta(Shape{c}),
        scale(Shape{c}), shift(Shape{c}), dgamma(Shape{c}), dbeta(Shape{c});
    for (float& v : gamma) v = 1;
    const Shape<2> rows{64 * h * h, c};
    const auto as_rows = [&](auto& t) { return t.view().reshape(rows); };
    const auto forward = [&] {
      K::batch_norm_statistics(cpu, as_rows(x), mean.data(), variance.data());
      for (index_t j = 0; j < c; ++j) {
        inv_std(j) = 1 / std::sqrt(variance(j) + 1e-5f);
        scale(j) = gamma(j) * inv_std(j);
        shift(j) = beta(j) - mean(j) * scale(j);
      }
      K::scale_shift(cpu, as_rows(x), scale.data(), shift.data(), as_rows(y), Epilogue::relu);
    };
    const auto both = [&] {
      forward();
      K::batch_norm_backward(cpu, as_rows(x), as_rows(y), as_rows(dy), mean.data(), inv_std.data(), gamma.data(),
                             dgamma.data(), dbeta.data(), Write::replace, as_rows(dx), Write::replace, Epilogue::relu);
    };

    const auto torch_norm = [&](at::MemoryFormat format) {
      return TorchNorm{to_torch(x, format), to_torch(dy, format), at::ones({c}), at::zeros({c}), at::zeros({c}),
                       at::ones({c})};
    };
    const TorchNorm nchw = torch_norm(at::MemoryFormat::Contiguous), nhwc = torch_norm(at::MemoryFormat::ChannelsLast);
    both();
    for (const TorchNorm* layer : {&nchw, &nhwc}) {
      expect_equal("batch norm forward", to_torch(y, at::MemoryFormat::Contiguous), std::get<0>(layer->forward()));
      expect_equal("batch norm gradient", to_torch(dx, at::MemoryFormat::Contiguous), std::get<0>(layer->both()));
    }
    const std::string title = retort::detail::concat(c, " @ ", h);
    row(title + " | forward", {{"Retort", forward}, {"NCHW", [&] { nchw.forward(); }}, {"NHWC", [&] { nhwc.forward(); }}});
    row(title + " | forward + backward", {{"Retort", both}, {"NCHW", [&] { nchw.both(); }}, {"NHWC", [&] { nhwc.both(); }}});
  }
}

}  // namespace peers
