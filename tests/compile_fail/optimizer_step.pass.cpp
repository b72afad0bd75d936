#include "prelude.hpp"
struct Sign {
  float lr = 0.1f;
  optim::Schedule schedule{};
  optim::Clip clip{};
  template <class T, class B>
  struct State {
    template <class F>
    void visit_state(F&&) {}
  };
  template <class T, class B>
  State<T, B> make(std::span<const ParameterRef<T>>) const { return {}; }
  template <class T, class B>
  void step(State<T, B>&, B&, std::span<const ParameterRef<T>>, double) const {}
  std::string describe() const { return "sign"; }
};
Report run(Hinton<Net, Net>& method, const Dataset<2>& data) { return fit(method, data, Sign{}); }
