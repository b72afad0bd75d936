// The row-loss kernel against the copy bandwidth of the same run: value and gradient of soft targets, and of a sum of four
// losses, in float and on logits stored as bf16. Prints JSON lines; see run_on_device.sh.

#include <retort/cuda/row_loss.cuh>
#include <retort/loss/hinton_loss.hpp>
#include <retort/loss/jensen_shannon.hpp>
#include <retort/loss/reverse_kl.hpp>

#include "timing.hpp"

using namespace retort;

namespace {

struct Four {
  loss::SoftTargets soft{.temperature = 4};
  loss::CrossEntropy<BatchMean> hard{};
  loss::ReverseKl<BatchMean, loss::TSquared> reverse{.temperature = 4};
  loss::JensenShannon<BatchMean, loss::TSquared> middle{.temperature = 4};
  constexpr auto terms() const { return loss::Sum{soft, hard, reverse, middle}; }
};

template <class Stored>
void rows(Cuda& cuda, const Shape<2>& shape) {
  constexpr int sets = 3;  // rotating inputs: together more than the second-level cache
  std::vector<Tensor<Stored, 2, Cuda>> s, t, g;
  for (std::uint64_t k = 0; k < sets; ++k) {
    s.push_back(bench::uniform<Stored>(shape, 2 * k, 3));
    t.push_back(bench::uniform<Stored>(shape, 2 * k + 1, 3));
    g.emplace_back(shape);
  }
  const auto y = bench::labels(shape[0], shape[1]);
  Tensor<float, 1, Cuda> value(Shape{1});
  const auto report = [&](const char* name, auto&& loss) {
    const double ms = bench::milliseconds(cuda, [&](int i) {
      const auto k = static_cast<std::size_t>(i % sets);
      cuda::RowLossKernels::row_loss(cuda, loss, RowBatch<float, Stored>{.student = s[k].view(), .teacher = t[k].view(), .labels = y.view()},
                                     RowGradients<float, Stored>{.student = g[k].view()}, value.view());
    });
    bench::print({.by = "Retort", .work = name, .type = bench::type_name<Stored>, .shape = bench::text(shape), .ms = ms,
                  .bytes = 3. * sizeof(Stored) * static_cast<double>(shape.size())});
  };
  report("soft targets", loss::SoftTargets{.temperature = 4});
  report("sum of four", Four{});
}

}  // namespace

int main(int argc, char** argv) {
  if (bench::no_device()) return 0;
  Cuda cuda;
  const bool quick = bench::quick(argc, argv);
  {
    const Shape<1> bytes{index_t{1} << (quick ? 10 : 30)};
    Tensor<std::uint8_t, 1, Cuda> from(bytes), to(bytes);
    const double ms = bench::milliseconds(cuda, [&](int) {
      cuda::check(cudaMemcpyAsync(to.data(), from.data(), static_cast<std::size_t>(bytes.size()), cudaMemcpyDeviceToDevice, cuda.stream()), "cudaMemcpyAsync");
    });
    bench::print({.by = "device", .work = "copy", .type = "bytes", .shape = bench::text(bytes), .ms = ms, .bytes = 2. * static_cast<double>(bytes.size())});
  }
  for (const Shape<2>& shape : quick ? std::vector<Shape<2>>{{16, 100}, {4, 1500}} : std::vector<Shape<2>>{{65536, 1000}, {8192, 32000}}) {
    rows<float>(cuda, shape);
    rows<BFloat16>(cuda, shape);
  }
}
