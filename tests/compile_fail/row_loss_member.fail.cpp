// expect: retort: a row loss needs identity(), add(acc, cell), merge(acc, acc), value(acc), grad(acc, cell)
#include <retort/backend/cpu_kernels.hpp>
#include <retort/loss/combine.hpp>

struct LogitMatching {
  struct Acc { float s = 0; };
  RETORT_HD Acc identity() const { return {}; }
  RETORT_HD Acc add(Acc a, retort::Cell c) const { return {a.s + (c.z - c.t) * (c.z - c.t)}; }
  RETORT_HD float value(Acc a) const { return 0.5f * a.s; }
  RETORT_HD float grad(Acc, retort::Cell c) const { return c.z - c.t; }
};
float use(retort::Cpu& cpu, const retort::RowBatch<float>& batch, const retort::RowGradients<float>& out) {
  return retort::Kernels<retort::Cpu>::row_loss(cpu, LogitMatching{}, batch, out);
}
