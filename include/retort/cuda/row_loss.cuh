#pragma once
// The row-loss engine of the GPU: any sum of row losses as one kernel. The threads of a group share a row: a warp where
// there are few classes, a block where there are many. The phases are those of functor/row_loss.hpp, with one sweep for
// maxima and sums together; a row that fits the caches comes from memory once. Threads read and write sixteen bytes at a time
// where a row has them in line, and ask for the next while they work on these.
//
// Compiled, and run under the CPU emulation of tests/cuda; not yet run on a device.

#include <retort/backend/row_check.hpp>
#include <retort/cuda/launch.cuh>
#include <retort/loss/combine.hpp>

namespace retort {
namespace cuda {
inline namespace RETORT_CUDA_ABI {
namespace rows {

using namespace retort::detail::rows;

/// Exponents are to base two and relative to the row's first logit, so that large logits cancel before they are rounded:
/// u = (z - z_0) * scale. Sums are of 2^(u - greatest u). One side: [0] the student's, [1] the teacher's.
template <class T>
struct Sums {
  T total[2];       ///< sum of e
  T gap_f, gap_r;   ///< sum of e_t (u_t - u_s), of e_s (u_s - u_t)
  T cross;          ///< sum of e_t u_s
};

/// What one sweep over a row finds, or a part of it: the greatest logits (relative) and the sums at this round's
/// temperature and at one. Parts in any split merge to the same up to rounding.
template <class T>
struct RowStatistics {
  T greatest[2];
  Sums<T> own, one;
  T sum_z;  ///< of the student's relative logits
};

template <class T>
struct Scales {
  T own[2], one[2];
};

template <unsigned OwnBits, unsigned OneBits>
struct Online {
  template <class T>
  static RETORT_HD RowStatistics<T> nothing() {
    constexpr T lowest = sizeof(T) == 4 ? T(-3.402823466e38) : T(-1.7976931348623157e308);
    return {{lowest, lowest}, {{T(0), T(0)}, T(0), T(0), T(0)}, {{T(0), T(0)}, T(0), T(0), T(0)}, T(0)};
  }
  /// Takes one class in, given its logits relative to the row's first.
  template <class T>
  static RETORT_HD void push(RowStatistics<T>& s, const Scales<T>& k, T z, T t) {
    raise(s, k, z, t);
    add<OwnBits>(s.own, k.own, s.greatest, z, t);
    add<OneBits>(s.one, k.one, s.greatest, z, t);
    if constexpr ((OwnBits | OneBits) & with_mean) s.sum_z += z;
  }
  template <class T>
  static RETORT_HD RowStatistics<T> merge(RowStatistics<T> a, RowStatistics<T> b, const Scales<T>& k) {
    raise(a, k, b.greatest[0], b.greatest[1]);
    raise(b, k, a.greatest[0], a.greatest[1]);
    join(a.own, b.own);
    join(a.one, b.one);
    a.sum_z += b.sum_z;
    return a;
  }

 private:
  static constexpr bool has_student = (OwnBits | OneBits) & of_student, has_teacher = (OwnBits | OneBits) & of_teacher;

  /// Lets the reference grow to at least z and t; the sums shrink accordingly.
  template <class T>
  static RETORT_HD void raise(RowStatistics<T>& s, const Scales<T>& k, T z, T t) {
    using namespace math;
    if (has_student && z > s.greatest[0]) {
      if constexpr (OwnBits & of_student) shrink(s.own, 0, exp2((s.greatest[0] - z) * k.own[0]));
      if constexpr (OneBits & of_student) shrink(s.one, 0, exp2((s.greatest[0] - z) * k.one[0]));
      s.greatest[0] = z;
    }
    if (has_teacher && t > s.greatest[1]) {
      if constexpr (OwnBits & of_teacher) shrink(s.own, 1, exp2((s.greatest[1] - t) * k.own[1]));
      if constexpr (OneBits & of_teacher) shrink(s.one, 1, exp2((s.greatest[1] - t) * k.one[1]));
      s.greatest[1] = t;
    }
  }
  template <class T>
  static RETORT_HD void shrink(Sums<T>& s, int side, T by) {
    s.total[side] *= by;
    (side == 0 ? s.gap_r : s.gap_f) *= by;
    if (side == 1) s.cross *= by;
  }
  template <unsigned Bits, class T>
  static RETORT_HD void add(Sums<T>& s, const T (&scale)[2], const T (&greatest)[2], T z, T t) {
    using namespace math;
    [[maybe_unused]] const T us = z * scale[0], ut = t * scale[1];
    if constexpr (Bits & of_student) {
      const T e = exp2((z - greatest[0]) * scale[0]);
      s.total[0] += e;
      if constexpr (Bits & with_reverse) s.gap_r += e * (us - ut);
    }
    if constexpr (Bits & of_teacher) {
      const T e = exp2((t - greatest[1]) * scale[1]);
      s.total[1] += e;
      if constexpr (Bits & with_forward) s.gap_f += e * (ut - us);
      if constexpr (Bits & with_cross) s.cross += e * us;
    }
  }
  template <class T>
  static RETORT_HD void join(Sums<T>& a, const Sums<T>& b) {
    a.total[0] += b.total[0];
    a.total[1] += b.total[1];
    a.gap_f += b.gap_f;
    a.gap_r += b.gap_r;
    a.cross += b.cross;
  }
};

/// The softmaxes of a row at one temperature, from the row's statistics.
template <class T>
struct Softmaxes {
  T scale[2], greatest[2], inverse[2], log_sum[2], forward_kl, reverse_kl, cross_entropy, mean_log_p;

  template <unsigned Bits>
  static RETORT_HD Softmaxes of(const RowStatistics<T>& s, const Sums<T>& sums, const T (&scale)[2], std::int64_t classes) {
    using namespace math;
    Softmaxes out{};
    for (int k = 0; k < 2; ++k) {
      if (!(Bits & (k == 0 ? of_student : of_teacher))) continue;
      out.scale[k] = scale[k];
      out.greatest[k] = s.greatest[k];
      out.inverse[k] = T(1) / sums.total[k];
      out.log_sum[k] = log(sums.total[k]);
    }
    const T ms = s.greatest[0] * scale[0], mt = s.greatest[1] * scale[1];
    if constexpr (Bits & with_forward) out.forward_kl = T(ln2) * (sums.gap_f * out.inverse[1] - mt + ms) + (out.log_sum[0] - out.log_sum[1]);
    if constexpr (Bits & with_reverse) out.reverse_kl = T(ln2) * (sums.gap_r * out.inverse[0] - ms + mt) - (out.log_sum[0] - out.log_sum[1]);
    if constexpr (Bits & with_cross) out.cross_entropy = out.log_sum[0] + T(ln2) * (ms - sums.cross * out.inverse[1]);
    if constexpr (Bits & with_mean) out.mean_log_p = T(ln2) * (s.sum_z / T(classes) - s.greatest[0]) * scale[0] - out.log_sum[0];
    return out;
  }
  /// Of a relative logit.
  RETORT_HD SoftmaxCell<T> cell(int side, T z) const {
    using namespace math;
    const T y = (z - greatest[side]) * scale[side];
    return {exp2(y) * inverse[side], y * T(ln2) - log_sum[side]};
  }
};

/// All softmaxes of a row in a round: at the round's temperature, at one, and at the round's over the classes other than the
/// label; and the row's first logits, which all of them are relative to.
template <class T>
struct Views {
  Softmaxes<T> own, one, other;
  T origin[2];
};

/// The arguments of a launch: pointers and numbers only.
template <class T, class Stored, class... Terms>
struct Arguments {
  loss::Sum<Terms...> losses;
  const Stored *student, *teacher;
  const std::int32_t* labels;
  const std::uint8_t* mask;
  const T *weight, *temperature, *extras;
  Stored *d_student, *d_teacher;
  T *d_temperature, *d_extras, *per_row;
  double* row_loss;
  const double* counted;  ///< rows that TokenMean counts
  index_t rows, of_rows;
  int classes, extra_columns;
};

/// A number of a term: std::integral_constant converts on the host only.
template <int I>
struct Index {
  RETORT_HD constexpr operator int() const { return I; }
};

template <int I, class Term, class T>
struct Slot {
  TermState<Term, T> state;
};
template <class Indices, class T, class... Terms>
struct Slots;
template <int... I, class T, class... Terms>
struct Slots<std::integer_sequence<int, I...>, T, Terms...> : Slot<I, Terms, T>... {};
template <int I, class Term, class T>
__device__ inline TermState<Term, T>& state_at(Slot<I, Term, T>& s) {
  return s.state;
}

/// Sixteen bytes of a row: what a thread takes at once. In words, since an array of BFloat16 would take a register for each.
template <class Stored>
struct Piece {
  static constexpr int size = 16 / sizeof(Stored), half = size / 2;
  unsigned word[4];
  RETORT_HD Stored operator[](int j) const {
    Stored out;
    if constexpr (sizeof(Stored) == 2) {
      const auto bits = static_cast<std::uint16_t>(word[j / 2] >> (16 * (j % 2)));
      memcpy(&out, &bits, sizeof out);
    } else {
      memcpy(&out, word + j * (sizeof(Stored) / 4), sizeof out);
    }
    return out;
  }
  RETORT_HD void set(int j, Stored x) {
    if constexpr (sizeof(Stored) == 2) {
      std::uint16_t bits;
      memcpy(&bits, &x, sizeof bits);
      word[j / 2] = j % 2 ? (word[j / 2] & 0xffffu) | unsigned{bits} << 16 : (word[j / 2] & 0xffff0000u) | bits;
    } else {
      memcpy(word + j * (sizeof(Stored) / 4), &x, sizeof x);
    }
  }
  RETORT_HD void swap_halves() {
    const unsigned low[2] = {word[0], word[1]};
    word[0] = word[2], word[1] = word[3], word[2] = low[0], word[3] = low[1];
  }
};

/// How a group walks along a row of several arrays: each thread takes every G::threads-th piece, pieces being cut where the
/// address of the first array is a multiple of sixteen bytes. A piece at class c holds the classes c, c + 1 ...; it is moved at once where it lies inside
/// the row and all arrays are cut alike, class by class elsewhere.
template <class G, class T, class Stored>
class Walk {
 public:
  using Part = Piece<Stored>;
  static constexpr int stride = G::threads * Part::size;

  /// Arrays that are not there are null.
  template <class... Rows>
  __device__ Walk(int classes, const Stored* row, const Rows*... rows)
      : classes_(classes), first_(G::rank() * Part::size - lead(row)), alike_((... && (!rows || lead(rows) == lead(row)))) {}

  /// f(class of the piece) for each piece of this thread.
  template <class F>
  __device__ void each(F&& f) const {
    for (int c = first_; c < classes_; c += stride) f(c);
  }
  /// f(class of the pieces, piece of z, piece of t): the next pieces are on their way while f works on these.
  template <bool Both, class F>
  __device__ void each(const Stored* z, const Stored* t, F&& f) const {
    Part next_z = load(z, first_), next_t = Both ? load(t, first_) : Part{};
    each([&](int c) {
      const Part z_here = next_z, t_here = Both ? next_t : next_z;
      next_z = load(z, c + stride);
      if constexpr (Both) next_t = load(t, c + stride);
      f(c, z_here, t_here);
    });
  }
  /// f(class, j, z, t) for the classes of the pieces at c; f may set element j of `g`. Half a piece at a time: unrolled as a whole,
  /// the classes of a piece take so many registers that half of the threads no longer fit.
  template <class F, class... Gradients>
  __device__ void classes(int c, Part z, Part t, F&& f, Gradients&... g) const {
    RETORT_KEEP_LOOP
    for (int h = 0; h < 2; ++h) {
      RETORT_UNROLL
      for (int j = 0; j < Part::half; ++j)
        if (const int k = c + h * Part::half + j; has(k)) f(k, j, T(z[j]), T(t[j]));
      z.swap_halves(), t.swap_halves(), (g.swap_halves(), ...);
    }
  }
  // Through void*: nvcc 13 makes wrong code of __builtin_assume_aligned on other pointers.
  __device__ Part load(const Stored* row, int c) const {
    Part out{};
    if (whole(c)) {
      memcpy(out.word, __builtin_assume_aligned(static_cast<const void*>(row + c), 16), 16);
    } else {
      RETORT_UNROLL
      for (int j = 0; j < Part::size; ++j)
        if (has(c + j)) out.set(j, row[c + j]);
    }
    return out;
  }
  __device__ void store(Stored* row, int c, const Part& piece) const {
    if (whole(c)) {
      memcpy(__builtin_assume_aligned(static_cast<void*>(row + c), 16), piece.word, 16);
    } else {
      RETORT_UNROLL
      for (int j = 0; j < Part::size; ++j)
        if (has(c + j)) row[c + j] = piece[j];
    }
  }

 private:
  static __device__ int lead(const Stored* row) { return static_cast<int>(reinterpret_cast<std::uintptr_t>(row) % 16 / sizeof(Stored)); }
  __device__ bool has(int c) const { return static_cast<unsigned>(c) < static_cast<unsigned>(classes_); }
  __device__ bool whole(int c) const { return alike_ && c >= 0 && c <= classes_ - Part::size; }
  int classes_, first_;
  bool alike_;
};

/// One row in the hands of one group.
template <class G, class T, class Stored, class... Terms>
class Evaluation {
 public:
  using Args = Arguments<T, Stored, Terms...>;

  static __device__ void row(const Args& a, index_t r) {
    const T weight = a.weight ? a.weight[r] : T(1);
    const std::int32_t label = a.labels ? a.labels[r] : -1;
    const bool masked = a.mask ? a.mask[r] == 0 : label == ignored_label;
    const bool labelled = label >= 0 && label < a.classes;
    States states;
    bool any = false, bad_label = false;
    each([&](auto i) {
      auto& s = state_at<i>(states);
      using Term = TermAt<i>;
      s.wanted = !(Term::masked && masked) && !(Term::reduction::skips_ignored_rows && label == ignored_label);
      s.done = false;
      const double divisor = Term::reduction::divisor(double(a.of_rows), a.counted ? *a.counted : double(a.of_rows), double(a.classes));
      s.coefficient = divisor > 0 ? T(detail::get<i>(a.losses).factor / divisor) * weight : T(0);
      s.value = T(0);
      any |= s.wanted;
      bad_label |= s.wanted && Term::needs.labels && !labelled;
    });
    const Stored* z = a.student + r * a.classes;
    const Stored* t = needs_teacher ? a.teacher + r * a.classes : z;
    Stored* gs = a.d_student ? a.d_student + r * a.classes : nullptr;
    Stored* gt = a.d_teacher ? a.d_teacher + r * a.classes : nullptr;
    T* ge = a.d_extras ? a.d_extras + r * a.extra_columns : nullptr;
    if (G::rank() == 0) {
      for (int k = 0; ge && k < a.extra_columns; ++k) ge[k] = T(0);
      if (a.d_temperature) a.d_temperature[r] = T(0);
    }
    const Steps walk(a.classes, z, t, gs, gt);
    if (!any) {
      const Part zero{};
      walk.each([&](int c) {
        if (gs) walk.store(gs, c, zero);
        if (gt) walk.store(gt, c, zero);
      });
      if (G::rank() == 0) finish_row(a, r, 0, 0);
      return;
    }

    Views<T> seen{{}, {}, {}, {T(z[0]), T(t[0])}};
    const T* const of_row = a.temperature ? a.temperature + r : nullptr;
    for (bool first = true; first || unfinished(states); first = false) {
      const Temperatures<T> round = choose_round<T>(first, of_row, [](auto&& f) { each(f); }, [&](auto i) -> const auto& { return loss<i>(a); },
                                                    [&](auto i) -> auto& { return state_at<i>(states); });
      const Scales<T> scales{{T(log2_e) / round.student, T(log2_e) / round.teacher}, {T(log2_e), T(log2_e)}};
      if constexpr ((own_bits | one_bits) != 0) {
        const RowStatistics<T> found = sweep<Once>(walk, scales, z, t, seen, -1);
        seen.own = Softmaxes<T>::template of<own_bits>(found, found.own, scales.own, a.classes);
        seen.one = Softmaxes<T>::template of<one_bits>(found, found.one, scales.one, a.classes);
      }
      if constexpr (other_bits != 0) {  // in a sweep of its own: no statistics can lose a class again
        const RowStatistics<T> found = sweep<Online<other_bits, 0>>(walk, scales, z, t, seen, labelled ? label : -1);
        seen.other = Softmaxes<T>::template of<other_bits>(found, found.own, scales.own, a.classes - 1);
      }
      each([&](auto i) {
        auto& s = state_at<i>(states);
        if (s.active) describe<i>(a, r, s, seen, round.student, labelled ? label : -1, z, t);
      });
      if constexpr (has_acc) accumulate(a, walk, states, seen, z, t);
      each([&](auto i) {
        auto& s = state_at<i>(states);
        if (!s.active) return;
        conclude(loss<i>(a), s);
        s.value = T(value_of(loss<i>(a), s));
      });
      if (gt || a.d_temperature)
        gradients<true>(a, walk, r, states, seen, z, t, gs, gt, round.student, !first);
      else if (gs)
        gradients<false>(a, walk, r, states, seen, z, t, gs, gt, round.student, !first);
      if (ge && G::rank() == 0) each([&](auto i) {
        if (state_at<i>(states).active) add_extra_gradients(loss<i>(a), state_at<i>(states), ge);
      });
    }
    if (G::rank() == 0) {
      double weighted = bad_label ? not_a_number() : 0., plain = weighted;
      each([&](auto i) {
        const auto& s = state_at<i>(states);
        if (!s.wanted) return;
        weighted += double(s.coefficient) * double(s.value);
        plain += detail::get<i>(a.losses).factor * double(s.value);
      });
      finish_row(a, r, weighted, plain);
    }
  }

 private:
  using Steps = Walk<G, T, Stored>;
  using Part = Piece<Stored>;
  static constexpr int term_count = sizeof...(Terms);
  using States = Slots<std::make_integer_sequence<int, term_count>, T, Terms...>;
  // Through a function, not through the pack: nvcc 13 loses the pack of an alias template that a generic lambda uses.
  template <int I>
  using StateAt = std::remove_reference_t<decltype(state_at<I>(std::declval<States&>()))>;
  template <int I>
  using TermAt = typename StateAt<I>::term;

 public:
  template <int I>
  static constexpr bool has_teacher_grad = has_teacher_gradient<StateAt<I>, BasicCell<typename StateAt<I>::Scalar>>;

 private:
  static constexpr unsigned own_bits = (pass_bits<Terms, 0>() | ...), one_bits = (pass_bits<Terms, 1>() | ...),
                            other_bits = (rows::other_bits<Terms>() | ...);
  using Once = Online<own_bits, one_bits>;
  static constexpr bool needs_teacher = (Terms::needs.teacher || ...);
  static constexpr bool has_acc = (!TermState<Terms, T>::closed || ...);

  template <class F, int... I>
  static __device__ void each_of(F& f, std::integer_sequence<int, I...>) {
    (f(Index<I>{}), ...);
  }
  template <class F>
  static __device__ void each(F&& f) {
    each_of(f, std::make_integer_sequence<int, term_count>{});
  }
  template <int I>
  static __device__ const auto& loss(const Args& a) {
    return detail::get<I>(a.losses).loss;
  }
  static __device__ double not_a_number() { return std::exp2(2000.) - std::exp2(2000.); }
  static __device__ void finish_row(const Args& a, index_t r, double weighted, double plain) {
    a.row_loss[r] = weighted;
    if (a.per_row) a.per_row[r] = T(plain);
  }

  static __device__ bool unfinished(States& states) {
    bool any = false;
    each([&](auto i) { any |= StateAt<i>::tempered && state_at<i>(states).wanted && !state_at<i>(states).done; });
    return any;
  }
  /// What `Pass` finds in a row without the class `hole`, -1 for none.
  template <class Pass>
  static __device__ RowStatistics<T> sweep(const Steps& walk, const Scales<T>& scales, const Stored* z, const Stored* t, const Views<T>& seen, int hole) {
    RowStatistics<T> found = Pass::template nothing<T>();
    walk.template each<needs_teacher>(z, t, [&](int c, const Part& zs, const Part& ts) {
      walk.classes(c, zs, ts, [&](int k, int, T zk, T tk) {
        if (k != hole) Pass::push(found, scales, zk - seen.origin[0], tk - seen.origin[1]);
      });
    });
    return G::reduce(found, [&](const RowStatistics<T>& p, const RowStatistics<T>& q) { return Pass::merge(p, q, scales); });
  }

  /// Fills the row's statistics as loss I sees them.
  template <int I>
  static __device__ void describe(const Args& a, index_t r, StateAt<I>& s, const Views<T>& seen, T temperature, std::int32_t label,
                                  const Stored* z, const Stored* t) {
    using S = typename StateAt<I>::Scalar;
    constexpr RowNeeds needs = TermAt<I>::needs;
    const auto side = [&](const Softmaxes<T>& from, int k, const Stored* logits) {
      SoftmaxRow<S> out;
      const T origin = seen.origin[k];
      out.log_sum = S(T(ln2) * (from.greatest[k] * from.scale[k]) + origin * (from.scale[k] * T(ln2)) + from.log_sum[k]);
      if (needs.labels && label >= 0) out.log_p_label = S(without_rounding(from.cell(k, T(logits[label]) - origin).log_p));
      if (k == 0) out.mean_log_p = S(from.mean_log_p);
      return out;
    };
    const Softmaxes<T>& mine = StateAt<I>::tempered ? seen.own : seen.one;
    Row<S>& row = s.row;
    row.classes = a.classes;
    row.label = label;
    row.temperature = StateAt<I>::tempered ? S(temperature) : S(1);
    if constexpr (needs.student_softmax) row.student = side(mine, 0, z);
    if constexpr (needs.teacher_softmax) row.teacher = side(mine, 1, t);
    if constexpr (needs.student_softmax_at_one || needs.label_at_one) row.student_at_one = side(seen.one, 0, z);
    if constexpr (needs.teacher_softmax_at_one || (needs.label_at_one && needs.teacher)) row.teacher_at_one = side(seen.one, 1, t);
    row.forward_kl = S(mine.forward_kl);
    row.reverse_kl = S(mine.reverse_kl);
    row.cross_entropy = S(mine.cross_entropy);
    if constexpr (needs.others) {
      row.student_other = side(seen.other, 0, z);
      row.teacher_other = side(seen.other, 1, t);
      row.other_kl = S(seen.other.forward_kl);
      row.other_cross_entropy = S(seen.other.cross_entropy);
    }
    if constexpr (needs.extras > 0) {
      for (int k = 0; k < needs.extras; ++k) s.extra[k] = S(a.extras[r * a.extra_columns + k]);
      row.extra = s.extra;
    }
  }

  template <int I, class S>
  static __device__ BasicCell<S> cell(const Row<S>& row, const Views<T>& seen, T z, T t, int c) {
    constexpr RowNeeds needs = TermAt<I>::needs;
    const Softmaxes<T>& mine = StateAt<I>::tempered ? seen.own : seen.one;
    const T zr = z - seen.origin[0], tr = t - seen.origin[1];
    SoftmaxCell<S> at[4] = {};
    S other[2] = {};
    const auto fill = [](SoftmaxCell<S>& to, const SoftmaxCell<T>& from) { to = {S(from.p), S(from.log_p)}; };
    if constexpr (needs.student_softmax) fill(at[0], mine.cell(0, zr));
    if constexpr (needs.teacher_softmax) fill(at[1], mine.cell(1, tr));
    if constexpr (needs.student_softmax_at_one) fill(at[2], seen.one.cell(0, zr));
    if constexpr (needs.teacher_softmax_at_one) fill(at[3], seen.one.cell(1, tr));
    if constexpr (needs.others)
      if (c != row.label) other[0] = S(seen.other.cell(0, zr).p), other[1] = S(seen.other.cell(1, tr).p);
    return {S(z), S(t), c, c == row.label, at[0], at[1], at[2], at[3], row.extra, row, S(0), other[0], other[1]};
  }

  static __device__ void accumulate(const Args& a, const Steps& walk, States& states, const Views<T>& seen, const Stored* z, const Stored* t) {
    each([&](auto i) {
      auto& s = state_at<i>(states);
      if constexpr (StateAt<i>::generic)
        s.acc = loss<i>(a).template identity<T>();
      else if constexpr (StateAt<i>::plain)
        s.acc = loss<i>(a).identity();
    });
    walk.template each<needs_teacher>(z, t, [&](int c, const Part& zs, const Part& ts) {
      walk.classes(c, zs, ts, [&](int k, int, T zk, T tk) {
        each([&](auto i) {
          auto& s = state_at<i>(states);
          if constexpr (!StateAt<i>::closed) {
            if (!s.active) return;
            auto x = cell<i>(s.row, seen, zk, tk, k);
            if constexpr (detail::Keeping<typename TermAt<i>::loss_type>) x.kept = loss<i>(a).keep(x);
            s.acc = loss<i>(a).add(s.acc, x);
          }
        });
      });
    });
    each([&](auto i) {
      auto& s = state_at<i>(states);
      if constexpr (!StateAt<i>::closed) {  // all threads of the group agree on `active`
        if (!s.active) return;
        const auto& f = loss<i>(a);
        using Acc = typename StateAt<i>::Acc;
        s.acc = G::reduce(s.acc, [&f](const Acc& p, const Acc& q) { return f.merge(p, q); });
      }
    });
  }

  /// `Both`: by the teacher's logits or the temperature too. Apart from the student's alone, since those take half of the
  /// instructions of this loop, whether they are wanted or not.
  template <bool Both>
  static __device__ void gradients(const Args& a, const Steps& walk, index_t r, States& states, const Views<T>& seen, const Stored* z, const Stored* t,
                                   Stored* gs, Stored* gt, T temperature, bool add) {
    T by_temperature(0);
    walk.template each<needs_teacher>(z, t, [&](int c, const Part& zs, const Part& ts) {
      Part ds_here{}, dt_here{};
      if (add && gs) ds_here = walk.load(gs, c);
      if (Both && add && gt) dt_here = walk.load(gt, c);
      walk.classes(c, zs, ts, [&](int k, int j, T zk, T tk) {
        T sum_s(0), sum_t(0);
        each([&](auto i) {
          auto& s = state_at<i>(states);
          if (!s.active) return;
          const auto& f = loss<i>(a);
          auto x = cell<i>(s.row, seen, zk, tk, k);
          if constexpr (detail::Keeping<typename TermAt<i>::loss_type>) x.kept = f.keep(x);
          const T ds = T(gradient_of<false>(f, s, x));
          T dt(0);
          if constexpr (Both && has_teacher_grad<i>) dt = T(gradient_of<true>(f, s, x));
          sum_s += s.coefficient * ds;
          sum_t += s.coefficient * dt;
          if (Both && StateAt<i>::by_row) by_temperature += s.coefficient * (ds * zk + dt * tk);
        });
        ds_here.set(j, Stored(add ? T(ds_here[j]) + sum_s : sum_s));
        if constexpr (Both) dt_here.set(j, Stored(add ? T(dt_here[j]) + sum_t : sum_t));
      }, ds_here, dt_here);
      if (gs) walk.store(gs, c, ds_here);
      if (Both && gt) walk.store(gt, c, dt_here);
    });
    if (Both && a.d_temperature) {
      T g = -G::sum(by_temperature) / temperature;
      each([&](auto i) {
        const auto& s = state_at<i>(states);
        constexpr int power = detail::temperature_power_of<typename TermAt<i>::loss_type>();
        if (StateAt<i>::by_row && s.active) g += s.coefficient * s.value * (T(power) / temperature);
      });
      if (G::rank() == 0) a.d_temperature[r] += g;
    }
  }
};

/// Threads that share a row, by its number of pieces of sixteen bytes; rows of one block. To be measured on a device.
struct Tuning {
  int least_pieces, threads, rows;
};
inline constexpr Tuning tuning[] = {{1024, 512, 1}, {257, 256, 1}, {0, 32, 4}};

// 512 threads of a multiprocessor must fit, no more: left to itself, the compiler spills some sums to fit more of them.
template <int Threads, class T, class Stored, class... Terms>
__global__ static void __launch_bounds__(Threads == 32 ? 128 : Threads, Threads == 32 ? 4 : 512 / Threads) row_loss_kernel(Arguments<T, Stored, Terms...> a) {
  const index_t step = index_t{gridDim.x} * blockDim.y;
  for (index_t r = index_t{blockIdx.x} * blockDim.y + threadIdx.y; r < a.rows; r += step) Evaluation<Group<Threads>, T, Stored, Terms...>::row(a, r);
}

inline constexpr int total_threads = 256;

/// out[0] = sum of x, or the number of labels that are not ignored: one block, a fixed order.
template <class T>
__global__ static void total_kernel(const double* x, const std::int32_t* labels, index_t n, T* out) {
  double sum = 0;
  for (index_t i = threadIdx.x; i < n; i += total_threads) sum += x ? x[i] : double(labels[i] != ignored_label);
  sum = Group<total_threads>::sum(sum);
  if (threadIdx.x == 0) out[0] = T(sum);
}

}  // namespace rows

struct RowLossKernels {
  /// As RowLossKernels of the CPU, into device memory: nothing waits. A row with a label outside the classes makes the
  /// loss NaN.
  ///
  /// Logits and their gradients may be stored as BFloat16: `RowBatch<float, BFloat16>`, `RowGradients<float, BFloat16>`. All
  /// arithmetic is in T, and each gradient is rounded once; in a sum at several temperatures, once for each.
  template <class Loss, class T, class Stored>
  static void row_loss(Cuda& cuda, const Loss& loss, const RowBatch<T, Stored>& batch, const RowGradients<T, Stored>& out,
                       std::type_identity_t<View<T, 1>> value) {
    static_assert(RowLoss<Loss>,
                  "retort: a row loss needs identity(), add(acc, cell), merge(acc, acc), value(acc), grad(acc, cell); see "
                  "retort/functor/row_loss.hpp; losses of features are added by loss::Joint");
    if constexpr (RowLoss<Loss>) evaluate(cuda, detail::leaves<false>(loss, 1.), batch, out, value);
  }

 private:
  template <class T, class Stored, class... Terms>
  static void evaluate(Cuda& cuda, const loss::Sum<Terms...>& terms, const RowBatch<T, Stored>& in, const RowGradients<T, Stored>& out, View<T, 1> value) {
    using Probe = rows::Evaluation<Group<32>, T, Stored, Terms...>;
    rows::TermInfo info[sizeof...(Terms)];
    [&]<int... I>(std::integer_sequence<int, I...>) {
      ((info[I] = rows::term_info(detail::get<I>(terms), Probe::template has_teacher_grad<I>)), ...);
    }(std::make_integer_sequence<int, static_cast<int>(sizeof...(Terms))>{});
    rows::check_batch(in, out, info, static_cast<int>(sizeof...(Terms)), false);
    const index_t count = in.student.shape[0], classes = in.student.shape[1];
    require<shape_error>(classes < index_t{1} << 31, "row loss: at most 2^31 - 1 classes on a GPU, got ", classes);

    const ArenaScope scope(cuda.scratch());
    double* row_loss = cuda.scratch().template allocate<double>(count);
    double* counted = nullptr;
    if ((Terms::reduction::skips_ignored_rows || ...) && in.labels.data) {
      counted = cuda.scratch().template allocate<double>(1);
      const auto labels = in.all_labels.data ? in.all_labels : in.labels;
      launch(cuda, "count of labelled rows", &rows::total_kernel<double>, 1, rows::total_threads, nullptr, labels.data, labels.size(), counted);
    }
    const rows::Arguments<T, Stored, Terms...> arguments{
        terms, in.student.data, in.teacher.data, in.labels.data, in.mask.data, in.weight.data, in.temperature.data, in.extras.data,
        out.student.data, out.teacher.data, out.temperature.data, out.extras.data, out.per_row.data, row_loss, counted, count,
        in.of_rows > 0 ? in.of_rows : count, static_cast<int>(classes), static_cast<int>(in.extras.shape[1])};
    const auto run = [&]<int Threads>(std::integral_constant<int, Threads>, int per_block) {
      launch(cuda, "row loss", &rows::row_loss_kernel<Threads, T, Stored, Terms...>, blocks_for(cuda, count, per_block),
             dim3(Threads, static_cast<unsigned>(per_block)), arguments);
    };
    const index_t pieces = (classes + rows::Piece<Stored>::size - 1) / rows::Piece<Stored>::size;
    if (pieces >= rows::tuning[0].least_pieces)
      run(std::integral_constant<int, rows::tuning[0].threads>{}, rows::tuning[0].rows);
    else if (pieces >= rows::tuning[1].least_pieces)
      run(std::integral_constant<int, rows::tuning[1].threads>{}, rows::tuning[1].rows);
    else
      run(std::integral_constant<int, rows::tuning[2].threads>{}, rows::tuning[2].rows);
    launch(cuda, "row loss", &rows::total_kernel<T>, 1, rows::total_threads, row_loss, nullptr, count, value.data);
  }
};

}  // namespace RETORT_CUDA_ABI
}  // namespace cuda
}  // namespace retort
