#include "prelude.hpp"
struct Stream {
  using role = retort::role::source;
  static constexpr bool needs_input_gradient = false;
  template <class T, class B, class Data>
  struct State {
    using batch_type = source::Batch<T, 2>;
    State(const Stream&, const Setup<B>&, const Data&) {}
    void begin(std::uint64_t) {}
    bool next(batch_type&) { return false; }
    index_t batches() const { return 1; }
  };
  std::string describe() const { return "stream"; }
};
Report run(Hinton<Net, Net>::with_source<Stream>& method) { return fit(method, data::None{}, optim::Sgd{}); }
