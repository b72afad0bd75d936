#!/bin/sh
# What including and using Retort costs a compiler: seconds of processor time per translation unit, best of three, over an
# empty unit, beside the budgets of the design. Exits with 1 when a budget is broken. Usage: run.sh [COMPILER [FLAGS...]]
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
compiler=${1:-c++}
[ $# -gt 0 ] && shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/empty.cpp" <<'CPP'
int main() {}
CPP
cat > "$work/fwd.cpp" <<'CPP'
#include <retort/fwd.hpp>
CPP
cat > "$work/retort.cpp" <<'CPP'
#include <retort.hpp>
CPP
cat > "$work/method.cpp" <<'CPP'
#include <retort.hpp>
using namespace retort;
using Net = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
Report run(Network<Net>& teacher, Network<Net>& student, const Dataset<2>& data) {
  Hinton<Net, Net> method{teacher, student, {}};
  return fit(method, data, optim::Sgd{}, {});
}
CPP
cat > "$work/five_losses.cpp" <<'CPP'
#include <retort.hpp>
using namespace retort;
using Net = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
struct Five {
  loss::SoftTargets soft{.temperature = 4};
  loss::CrossEntropy<BatchMean> hard{};
  loss::ReverseKl<BatchMean, loss::TSquared> reverse{.temperature = 4};
  loss::JensenShannon<BatchMean, loss::TSquared> js{.temperature = 4};
  loss::LogitMse<BatchMean> mse{};
  constexpr auto terms() const { return loss::Sum{soft, hard, reverse, js, mse}; }
};
Report run(Network<Net>& teacher, Network<Net>& student, const Dataset<2>& data) {
  Hinton<Net, Net>::with_loss<Five> method{teacher, student, {}};
  return fit(method, data, optim::Sgd{}, {});
}
CPP

# the CUDA backend, as a program with one method includes it
cp "$work/empty.cpp" "$work/empty.cu"
cat > "$work/method.cu" <<'CPP'
#include <retort/cuda/kernels.cuh>
#include <retort/method/hinton.hpp>
#include <retort/train/fit.hpp>
using namespace retort;
using Net = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
Report run(Network<Net, Cuda>& teacher, Network<Net, Cuda>& student, const Dataset<2>& data) {
  Hinton<Net, Net>::with_backend<Cuda> method{teacher, student, {}};
  return fit(method, data, optim::Sgd{}, {});
}
CPP

# the fused kernel of one loss and nothing else: what the kernels of a method cost at least
cat > "$work/loss.cu" <<'CPP'
#include <retort/cuda/row_loss.cuh>
#include <retort/loss/hinton_loss.hpp>
using namespace retort;
using Loss = loss::HintonLoss;
template void cuda::RowLossKernels::row_loss<Loss, float, float>(Cuda&, const Loss&, const RowBatch<float>&, const RowGradients<float>&, View<float, 1>);
CPP

# seconds FILE FLAGS...: user + system time of the best of three compilations
seconds() {
  unit=$1
  shift
  for i in 1 2 3; do
    (  # the second line of `times` holds the children's user and system time, as 0m1.23s 0m0.10s; not through a pipe
      "$compiler" -std=c++20 "$@" -I"$root/include" -c "$work/$unit" -o "$work/unit.o"
      times > "$work/times"
    )
    sed -n '2{s/[ms]/ /g;p}' "$work/times" | awk '{ print $1 * 60 + $2 + $3 * 60 + $4 }'
  done | sort -n | head -1
}

broken=0
row() {  # row FILE LEVEL BUDGET
  t=$(seconds "$1" "$2" $flags)
  over=$(awk -v t="$t" -v e="$empty" 'BEGIN { printf "%.2f", t - e }')
  verdict=$(awk -v o="$over" -v b="$3" 'BEGIN { print (b == "-" ? "" : o < b ? "ok" : "BROKEN") }')
  printf '| %-15s | %s | %7s | %6s | %s |\n' "$1" "$2" "$over" "$3" "$verdict"
  [ "$verdict" != BROKEN ] || broken=1
}

flags="$*"
empty=$(seconds empty.cpp -O0 $flags)
"$compiler" --version | head -1
echo '| unit            | level | over empty, s | budget, s | |'
echo '|---|---|---|---|---|'
row fwd.cpp -O0 0.3
row retort.cpp -O0 4
row method.cpp -O0 -
row method.cpp -O2 -
row five_losses.cpp -O2 -
if command -v nvcc > /dev/null; then
  compiler=nvcc flags=-arch=sm_90
  empty=$(seconds empty.cu -O0 $flags)
  row loss.cu -O0 -
  row method.cu -O0 8
fi
exit $broken
