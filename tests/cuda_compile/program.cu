// A whole method on the CUDA backend, compiled and linked by nvcc: convolutions, batch norm, soft targets, Adam and TF32, SGD and steps as graphs. Run on a
// device it must learn; without one it is skipped.

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

int main() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::puts("SKIPPED: no CUDA device");
    return 0;
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
