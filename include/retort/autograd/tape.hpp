#pragma once
// Reverse-mode automatic differentiation: a coarse run-time tape over an arena. One record per tensor operation, each a
// function pointer and a small trivially copyable payload; no virtual functions, no shared ownership.

#include <retort/backend/ops.hpp>
#include <retort/core/arena.hpp>
#include <retort/core/error.hpp>
#include <retort/core/tensor.hpp>
#include <retort/core/view.hpp>
#include <type_traits>
#include <utility>
#include <vector>

namespace retort {

/// Where the gradient of a variable accumulates. `written` says whether a contribution has arrived since it was cleared:
/// the first one replaces, later ones add, so nothing is ever filled with zeros.
template <class T>
struct GradientSlot {
  T* data = nullptr;
  bool written = false;
  bool one = false;  ///< the gradient is known to be the number 1, without a look at memory that may be a device's
};

/// A value on a tape: a read-only view and, when a gradient is wanted, the slot that collects it. Trivially copyable.
/// Valid until the tape is reset.
template <class T, int Rank>
struct Var {
  using value_type = T;
  static constexpr int rank = Rank;
  View<const T, Rank> value;
  GradientSlot<T>* slot = nullptr;

  bool requires_grad() const { return slot != nullptr; }
  const Shape<Rank>& shape() const { return value.shape; }
  index_t extent(int axis) const { return value.shape[axis]; }
  index_t size() const { return value.size(); }
};

/// A destination of gradients: memory, and whether to replace or add.
template <class T, int Rank>
struct Destination {
  View<T, Rank> view;
  Write write;
};

/// The non-smooth decisions of one forward pass (signs of ReLUs, winners of max-pools, dropout masks), recorded at a base
/// point and reused at perturbed points. Differences across kinks are meaningless for Hessian-vector products; with
/// frozen decisions the network is smooth.
template <class B>
class ReplayLog {
 public:
  void clear() {
    arena_.reset();
    entries_.clear();
    cursor_ = 0;
  }
  void rewind() { cursor_ = 0; }
  template <class U>
  U* push(index_t count) {
    U* p = arena_.template allocate<U>(count);
    entries_.push_back({p, count});
    return p;
  }
  /// Memory beside the decisions, until the next clear().
  template <class U>
  U* scratch(index_t count) {
    return arena_.template allocate<U>(count);
  }
  template <class U>
  U* pop(index_t count) {
    require<error>(cursor_ < entries_.size() && entries_[cursor_].count == count,
                   "ReplayLog: the replayed program differs from the recorded one at decision ", cursor_,
                   "; replay the same operations on the same shapes");
    return static_cast<U*>(entries_[cursor_++].data);
  }

 private:
  struct Entry {
    void* data;
    index_t count;
  };
  Arena<B> arena_;
  std::vector<Entry> entries_;
  std::size_t cursor_ = 0;
};

/// Records operations on values of type T on backend B and runs them backwards. Memory for values, gradients and records
/// comes from arenas that are reused step after step: `reset()` at the start of a step, then forward, `backward()`,
/// read gradients. Not thread-safe; one tape per training thread.
template <class T, class B>
class Tape {
 public:
  using value_type = T;
  using backend_type = B;

  explicit Tape(B& backend) : backend_(&backend) {}

  B& backend() const { return *backend_; }

  /// Forgets all records, values and gradients; keeps the memory.
  void reset() {
    values_.reset();
    payloads_.reset();
    records_.clear();
  }

  /// Uninitialised memory that lives until reset().
  template <int Rank>
  View<T, Rank> allocate(Shape<Rank> shape) {
    return {values_.template allocate<T>(shape.size()), shape};
  }
  template <class U>
  U* allocate_raw(index_t count) {
    return values_.template allocate<U>(count);
  }
  /// Memory of the tape that the host fills: `fill(view)` writes all of it. On a device backend it is copied there, and the step
  /// waits for that: for tables and decisions that the host makes.
  template <class U = T, int Rank, class F>
  View<U, Rank> from_host(Shape<Rank> shape, F&& fill) {
    const View<U, Rank> out{values_.template allocate<U>(shape.size()), shape};
    if constexpr (B::host_accessible) {
      fill(out);
    } else {
      const View<U, Rank> host{payloads_.template allocate<U>(shape.size()), shape};
      fill(host);
      backend_->transfer(out.data, host.data, static_cast<std::size_t>(shape.size()) * sizeof(U));
    }
    return out;
  }
  /// What a view of the backend's memory holds, where the host may read it, until reset(). On a device backend a copy, for which the
  /// step waits.
  template <class U, int Rank>
  View<const U, Rank> on_host(View<const U, Rank> x) {
    if constexpr (B::host_accessible) {
      return x;
    } else {
      U* const host = payloads_.template allocate<U>(x.size());
      if (x.size() > 0) backend_->transfer(host, x.data, static_cast<std::size_t>(x.size()) * sizeof(U));
      return {host, x.shape};
    }
  }

  /// A value that needs no gradient. The memory must outlive the tape's use of it.
  template <int Rank>
  Var<T, Rank> constant(View<const T, Rank> value) const {
    return {value, nullptr};
  }
  template <int Rank>
  Var<T, Rank> constant(View<T, Rank> value) const {
    return {value, nullptr};
  }
  /// A value whose gradient is wanted: an input to perturb, a latent code. Read it with `gradient` after backward().
  template <int Rank>
  Var<T, Rank> leaf(View<const T, Rank> value) {
    return {value, recording_ ? new_slot() : nullptr};
  }
  /// A value whose gradient accumulates in memory of the caller's (a parameter).
  template <int Rank>
  Var<T, Rank> leaf(View<const T, Rank> value, GradientSlot<T>& slot) const {
    return {value, recording_ ? &slot : nullptr};
  }
  /// The same value, cut off from what made it.
  template <int Rank>
  Var<T, Rank> detach(Var<T, Rank> x) const {
    return {x.value, nullptr};
  }

  /// True unless a NoGrad scope is open.
  bool recording() const { return recording_; }
  void set_recording(bool on) { recording_ = on; }

  /// The result of an operation. `wanted`: some input needs a gradient.
  template <int Rank>
  Var<T, Rank> result(View<T, Rank> value, bool wanted) {
    return {value, wanted && recording_ ? new_slot() : nullptr};
  }

  /// Records an operation. `Op` is trivially copyable, has a member `out` (a Var) and `void backward(Tape&) const`,
  /// which is called in reverse order if a gradient has reached `out`. Does nothing when `out` needs no gradient.
  template <class Op>
  void record(const Op& op) {
    static_assert(std::is_trivially_copyable_v<Op>, "retort::Tape: an operation's payload must be trivially copyable");
    if (!op.out.slot) return;
    Op* stored = payloads_.template allocate<Op>(1);
    new (stored) Op(op);
    records_.push_back({[](const void* self, Tape& tape) {
                          const Op& o = *static_cast<const Op*>(self);
                          if (o.out.slot->written) o.backward(tape);
                        },
                        stored, op.out.slot});
  }

  /// For operations: where to put a contribution to the gradient of `x` (which must require one). Each call marks the
  /// slot as written, so call it once per contribution.
  template <int Rank>
  Destination<T, Rank> destination(Var<T, Rank> x) {
    GradientSlot<T>& slot = *x.slot;
    if (!slot.data) slot.data = values_.template allocate<T>(x.size());
    const Write write = slot.written ? Write::add : Write::replace;
    slot.written = true;
    slot.one = false;
    return {View<T, Rank>{slot.data, x.shape()}, write};
  }

  /// For operations: the gradient that has reached `x`; only meaningful where `x.slot->written`.
  template <int Rank>
  View<const T, Rank> gradient_of(Var<T, Rank> x) const {
    return {x.slot->data, x.shape()};
  }

  /// Gradient of the last backward() with respect to `x`. Throws `error` when `x` asked for none or none arrived.
  template <int Rank>
  View<const T, Rank> gradient(Var<T, Rank> x) const {
    require<error>(x.slot != nullptr, "Tape::gradient: this value does not require a gradient");
    require<error>(x.slot->written, "Tape::gradient: backward() brought no gradient to this value");
    return {x.slot->data, x.shape()};
  }

  /// The number that a scalar variable holds. On a device backend this waits for the device.
  T item(Var<T, 1> scalar) const {
    require<shape_error>(scalar.size() == 1, "Tape::item: expected a scalar of shape (1), got ", to_string(scalar.shape()));
    return Kernels<B>::item(*backend_, scalar.value.data);
  }

  /// Runs backwards from a scalar with the given seed. Further calls on the same records would add to the gradients
  /// twice; record anew instead.
  void backward(Var<T, 1> loss, T seed = T(1)) {
    require<shape_error>(loss.size() == 1, "Tape::backward: expected a scalar of shape (1), got ", to_string(loss.shape()));
    if (!loss.slot) return;
    const auto to = destination(loss);
    if (to.write == Write::replace)
      Kernels<B>::fill(*backend_, seed, to.view);
    else
      Kernels<B>::add_scalar(*backend_, seed, to.view);
    loss.slot->one = to.write == Write::replace && seed == T(1);
    run_backward();
  }
  /// Runs backwards anew, from another scalar of the same forward pass: the gradients of all results are forgotten first.
  /// The caller clears those of leaves (parameters). Two losses on one forward pass, their gradients kept apart.
  void backward_again(Var<T, 1> loss) {
    for (const Record& r : records_) r.out->written = false;
    backward(loss);
  }
  /// Runs backwards from any value, given the gradient with respect to it (a vector-Jacobian product).
  template <int Rank>
  void backward_from(Var<T, Rank> value, std::type_identity_t<View<const T, Rank>> gradient) {
    require<shape_error>(gradient.shape == value.shape(), "Tape::backward_from: value of shape ", to_string(value.shape()),
                         ", gradient of shape ", to_string(gradient.shape));
    if (!value.slot) return;
    const auto to = destination(value);
    Kernels<B>::accumulate(*backend_, T(1), gradient.flat(), to.view.flat(), to.write);
    run_backward();
  }

  /// Evaluates a scalar and differentiates it at once, then forgets what that took: the memory of a sum of many parts is
  /// that of one. `f()` builds the part from leaves whose slots have memory of their own (see leaf(value, slot)); their
  /// gradients add up over the parts. Returns the value.
  template <class F>
  T add_part(F&& f) {
    const auto values = values_.mark();
    const auto payloads = payloads_.mark();
    const std::size_t first = records_.size();
    const Var<T, 1> part = f();
    const T value = item(part);
    if (part.slot) {
      Kernels<B>::fill(*backend_, T(1), destination(part).view);
      part.slot->one = true;
      for (std::size_t i = records_.size(); i-- > first;) records_[i].run(records_[i].payload, *this);
    }
    records_.resize(first);
    values_.release(values);
    payloads_.release(payloads);
    return value;
  }

  // --- replay of non-smooth decisions -------------------------------------------------------------------------------

  enum class Kinks { live, record, replay };
  Kinks kinks() const { return kinks_; }
  /// From here on, decisions are taken live (no log), recorded into, or replayed from `log`.
  void set_kinks(Kinks mode, ReplayLog<B>* log = nullptr) {
    kinks_ = mode;
    log_ = log;
    if (mode == Kinks::record) log->clear();
    if (mode == Kinks::replay) log->rewind();
  }
  /// For operations with kinks: memory for `count` decisions in record mode, the recorded ones in replay mode.
  template <class U>
  U* kink_memory(index_t count) {
    return kinks_ == Kinks::replay ? log_->template pop<U>(count) : log_->template push<U>(count);
  }

  std::size_t records() const { return records_.size(); }
  /// Bytes that the arenas hold.
  std::size_t capacity() const { return values_.capacity() + payloads_.capacity(); }

 private:
  struct Record {
    void (*run)(const void*, Tape&);
    const void* payload;
    GradientSlot<T>* out;
  };
  GradientSlot<T>* new_slot() {
    auto* slot = payloads_.template allocate<GradientSlot<T>>(1);
    *slot = {};
    return slot;
  }
  void run_backward() {
    for (std::size_t i = records_.size(); i-- > 0;) records_[i].run(records_[i].payload, *this);
  }

  B* backend_;
  Arena<B> values_;
  Arena<HostMemory> payloads_;
  std::vector<Record> records_;
  bool recording_ = true;
  Kinks kinks_ = Kinks::live;
  ReplayLog<B>* log_ = nullptr;
};

/// While it lives, the tape records nothing: forward passes cost no memory for gradients.
template <class T, class B>
class NoGrad {
 public:
  explicit NoGrad(Tape<T, B>& tape) : tape_(tape), before_(tape.recording()) { tape.set_recording(false); }
  ~NoGrad() { tape_.set_recording(before_); }
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  Tape<T, B>& tape_;
  bool before_;
};

}  // namespace retort
