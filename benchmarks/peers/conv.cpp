// Convolution 3 x 3, stride 1, padding 1, without bias, 64 images: forward, and forward with both gradients (without the
// data gradient for the first layer of a network).

#include "peers.hpp"
#include "torch_data.hpp"

namespace peers {

namespace {

struct TorchLayer {
  at::Tensor x, w, dy;
  bool wants_dx;
  at::Tensor forward() const { return at::conv2d(x, w, {}, 1, 1); }
  std::tuple<at::Tensor, at::Tensor, at::Tensor> backward() const {
    return at::convolution_backward(dy, x, w, c10::nullopt, {1, 1}, {1, 1}, {1, 1}, false, {0, 0}, 1,
                                    {wants_dx, true, false});
  }
};

}  // namespace

void conv() {
  std::printf("\n## Convolution 3x3, stride 1, padding 1, N = 64\n\n"
              "| Ci -> Co @ H | pass | Retort | PyTorch NCHW | PyTorch channels_last | ratio | Retort GFLOP/s |\n"
              "|---|---|---|---|---|---|---|\n");
  const index_t shapes[][3] = {{3, 16, 32}, {16, 16, 32}, {32, 32, 16}, {64, 64, 8}, {64, 64, 32}};
  for (const auto& [ci, co, h] : shapes) {
    const bool wants_dx = ci > 3;
    Cpu cpu;
    const Conv2dGeometry g;
    const auto x = filled(Shape{64, h, h, ci}, 1), w = filled(Shape{3, 3, ci, co}, 2), dy = filled(Shape{64, h, h, co}, 3);
    Tensor<float, 4> y(dy.shape()), dx(x.shape()), dw(w.shape());
    const auto forward = [&] { K::conv2d_forward(cpu, g, x, w, nullptr, y.view()); };
    const auto both = [&] {
      forward();
      if (wants_dx) K::conv2d_backward_data(cpu, g, dy, w, dx.view(), Write::replace);
      K::conv2d_backward_weights(cpu, g, x, dy, dw.view(), Write::replace);
    };

    const auto torch_layer = [&](at::MemoryFormat format) {
      return TorchLayer{to_torch(x, format), to_torch_weights(w, format), to_torch(dy, format), wants_dx};
    };
    const TorchLayer nchw = torch_layer(at::MemoryFormat::Contiguous), nhwc = torch_layer(at::MemoryFormat::ChannelsLast);
    both();
    for (const TorchLayer* layer : {&nchw, &nhwc}) {
      const auto [tdx, tdw, unused] = layer->backward();
      expect_equal("conv forward", to_torch(y, at::MemoryFormat::Contiguous), layer->forward());
      if (wants_dx) expect_equal("conv data gradient", to_torch(dx, at::MemoryFormat::Contiguous), tdx);
      expect_equal("conv weight gradient", to_torch_weights(dw, at::MemoryFormat::Contiguous), tdw);
    }

    const double flops = 2.0 * static_cast<double>(y.size()) * 9.0 * static_cast<double>(ci);
    const std::string title = retort::detail::concat(ci, " -> ", co, " @ ", h);
    row(title + " | forward", {{"Retort", forward}, {"NCHW", [&] { nchw.forward(); }}, {"NHWC", [&] { nhwc.forward(); }}},
        flops);
    const auto torch_both = [](const TorchLayer& layer) {
      return [&layer] {
        layer.forward();
        layer.backward();
      };
    };
    row(title + (wants_dx ? " | forward + dX + dW" : " | forward + dW"),
        {{"Retort", both}, {"NCHW", torch_both(nchw)}, {"NHWC", torch_both(nhwc)}}, (wants_dx ? 3 : 2) * flops);
  }
}

}  // namespace peers
