// expect: retort: this loss has parameters or memory of its own, and they live in the loss slot of a method alone
#include "prelude.hpp"
using Wrong = Distiller<teacher::Frozen<Net>, student::Trainable<Net>, loss::KlMean, censor::None,
                        source::Generator<source::ZsktNet, source::Objective<source::Adversarial<loss::CurriculumTemperature<loss::SoftTargets>>>>>;
void wrong(Wrong& method) { fit(method, data::None{}, optim::Sgd{}); }
