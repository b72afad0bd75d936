#pragma once

#include <memory>
#include <optional>
#include <retort/autograd/ops_graph.hpp>
#include <retort/autograd/ops_matrix.hpp>
#include <retort/core/state.hpp>
#include <retort/functor/pair.hpp>
#include <retort/loss/cross_entropy.hpp>
#include <retort/loss/evaluate.hpp>
#include <retort/method/roles.hpp>
#include <retort/nn/network.hpp>
#include <retort/train/learner.hpp>

namespace retort {
namespace censor {

/// GraphAKD's three discriminators (He et al. 2022), learned in turns before the student's; in the student's turn they stand
/// still and it tries to pass for the teacher. Of logits: D_l(z) = ReLU(z + z W1 + b1) W2, C classes and real/fake; of edges:
/// D_e(E)_uv = slope (e_u * d) . e_v on rows of norm 1; of the graph: D_g(E, S)_v = slope (e_v * d) . S with the summary
/// S = sigmoid(mean of the rows of E). `Tag`, `TeacherTag`: taps of embeddings of one width. Graphs only.
template <class Tag, class TeacherTag = Tag, class Backend = Cpu>
class Discriminators {
 public:
  using role = retort::role::censor;
  using scalar = scalar_of<Backend>;
  using context = context_of<Backend>;
  template <class B2>
  using rebind = Discriminators<Tag, TeacherTag, B2>;
  struct Options {
    index_t width = 64;   ///< of the embeddings
    double slope = 0.5;
    optim::Adam optimizer{.lr = 1e-3f, .weight_decay = 5e-4f};
  };
  explicit Discriminators(Options options = {}) : options_(std::move(options)) {}

  template <class T, class Data>
  void prepare(const Setup<context>& setup, const Data&) {
    const index_t c = setup.classes, w = options_.width;
    require<value_error>(c >= 2 && w >= 1, "censor::Discriminators: expected 2 classes and a width of at least 1, got ", c, " and ", w);
    state_ = std::make_unique<State>();
    Rng rng = Rng(setup.seed).fork(0x6469736372);
    state_->first = nn::Linear{c, c, true, nn::Init::glorot}.template make<scalar, context>(rng);
    state_->last = nn::Linear{c, c + 1, false, nn::Init::glorot}.template make<scalar, context>(rng);
    for (auto* d : {&state_->edge, &state_->graph}) {
      *d = nn::Parameter<scalar, 2, context>(Shape{index_t{1}, w});
      std::fill(d->value.begin(), d->value.end(), scalar(1));
    }
    learner_.emplace(options_.optimizer, nn::parameters_of<scalar>(*state_));
    learner_->zero_grad();
  }
  template <class E>
  void apply(E&) const {}
  void plan(const Progress&, Plan& plan) const {
    for (Sweep& sweep : plan) sweep.turns.insert(sweep.turns.begin(), Turn{Block::censor});
  }
  auto& learner() { return *learner_; }

  /// What the discriminators minimise: the teacher is real, the student is not.
  template <class E, class Loss>
  auto objective(E& exchange, const Loss&) {
    auto pass = Pass<scalar, context>::training(exchange.tape, exchange.rng);
    const Seen seen = look(exchange);
    auto& tape = exchange.tape;
    const auto t = judge_logits(pass, seen.teacher), s = judge_logits(pass, seen.student);
    auto value = scale(tape, scalar(0.5), sum_of(tape, real(tape, fake_column(tape, t)), fake(tape, fake_column(tape, s)), classify(exchange, t), classify(exchange, s)));
    value = sum_of(tape, value, real(tape, judge_edges(pass, seen, seen.teacher_embedding)), fake(tape, judge_edges(pass, seen, seen.student_embedding)));
    return sum_of(tape, value, real(tape, judge_graph(pass, seen.teacher_embedding, seen.teacher_embedding)), fake(tape, judge_graph(pass, seen.student_embedding, seen.teacher_embedding)),
                  real(tape, judge_graph(pass, seen.student_embedding, seen.student_embedding)), fake(tape, judge_graph(pass, seen.teacher_embedding, seen.student_embedding)));
  }
  /// What the student adds to its loss: to pass for the teacher.
  template <class E, class Loss, class V>
  V add_to_student(E& exchange, const Loss&, V value) {
    auto pass = Pass<scalar, context>::frozen(exchange.tape);
    const Seen seen = look(exchange);
    auto& tape = exchange.tape;
    const auto s = judge_logits(pass, seen.student);
    value = add(tape, value, scale(tape, scalar(0.5), sum_of(tape, classify(exchange, s), real(tape, fake_column(tape, s)))));
    return sum_of(tape, value, real(tape, judge_edges(pass, seen, seen.student_embedding)), real(tape, judge_graph(pass, seen.student_embedding, seen.teacher_embedding)),
                  real(tape, judge_graph(pass, seen.student_embedding, seen.student_embedding)), fake(tape, judge_graph(pass, seen.teacher_embedding, seen.student_embedding)));
  }
  void visit_state(const StateVisitor& visit) {
    for (auto& [name, view] : nn::tensors_of<scalar>(*state_)) visit(name, view);
    learner_->visit_state(visit.under("optimizer."));
  }
  std::string describe() const { return "discriminators of logits, edges and the graph, " + options_.optimizer.describe(); }

 private:
  using Matrix = Var<scalar, 2>;
  using Tape_ = Tape<scalar, context>;
  using Pass_ = Pass<scalar, context>;
  struct State {
    nn::Linear::State<scalar, context> first, last;
    nn::Parameter<scalar, 2, context> edge, graph;
    template <class F>
    void visit(F&& f) {
      first.visit(nn::under(f, "first."));
      last.visit(nn::under(f, "last."));
      f("edge", edge);
      f("graph", graph);
    }
  };
  struct Seen {
    Matrix student, teacher, student_embedding, teacher_embedding;
    CsrView edges;
  };
  template <class E>
  Seen look(E& exchange) const {
    require<value_error>(exchange.graph != nullptr, "censor::Discriminators: the batch has no graph");
    auto& tape = exchange.tape;
    const Seen seen{result_of(exchange.student), tape.detach(log_softmax(tape, tape.detach(result_of(exchange.teacher)))), tap<Tag>(exchange.student),
                    tape.detach(tap<TeacherTag>(exchange.teacher)), exchange.graph->edges};
    require<shape_error>(seen.student_embedding.extent(1) == options_.width && seen.teacher_embedding.extent(1) == options_.width,
                         "censor::Discriminators: embeddings of ", seen.student_embedding.extent(1), " (student) and ", seen.teacher_embedding.extent(1),
                         " (teacher) columns, the discriminators are made for ", options_.width);
    return seen;
  }
  Matrix judge_logits(Pass_& pass, Matrix z) const {
    auto& tape = pass.tape;
    const auto inner = add(tape, z, linear(tape, z, state_->first.weight.var(pass), state_->first.bias.var(pass)));
    return linear(tape, activate(tape, functor::Relu{}, inner), state_->last.weight.var(pass), no_bias<scalar>());
  }
  Matrix judge_edges(Pass_& pass, const Seen& seen, Matrix embedding) const {
    auto& tape = pass.tape;
    const auto e = normalized(tape, embedding, 1);
    return scale(tape, static_cast<scalar>(options_.slope), edge_products(tape, seen.edges, e, multiply(tape, e, state_->edge.var(pass))));
  }
  Matrix judge_graph(Pass_& pass, Matrix embedding, Matrix summarised) const {
    auto& tape = pass.tape;
    const auto summary = activate(tape, functor::Sigmoid{}, mean_axis(tape, summarised, 0));
    const auto e = multiply(tape, normalized(tape, embedding, 1), state_->graph.var(pass));
    return scale(tape, static_cast<scalar>(options_.slope), sum_axis(tape, multiply(tape, e, summary), 1));
  }
  static Matrix fake_column(Tape_& tape, Matrix d) { return slice(tape, d, d.extent(1) - 1, d.extent(1)); }
  static Var<scalar, 1> real(Tape_& tape, Matrix score) { return mean(tape, activate(tape, functor::Softplus{}, scale(tape, scalar(-1), score))); }
  static Var<scalar, 1> fake(Tape_& tape, Matrix score) { return mean(tape, activate(tape, functor::Softplus{}, score)); }
  template <class E>
  static Var<scalar, 1> classify(E& exchange, Matrix d) {
    return row_loss(exchange.tape, loss::CrossEntropy<TokenMean>{}, RowLossInputs<scalar>{.student = slice(exchange.tape, d, 0, d.extent(1) - 1), .labels = exchange.labels});
  }
  template <class... V>
  static Var<scalar, 1> sum_of(Tape_& tape, Var<scalar, 1> first, V... rest) {
    ((first = add(tape, first, rest)), ...);
    return first;
  }
  Options options_;
  std::unique_ptr<State> state_;
  std::optional<Learner<optim::Adam, scalar, context>> learner_;
};

}  // namespace censor
}  // namespace retort
