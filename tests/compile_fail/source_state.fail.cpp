// expect: retort: the source slot needs a source policy: `using role = retort::role::source`, `needs_input_gradient`, `describe()` and `State<T, B, Data>` with batch_type, begin, next and batches
#include "prelude.hpp"
struct Stream {
  using role = retort::role::source;
  static constexpr bool needs_input_gradient = false;
  template <class T, class B, class Data>
  struct State {
    using batch_type = source::Batch<T, 2>;
    State(const Stream&, const Setup<B>&, const Data&) {}
    void begin(std::uint64_t) {}
    void next(batch_type&) {}  // does not tell the end of a pass
    index_t batches() const { return 1; }
  };
  std::string describe() const { return "stream"; }
};
Report run(Hinton<Net, Net>::with_source<Stream>& method) { return fit(method, data::None{}, optim::Sgd{}); }
