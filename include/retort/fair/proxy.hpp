#pragma once
// RELIANT's proxy of bias: free columns that an opponent of the student fills with what tells the groups apart.

#include <memory>
#include <optional>
#include <retort/core/state.hpp>
#include <retort/fair/group_gap.hpp>
#include <retort/student/trainable.hpp>
#include <retort/train/learner.hpp>

namespace retort {
namespace nn {

/// Where the proxy's columns go: behind the features, or in place of the last ones (as RELIANT's CPF has it).
enum class ProxyPlace { append, replace };

/// A network with proxy columns: inputs of `features` columns get the proxy's mean, the same for all rows; inputs of `features +
/// columns` bring a row of their own each. The mean is a buffer, so the trained network stands alone. `net` takes features +
/// columns inputs (append) or features (replace). Throws shape_error for other widths.
template <class Net>
struct ProxyColumns {
  Net net;
  index_t features = 0, columns = 2;
  ProxyPlace place = ProxyPlace::append;

  template <class T, class B>
  struct State {
    typename Net::template State<T, B> net;
    Buffer<T, B> mean;
    template <class F>
    void visit(F&& f) {
      f("proxy_mean", mean);
      net.visit(under(f, "net."));
    }
  };
  template <class T, class B>
  State<T, B> make(Rng& rng) const {
    require<value_error>(features > columns && columns >= 1, describe(), ": expected at least 1 proxy column and more features");
    return {net.template make<T, B>(rng), {Tensor<T, 1, B>(Shape{columns})}};
  }
  template <class T, class B>
  auto forward(State<T, B>& s, Pass<T, B>& pass, Var<T, 2> x) const {
    auto& tape = pass.tape;
    const bool own = x.extent(1) == features + columns;
    require<shape_error>(own || x.extent(1) == features, "nn::ProxyColumns: expected ", features, " features, with or without ", columns, " proxy columns, got ",
                         to_string(x.shape()));
    const auto proxy = own ? slice(tape, x, features, features + columns) : tiled(tape, s.mean.value, x.extent(0));
    const index_t kept = place == ProxyPlace::append ? features : features - columns;
    return net.forward(s.net, pass, concat(tape, kept == x.extent(1) ? x : slice(tape, x, 0, kept), proxy));
  }
  std::string describe() const {
    return retort::detail::concat("ProxyColumns(", features, place == ProxyPlace::append ? " + " : ", the last replaced by ", columns, ", ", net.describe(), ")");
  }

 private:
  template <class T, class B>
  static Var<T, 2> tiled(Tape<T, B>& tape, const Tensor<T, 1, B>& mean, index_t rows) {
    const View<T, 2> out = tape.allocate(Shape<2>{rows, mean.extent(0)});
    for (index_t r = 0; r < rows; ++r) std::copy(mean.begin(), mean.end(), out.row(r));
    return tape.constant(out);
  }
};

}  // namespace nn

namespace fair {

/// A student with an opponent. The proxy P (a row per node, uniform in [0, 1) at first) takes turns with the student: in its own
/// turn each node sees its own row, and P rises along the group gap J of the loss's fair::GroupGap, over `PlayerRows`; the
/// student's turn and all evaluation see the mean of P everywhere, so that the group signal that P has absorbed cannot reach an
/// answer. In the opponent's turn the student stands still, without dropout unless `dropout`.
/// Dong et al. 2023, "RELIANT: Fair Knowledge Distillation for Graph Neural Networks". Full batches of one graph.
template <class Net, class PlayerRows = OtherRows, class Backend = Cpu>
class ProxyPlayer : public student::Trainable<nn::ProxyColumns<Net>, Backend> {
  using base = student::Trainable<nn::ProxyColumns<Net>, Backend>;

 public:
  using typename base::network_type;
  using scalar = typename network_type::scalar;
  using context = typename network_type::context;
  template <class B2>
  using rebind = ProxyPlayer<Net, PlayerRows, B2>;
  struct Options {
    optim::Adam optimizer{.lr = 1e-2f, .weight_decay = 1e-2f};
    int steps = 1;  ///< of the opponent after each of the student
    bool dropout = false;  ///< the student's, in the opponent's turn
  };

  ProxyPlayer(network_type& network, Options options = {}) : base(network), options_(std::move(options)) {
    require<value_error>(options_.steps >= 1, "fair::ProxyPlayer: expected at least 1 step, got ", options_.steps);
    network.visit([&](const std::string& name, auto& p) {
      if (name == "proxy_mean") mean_ = p.value.view().flat();
    });
  }

  template <class T, class Data>
  void prepare(const Setup<context>& setup, const Data&) {
    proxy_ = std::make_unique<nn::Parameter<scalar, 2, context>>(Shape{setup.samples, mean_.size()});
    Rng rng = Rng(setup.seed).fork(0x70726f7879);
    for (scalar& p : proxy_->value) p = static_cast<scalar>(rng.uniform_double());
    proxy_->reserve_gradient();
    learner_.emplace(options_.optimizer, std::vector<ParameterRef<scalar>>{{proxy_->value.view().flat(), &proxy_->slot, true}});
    refresh();
  }
  template <class T, class B, class E>
  auto answer(Pass<T, B>& pass, const E& question) {
    if (question.turn != Block::player) return this->network().forward(pass, question.input);
    require<shape_error>(question.input.extent(0) == proxy_->value.extent(0), "fair::ProxyPlayer: a batch of ", question.input.extent(0), " rows, the proxy has ",
                         proxy_->value.extent(0), "; it is for full batches of one graph");
    pass.train = options_.dropout;
    return this->network().forward(pass, concat(pass.tape, question.input, pass.tape.leaf(View<const T, 2>(proxy_->value.view()), proxy_->slot)));
  }
  template <class E, class Loss>
  auto objective(E& exchange, const Loss& loss) {
    const auto& gap = gap_of(loss);
    return scale(exchange.tape, static_cast<scalar>(-std::max(gap.alpha, 1e-6)), gap.template measure<PlayerRows>(exchange));
  }
  void plan(const Progress&, Plan& plan) const {
    for (Sweep& sweep : plan) sweep.turns.push_back({Block::player, options_.steps});
  }
  /// Steps and brings the network's mean up to date.
  struct Stepper {
    ProxyPlayer& self;
    void step(context& backend, double epoch, double epochs) {
      self.learner_->step(backend, epoch, epochs);
      self.refresh();
    }
  };
  Stepper learner() { return {*this}; }
  /// The proxy, nodes x columns; there from the start of `fit`.
  View<const scalar, 2> proxy() const { return proxy_->value.view(); }

  void visit_state(const StateVisitor& visit) {
    base::visit_state(visit);
    visit("proxy", proxy_->value.view().flat());
    learner_->visit_state(visit.under("proxy_optimizer."));
  }
  std::string describe() const { return retort::detail::concat(base::describe(), " against a proxy of bias, ", options_.steps, " step(s) of ", options_.optimizer.describe()); }

 private:
  void refresh() {
    const index_t n = proxy_->value.extent(0);
    for (index_t c = 0; c < mean_.size(); ++c) {
      double sum = 0;
      for (index_t i = 0; i < n; ++i) sum += static_cast<double>(proxy_->value(i, c));
      mean_.data[c] = static_cast<scalar>(sum / static_cast<double>(n));
    }
  }
  Options options_;
  View<scalar, 1> mean_;
  std::unique_ptr<nn::Parameter<scalar, 2, context>> proxy_;
  std::optional<Learner<optim::Adam, scalar, context>> learner_;
};

}  // namespace fair
}  // namespace retort
