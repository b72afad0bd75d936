#pragma once
// Losses on features rather than logits. Each is a function of two variables of one shape, `loss(tape, student, teacher)`,
// and `OnTaps` puts it into a method: `OnTaps<AttentionTransfer, stage2>`; several of them and the row losses in a `Joint`.

#include <retort/autograd/ops_matrix.hpp>
#include <retort/nn/sequential.hpp>

namespace retort::loss {

namespace detail {
template <class T, int R>
void require_same_shape(const char* loss, Var<T, R> s, Var<T, R> t) {
  require<shape_error>(s.shape() == t.shape(), loss, ": the student's feature has shape ", to_string(s.shape()),
                       ", the teacher's ", to_string(t.shape()), "; put a connector layer before the student's tap");
}
}  // namespace detail

/// A feature loss between a tap of the student and one of the teacher, times `weight`. A missing tap does not compile.
template <class FeatureLoss, class StudentTag, class TeacherTag = StudentTag>
struct OnTaps {
  FeatureLoss loss{};
  double weight = 1;
  template <class E>
  auto evaluate(E& exchange) const {
    const auto s = tap<StudentTag>(exchange.student);
    const auto t = exchange.tape.detach(tap<TeacherTag>(exchange.teacher));
    using T = typename decltype(s)::value_type;
    return scale(exchange.tape, static_cast<T>(weight), loss(exchange.tape, s, t));
  }
};

/// Hints (FitNets, Romero et al. 2015): the mean squared difference of two features of one shape. Weight 100.
struct Hint {
  template <class T, class B, int R>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, R> s, Var<T, R> t) const {
    detail::require_same_shape("loss::Hint", s, t);
    return mean_square(tape, subtract(tape, s, t));
  }
};

namespace detail {
/// A(F) = vec(mean over channels of F^2), scaled to norm 1 per sample. Sum and mean differ by a factor that the norm removes.
template <class T, class B>
Var<T, 2> attention(Tape<T, B>& tape, Var<T, 4> f) {
  return normalized(tape, flatten(tape, mean_axis(tape, multiply(tape, f, f), 3)), 1);
}
}  // namespace detail

/// Attention transfer (Zagoruyko & Komodakis 2017), as their code and RepDistiller compute it: the mean over samples and
/// positions of (A(s) - A(t))^2. Channels may differ. Weight 1000.
struct AttentionTransfer {
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 4> s, Var<T, 4> t) const {
    return mean_square(tape, subtract(tape, detail::attention(tape, s), detail::attention(tape, t)));
  }
};
/// Attention transfer as the paper writes it: the batch mean of the (unsquared) distance ||A(s) - A(t)||.
struct AttentionTransferPaper {
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 4> s, Var<T, 4> t) const {
    const auto d = subtract(tape, detail::attention(tape, s), detail::attention(tape, t));
    return mean(tape, activate(tape, functor::Sqrt{1e-24}, sum_axis(tape, multiply(tape, d, d), 1)));
  }
};

/// Factor transfer (Kim et al. 2018) of translated and paraphrased features: mean |A(s) - A(t)|. Weight 200.
struct FactorTransfer {
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 4> s, Var<T, 4> t) const {
    return mean(tape, activate(tape, functor::Magnitude{}, subtract(tape, detail::attention(tape, s), detail::attention(tape, t))));
  }
};

/// Neuron selectivity transfer (Huang & Wang 2017): maximum mean discrepancy between channel activations under the kernel
/// <u, v>^2, channels scaled to norm 1: mean k(t,t) + mean k(s,s) - 2 mean k(s,t). Weight 50.
struct NeuronSelectivity {
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 4> s, Var<T, 4> t) const {
    const auto u = normalized(tape, positions(tape, s), 1), v = normalized(tape, positions(tape, t), 1);
    const auto kernel = [&](auto a, auto b) { return mean_square(tape, channel_products(tape, a, b)); };
    return subtract(tape, add(tape, kernel(v, v), kernel(u, u)), scale(tape, T(2), kernel(u, v)));
  }
};

/// Flow of solution procedure (Yim et al. 2017) between two adjacent stages of equal resolution: the mean squared
/// difference of G = (1/HW) sum over positions of F_l (x) F_{l+1}. Channels of student and teacher must agree.
struct Flow {
  template <class T, class B>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, 4> s1, Var<T, 4> s2, Var<T, 4> t1, Var<T, 4> t2) const {
    const auto flow = [&](auto a, auto b) {
      return scale(tape, T(1) / static_cast<T>(a.extent(1) * a.extent(2)), channel_products(tape, positions(tape, a), positions(tape, b)));
    };
    const auto gs = flow(s1, s2), gt = flow(t1, t2);
    detail::require_same_shape("loss::Flow", gs, gt);
    return mean_square(tape, subtract(tape, gs, gt));
  }
};

/// Activation boundaries (Heo et al. 2019, AB) of pre-activations: a margin that pushes the student to the teacher's side,
/// (3/1000)/N * sum [(s + m)^2 for s > -m, t <= 0; (s - m)^2 for s <= m, t > 0].
struct ActivationBoundary {
  double margin = 1;
  template <class T, class B, int R>
  Var<T, 1> operator()(Tape<T, B>& tape, Var<T, R> s, Var<T, R> t) const {
    detail::require_same_shape("loss::ActivationBoundary", s, t);
    // with sign = -1 where t > 0 and +1 elsewhere both cases are relu(m + sign * s)^2
    const View<T, R> sign = tape.allocate(t.shape());
    Kernels<B>::activation_backward(tape.backend(), functor::Relu{}, t.value.flat(), t.value.flat(), ones(tape, t), sign.flat(), Write::replace);
    const auto signed_s = subtract(tape, s, scale(tape, T(2), multiply(tape, s, tape.constant(sign))));
    const auto excess = activate(tape, functor::Relu{}, activate(tape, functor::Shift{margin}, signed_s));
    return scale(tape, static_cast<T>(0.003) / static_cast<T>(s.extent(0)), sum(tape, multiply(tape, excess, excess)));
  }

 private:
  template <class T, class B, int R>
  static View<const T, 1> ones(Tape<T, B>& tape, Var<T, R> like) {
    const View<T, R> one = tape.allocate(like.shape());
    Kernels<B>::fill(tape.backend(), T(1), one);
    return one.flat();
  }
};

}  // namespace retort::loss
