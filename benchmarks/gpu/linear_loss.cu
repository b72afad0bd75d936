// The output layer fused with Jensen-Shannon's divergence, tokens x vocabulary never whole, against the same in three steps:
// value, gradients to hidden states and weights, the teacher's logits from its own hidden states. Time and device memory.
// Prints JSON lines; see run_on_device.sh.

#include <retort/autograd/ops_linear_loss.hpp>
#include <retort/autograd/ops_nn.hpp>
#include <retort/cuda/kernels.cuh>
#include <retort/loss/jensen_shannon.hpp>
#include <span>

#include "timing.hpp"

using namespace retort;

namespace {

struct Sizes {
  index_t tokens, hidden, vocabulary, small_chunk;
};
constexpr loss::JensenShannon<BatchMean, loss::TSquared> divergence{};

/// One way of doing it: `step(tape, inputs)` gives the value. The context and the tape are new, so that memory which one way
/// leaves behind does not count for the next; what does not fit is said. The student's hidden states and weights are float.
template <class Stored, class F>
void measure(const char* by, const char* type, const Sizes& sizes, F&& step) try {
  const double before = bench::used_bytes();
  Cuda cuda;
  cuda.allow_tf32(!std::strcmp(type, "tf32"));
  const Shape<2> states{sizes.tokens, sizes.hidden}, matrix{sizes.hidden, sizes.vocabulary};
  const auto x = bench::uniform<float>(states, 1, 1), w = bench::uniform<float>(matrix, 2, 0.05f);
  const auto taught = bench::uniform<Stored>(states, 3, 1), w_taught = bench::uniform<Stored>(matrix, 4, 0.05f);
  Tape<float, Cuda> tape(cuda);
  const double ms = bench::milliseconds(cuda, [&](int) {
    tape.reset();
    tape.backward(step(tape, LinearLossInputs<float, Stored>{.hidden = tape.leaf(x.view()), .weights = tape.leaf(w.view()),
                                                             .teacher = {.hidden = taught.view(), .weights = w_taught.view()}}));
  }, {.rounds = 5, .calls = 1});
  bench::print({.by = by, .work = "linear + JSD", .type = type, .shape = bench::text(Shape<3>{sizes.tokens, sizes.hidden, sizes.vocabulary}), .ms = ms,
                .flops = 4 * 2. * static_cast<double>(sizes.tokens * matrix.size()), .peak_bytes = bench::used_bytes() - before});
} catch (const device_memory_error& e) {
  std::fprintf(stderr, "%s, %s, %lld tokens: %s\n", by, type, static_cast<long long>(sizes.tokens), e.what());
}

template <class Stored>
void fused(const char* type, const Sizes& sizes) {
  const auto chunks = [&](const char* by, index_t bytes) {
    measure<Stored>(by, type, sizes, [&](Tape<float, Cuda>& tape, const LinearLossInputs<float, Stored>& in) { return linear_row_loss(tape, divergence, in, bytes); });
  };
  chunks("Retort", 0);
  chunks("Retort, small chunks", sizes.small_chunk);
  chunks("Retort, one chunk", index_t{1} << 50);
}
void unfused(const char* type, const Sizes& sizes) {
  measure<float>("Retort, unfused", type, sizes, [](Tape<float, Cuda>& tape, const LinearLossInputs<float>& in) {
    return row_loss(tape, divergence, RowLossInputs<float>{.student = matmul(tape, in.hidden, in.weights),
                                                           .teacher = matmul(tape, tape.constant(in.teacher.hidden), tape.constant(in.teacher.weights))});
  });
}

/// What the machine makes of a large product.
template <class Stored>
void product(const char* type, index_t n) {
  Cuda cuda;
  cuda.allow_tf32(!std::strcmp(type, "tf32"));
  const Shape<2> shape{n, n};
  const auto a = bench::uniform<Stored>(shape, 1, 1), b = bench::uniform<Stored>(shape, 2, 1);
  Tensor<Stored, 2, Cuda> c(shape);
  const double ms = bench::milliseconds(cuda, [&](int) {
    Kernels<Cuda>::gemm(cuda, Transpose::no, Transpose::no, a.view(), b.view(), c.view());
  }, {.rounds = 7, .calls = 3});
  bench::print({.by = "device", .work = "product", .type = type, .shape = bench::text(Shape<3>{n, n, n}), .ms = ms, .flops = 2. * static_cast<double>(n * n * n)});
}

}  // namespace

int main(int argc, char** argv) {
  if (bench::no_device()) return 0;
  const bool quick = bench::quick(argc, argv);
  const index_t n = quick ? 16 : 8192;
  product<float>("float", n);
  product<float>("tf32", n);
  product<BFloat16>("bf16", n);
  constexpr index_t mib = index_t{1} << 20;
  const Sizes sizes[] = {{1024, 4096, 128256, 256 * mib}, {8192, 4096, 128256, 256 * mib}}, small[] = {{16, 8, 100, 4096}};
  for (const Sizes& s : quick ? std::span<const Sizes>(small) : std::span<const Sizes>(sizes)) {
    if (s.tokens < 8192) {  // a second a step there, outside the tensor cores
      fused<float>("float", s);
      unfused("float", s);
    }
    fused<float>("tf32", s);
    unfused("tf32", s);
    fused<BFloat16>("bf16", s);
  }
}
