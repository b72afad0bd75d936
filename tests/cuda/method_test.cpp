// Whole methods on both backends: the same text, the same weights up to rounding.

#include <array>
#include <retort/autograd/ops_linear_loss.hpp>
#include <retort/censor/guide.hpp>
#include <retort/censor/guide_networks.hpp>
#include <retort/cuda/kernels.cuh>
#include <retort/method/disk.hpp>
#include <retort/method/hinton.hpp>
#include <retort/train/callbacks.hpp>
#include <retort/train/fit.hpp>
#include <scratch_folder.hpp>

#include "fixture.hpp"

namespace {

using namespace retort;
using namespace test;

Dataset<4> images() {
  Dataset<4> out;
  out.inputs = randn<float>(Shape{24, 6, 6, 2}, 1);
  Rng rng(2);
  for (int i = 0; i < 24; ++i) out.labels.push_back(static_cast<std::int32_t>(rng.below(3)));
  out.classes = 3;
  return out;
}

auto network(index_t width) {
  return nn::sequential(nn::Conv2d{.in = 2, .out = width}, nn::BatchNorm{width}, nn::Relu{}, nn::MaxPool{}, nn::Dropout{0.25f}, nn::Flatten{},
                        nn::Linear{9 * width, 3});
}
using Net = decltype(network(1));

/// Stops after the first epoch.
struct Stop {
  template <class S>
  bool on_epoch_end(S& session) {
    return session.progress().epoch == 0;
  }
};

/// Fails after the first epoch.
struct Fail {
  template <class S>
  void on_epoch_end(S&) {
    throw data_error("no more data");
  }
};

/// Takes down what became of the steps as graphs.
struct Graphs {
  ReplayRecord record;
  template <class S>
  void on_train_end(S& session) {
    if constexpr (requires { session.backend().replay_record(); }) record = session.backend().replay_record();
  }
};

/// The student's weights after a few epochs.
template <class Method, class Backend, class... Rest>
std::vector<double> train(Graphs& graphs, const FitOptions& options, Rest&&... rest) {
  Network<Net, Backend> teacher(network(6), 1), student(network(4), 2);
  Method method{teacher, student, std::forward<Rest>(rest)...};
  const auto data = images();
  const Report report = fit(method, data, optim::Adam{.lr = 0.01f, .schedule = {.rule = optim::Cosine{}}, .clip = {.norm = 1}}, options, callbacks::Accuracy{data}, graphs);
  std::vector<double> out{report.final_metric("accuracy"), report.epochs.back().loss};
  append_tensors(student, out);
  return out;
}

FitOptions graphs_of(FitOptions options) {
  options.cuda_graphs = true;
  return options;
}

}  // namespace

TEST_CASE("soft targets: one method text on both backends") {
  using Cpu64 = Double<Cpu>;
  using Cuda64 = Double<Cuda>;
  const FitOptions options{.epochs = 2, .batch_size = 7, .seed = 3};
  using Soft = Hinton<Net, Net, Cpu64>;
  const loss::HintonLoss loss{.soft = {.temperature = 4, .weight = 0.9}, .hard = {.weight = 0.1}};
#if !defined(RETORT_ON_DEVICE)
  const long uploads = emulation::uploads;
#endif
  Graphs off, on;
  const auto cuda = train<Soft::with_backend<Cuda64>, Cuda64>(off, options, loss);
  same(RETORT_CPU_SIDE((train<Soft, Cpu64>(off, options, loss)), cuda), cuda, 1e-9);

  // As graphs: the rate, the masks of dropout, the bias corrections and the factor of the clipped norm change from step to step.
  CHECK(train<Soft::with_backend<Cuda64>, Cuda64>(on, graphs_of(options), loss) == cuda);
  CHECK(off.record.segments == 0);
  CHECK(on.record.segments == 10);  // four batches, the last one smaller, in each of two epochs; two tables are copied in the first
  CHECK(on.record.replayed == 3);
  CHECK(on.record.captured == 2);
  CHECK(on.record.patched > 0);
  CHECK(on.record.launches > 60);
  MESSAGE(on.record.describe());
#if !defined(RETORT_ON_DEVICE)
  CHECK(emulation::uploads - uploads == 2 * 2 * 8);  // inputs and labels of eight batches, in two runs
  CHECK(emulation::streams_alive == 0);
#endif
}

TEST_CASE("DiSK with a learned guide: one method text on both backends") {
  using Cpu64 = Double<Cpu>;
  using Cuda64 = Double<Cuda>;
  const FitOptions options{.epochs = 2, .batch_size = 8, .seed = 3};
  const auto guide = censor::guide_b23(3, 4, 4);
  using Scaffold = Disk<Net, Net, std::remove_cvref_t<decltype(guide)>, censor::TeacherLogits, Cpu64>;
  const loss::ScaffoldedSoftTargets loss{.help = {2}};
  using OnDevice = Scaffold::with_backend<Cuda64>;
  Graphs off, on;
  const auto censor_of = [&]<class C>(std::type_identity<C>) {
    return C(guide, typename C::Options{.phases = {.warmup = 2, .student_passes = 1, .guide_passes = 2}});
  };
  const std::type_identity<typename OnDevice::censor> there;
  const auto cuda = train<OnDevice, Cuda64>(off, options, loss, censor_of(there));
  same(RETORT_CPU_SIDE((train<Scaffold, Cpu64>(off, options, loss, censor_of(std::type_identity<typename Scaffold::censor>{}))), cuda), cuda, 1e-9);

  // The guide reads what its penalty came to: its turns are pieces between the reads; the student's are whole.
  CHECK(train<OnDevice, Cuda64>(on, graphs_of(options), loss, censor_of(there)) == cuda);
  CHECK(on.record.replayed > on.record.segments / 3);
  MESSAGE(on.record.describe());
}

namespace {
/// Numbers that BFloat16 holds exactly.
template <class T>
std::vector<T> held_by_bf16(index_t n, std::uint64_t seed) {
  std::vector<T> out = normals<T>(n, seed);
  for (T& x : out) x = T(float(BFloat16(x / 2)));
  return out;
}
/// Value, gradients to hidden states, weights and bias of the chunked output layer with a sum of losses, TokenMean over all
/// chunks; the teacher's logits recomputed, or given.
template <class T, class Stored, class B>
std::array<std::vector<double>, 4> chunked(B& backend, bool given) {
  const index_t n = 7, h = 5, c = 40;
  const auto x = tensor_of<B>(Shape{n, h}, held_by_bf16<T>(n * h, 1)), w = tensor_of<B>(Shape{h, c}, held_by_bf16<T>(h * c, 2));
  const auto b = tensor_of<B>(Shape{c}, held_by_bf16<T>(c, 4));
  const auto as_stored = [](const std::vector<T>& values) { return std::vector<Stored>(values.begin(), values.end()); };
  const auto t = tensor_of<B>(Shape{n, h}, as_stored(held_by_bf16<T>(n * h, 3))), tw = tensor_of<B>(Shape{h, c}, as_stored(held_by_bf16<T>(h * c, 5))),
             logits = tensor_of<B>(Shape{n, c}, as_stored(held_by_bf16<T>(n * c, 6)));
  const auto y = tensor_of<B>(Shape{n}, std::vector<std::int32_t>{1, ignored_label, 39, 0, ignored_label, 5, 6});
  Tape<T, B> tape(backend);
  const auto vx = tape.leaf(x.view()), vw = tape.leaf(w.view());
  const auto vb = tape.leaf(b.view());
  const loss::Sum tokens{loss::ForwardKl<TokenMean, loss::TSquared>{.temperature = 2}, loss::CrossEntropy<TokenMean>{}};
  LinearLossInputs<T, Stored> in{vx, vw, vb, {.logits = logits.view()}, y.view()};
  if (!given) in.teacher = {.hidden = t.view(), .weights = tw.view(), .bias = b.view()};
  const auto value = linear_row_loss(tape, tokens, in, 2 * 3 * c * index_t{sizeof(Stored)});
  tape.backward(value);
  std::array<std::vector<double>, 4> out;
  out[0] = {tape.item(value)};
  const View<const T, 1> gradients[] = {tape.gradient(vx).flat(), tape.gradient(vw).flat(), tape.gradient(vb).flat()};
  for (std::size_t k = 0; k < 3; ++k) {
    std::vector<T> host(static_cast<std::size_t>(gradients[k].size()));
    B::copy(host.data(), gradients[k].data, host.size() * sizeof(T));
    out[k + 1].assign(host.begin(), host.end());
  }
  return out;
}
}  // namespace

TEST_CASE("the output layer in chunks, fused with its loss: both backends") {
  Cpu cpu;
  Cuda cuda;
  for (const bool given : {false, true}) {
    const auto actual = chunked<double, double>(cuda, given), narrow = chunked<float, BFloat16>(cuda, given);
    const auto expected = RETORT_CPU_SIDE((chunked<double, double>(cpu, given)), actual);
    for (std::size_t k = 0; k < actual.size(); ++k) {
      CAPTURE(k);
      same(expected[k], actual[k], 1e-12);
      same(expected[k], narrow[k], tolerance<BFloat16, Cuda>::value);
    }
  }
}

#if !defined(RETORT_ON_DEVICE)
TEST_CASE("a network on another device than the one that fit is to use is an error before any kernel") {
  using B = Double<Cuda>;
  Network<Net, B> teacher(network(4), 1), student(network(2), 2);
  Hinton<Net, Net, B> method{teacher, student};
  emulation::memory_device = 1;
  CHECK_THROWS_WITH_AS(fit(method, images(), optim::Sgd{}, {.epochs = 1, .batch_size = 8}),
                       "fit: a parameter of the student lies on device 1, but this context belongs to device 0", cuda_error);
  emulation::memory_device = 0;
  fit(method, images(), optim::Sgd{}, {.epochs = 1, .batch_size = 8});
}
#endif

TEST_CASE("a run on the CUDA backend resumes from a checkpoint with the same bytes, and a failed one leaves the student as it was") {
  using B = Double<Cuda>;
  using Soft = Hinton<Net, Net, B>;
  const ScratchFolder folder;
  const std::string path = folder.file("run.ck");
  const auto data = images();
  const optim::Sgd sgd{.lr = 0.05f, .momentum = 0.9f};
  const auto weights = [](Network<Net, B>& net) {
    std::vector<double> out;
    for (auto& [name, view] : net.tensors()) {
      const auto values = host(view);
      out.insert(out.end(), values.begin(), values.end());
    }
    return out;
  };
  Network<Net, B> teacher(network(6), 1), whole(network(4), 2), parts(network(4), 2);
  Soft uninterrupted{teacher, whole}, resumed{teacher, parts};
  fit(uninterrupted, data, sgd, {.epochs = 3, .batch_size = 8});
  fit(resumed, data, sgd, {.epochs = 3, .batch_size = 8, .resume = path}, Stop{}, callbacks::Checkpoint{path});
  fit(resumed, data, sgd, {.epochs = 3, .batch_size = 8, .resume = path}, callbacks::Checkpoint{path});
  CHECK(weights(whole) == weights(parts));

  const auto before = weights(parts);
  CHECK_THROWS_AS(fit(resumed, data, sgd, {.epochs = 3, .batch_size = 8}, Fail{}), data_error);
  CHECK(weights(parts) == before);
}

namespace {
/// The weights after some steps of an optimiser on tensors of many sizes, an empty one among them; some take no part in weight
/// decay, and the gradient of one comes late.
template <class B, class Optimizer>
std::vector<double> stepped(B& backend, const Optimizer& optimizer) {
  std::vector<index_t> sizes{1, 0, 37, 4095, 4096, 4097, 9001};
  for (index_t n = 1; n <= 60; ++n) sizes.push_back(n);
  std::vector<Tensor<double, 1, B>> weight, grad;
  std::vector<GradientSlot<double>> slot(sizes.size());
  std::vector<ParameterRef<double>> parameters;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    weight.push_back(tensor_of<B>(Shape{sizes[i]}, normals<double>(sizes[i], i)));
    grad.push_back(tensor_of<B>(Shape{sizes[i]}, normals<double>(sizes[i], 100 + i)));
    slot[i].data = grad[i].data();
    parameters.push_back({weight[i].view(), &slot[i], i % 3 != 0});
  }
  Learner<Optimizer, double, B> learner(optimizer, parameters);
  for (int step = 0; step < 4; ++step) {
    for (std::size_t i = 0; i < slot.size(); ++i) slot[i].written = i != 3 || step >= 2;
#if !defined(RETORT_ON_DEVICE)
    const long launches = emulation::launches, waits = emulation::waits;
    const std::size_t used = emulation::DeviceMemory::instance().used;
#endif
    learner.step(backend, step, 4);
#if !defined(RETORT_ON_DEVICE)
    if constexpr (!B::host_accessible) {
      CHECK(emulation::launches - launches == 1);
      CHECK(emulation::waits - waits == (step % 2 == 0 ? 2 : 0));  // for the table: new at first, and when a tensor joined
      if (step % 2 == 1) CHECK(emulation::DeviceMemory::instance().used == used);
    }
#endif
    for (const auto& s : slot) CHECK_FALSE(s.written);
  }
  std::vector<double> out;
  for (const auto& w : weight)
    for (const double x : host(w)) out.push_back(x);
  return out;
}
}  // namespace

TEST_CASE("one launch steps all parameters of a learner as the CPU does") {
  Cuda cuda;
  const auto check = [&](const auto& optimizer) {
    const auto actual = stepped(cuda, optimizer);
#if !defined(RETORT_ON_DEVICE)
    Cpu cpu;
#endif
    same(RETORT_CPU_SIDE(stepped(cpu, optimizer), actual), actual, 1e-12);
  };
  const optim::Schedule cosine{.rule = optim::Cosine{}};
  check(optim::Sgd{.weight_decay = 0.01f});
  check(optim::Sgd{.momentum = 0.9f, .weight_decay = 0.01f, .schedule = cosine});
  check(optim::Sgd{.momentum = 0.9f, .weight_decay = 0.01f, .nesterov = true});
  check(optim::Adam{.lr = 0.1f, .weight_decay = 0.01f, .schedule = cosine});
  check(optim::AdamW{.lr = 0.1f, .weight_decay = 0.1f});
}

#if !defined(RETORT_ON_DEVICE)
TEST_CASE("a device without room says how many bytes were asked and are free, and stays usable") {
  Cuda cuda;
  auto& memory = emulation::DeviceMemory::instance();
  const std::size_t limit = memory.limit;
  memory.limit = memory.used + 1000;
  using T = Tensor<double, 1, Cuda>;
  CHECK_THROWS_WITH_AS(T(Shape{200}), "CUDA: out of memory: 1600 bytes asked, 1000 free on the device", device_memory_error);
  const T small(Shape{100});
  CHECK(host(small) == std::vector<double>(100));
  memory.limit = limit;
  CHECK_THROWS_WITH_AS(Cuda(3), "Cuda: device 3 asked for, 1 present", cuda_error);
}
#endif
