// expect: retort::Tape: an operation's payload must be trivially copyable
#include <retort/autograd/tape.hpp>
#include <vector>

struct Scale {
  retort::Var<float, 2> in, out;
  std::vector<float> factor;
  void backward(retort::Tape<float>&) const {}
};
void use(retort::Tape<float>& tape, const Scale& op) { tape.record(op); }
