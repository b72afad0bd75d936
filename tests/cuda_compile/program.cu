// A whole method on the CUDA backend, compiled and linked by nvcc: convolutions, batch norm, soft targets, Adam and TF32, SGD and steps as graphs. Run on a
// device it must learn, and convolutions stored as BFloat16 must give what those of float do; without one it is skipped.

#include <cstdio>
#include <retort.cuh>

using namespace retort;
using Net = nn::Sequential<nn::Conv2d, nn::BatchNorm, nn::Relu, nn::MaxPool, nn::Flatten, nn::Linear>;

static Net network(index_t width) {
  return Net(nn::Conv2d{.in = 1, .out = width}, nn::BatchNorm{width}, nn::Relu{}, nn::MaxPool{}, nn::Flatten{}, nn::Linear{16 * width, 10});
}

/// Takes down what became of the steps as graphs.
struct Graphs {
  ReplayRecord record;
  template <class S>
  void on_train_end(S& session) {
    record = session.backend().replay_record();
  }
};

/// A convolution of whole numbers stored as `Stored` and its gradients, those of the weights in float, rounded to BFloat16.
template <class Stored>
static std::vector<float> convolution(index_t channels, int groups) {
  Cuda cuda;
  Rng rng(1);
  const Conv2dGeometry geometry{.groups = groups};
  const auto whole = [&](auto of, const Shape<4>& shape) {
    Tensor<decltype(of), 4, Cuda> out(shape);
    std::vector<decltype(of)> values;
    for (index_t i = 0; i < out.size(); ++i) values.emplace_back(static_cast<float>(rng.next_u32() % 7) - 3);
    Cuda::copy(out.data(), values.data(), values.size() * sizeof of);
    return out;
  };
  const Shape<4> images{3, 8, 9, channels};
  const auto x = whole(Stored{}, images), dy = whole(Stored{}, images), w = whole(Stored{}, {3, 3, channels / groups, channels});
  auto y = whole(Stored{}, images), dx = whole(Stored{}, images);
  auto dw = whole(float{}, w.shape());
  Kernels<Cuda>::conv2d_forward(cuda, geometry, x.view(), w.view(), nullptr, y.view());
  Kernels<Cuda>::conv2d_backward_data(cuda, geometry, dy.view(), w.view(), dx.view(), Write::add);
  Kernels<Cuda>::conv2d_backward_weights<float, Stored>(cuda, geometry, x.view(), dy.view(), dw.view(), Write::add);
  std::vector<float> out;
  const auto append = [&](const auto& tensor) {
    std::vector<std::remove_const_t<std::remove_pointer_t<decltype(tensor.data())>>> values(static_cast<std::size_t>(tensor.size()));
    Cuda::copy(values.data(), tensor.data(), values.size() * sizeof values[0]);
    for (const auto v : values) out.push_back(BFloat16(float(v)));
  };
  append(y), append(dx), append(dw);
  return out;
}

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("SKIPPED: no CUDA device");
    return 0;
  }
  for (const auto [channels, groups] : {std::pair<index_t, int>{64, 1}, {16, 1}, {16, 16}})  // the wide tile, the narrow one, none
    if (convolution<BFloat16>(channels, groups) != convolution<float>(channels, groups)) {
      std::printf("convolution of %d channels in %d groups: BFloat16 and float differ\n", static_cast<int>(channels), groups);
      return 1;
    }
  Dataset<4> data;  // each class is a bright pixel in noise
  data.inputs = Tensor<float, 4>(Shape{500, 8, 8, 1});
  data.classes = 10;
  Rng rng(1);
  for (float& x : data.inputs) x = 0.3f * static_cast<float>(rng.normal());
  for (index_t i = 0; i < 500; ++i) {
    data.labels.push_back(static_cast<std::int32_t>(i % 10));
    data.inputs.view().row(i)[6 * (i % 10)] += 2;
  }
  Network<Net, Cuda> teacher(network(16), 1), student(network(4), 2);
  LabelsOnly<Net, Cuda> supervised{teacher::None{}, teacher};
  fit(supervised, data, optim::Adam{.lr = 0.01f}, {.epochs = 5, .seed = 1, .tf32 = true});
  Hinton<Net, Net, Cuda> method{teacher, student, {.soft = {.temperature = 4, .weight = 0.9}, .hard = {.weight = 0.1}}};
  Graphs graphs;
  const Report report = fit(method, data, optim::Sgd{.lr = 0.05f, .momentum = 0.9f}, {.epochs = 10, .seed = 1, .cuda_graphs = true}, callbacks::Accuracy{data}, graphs);
  std::printf("steps as graphs: %s\n", graphs.record.describe().c_str());
  std::printf("accuracy %g\n", report.final_metric("accuracy"));
  return report.final_metric("accuracy") > 0.8 && graphs.record.replayed > 0 ? 0 : 1;
}
