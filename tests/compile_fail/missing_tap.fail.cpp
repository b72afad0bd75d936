// expect: retort: a feature tap is missing: a policy asks this network for a tap that it does not have
#include <retort/nn/sequential.hpp>

struct early;
struct late;
using Feature = retort::Var<float, 2>;
using Answer = retort::Output<Feature, retort::Tapped<early, Feature>>;
void hint(const Answer& answer) { retort::tap<late>(answer); }
