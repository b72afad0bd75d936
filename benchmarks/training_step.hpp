#pragma once
// One training step, as the benchmarks repeat it: soft targets and cross-entropy, the teacher's logits given, SGD with
// momentum, one batch that is all the data.

#include <retort/backend/cpu_kernels.hpp>
#include <retort/method/hinton.hpp>
#include <retort/teacher/cached.hpp>

namespace bench {

using namespace retort;

using Mlp = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
using Cnn = nn::Sequential<nn::Conv2d, nn::Relu, nn::MaxPool, nn::Conv2d, nn::Relu, nn::MaxPool, nn::Flatten, nn::Linear>;

inline Mlp mlp(index_t in, index_t hidden) { return Mlp(nn::Linear{in, hidden}, nn::Relu{}, nn::Linear{hidden, 10}); }
/// conv16, pool, conv32, pool, fc10 on 32 x 32 x 3.
inline Cnn small_cnn() {
  return Cnn(nn::Conv2d{3, 16}, nn::Relu{}, nn::MaxPool{2}, nn::Conv2d{16, 32}, nn::Relu{}, nn::MaxPool{2}, nn::Flatten{},
             nn::Linear{2048, 10});
}

template <class Net, int Rank>
struct TrainingStep {
  Dataset<Rank> data;
  Network<Net> teacher, student;
  Hinton<teacher::Cached<retort::teacher::Frozen<Net>>, Net> method;
  Cpu cpu;
  Tape<float, Cpu> tape{cpu};
  Learner<optim::Sgd, float, Cpu> learner;
  std::vector<index_t> ids;

  TrainingStep(const Net& net, Shape<Rank> shape, int threads)
      : data{Tensor<float, Rank>(shape), {}, 10, "random"}, teacher(net, 1), student(net, 2), method{teacher, student, {}},
        cpu(threads), learner(optim::Sgd{.lr = 0.01f, .momentum = 0.9f}, student.parameters()) {
    Rng rng(1);
    for (float& x : data.inputs) x = rng.uniform(-1, 1);
    for (index_t i = 0; i < shape[0]; ++i) {
      data.labels.push_back(static_cast<std::int32_t>(i % 10));
      ids.push_back(i);
    }
    method.prepare(Setup<Cpu>{cpu, 10, shape[0], shape[0], 0}, data);
  }
  double step() {
    const source::Batch<float, Rank> batch{data.inputs.view(), data.label_view(), {ids.data(), {data.size()}}};
    return method.take_turn(Block::student, tape, learner, batch, Progress{.epochs = 1}, Rng(1));
  }
};

}  // namespace bench
