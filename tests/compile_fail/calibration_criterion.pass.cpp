#include "prelude.hpp"
struct Margin {
  double operator()(const double* p, index_t, index_t label) const { return p[label]; }
};
retrieval::Calibrator<Margin> right;
