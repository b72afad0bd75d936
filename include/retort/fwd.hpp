#pragma once
// Names only: cheap to include where types are mentioned but not used.

#include <cstdint>

namespace retort {

class Cpu;
class Cuda;

template <int Rank>
struct Shape;
template <class T, int Rank>
struct View;
template <class T, int Rank, class B = Cpu>
class Tensor;
template <class Memory>
class Arena;
template <class T, class B = Cpu>
class Tape;
template <class T, int Rank>
struct Var;
template <class B>
struct Kernels;

}  // namespace retort
