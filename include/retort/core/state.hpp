#pragma once
// What of a run outlives it: policies, optimisers, sources and callbacks show each piece of their state, by name, to a visitor.

#include <retort/core/view.hpp>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace retort {

/// What a piece of state is made of; the number is the one in a checkpoint's file.
enum class StateKind : std::uint8_t { text, f64, f32, u64 };

template <class T>
inline constexpr bool is_state_number = std::is_same_v<T, double> || std::is_same_v<T, float> || std::is_same_v<T, std::uint64_t>;
template <class T>
inline constexpr StateKind state_kind = std::is_same_v<T, double> ? StateKind::f64 : std::is_same_v<T, float> ? StateKind::f32 : StateKind::u64;

/// Where pieces of state go to or come from: a file that is written, checked or read. Not for policies, which see a StateVisitor.
class StateSink {
 public:
  virtual ~StateSink() = default;
  /// `count` numbers in the memory of the backend.
  virtual void tensor(const std::string& name, StateKind kind, void* data, std::size_t count) = 0;
  /// One number in the host's memory.
  virtual void number(const std::string& name, StateKind kind, void* value) { tensor(name, kind, value, 1); }
  virtual void text(const std::string& name, std::string& value) = 0;
};

inline std::size_t state_bytes(StateKind kind) { return kind == StateKind::text ? 1 : kind == StateKind::f32 ? 4 : 8; }

/// Hands `sink` copies in the host's memory of tensors that a backend keeps elsewhere, and takes back what became of them.
template <class B>
class OnHost final : public StateSink {
 public:
  explicit OnHost(StateSink& sink) : sink_(&sink) {}
  void tensor(const std::string& name, StateKind kind, void* data, std::size_t count) override {
    if constexpr (B::host_accessible) {
      sink_->tensor(name, kind, data, count);
    } else {
      std::vector<unsigned char> values(count * state_bytes(kind));
      B::copy(values.data(), data, values.size());
      sink_->tensor(name, kind, values.data(), count);
      B::copy(data, values.data(), values.size());
    }
  }
  void number(const std::string& name, StateKind kind, void* value) override { sink_->number(name, kind, value); }
  void text(const std::string& name, std::string& value) override { sink_->text(name, value); }

 private:
  StateSink* sink_;
};

/// Is shown the state that a checkpoint must hold, to write it as well as to read it. Whoever has such state offers
///
///   void visit_state(const StateVisitor& visit) {
///     visit("moment", moment_.view());                  // a flat tensor of float, double or std::uint64_t
///     visit("steps", steps_);                           // double, std::uint64_t or std::string
///     learner_.visit_state(visit.under("optimizer."));  // a part, whose names begin with that
///   }
class StateVisitor {
 public:
  explicit StateVisitor(StateSink& sink, std::string prefix = {}) : sink_(&sink), prefix_(std::move(prefix)) {}

  template <class T>
  void operator()(const std::string& name, View<T, 1> values) const {
    static_assert(is_state_number<T>, "retort: a tensor in visit_state is of float, double or std::uint64_t; see retort/core/state.hpp");
    sink_->tensor(prefix_ + name, state_kind<T>, values.data, static_cast<std::size_t>(values.size()));
  }
  template <class N>
    requires std::is_arithmetic_v<N>
  void operator()(const std::string& name, N& value) const {
    static_assert(is_state_number<N> && sizeof(N) == 8, "retort: a number in visit_state is a double or a std::uint64_t; see retort/core/state.hpp");
    sink_->number(prefix_ + name, state_kind<N>, &value);
  }
  void operator()(const std::string& name, std::string& text) const { sink_->text(prefix_ + name, text); }

  StateVisitor under(const std::string& prefix) const { return StateVisitor(*sink_, prefix_ + prefix); }

 private:
  StateSink* sink_;
  std::string prefix_;
};

}  // namespace retort
