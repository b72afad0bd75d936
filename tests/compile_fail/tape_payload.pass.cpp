#include <retort/autograd/tape.hpp>

struct Scale {
  retort::Var<float, 2> in, out;
  float factor;
  void backward(retort::Tape<float>&) const {}
};
void use(retort::Tape<float>& tape, const Scale& op) { tape.record(op); }
