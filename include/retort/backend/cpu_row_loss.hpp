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

  static constexpr unsigned own_bits = (pass_bits<Terms, 0>() | ...), one_bits = (pass_bits<Terms, 1>() | ...),
                            other_bits = (rows::other_bits<Terms>() | ...);
  static constexpr bool needs_teacher = (Terms::needs.teacher || ...), needs_labels = (Terms::needs.labels || ...);
  static constexpr bool has_acc = (!TermState<Terms, T>::closed || ...);
  /// A loss can be left out of a round, or of a row.
  static constexpr bool may_skip = (int(TermState<Terms, T>::tempered) + ...) > 1 || (Terms::masked || ...) ||
                                   (Terms::reduction::skips_ignored_rows || ...);

  template <int I>
  static constexpr bool keeps = detail::Keeping<typename TermAt<I>::loss_type>;
  /// Gradients do not wait for sums: phases 3 and 4 are one.
  static constexpr bool pointwise = (detail::Pointwise<typename Terms::loss_type> && ...);
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
    Softmaxes<T> other{};  ///< of this round's temperature, over the classes other than the label
    const T *z = nullptr, *t = nullptr;
    index_t classes = 0;
    index_t label = -1;  ///< -1 where there is none
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
      if (bits & keep_student) to[0] = arena.allocate<T>(width);
      if (bits & keep_teacher) to[1] = arena.allocate<T>(width);
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
    w.label = label >= 0 && label < classes_ ? label : -1;
    const T top[2] = {((own_bits | one_bits) & of_student) ? greatest(w, w.z) : T(0), ((own_bits | one_bits) & of_teacher) ? greatest(w, w.t) : T(0)};
    const T* const of_row = in_.temperature.empty() ? nullptr : in_.temperature.data + r;
    for (bool first = true; first || unfinished(w); first = false) {
      const Temperatures<T> round = choose_round<T>(first, of_row, [](auto&& f) { each(f); }, [&](auto i) -> const auto& { return loss<i>(); },
                                                    [&](auto i) -> auto& { return std::get<i>(w.states); });
      const bool at_one = round == Temperatures<T>{}, square = first && squares(round);
      if (one_bits != 0 && first && !square) softmaxes<one_bits, own_bits>(w.one, w, {}, at_one, top, round);
      if (one_bits != 0 && first && at_one) {
        w.own = w.one;
      } else if (own_bits != 0) {
        std::copy_n(w.buffer, 2, w.own.e);
        if (square) {
          if constexpr (may_square) squared_softmaxes(w, round, top);
        } else {
          softmaxes<own_bits, 0>(w.own, w, round, false, top, round);
        }
      }
      describe(r, w, round.student);
      bool every = true;
      if constexpr (may_skip) each([&](auto i) { every &= std::get<i>(w.states).active; });
      const bool fused = pointwise && every && out.student != nullptr && out.teacher == nullptr && out.temperature == nullptr;
      if constexpr (has_acc) {
        if (pointwise && fused)
          accumulate<true, pointwise>(w, out.student);
        else if (every)
          accumulate<true>(w);
        else if constexpr (may_skip)
          accumulate<false>(w);
      }
      each([&](auto i) {
        auto& s = std::get<i>(w.states);
        if (!s.active) return;
        conclude(w.template loss<i>(), s);
        s.value = T(value_of(w.template loss<i>(), s));
      });
      if (pointwise && fused)
        continue;
      else if (out.teacher != nullptr || out.temperature != nullptr)
        gradients<true, !may_skip>(w, out, round.student, !first);
      else if (out.student != nullptr && every)
        gradients<false, true>(w, out, round.student, !first);
      else if (out.student != nullptr && may_skip)
        gradients<false, !may_skip>(w, out, round.student, !first);
      if (out.extras != nullptr) each([&](auto i) {
        if (std::get<i>(w.states).active) add_extra_gradients(loss<i>(), std::get<i>(w.states), out.extras);
      });
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

  static bool unfinished(const Work& w) {
    bool any = false;
    each([&](auto i) { any |= StateAt<i>::tempered && std::get<i>(w.states).wanted && !std::get<i>(w.states).done; });
    return any;
  }
  /// Temperature one needs exponentials alone, and the round has them at a power of it.
  static constexpr bool may_square = one_bits != 0 && (one_bits & (with_forward | with_reverse | with_cross)) == 0 &&
                                     (one_bits & (of_student | of_teacher) & ~own_bits) == 0;
  static bool squares(Temperatures<T> round) {
    return may_square && squarings(round.student) > 0 && (!(one_bits & of_teacher) || round.teacher == round.student);
  }

  /// Largest logit; where softmaxes without the label are wanted, that of the other classes.
  static T greatest(const Work& w, const T* logits) {
    return other_bits != 0 && w.label >= 0 ? maximum_except(logits, w.classes, w.label) : maximum(logits, w.classes);
  }
  /// Exponents are relative to the label's logit where it leads, as for any largest one, but only as far as the exponentials of
  /// the other classes stay normal numbers at the temperatures of `round` and at one.
  static void set_scales(Softmaxes<T>& s, const Work& w, Temperatures<T> at, const T (&top)[2], Temperatures<T> round) {
    const auto side = [&](int k, const T* logits, T mine, T of_round) {
      T reference = top[k];
      if (other_bits != 0 && w.label >= 0)
        reference += std::clamp(logits[w.label] - top[k], T(0), T(std::numeric_limits<T>::max_exponent * ln2 / 3) * std::min(T(1), of_round));
      s.scale[k] = T(log2_e) / mine;
      s.shift[k] = reference * s.scale[k];
    };
    side(0, w.z, at.student, round.student);
    side(1, w.t, at.teacher, round.teacher);
  }
  /// Statistics from the sums of a pass, the label's class put in where it was left out.
  template <unsigned Bits>
  static void conclude_pass(Softmaxes<T>& s, Work& w, Sums<T>& sums, bool others) {
    if (other_bits != 0 && w.label >= 0) {
      if (others && (Bits & other_bits) == other_bits) {
        w.other = s;
        conclude<other_bits>(w.other, sums, w.classes - 1);
      }
      put_in<Bits>(s, sums, w.z, w.t, w.label);
    }
    conclude<Bits>(s, sums, w.classes);
  }
  template <unsigned Bits>
  static void pass(Softmaxes<T>& s, Work& w, bool others) {
    Sums<T> none, sums = exponentials<Bits, 0, other_bits != 0>(s, w.z, w.t, w.classes, w.ahead, w.label < 0 ? w.classes : w.label, nullptr, 0, none);
    conclude_pass<Bits>(s, w, sums, others);
  }
  /// The pass of `Bits`, or where `all` that of `Bits` and `More` together.
  template <unsigned Bits, unsigned More>
  static void softmaxes(Softmaxes<T>& s, Work& w, Temperatures<T> at, bool all, const T (&top)[2], Temperatures<T> round) {
    set_scales(s, w, at, top, round);
    if (all && (More & ~Bits) != 0)
      pass<Bits | More>(s, w, true);
    else
      pass<Bits>(s, w, all || &s == &w.own);
  }
  /// Both softmaxes from one pass.
  static void squared_softmaxes(Work& w, Temperatures<T> round, const T (&top)[2]) {
    set_scales(w.own, w, round, top, {});
    set_scales(w.one, w, {}, top, {});
    Sums<T> at_one;
    Sums<T> sums = exponentials<own_bits, one_bits, other_bits != 0>(w.own, w.z, w.t, w.classes, w.ahead, w.label < 0 ? w.classes : w.label, w.one.e,
                                                                     squarings(round.student), at_one);
    conclude_pass<own_bits>(w.own, w, sums, true);
    conclude_pass<one_bits>(w.one, w, at_one, false);
  }

  /// Fills the row's statistics as each active loss sees them.
  void describe(index_t r, Work& w, T temperature) const {
    each([&](auto i) {
      auto& s = std::get<i>(w.states);
      if (!s.active) return;
      using S = typename StateAt<i>::Scalar;
      constexpr RowNeeds needs = TermAt<i>::needs;
      const auto side = [&](bool needed, const Softmaxes<T>& from, int k, const T* logits) {
        SoftmaxRow<S> out;
        if (!needed) return out;
        out.log_sum = S((from.shift[k] * T(ln2)) + from.log_sum[k]);
        if (needs.labels && w.label >= 0)  // the exponent as the passes round it
          out.log_p_label = S(without_rounding(std::fma(logits[w.label], from.scale[k], -from.shift[k]) * T(ln2) - from.log_sum[k]));
        if (k == 0) out.mean_log_p = S(from.mean_log_p);
        return out;
      };
      const Softmaxes<T>& mine = StateAt<i>::tempered ? w.own : w.one;
      Row<S>& row = s.row;
      row.classes = classes_;
      row.label = static_cast<std::int32_t>(w.label);
      row.temperature = StateAt<i>::tempered ? S(temperature) : S(1);
      row.student = side(needs.student_softmax, mine, 0, w.z);
      row.teacher = side(needs.teacher_softmax, mine, 1, w.t);
      row.student_at_one = side(needs.student_softmax_at_one || needs.label_at_one, w.one, 0, w.z);
      row.teacher_at_one = side(needs.teacher_softmax_at_one || (needs.label_at_one && needs.teacher), w.one, 1, w.t);
      row.forward_kl = S(mine.forward_kl);
      row.reverse_kl = S(mine.reverse_kl);
      row.cross_entropy = S(mine.cross_entropy);
      if constexpr (needs.others) {
        row.student_other = side(true, w.other, 0, w.z);
        row.teacher_other = side(true, w.other, 1, w.t);
        row.other_kl = S(w.other.forward_kl);
        row.other_cross_entropy = S(w.other.cross_entropy);
      }
      for (int k = 0; k < needs.extras; ++k) s.extra[k] = S(in_.extras.data[r * in_.extras.shape[1] + k]);
      row.extra = s.extra;
    });
  }

  /// The cell at class `at`, or the pack of cells that begins there, as loss I sees it; without `Label` the label looks like
  /// any other class.
  template <class V, int I, bool Label, class S, class Span>
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
    const auto other = [&](int k) {
      if constexpr (needs.others)
        return load(w.other.e[k]) * V(S(w.other.inverse[k]));
      else
        return V(S(0));
    };
    typename detail::ValueTraits<V>::mask is_label{};
    if constexpr (Label) is_label = index == Index(row.label);
    return {z,
            t,
            index,
            is_label,
            side(std::bool_constant<needs.student_softmax>{}, mine, 0, z),
            side(std::bool_constant<needs.teacher_softmax>{}, mine, 1, t),
            side(std::bool_constant<needs.student_softmax_at_one>{}, w.one, 0, z),
            side(std::bool_constant<needs.teacher_softmax_at_one>{}, w.one, 1, t),
            row.extra,
            row,
            V(S(0)),
            other(0),
            other(1)};
  }

  /// Phase 3: accumulators of the losses over the cells, all in one sweep. `Every`: all losses take part; otherwise
  /// only those that are active. `Fused`: phase 4 too, gradients to `gs`.
  template <bool Every, bool Fused = false>
  __attribute__((flatten, noinline)) static void accumulate(Work& work, T* gs = nullptr) {
    const Work w = work;
    using All = std::tuple<PackAcc<Terms>...>;
    const auto begin = [&](All& sums) {
      each([&](auto i) __attribute__((always_inline)) {
        const auto& f = w.template loss<i>();
        if constexpr (StateAt<i>::generic)
          std::get<i>(sums) = f.template identity<P>();
        else if constexpr (StateAt<i>::plain)
          for (auto& lane : std::get<i>(sums).lane) lane = f.identity();
      });
    };
    const auto body = [&](index_t at, auto part, All& sums) __attribute__((always_inline)) {
      if (Fused && at % w.ahead.line == 0) w.ahead.fetch(at);
      P gradient(T(0));
      each([&](auto i) __attribute__((always_inline)) {
        if constexpr (!StateAt<i>::closed) {
          const auto& s = w.template state<i>();
          if (!Every && !s.active) return;
          const auto& f = w.template loss<i>();
          auto& sum = std::get<i>(sums);
          if constexpr (StateAt<i>::generic) {
            auto c = cell<P, i, true>(w, s.row, at, part);
            if constexpr (keeps<i>) {
              c.kept = f.keep(c);
              c.kept.store(w.kept[i] + at);
            }
            if constexpr (Fused) gradient = add_product(gradient, s.coefficient, f.grad(s.acc, c));
            sum = valid_lanes(part, f.add(sum, c), sum);
          } else
            for (int l = 0; l < part.count; ++l) sum.lane[l] = f.add(sum.lane[l], cell<float, i, true>(w, s.row, at + l, part));
        }
      });
      if constexpr (Fused) part.store(gs + at, gradient);
    };
    All sums{};
    begin(sums);
    index_t at = 0;
    if constexpr (Fused) {  // so little work that a sum would wait for the one before it: two chains
      All second{};
      begin(second);
      for (; at + 2 * lanes <= w.classes; at += 2 * lanes) {
        body(at, Whole<T>{}, sums);
        body(at + lanes, Whole<T>{}, second);
      }
      each([&](auto i) { std::get<i>(sums) = w.template loss<i>().merge(std::get<i>(sums), std::get<i>(second)); });
    }
    for (; at + lanes <= w.classes; at += lanes) body(at, Whole<T>{}, sums);
    All all = sums;  // of which addresses may be taken: the loop's own stay in registers
    if (at < w.classes) body(at, Rest<T>{static_cast<int>(w.classes - at)}, all);
    each([&](auto i) __attribute__((always_inline)) {
      if constexpr (StateAt<i>::generic)
        std::get<i>(work.states).acc = merge_lanes(w.template loss<i>(), std::get<i>(all));
      else if constexpr (StateAt<i>::plain)
        std::get<i>(work.states).acc = merge_tree(w.template loss<i>(), std::get<i>(all).lane);
    });
  }
  /// What a loss accumulates over packs: its Acc of packs, or one plain Acc for each lane; a closed loss nothing.
  template <class Acc>
  struct Lanes {
    Acc lane[lanes];
  };
  struct Nothing {};
  template <class Term>
  static auto pack_acc() {
    using State = TermState<Term, T>;
    if constexpr (State::generic)
      return typename State::Loss::template Acc<P>{};
    else if constexpr (State::plain)
      return Lanes<typename State::Acc>{};
    else
      return Nothing{};
  }
  template <class Term>
  using PackAcc = decltype(pack_acc<Term>());
  /// Accumulators of packs are made of packs alone, so their lanes can be taken apart without knowing their members. By value
  /// and out of line: where their address is taken, GCC keeps them in memory, and copies more than four of them by a call.
  template <class Acc>
  static RETORT_INLINE Acc valid_lanes(Whole<T>, Acc next, Acc) {
    return next;
  }
  template <class Acc>
  [[gnu::noinline]] static Acc valid_lanes(Rest<T> span, Acc next, Acc before) {
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
  [[gnu::noinline]] static auto merge_lanes(const Loss& f, typename Loss::template Acc<P> packed) {
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

  template <int I>
  static constexpr bool has_teacher_grad = has_teacher_gradient<StateAt<I>, BasicCell<std::conditional_t<StateAt<I>::plain, float, P>>>;

  /// grad (or teacher_grad) of loss I for the pack that begins at `at`.
  template <bool OfTeacher, int I, bool Label, class Span>
  static RETORT_INLINE auto pack_gradient(const Work& w, index_t at, Span span) {
    const auto& f = w.template loss<I>();
    const auto& s = w.template state<I>();
    if constexpr (StateAt<I>::plain) {
      alignas(P) T out[lanes] = {};
      for (int l = 0; l < span.count; ++l) out[l] = static_cast<T>(gradient_of<OfTeacher>(f, s, cell<float, I, true>(w, s.row, at + l, span)));
      return P::load(out);
    } else {
      auto c = cell<P, I, Label>(w, s.row, at, span);
      if constexpr (keeps<I>) c.kept = P::load(w.kept[I] + at);
      return gradient_of<OfTeacher>(f, s, c);
    }
  }
  static RETORT_INLINE P add_product(P sum, T factor, P value) { return fma(P(factor), value, sum); }
  static RETORT_INLINE P add_product(P sum, T factor, const RowScaled<P>& g) { return fma(P(factor * g.factor), g.value, sum); }
  /// The gradient to the student's logit of one class.
  static T class_gradient(const Work& w, index_t at) {
    T sum = 0;
    each([&](auto i) {
      const auto& s = w.template state<i>();
      if (!s.active) return;
      auto c = cell<typename StateAt<i>::Scalar, i, true>(w, s.row, at, Whole<T>{});
      if constexpr (keeps<i>) c.kept = w.kept[i][at];
      sum += s.coefficient * T(gradient_of<false>(w.template loss<i>(), s, c));
    });
    return sum;
  }

  /// Phase 4. `All`: to the teacher and to the temperature too. `Every` as in `accumulate`.
  template <bool All, bool Every>
  __attribute__((flatten, noinline)) static void gradients(const Work& work, const RowOut& out, T temperature, bool add) {
    const Work w = work;
    T *const gs = out.student, *const gt = out.teacher;
    // The label's class is another formula in losses with labels: it gets its gradient behind the loop, which then needs no
    // choice between the two in every lane.
    constexpr bool apart = needs_labels && !All;
    const T before = apart && add && w.label >= 0 ? gs[w.label] : T(0);
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
        const auto ds = pack_gradient<false, i, !apart>(w, at, part);
        sum_s = add_product(sum_s, s.coefficient, ds);
        if constexpr (All) {
          const P factor(s.coefficient);
          P dt(T(0));
          if constexpr (has_teacher_grad<i>) dt = pack_gradient<true, i, true>(w, at, part);
          sum_t = fma(factor, dt, sum_t);
          if constexpr (StateAt<i>::by_row) {
            by_temperature += part.keep(factor * (P(ds) * part.load(w.z + at) + dt * part.load(w.t + at)), P(T(0)));
          }
        }
      });
      if (!All || gs != nullptr) put(gs + at, sum_s, part);
      if (All && gt != nullptr) put(gt + at, sum_t, part);
    });
    if (apart && w.label >= 0) gs[w.label] = before + class_gradient(w, w.label);
    if (All && out.temperature != nullptr) {
      T g = -by_temperature.sum() / temperature;
      each([&](auto i) {
        const auto& s = std::get<i>(w.states);
        constexpr int power = detail::temperature_power_of<typename TermAt<i>::loss_type>();
        if (StateAt<i>::by_row && s.active) g += s.coefficient * s.value * (T(power) / temperature);
      });
      *out.temperature += g;
    }
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
                  "retort/functor/row_loss.hpp; losses of features are added by loss::Joint");
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
