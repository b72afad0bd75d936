#pragma once

#include <charconv>
#include <chrono>
#include <retort/core/finite.hpp>
#include <retort/core/state.hpp>
#include <retort/loss/describe.hpp>
#include <retort/method/distiller.hpp>
#include <retort/train/checkpoint.hpp>
#include <retort/train/report.hpp>
#include <sstream>

namespace retort {

struct FitOptions {
  int epochs = 10;
  index_t batch_size = 64;
  std::uint64_t seed = 0;
  int threads = 1;  ///< of the CPU backend
  int device = 0;   ///< of the CUDA backend
  /// Steps that repeat are sent to the CUDA backend's device as graphs: the same bits, fewer launches (cuda/replay.hpp).
  bool cuda_graphs = false;
  /// Matrix products and convolutions of the CUDA backend round their factors to TF32 (10 bits of mantissa); sums stay in float.
  bool tf32 = false;
  /// A checkpoint to continue from; the run ends with the same bytes as one that was never interrupted. Empty: start
  /// anew. A file that does not exist yet also starts anew, so that one command line serves both.
  std::string resume{};
};

namespace detail {
/// What a backend's context is made from.
template <class B>
int backend_argument(const FitOptions& options) {
  return B::host_accessible ? options.threads : options.device;
}
}  // namespace detail

namespace detail {
/// What a callback may define; see Session.
template <class C, class S>
concept FitCallback = requires(C& c, S& session) { c.on_train_begin(session); } || requires(C& c, S& session) { c.on_step(session); } ||
                      requires(C& c, S& session) { c.on_epoch_end(session); } || requires(C& c, S& session) { c.on_train_end(session); };
/// Every hook that it names can be called.
template <class C, class S>
concept CallableHooks = (!names_on_train_begin<C> || requires(C& c, S& session) { c.on_train_begin(session); }) &&
                        (!names_on_step<C> || requires(C& c, S& session) { c.on_step(session); }) &&
                        (!names_on_epoch_end<C> || requires(C& c, S& session) { c.on_epoch_end(session); }) &&
                        (!names_on_train_end<C> || requires(C& c, S& session) { c.on_train_end(session); });
/// What an optimiser does for one arithmetic and backend.
template <class O, class T, class B>
concept OptimizerFor = requires(const O& o, B& backend, std::span<const ParameterRef<T>> parameters, typename O::template State<T, B>& state) {
  { o.template make<T, B>(parameters) } -> std::same_as<typename O::template State<T, B>>;
  o.step(state, backend, parameters, 1.);
};
}  // namespace detail
#define RETORT_CALLBACK_MESSAGE                                                                                              \
  "retort: a callback of fit defines at least one of on_train_begin(session), on_step(session), on_epoch_end(session), "      \
  "on_train_end(session), for any session; see Session in retort/train/fit.hpp"

/// A training run as callbacks see it. A callback is any object with some of
/// `on_train_begin(session)`, `on_step(session)`, `on_epoch_end(session)`, `on_train_end(session)` (each may return bool:
/// true stops the run) and `visit_state(visitor)`, through which its own state enters checkpoints: see core/state.hpp. A callback
/// that is used for several runs forgets the last one in `on_train_begin`, unless `session.resumed()`: then its state is the
/// checkpoint's.
template <class Method, class Data, class Optimizer, class... Callbacks>
class Session {
 public:
  using scalar = typename Method::scalar;
  using context = typename Method::context;
  using source_state = typename Method::source::template State<scalar, context, Data>;

  Session(Method& method, const Data& data, const Optimizer& optimizer, const FitOptions& options, Callbacks&... callbacks)
      : method_(method), data_(data), options_(options), callbacks_(callbacks...), backend_(detail::backend_argument<context>(options)), tape_(backend_),
        setup_(describe_task(backend_, data, options)),
        source_(method.source_policy(), setup_, data), learner_(optimizer, prepare()) {
    learner_.zero_grad();
    if constexpr (requires { backend_.replay_steps(true); }) backend_.replay_steps(options.cuda_graphs);
    if constexpr (requires { backend_.allow_tf32(true); }) backend_.allow_tf32(options.tf32);
    report_.method = method.describe();
    report_.optimizer = optimizer.describe();
    report_.seed = options.seed;
    report_.epochs_planned = options.epochs;
    report_.threads = options.threads;
    report_.batch_size = options.batch_size;
    report_.samples = setup_.samples;
  }

  Method& method() { return method_; }
  const FitOptions& options() const { return options_; }
  const Data& data() const { return data_; }
  context& backend() { return backend_; }
  const Progress& progress() const { return progress_; }
  const Report& report() const { return report_; }
  /// The record of the epoch that is running or has just ended; callbacks add metrics here.
  EpochRecord& record() { return report_.epochs.back(); }
  /// Objective of the student's last turn.
  double last_loss() const { return last_loss_; }
  /// Batches of the running epoch that are done, and that it will have.
  index_t steps_done() const { return steps_done_; }
  index_t steps_in_epoch() const { return steps_in_epoch_; }

  /// Whether the run continues from a checkpoint.
  bool resumed() const { return resumed_; }

  /// Asks, in `on_epoch_end`, for a checkpoint: it is written when all callbacks, whatever their order, have had their say of the
  /// epoch; with `only_if_last` if the run ends there. See train/checkpoint.hpp for its guarantees.
  void save(const std::string& path, bool only_if_last = false) { wanted_.push_back({path, only_if_last}); }

  Report run() {
    if (!options_.resume.empty() && std::ifstream(options_.resume).good()) load(options_.resume);
    Session& self = *this;  // named, since nvcc cannot see `this` in a lambda within a generic one
    bool stop = notify([&](auto& c) -> bool {
      if constexpr (requires { c.on_train_begin(self); }) return tell([&] { return c.on_train_begin(self); });
      return false;
    });
    progress_.epochs = options_.epochs;
    for (auto& epoch = next_epoch_; !stop && epoch < static_cast<std::uint64_t>(options_.epochs);) {
      run_epoch(static_cast<int>(epoch), stop);
      ++epoch;
      stop |= notify([&](auto& c) -> bool {
        if constexpr (requires { c.on_epoch_end(self); }) return tell([&] { return c.on_epoch_end(self); });
        return false;
      });
      for (const auto& [path, only_if_last] : wanted_)
        if (!only_if_last || stop || epoch == static_cast<std::uint64_t>(options_.epochs)) write(path);
      wanted_.clear();
    }
    report_.stopped_early = next_epoch_ < static_cast<std::uint64_t>(options_.epochs);
    notify([&](auto& c) -> bool {
      if constexpr (requires { c.on_train_end(self); }) return tell([&] { return c.on_train_end(self); });
      return false;
    });
    check_finite();
    return report_;
  }

 private:
  static Setup<context> describe_task(context& backend, const Data& data, const FitOptions& options) {
    Setup<context> setup{backend, 0, 0, options.batch_size, options.seed};
    if constexpr (!std::is_same_v<Data, data::None>) {
      setup.classes = data::base(data).classes;
      setup.samples = data::base(data).size();
    }
    return setup;
  }
  /// Every policy looks at the task; a learned loss also at a first batch. Returns what learns in the student's turns.
  std::vector<ParameterRef<scalar>> prepare() {
    method_.prepare(setup_, data_);
    if constexpr (Method::loss_is_learned) {
      typename source_state::batch_type batch;
      source_.begin(0);
      require<data_error>(source_.next(batch), "fit: the source has no batch to show to a loss that learns");
      method_.prepare_loss(tape_, batch, setup_, data_);
    }
    std::vector<ParameterRef<scalar>> parameters = method_.parameters();
    if constexpr (requires { backend_.require_here(nullptr, ""); })
      for (const auto& p : parameters) backend_.require_here(p.value.data, "fit: a parameter of the student");
    return parameters;
  }
  /// A source's turn may learn and replace the batch; every other block's turn is the method's.
  template <class Batch>
  double take_turn(Block block, Batch& batch, const Rng& rng, Memory memory) {
    if (block != Block::source) {
      auto outcome = method_.start_turn(block, tape_, learner_, batch, progress_, rng, memory);
      if constexpr (requires { source_.prefetch(); }) source_.prefetch();  // while a device is at work
      return outcome.value();
    }
    static_assert(!detail::names_take_turn<source_state> || requires { source_.take_turn(method_, tape_, batch, progress_, rng); },
                  RETORT_HOOK_MESSAGE("template <class Method> double take_turn(Method&, Tape<T, B>&, batch_type&, const Progress&, const Rng&)"));
    if constexpr (requires { source_.take_turn(method_, tape_, batch, progress_, rng); })
      return source_.take_turn(method_, tape_, batch, progress_, rng);
    else
      throw error("fit: the plan gives a turn to the source, but this source does not learn");
  }
  void run_epoch(int epoch, bool& stop) {
    Session& self = *this;
    const auto start = std::chrono::steady_clock::now();
    progress_.epoch = epoch;
    report_.epochs.push_back({epoch, 0, 0, 0, {}});
    const Plan plan = method_.plan(progress_);
    progress_.steps_in_sweep = source_.batches();
    steps_done_ = steps_in_epoch_ = 0;
    for (const Sweep& sweep : plan) steps_in_epoch_ += sweep.times * source_.batches();
    require<error>(steps_in_epoch_ > 0, "fit: the plan of epoch ", epoch, " has no batches");
    double total = 0;
    index_t turns = 0;
    for (const Sweep& sweep : plan)
      for (int time = 0; time < sweep.times && !stop; ++time) {
        source_.begin(pass_++);
        for (typename source_state::batch_type batch; !stop && source_.next(batch);) {
          progress_.step = static_cast<index_t>(step_);
          progress_.position = epoch + static_cast<double>(steps_done_) / static_cast<double>(steps_in_epoch_);
          std::uint64_t number = 0;
          for (const Turn& turn : sweep.turns)
            for (int repeat = 0; repeat < turn.repeats; ++repeat) {
              const Rng rng = Rng(options_.seed).fork(0x7475726e).fork(step_).fork(number++);
              const Memory memory = turn.repeats == 1 ? Memory::none : repeat == 0 ? Memory::keep : Memory::reuse;
              const double value = take_turn(turn.block, batch, rng, memory);
              if (turn.block == Block::student) {
                last_loss_ = value;
                total += value;
                ++turns;
              }
            }
          ++step_;
          ++steps_done_;
          stop |= notify([&](auto& c) -> bool {
            if constexpr (requires { c.on_step(self); }) return tell([&] { return c.on_step(self); });
            return false;
          });
        }
      }
    EpochRecord& r = record();
    r.loss = turns ? total / static_cast<double>(turns) : 0;
    r.learning_rate = learner_.rate(progress_.position, options_.epochs);
    r.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    learner_.observe(r.loss);
  }

  void write(const std::string& path) {
    CheckpointWriter writer;
    writer.add("recipe", fingerprint());
    writer.add("history", detail::history_text(report_.epochs));
    visit_state(writer);
    writer.commit(path);
  }
  /// The last step has no loss behind it that would tell.
  void check_finite() {
    if (!report_.epochs.empty())
      for (const auto& p : learner_.parameters())
        require<value_error>(is_finite(Kernels<context>::sum_of_squares(backend_, View<const scalar, 1>(p.value))),
                             "fit: a parameter of ", p.value.size(), " values is not finite, or too large to be squared, after the last step");
  }
  template <class F>
  static bool tell(F&& f) {
    static_assert(std::is_same_v<decltype(f()), bool> || std::is_void_v<decltype(f())>, "retort: a hook of a callback returns bool (true stops the run) or nothing; see "
                                                                                       "Session in retort/train/fit.hpp");
    if constexpr (std::is_same_v<decltype(f()), bool>)
      return f();
    else
      return f(), false;
  }
  template <class F>
  bool notify(F&& f) {
    bool any = false;  // every callback is asked, also behind one that stops
    std::apply([&](auto&... c) { ((any = f(c) || any), ...); }, callbacks_);
    return any;
  }

  /// What must agree between the run that saved and the run that resumes: not the data's contents, nor the teacher's weights.
  std::string fingerprint() const {
    std::ostringstream out;
    out << report_.method << "\n" << "loss: " << detail::describe_loss(method_.loss_policy()) << "\n" << report_.optimizer << "\nseed " << options_.seed << ", batch size " << options_.batch_size
        << ", threads " << options_.threads << ", samples " << setup_.samples << ", epochs " << options_.epochs << ", scalar bytes "
        << sizeof(scalar);
    return out.str();
  }
  void visit_state(StateSink& sink) {
    OnHost<context> host(sink);
    const StateVisitor visit(host);
    visit("epoch", next_epoch_);
    visit("pass", pass_);
    visit("step", step_);
    method_.student_policy().visit_state(visit.under("student."));
    if constexpr (Method::loss_is_learned)
      for (auto& [name, view] : nn::tensors_of<scalar>(*method_.loss_state())) visit("loss." + name, view);
    learner_.visit_state(visit.under("optimizer."));
    visit_part(method_.censor_policy(), visit.under("censor."));
    visit_part(source_, visit.under("source."));
    std::size_t i = 0;
    std::apply([&](auto&... c) { (visit_part(c, visit.under("callback" + std::to_string(i++) + ".")), ...); }, callbacks_);
  }
  template <class C>
  static void visit_part(C& c, const StateVisitor& visit) {
    // one that is there but does not fit would leave its numbers out of checkpoints
    static_assert(!detail::names_visit_state<C> || requires { c.visit_state(visit); }, RETORT_HOOK_MESSAGE("void visit_state(const StateVisitor& visit)"));
    if constexpr (requires { c.visit_state(visit); }) c.visit_state(visit);
  }
  void load(const std::string& path) {
    const CheckpointReader reader(path);
    require<checkpoint_error>(reader.text("recipe") == fingerprint(), "checkpoint '", path, "' belongs to another run.\nIt was saved by:\n",
                              reader.text("recipe"), "\nThis run is:\n", fingerprint());
    auto history = detail::parse_history(reader.text("history"));
    CheckpointReader::Checker check(reader);
    CheckpointReader::Loader load(reader);
    visit_state(check);
    visit_state(load);
    report_.epochs = std::move(history);
    resumed_ = true;
  }

  Method& method_;
  const Data& data_;
  FitOptions options_;
  std::tuple<Callbacks&...> callbacks_;
  context backend_;
  Tape<scalar, context> tape_;
  Setup<context> setup_;
  source_state source_;
  Learner<Optimizer, scalar, context> learner_;
  Report report_;
  Progress progress_;
  std::uint64_t next_epoch_ = 0, pass_ = 0, step_ = 0;
  bool resumed_ = false;
  struct Wanted {
    std::string path;
    bool only_if_last;
  };
  std::vector<Wanted> wanted_;  // checkpoints of the epoch that ends
  index_t steps_done_ = 0, steps_in_epoch_ = 0;
  double last_loss_ = 0;
};

namespace detail {
/// Puts tensors back as they were unless told that all went well.
template <class B, class T>
class Rollback {
 public:
  explicit Rollback(std::vector<std::pair<std::string, View<T, 1>>> tensors) : tensors_(std::move(tensors)) {
    for (const auto& [name, view] : tensors_) {
      saved_.emplace_back(static_cast<std::size_t>(view.size()));
      B::copy(saved_.back().data(), view.data, saved_.back().size() * sizeof(T));
    }
  }
  ~Rollback() {
    if (armed_) try {
        for (std::size_t i = 0; i < tensors_.size(); ++i) B::copy(tensors_[i].second.data, saved_[i].data(), saved_[i].size() * sizeof(T));
      } catch (const error&) {  // a device after a failed kernel takes no copies; the error that is under way says so
      }
  }
  void dismiss() { armed_ = false; }

 private:
  std::vector<std::pair<std::string, View<T, 1>>> tensors_;
  std::vector<std::vector<T>> saved_;
  bool armed_ = true;
};
/// The same for a value that is made anew.
template <class V>
class Restore {
 public:
  explicit Restore(V& value) : value_(value), saved_(std::move(value)) {}
  ~Restore() {
    if (armed_) value_ = std::move(saved_);
  }
  void dismiss() { armed_ = false; }

 private:
  V& value_;
  V saved_;
  bool armed_ = true;
};
}  // namespace detail

/// Trains a method. The student's network holds the result; if anything throws, it is as it was before the call.
/// Deterministic: same arguments, same machine kind, same bits. After the first step of each shape, steps allocate
/// nothing. Throws what the policies throw: shape_error, value_error (labels, loss not finite), data_error and
/// checkpoint_error (resume).
template <class Method, class Data, class Optimizer, class... Callbacks>
Report fit(Method& method, const Data& data, const Optimizer& optimizer, const FitOptions& options = {}, Callbacks&&... callbacks) {
  static_assert(TrainingData<Data>, RETORT_DATA_MESSAGE);
  static_assert(OptimizerPolicy<Optimizer>, RETORT_OPTIMIZER_MESSAGE);
  static_assert(!std::is_same_v<Data, data::None> || !std::is_same_v<typename Method::source, source::Dataset>,
                "retort: this method draws its batches from training data, and fit was given data::None; a method without data has a source of its own: "
                "see retort/source/");
  require<value_error>(options.epochs >= 0 && options.batch_size >= 1, "fit: expected epochs >= 0 and a batch size of at least 1, got ",
                       options.epochs, " and ", options.batch_size);
  if constexpr (!std::is_same_v<Data, data::None>) data::base(data).validate();
  static_assert(detail::OptimizerFor<Optimizer, typename Method::scalar, typename Method::context>, RETORT_OPTIMIZER_MESSAGE);
  using Source = typename Method::source::template State<typename Method::scalar, typename Method::context, Data>;
  static_assert(SourceState<Source> && std::constructible_from<Source, typename Method::source&, const Setup<typename Method::context>&, const Data&>,
                RETORT_SOURCE_MESSAGE);
  detail::Rollback<typename Method::context, typename Method::scalar> rollback(method.student_policy().network().tensors());
  detail::Restore loss_state(method.loss_state());
  using Run = Session<Method, Data, Optimizer, std::remove_reference_t<Callbacks>...>;
  static_assert((detail::FitCallback<std::remove_reference_t<Callbacks>, Run> && ...), RETORT_CALLBACK_MESSAGE);
  static_assert((detail::CallableHooks<std::remove_reference_t<Callbacks>, Run> && ...),
                RETORT_HOOK_MESSAGE("on_train_begin(session), on_step(session), on_epoch_end(session) or on_train_end(session)"));
  Run session(method, data, optimizer, options, callbacks...);
  Report report = session.run();
  rollback.dismiss();
  loss_state.dismiss();
  return report;
}

}  // namespace retort
