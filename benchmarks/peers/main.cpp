// Retort against PyTorch in one process, one thread. `compare_peers [group...]` prints Markdown.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include <ctime>

#include "peers.hpp"

int main(int argc, char** argv) {
  const std::pair<std::string, void (*)()> groups[] = {{"loss", peers::loss_group}, {"rows", peers::row_losses}, {"step", peers::step},
                                                  {"threads", peers::threads}, {"conv", peers::conv}, {"norm", peers::norm}};
  const std::vector<std::string> wanted(argv + 1, argv + argc);
  for (const std::string& name : wanted)
    if (std::none_of(std::begin(groups), std::end(groups), [&](const auto& g) { return g.first == name; })) {
      std::fprintf(stderr, "compare_peers: no group '%s'\n", name.c_str());
      return 1;
    }

  at::set_num_threads(1);
  char date[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
  std::printf("# Retort and PyTorch, one thread, float\n\n");
  std::printf("%s, %s, measured FMA peak %.0f GFLOP/s. PyTorch %s (%s kernels, oneDNN inside), Retort by %s. ", date,
              bench::processor().c_str(), bench::measure_peak_flops() * 1e-9, TORCH_VERSION,
              at::get_cpu_capability().c_str(), __VERSION__);
  std::printf("Written by `sh benchmarks/peers/run.sh`: one process, candidates interleaved in rotating order, minimum of "
              "the slices of 2 ms, thread processor time; milliseconds; a ratio above 1 means that Retort is faster than the best "
              "layout or phrasing of PyTorch. malloc keeps large buffers on both sides. Convolution and batch norm are called below "
              "PyTorch's autograd; losses and steps through it, from C++. Results are compared before timing.\n");
  for (const auto& [name, run] : groups)
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), name) != wanted.end()) run();
}
