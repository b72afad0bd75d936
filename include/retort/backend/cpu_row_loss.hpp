#pragma once
// The row-loss engine of the CPU: any sum of row losses in one sweep over each row, while the row is in cache.
//
// The phases are those of functor/row_loss.hpp. Losses that share a temperature share its softmaxes; losses at another
// temperature go into another round of phases 2 to 4 over the same row, adding to the gradient.

#include <algorithm>
#include <retort/backend/row_check.hpp>
#include <retort/backend/cpu_row_phases.hpp>
#include <retort/loss/combine.hpp>
#include <string>
#include <tuple>

namespace retort {
namespace detail {

template <class T, int N>
struct ValueTraits<simd::Pack<T, N>> {
  using scalar = T;
  using mask = typename simd::Pack<T, N>::mask_type;
  using index = simd::Pack<typename simd::detail::Ieee<T>::bits, N>;
};

}  // namespace detail

namespace cpu {
inline namespace RETORT_ISA {
namespace rows {

/// One evaluation of a sum of losses: arguments checked, then rows in any order on any thread.
template <class T, class... Terms>
class Evaluation {
 public:
  Evaluation(const loss::Sum<Terms...>& losses, const RowBatch<T>& in, const RowGradients<T>& out)
      : losses_(losses), in_(in), out_(out), rows_(in.student.shape[0]), classes_(in.student.shape[1]) {
    TermInfo info[term_count];
    each([&](auto i) { info[i] = term_info(detail::get<i>(losses_), has_teacher_grad<i>); });
    check_batch(in, out, info, term_count);
    const index_t rows = in_.of_rows > 0 ? in_.of_rows : rows_;
    const auto& labels = in_.all_labels.empty() ? in_.labels : in_.all_labels;
    index_t counted = rows;
    if (!labels.empty()) counted -= std::count(labels.begin(), labels.end(), ignored_label);
    each([&](auto i) {
      const double divisor = TermAt<i>::reduction::divisor(double(rows), double(counted), double(classes_));
      factor_[i] = detail::get<i>(losses_).factor;
      coefficient_[i] = divisor > 0 ? factor_[i] / divisor : 0;
    });
  }

  /// Rows [begin, end): writes gradients, and to `row_loss` the weighted and reduced loss of each row.
  void run(index_t begin, index_t end, Arena<Cpu>& arena, double* row_loss) const {
    const ArenaScope scope(arena);
    Work w = workspace(arena);
    for (index_t r = begin; r < end; ++r) {
      const auto at = [&](const auto& view) { return view.empty() ? nullptr : view.row(r); };
      row_loss[r] = row(r, w, {at(out_.student), at(out_.teacher), at(out_.temperature), at(out_.extras), at(out_.per_row)});
    }
  }

  /// Throws the error of row r, whose loss is not finite; names the loss that made it so.
  [[noreturn, gnu::cold]] void report(index_t r, Arena<Cpu>& arena) const {
    const ArenaScope scope(arena);
    Work w = workspace(arena);
    row(r, w, {});
    std::string culprit = "the sum of its terms";
    each([&](auto i) {
      const auto& s = std::get<i>(w.states);
      if (s.wanted && !is_finite(double(s.value)))
        culprit = detail::concat("term ", int(i), ", ", detail::name_of<typename TermAt<i>::loss_type>());
    });
    throw value_error(detail::concat("row loss: the loss of row ", r, " is not finite (", culprit,
                                     "); expected finite logits, weights and temperatures"));
  }

 private:
  using P = simd::Native<T>;
  static constexpr int term_count = sizeof...(Terms), lanes = P::lanes;
  template <int I>
  using TermAt = std::tuple_element_t<I, std::tuple<Terms...>>;
  template <int I>
  using StateAt = TermState<TermAt<I>, T>;

  static constexpr unsigned own_bits = (pass_bits<Terms, 0>() | ...), one_bits = (pass_bits<Terms, 1>() | ...);
  static constexpr bool needs_teacher = (Terms::needs.teacher || ...);
  static constexpr bool has_acc = (!TermState<Terms, T>::closed || ...);
  /// A loss can be left out of a round, or of a row.
  static constexpr bool may_skip = (int(TermState<Terms, T>::tempered) + ...) > 1 || (Terms::masked || ...) ||
                                   (Terms::reduction::skips_ignored_rows || ...);

  template <int I>
  static constexpr bool keeps = detail::Keeping<typename TermAt<I>::loss_type>;
  template <int I>
  static constexpr bool finishes = requires(const typename StateAt<I>::Loss& f, const StateAt<I>& s) { f.finish(s.acc, s.row); };
  /// Rows beyond this many classes leave no room for the next row in cache.
  static constexpr index_t fetch_limit = 1 << 16;

  /// The gradients of one row; null where not wanted.
  struct RowOut {
    T *student = nullptr, *teacher = nullptr, *temperature = nullptr, *extras = nullptr, *per_row = nullptr;
  };
  /// A worker's view of the row it is at. The phases work on copies of it in local variables: what a loop could reach
  /// through a pointer would be loaded again after each store of a gradient.
  struct Work {
    loss::Sum<Terms...> losses;
    std::tuple<TermState<Terms, T>...> states{};
    Softmaxes<T> own{}, one{};  ///< of this round's temperature, and of temperature one
    const T *z = nullptr, *t = nullptr;
    index_t classes = 0;
    T* buffer[2] = {};  ///< for the exponentials of `own`
    T* kept[term_count] = {};  ///< what each loss's keep() gave
    Ahead<T> ahead{};

    template <int I>
    RETORT_INLINE const auto& loss() const {
      return detail::get<I>(losses).loss;
    }
    template <int I>
    RETORT_INLINE const auto& state() const {
      return std::get<I>(states);
    }
  };

  template <class F>
  static RETORT_INLINE void each(F&& f) {
    [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
      (f(std::integral_constant<int, I>{}), ...);
    }
    (std::make_integer_sequence<int, term_count>{});
  }
  template <int I>
  const auto& loss() const {
    return detail::get<I>(losses_).loss;
  }

  // --- one row ---

  Work workspace(Arena<Cpu>& arena) const {
    Work w{.losses = losses_, .classes = classes_};
    const index_t width = (classes_ + lanes - 1) / lanes * lanes;
    const auto allocate = [&](T* (&to)[2], unsigned bits) {
      if (bits & of_student) to[0] = arena.allocate<T>(width);
      if (bits & of_teacher) to[1] = arena.allocate<T>(width);
    };
    allocate(w.buffer, own_bits);
    each([&](auto i) {
      if (keeps<i>) w.kept[i] = arena.allocate<T>(width);
    });
    allocate(w.one.e, one_bits != 0 ? own_bits | one_bits : 0);
    return w;
  }

  double row(index_t r, Work& w, const RowOut& out) const {
    const T row_weight = in_.weight.empty() ? T(1) : in_.weight.data[r];
    const std::int32_t label = in_.labels.empty() ? -1 : in_.labels.data[r];
    const bool masked = in_.mask.empty() ? label == ignored_label : in_.mask.data[r] == 0;
    bool any = false;
    each([&](auto i) {
      auto& s = std::get<i>(w.states);
      s.wanted = !(TermAt<i>::masked && masked) && !(TermAt<i>::reduction::skips_ignored_rows && label == ignored_label);
      s.done = false;
      s.coefficient = T(coefficient_[i]) * row_weight;
      s.value = T(0);
      any |= s.wanted;
    });
    const auto clear = [](T* p, index_t n) {
      if (p != nullptr) std::fill_n(p, n, T(0));
    };
    clear(out.extras, in_.extras.shape[1]);
    clear(out.temperature, 1);
    if (!any) {
      clear(out.student, classes_);
      clear(out.teacher, classes_);
      clear(out.per_row, 1);
      return 0;
    }

    w.z = in_.student.row(r);
    w.t = needs_teacher ? in_.teacher.row(r) : w.z;
    // The hardware fetches ahead within a page only, and a row is often about a page: without this every row would begin
    // with cache misses that nothing hides.
    const index_t next = r + 1 < rows_ && classes_ <= fetch_limit ? classes_ : 0;
    w.ahead = {w.z + next, w.t + next, out.student != nullptr ? out.student : w.z};
    const T top_s = ((own_bits | one_bits) & of_student) ? maximum(w.z, classes_) : T(0);
    const T top_t = ((own_bits | one_bits) & of_teacher) ? maximum(w.t, classes_) : T(0);
    for (bool first = true; first || unfinished(w); first = false) {
      const Temperatures round = choose_round(r, w, first);
      const bool at_one = round.student == T(1) && round.teacher == T(1);
      if (one_bits != 0 && first && (at_one || !squares(round))) softmaxes<one_bits, own_bits>(w.one, w, {}, at_one, top_s, top_t);
      if (one_bits != 0 && first && at_one) {
        w.own = w.one;
      } else if (own_bits != 0) {
        std::copy_n(w.buffer, 2, w.own.e);
        if (first && squares(round)) {
          if constexpr (may_square) {
            set_scales(w.own, round, top_s, top_t);
            set_scales(w.one, {}, top_s, top_t);
            exponentials<own_bits, one_bits>(w.own, w.z, w.t, w.classes, w.ahead, &w.one, squarings(round.student));
          }
        } else {
          softmaxes<own_bits, 0>(w.own, w, round, false, top_s, top_t);
        }
      }
      describe(r, w, round.student, label);
      bool every = true;
      if constexpr (may_skip) each([&](auto i) { every &= std::get<i>(w.states).active; });
      if constexpr (has_acc) {
        if (every)
          accumulate<true>(w);
        else if constexpr (may_skip)
          accumulate<false>(w);
      }
      each([&](auto i) {
        auto& s = std::get<i>(w.states);
        if (s.active) s.value = T(value(w.template loss<i>(), s));
      });
      if (out.teacher != nullptr || out.temperature != nullptr)
        gradients<true, !may_skip>(w, out, round.student, !first);
      else if (out.student != nullptr && every)
        gradients<false, true>(w, out, round.student, !first);
      else if (out.student != nullptr && may_skip)
        gradients<false, !may_skip>(w, out, round.student, !first);
      if (out.extras != nullptr) extra_gradients(w, out.extras);
    }

    double weighted = 0, plain = 0;
    each([&](auto i) {
      const auto& s = std::get<i>(w.states);
      if (!s.wanted) return;
      weighted += coefficient_[i] * double(row_weight) * double(s.value);
      plain += factor_[i] * double(s.value);
    });
    if (out.per_row != nullptr) *out.per_row = static_cast<T>(plain);
    return weighted;
  }

  struct Temperatures {
    T student{1}, teacher{1};
    bool operator==(const Temperatures&) const = default;
  };
  template <int I>
  Temperatures temperatures(index_t r) const {
    Temperatures out;
    if constexpr (StateAt<I>::tempered) {
      out.student = in_.temperature.empty() ? T(loss<I>().temperature) : in_.temperature.data[r];
      out.teacher = out.student;
      if constexpr (detail::TeacherTempered<typename TermAt<I>::loss_type>) out.teacher = T(loss<I>().teacher_temperature);
    }
    return out;
  }
  static bool unfinished(const Work& w) {
    bool any = false;
    each([&](auto i) { any |= StateAt<i>::tempered && std::get<i>(w.states).wanted && !std::get<i>(w.states).done; });
    return any;
  }
  /// The temperatures of the next round, and who takes part. One goes first: those softmaxes may serve all rounds.
  Temperatures choose_round(index_t r, Work& w, bool first) const {
    Temperatures round;
    bool found = false;
    each([&](auto i) {
      const auto& s = std::get<i>(w.states);
      if (!StateAt<i>::tempered || !s.wanted || s.done) return;
      const Temperatures mine = temperatures<i>(r);
      if (!found || mine == Temperatures{}) round = mine;
      found = true;
    });
    each([&](auto i) {
      auto& s = std::get<i>(w.states);
      s.active = s.wanted && !s.done && (StateAt<i>::tempered ? temperatures<i>(r) == round : first);
      s.done |= s.active;
    });
    return round;
  }

  /// Temperature one needs the student's exponentials alone, and the round has them at a power of it.
  static constexpr bool may_square = one_bits != 0 && (one_bits & ~(of_student | with_mean)) == 0 && (own_bits & of_student) != 0;
  static bool squares(Temperatures round) { return may_square && squarings(round.student) > 0; }

  static void set_scales(Softmaxes<T>& s, Temperatures at, T top_s, T top_t) {
    s.scale[0] = T(log2_e) / at.student;
    s.scale[1] = T(log2_e) / at.teacher;
    s.shift[0] = top_s * s.scale[0];
    s.shift[1] = top_t * s.scale[1];
  }
  /// The pass of `Bits`, or where `all` that of `Bits` and `More` together.
  template <unsigned Bits, unsigned More>
  static void softmaxes(Softmaxes<T>& s, const Work& w, Temperatures at, bool all, T top_s, T top_t) {
    set_scales(s, at, top_s, top_t);
    if (all && (More & ~Bits) != 0)
      exponentials<Bits | More>(s, w.z, w.t, w.classes, w.ahead);
    else
      exponentials<Bits>(s, w.z, w.t, w.classes, w.ahead);
  }

  /// Fills the row's statistics as each active loss sees them.
  void describe(index_t r, Work& w, T temperature, std::int32_t label) const {
    const bool labelled = label >= 0 && label < classes_;
    each([&](auto i) {
      auto& s = std::get<i>(w.states);
      if (!s.active) return;
      using S = typename StateAt<i>::Scalar;
      constexpr RowNeeds needs = TermAt<i>::needs;
      const auto side = [&](bool needed, const Softmaxes<T>& from, int k, const T* logits) {
        SoftmaxRow<S> out;
        if (!needed) return out;
        out.log_sum = S((from.shift[k] * T(ln2)) + from.log_sum[k]);
        if (needs.labels && labelled) out.log_p_label = S((logits[label] * from.scale[k] - from.shift[k]) * T(ln2) - from.log_sum[k]);
        if (k == 0) out.mean_log_p = S(from.mean_log_p);
        return out;
      };
      const Softmaxes<T>& mine = StateAt<i>::tempered ? w.own : w.one;
      Row<S>& row = s.row;
      row.classes = classes_;
      row.label = labelled ? label : -1;
      row.temperature = StateAt<i>::tempered ? S(temperature) : S(1);
      row.student = side(needs.student_softmax, mine, 0, w.z);
      row.teacher = side(needs.teacher_softmax, mine, 1, w.t);
      row.student_at_one = side(needs.student_softmax_at_one, w.one, 0, w.z);
      row.teacher_at_one = side(needs.teacher_softmax_at_one, w.one, 1, w.t);
      row.forward_kl = S(mine.forward_kl);
      row.reverse_kl = S(mine.reverse_kl);
      if constexpr (needs.other_maxima) {
        const auto other = [&](const T* p) {
          const index_t y = labelled ? label : classes_, behind = classes_ - y - 1;
          if (behind <= 0) return S(maximum(p, y));
          return S(y == 0 ? maximum(p + 1, behind) : std::max(maximum(p, y), maximum(p + y + 1, behind)));
        };
        row.student_other_max = other(w.z);
        row.teacher_other_max = other(w.t);
      }
      for (int k = 0; k < needs.extras; ++k) s.extra[k] = S(in_.extras.data[r * in_.extras.shape[1] + k]);
      row.extra = s.extra;
    });
  }

  /// The cell at class `at`, or the pack of cells that begins there, as loss I sees it.
  template <class V, int I, class S, class Span>
  static RETORT_INLINE BasicCell<V> cell(const Work& w, const Row<S>& row, index_t at, Span span) {
    constexpr RowNeeds needs = TermAt<I>::needs;
    using Index = typename detail::ValueTraits<V>::index;
    using math::fma;
    const auto load = [&](const T* p) {
      if constexpr (std::is_arithmetic_v<V>)
        return V(p[at]);
      else
        return span.load(p + at);
    };
    const V z = load(w.z), t = needs.teacher ? load(w.t) : V(S(0));
    const auto side = [&]<bool Needed>(std::bool_constant<Needed>, const Softmaxes<T>& s, int k, V logit) {
      SoftmaxCell<V> out{V(S(0)), V(S(0))};
      if constexpr (Needed) {
        out.p = load(s.e[k]) * V(S(s.inverse[k]));
        out.log_p = fma(fma(logit, V(S(s.scale[k])), V(S(-s.shift[k]))), V(S(ln2)), V(S(-s.log_sum[k])));
      }
      return out;
    };
    const Softmaxes<T>& mine = StateAt<I>::tempered ? w.own : w.one;
    Index index;
    if constexpr (std::is_arithmetic_v<V>)
      index = static_cast<Index>(at);
    else
      index = Index::iota() + Index(static_cast<typename Index::value_type>(at));
    return {z,
            t,
            index,
            index == Index(row.label),
            side(std::bool_constant<needs.student_softmax>{}, mine, 0, z),
            side(std::bool_constant<needs.teacher_softmax>{}, mine, 1, t),
            side(std::bool_constant<needs.student_softmax_at_one>{}, w.one, 0, z),
            side(std::bool_constant<needs.teacher_softmax_at_one>{}, w.one, 1, t),
            row.extra,
            row,
            V(S(0))};
  }

  /// Phase 3: accumulators of the losses over the cells, all in one sweep. `Every`: all losses take part; otherwise
  /// only those that are active.
  template <bool Every>
  __attribute__((flatten, noinline)) static void accumulate(Work& work) {
    const Work w = work;
    std::tuple<PackAcc<Terms>...> sums{};
    each([&](auto i) __attribute__((always_inline)) {
      const auto& f = w.template loss<i>();
      if constexpr (StateAt<i>::generic)
        std::get<i>(sums) = f.template identity<P>();
      else if constexpr (StateAt<i>::plain)
        for (auto& lane : std::get<i>(sums).lane) lane = f.identity();
    });
    sweep<T>(w.classes, [&](index_t at, auto part) __attribute__((always_inline)) {
      each([&](auto i) __attribute__((always_inline)) {
        if constexpr (!StateAt<i>::closed) {
          const auto& s = w.template state<i>();
          if (!Every && !s.active) return;
          const auto& f = w.template loss<i>();
          auto& sum = std::get<i>(sums);
          if constexpr (StateAt<i>::generic) {
            auto c = cell<P, i>(w, s.row, at, part);
            if constexpr (keeps<i>) {
              c.kept = f.keep(c);
              c.kept.store(w.kept[i] + at);
            }
            sum = valid_lanes<PackAcc<TermAt<i>>>(part, f.add(sum, c), sum);
          } else
            for (int l = 0; l < part.count; ++l) sum.lane[l] = f.add(sum.lane[l], cell<float, i>(w, s.row, at + l, part));
        }
      });
    });
    each([&](auto i) __attribute__((always_inline)) {
      if constexpr (StateAt<i>::generic)
        std::get<i>(work.states).acc = merge_lanes(w.template loss<i>(), std::get<i>(sums));
      else if constexpr (StateAt<i>::plain)
        std::get<i>(work.states).acc = merge_tree(w.template loss<i>(), std::get<i>(sums).lane);
      if constexpr (finishes<i>) {
        auto& state = std::get<i>(work.states);
        state.acc = w.template loss<i>().finish(state.acc, state.row);
      }
    });
  }
  /// What a loss accumulates over packs: its Acc of packs, or one plain Acc for each lane.
  template <class Acc>
  struct Lanes {
    Acc lane[lanes];
  };
  template <class Term>
  static auto pack_acc() {
    using State = TermState<Term, T>;
    if constexpr (State::generic)
      return typename State::Loss::template Acc<P>{};
    else
      return Lanes<typename State::Acc>{};
  }
  template <class Term>
  using PackAcc = decltype(pack_acc<Term>());
  /// Accumulators of packs are made of packs alone, so their lanes can be taken apart without knowing their members.
  template <class Acc, class Span>
  static RETORT_INLINE Acc valid_lanes(Span span, const Acc& next, const Acc& before) {
    if constexpr (std::is_same_v<Span, Whole<T>>) return next;
    constexpr int members = sizeof(Acc) / sizeof(P);
    P a[members], b[members];
    std::memcpy(a, &next, sizeof(Acc));
    std::memcpy(b, &before, sizeof(Acc));
    for (int k = 0; k < members; ++k) a[k] = span.keep(a[k], b[k]);
    Acc out;
    std::memcpy(&out, a, sizeof(Acc));
    return out;
  }
  template <class Loss>
  static auto merge_lanes(const Loss& f, const typename Loss::template Acc<P>& packed) {
    using PackAcc = typename Loss::template Acc<P>;
    using Acc = typename Loss::template Acc<T>;
    constexpr int members = sizeof(Acc) / sizeof(T);
    static_assert(sizeof(Acc) == members * sizeof(T) && sizeof(PackAcc) == members * sizeof(P) &&
                      std::is_trivially_copyable_v<PackAcc>,
                  "retort: the Acc<V> of a row loss may have members of type V only; see retort/functor/row_loss.hpp");
    alignas(P) T value[members][lanes];
    std::memcpy(value, &packed, sizeof(packed));
    Acc lane[lanes];
    for (int l = 0; l < lanes; ++l) {
      T member[members];
      for (int k = 0; k < members; ++k) member[k] = value[k][l];
      std::memcpy(&lane[l], member, sizeof(Acc));
    }
    return merge_tree(f, lane);
  }
  template <class Loss, class Acc>
  static Acc merge_tree(const Loss& f, Acc (&lane)[lanes]) {
    for (int width = lanes / 2; width > 0; width /= 2)
      for (int l = 0; l < width; ++l) lane[l] = f.merge(lane[l], lane[l + width]);
    return lane[0];
  }

  template <class Loss, class State>
  static auto value(const Loss& f, const State& s) {
    if constexpr (State::closed)
      return f.value(s.row);
    else if constexpr (requires { f.value(s.acc, s.row); })
      return f.value(s.acc, s.row);
    else
      return f.value(s.acc);
  }

  template <int I>
  static constexpr bool has_teacher_grad = [] {
    using State = StateAt<I>;
    using V = std::conditional_t<State::plain, float, P>;
    if constexpr (State::closed)
      return requires(const typename State::Loss& f, const BasicCell<V>& c) { f.teacher_grad(c); };
    else
      return requires(const typename State::Loss& f, const typename State::Acc& a, const BasicCell<V>& c) { f.teacher_grad(a, c); };
  }();

  /// grad (or teacher_grad) of loss I for the pack that begins at `at`.
  template <bool OfTeacher, int I, class Span>
  static RETORT_INLINE P pack_gradient(const Work& w, index_t at, Span span) {
    using State = StateAt<I>;
    const auto& f = w.template loss<I>();
    const State& s = w.template state<I>();
    const auto call = [&](const auto& c) {
      if constexpr (OfTeacher && State::closed)
        return f.teacher_grad(c);
      else if constexpr (OfTeacher)
        return f.teacher_grad(s.acc, c);
      else if constexpr (State::closed)
        return f.grad(c);
      else
        return f.grad(s.acc, c);
    };
    if constexpr (State::plain) {
      alignas(P) T out[lanes] = {};
      for (int l = 0; l < span.count; ++l) out[l] = static_cast<T>(call(cell<float, I>(w, s.row, at + l, span)));
      return P::load(out);
    } else {
      auto c = cell<P, I>(w, s.row, at, span);
      if constexpr (keeps<I>) c.kept = P::load(w.kept[I] + at);
      return call(c);
    }
  }

  /// Phase 4. `All`: to the teacher and to the temperature too. `Every` as in `accumulate`.
  template <bool All, bool Every>
  __attribute__((flatten, noinline)) static void gradients(const Work& work, const RowOut& out, T temperature, bool add) {
    const Work w = work;
    T *const gs = out.student, *const gt = out.teacher;
    P by_temperature(T(0));
    const auto put = [add](T* p, P g, auto part) {
      if (add) g += part.load(p);  // a later round
      part.store(p, g);
    };
    sweep<T>(w.classes, [&](index_t at, auto part) __attribute__((always_inline)) {
      P sum_s(T(0)), sum_t(T(0));
      each([&](auto i) __attribute__((always_inline)) {
        const auto& s = w.template state<i>();
        if (!Every && !s.active) return;
        const P factor(s.coefficient);
        const P ds = pack_gradient<false, i>(w, at, part);
        sum_s = fma(factor, ds, sum_s);
        if constexpr (All) {
          P dt(T(0));
          if constexpr (has_teacher_grad<i>) dt = pack_gradient<true, i>(w, at, part);
          sum_t = fma(factor, dt, sum_t);
          if constexpr (StateAt<i>::tempered) {
            by_temperature += part.keep(factor * (ds * part.load(w.z + at) + dt * part.load(w.t + at)), P(T(0)));
          }
        }
      });
      if (!All || gs != nullptr) put(gs + at, sum_s, part);
      if (All && gt != nullptr) put(gt + at, sum_t, part);
    });
    if (All && out.temperature != nullptr) {
      T g = -by_temperature.sum() / temperature;
      each([&](auto i) {
        const auto& s = std::get<i>(w.states);
        constexpr int power = detail::temperature_power_of<typename TermAt<i>::loss_type>();
        if (StateAt<i>::tempered && s.active) g += s.coefficient * s.value * (T(power) / temperature);
      });
      *out.temperature += g;
    }
  }

  void extra_gradients(const Work& w, T* out) const {
    each([&](auto i) {
      const auto& s = std::get<i>(w.states);
      const auto& f = loss<i>();
      if (!s.active) return;
      for (int k = 0; k < TermAt<i>::needs.extras; ++k) {
        if constexpr (requires { f.extra_grad(k, s.row); })
          out[k] += s.coefficient * T(f.extra_grad(k, s.row));
        else if constexpr (requires { f.extra_grad(k, s.acc, s.row); })
          out[k] += s.coefficient * T(f.extra_grad(k, s.acc, s.row));
      }
    });
  }

  const loss::Sum<Terms...>& losses_;
  RowBatch<T> in_;
  RowGradients<T> out_;
  index_t rows_, classes_;
  double factor_[term_count], coefficient_[term_count];
};

}  // namespace rows

struct RowLossKernels {
  /// Value and gradients of a row loss over a batch, in one pass. Returns the reduced loss.
  ///
  /// Losses without a label, teacher or mask that they need, and shapes that differ, throw shape_error; labels outside
  /// [0, C), temperatures that are not above 0, and one class under a softmax throw value_error: all before anything is
  /// written. A loss that is not finite (NaN or infinite logits) throws value_error after the rows were evaluated; the
  /// gradients are then unspecified. Deterministic, and independent of the number of threads.
  template <class Loss, class T>
  static T row_loss(Cpu& cpu, const Loss& loss, const RowBatch<T>& batch, const RowGradients<T>& out) {
    static_assert(RowLoss<Loss>,
                  "retort: a row loss needs identity(), add(acc, cell), merge(acc, acc), value(acc), grad(acc, cell); see "
                  "retort/functor/row_loss.hpp");
    if constexpr (RowLoss<Loss>) return evaluate(cpu, detail::leaves<false>(loss, 1.), batch, out);
    else return T{};
  }

  /// The same with the value in the backend's memory, as autograd wants it.
  template <class Loss, class T>
  static void row_loss(Cpu& cpu, const Loss& loss, const RowBatch<T>& batch, const RowGradients<T>& out, View<T, 1> value) {
    value.data[0] = row_loss(cpu, loss, batch, out);
  }

 private:
  template <class T, class... Terms>
  static T evaluate(Cpu& cpu, const loss::Sum<Terms...>& terms, const RowBatch<T>& batch, const RowGradients<T>& out) {
    const rows::Evaluation<T, Terms...> evaluation(terms, batch, out);
    const index_t count = batch.student.shape[0], grain = (index_t{1} << 13) / (batch.student.shape[1] + 1) + 1;
    const ArenaScope scope(cpu.scratch(0));
    double* row_loss = cpu.scratch(0).allocate<double>(count);
    cpu.parallel(count, grain, [&](index_t begin, index_t end, int worker) {
      evaluation.run(begin, end, cpu.scratch(worker), row_loss);
    });
    double total = 0;
    for (index_t r = 0; r < count; ++r) total += row_loss[r];
    if (!is_finite(total)) {
      for (index_t r = 0; r < count; ++r)
        if (!is_finite(row_loss[r])) evaluation.report(r, cpu.scratch(0));
    }
    return static_cast<T>(total);
  }
};

}  // namespace RETORT_ISA
}  // namespace cpu
}  // namespace retort
