#include <retort/nn/sequential.hpp>

struct early;
struct late;
using Feature = retort::Var<float, 2>;
using Answer = retort::Output<Feature, retort::Tapped<early, Feature>, retort::Tapped<late, Feature>>;
void hint(const Answer& answer) { retort::tap<late>(answer); }
