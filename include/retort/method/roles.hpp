#pragma once
// The slots of a method, and the turns that its blocks of parameters take.

#include <cstdint>
#include <retort/backend/ops.hpp>
#include <retort/nn/sequential.hpp>
#include <vector>

namespace retort {

/// A policy says which slot it is made for: `using role = retort::role::teacher;`. Student and teacher are not
/// interchangeable by accident.
namespace role {
struct teacher;
struct student;
struct censor;
struct source;
struct predictor;
}  // namespace role

/// A block of parameters that learns in a turn of its own. In each turn exactly one block collects gradients.
enum class Block {
  student,
  censor,  ///< a learned gate, guide or weight
  source,  ///< a generator or the pixels themselves
  player   ///< an auxiliary player of the student policy (a min/max opponent, a head)
};

/// What becomes of the teacher's answer when a block takes several turns on one batch. Only for teachers that declare
/// `answers_repeat`: the same batch, the same bits.
enum class Memory { none, keep, reuse };

/// One block takes `repeats` optimiser steps on a batch.
struct Turn {
  Block block = Block::student;
  int repeats = 1;
};
/// `times` passes over the source; for each batch, these turns in order.
struct Sweep {
  std::vector<Turn> turns{{}};
  int times = 1;
};
/// What happens in one epoch. The default: one pass, the student learns from each batch. A policy with
/// `void plan(const Progress&, Plan&) const` edits it: DiSK appends sweeps of its guide, ZSKT puts a turn of the
/// generator before ten of the student, RELIANT lets student and opponent alternate.
using Plan = std::vector<Sweep>;

/// Where training stands.
struct Progress {
  int epoch = 0, epochs = 0;
  index_t step = 0;            ///< batches seen since the start of training
  index_t steps_in_sweep = 0;  ///< batches in one pass over the source; 0 when the source has no end
  double position = 0;         ///< epoch with its fraction, for schedules
};

/// What a policy may want to know before training starts.
template <class B>
struct Setup {
  B& backend;
  int classes = 0;
  index_t samples = 0;
  index_t batch_size = 0;
  std::uint64_t seed = 0;
};

/// What teachers and students answer to.
template <class Input>
struct Question {
  Input input;                         ///< the batch as a variable
  View<const std::int64_t, 1> ids{};   ///< positions in the data set, if any
  Block turn = Block::student;         ///< whose turn it is (an opponent's student sees its own columns)
};

/// All that a loss, a censor or a student decorator may look at in a turn. A plain struct: new fields break no policy.
template <class T, class B, class Input, class StudentOutput, class TeacherOutput>
struct Exchange {
  Tape<T, B>& tape;
  Input input;                                ///< the batch as the networks see it
  View<const std::int32_t, 1> labels;         ///< N; empty for sources without labels
  View<const std::int64_t, 1> ids;            ///< N positions in the data set; empty for synthesised samples
  StudentOutput student;                      ///< logits (a Var, or an Output with taps): see result_of, tap
  TeacherOutput teacher;                      ///< the same of the teacher
  View<const std::uint8_t, 1> mask{};         ///< N; rows that `loss::Masked` counts; empty: none given
  View<const T, 1> weights{};                 ///< N; empty: all one; negative: suppression
  Var<T, 1> temperatures{};                   ///< N; empty: the loss's own; a gradient may be wanted
  Var<T, 2> extras{};                         ///< N x K per-row numbers for losses that declare them (gates)
  Block turn = Block::student;                ///< whose turn it is
  Progress progress{};
  Rng rng{};                                  ///< for this turn alone
  const GraphView<T>* graph = nullptr;        ///< of a batch of nodes or graphs; see graph/batch.hpp
};

}  // namespace retort
