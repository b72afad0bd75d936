#pragma once
// Chains of whole trainings beside fit_generations: teacher assistants and routes of a teacher's past selves.

#include <retort/method/hinton.hpp>
#include <retort/train/fit.hpp>

namespace retort {

/// Teacher assistants (Mirzadeh et al. 2020, TAKD): the teacher teaches the first network, that one the next, and so on to the
/// student, who comes last; networks in between bridge a gap in size. Soft targets and hard labels at every link. Returns
/// the reports in order. If a link throws, its student is as it was; the links before have learned.
template <class Teacher, class Data, class Optimizer, class Next, class... Rest>
std::vector<Report> fit_through_assistants(const Data& data, const Optimizer& optimizer, const FitOptions& options, const loss::HintonLoss& loss,
                                           Teacher& teacher, Next& next, Rest&... rest) {
  Hinton<typename Teacher::architecture_type, typename Next::architecture_type, typename Next::backend> method{teacher, next, loss};
  std::vector<Report> reports{fit(method, data, optimizer, options)};
  if constexpr (sizeof...(Rest) > 0)
    for (Report& r : fit_through_assistants(data, optimizer, options, loss, next, rest...)) reports.push_back(std::move(r));
  return reports;
}

/// Route-constrained distillation (Jin et al. 2019, RCO): the student follows the teacher's way, not only its end: it is taught
/// by one snapshot after the other, `options.epochs` epochs each. callbacks::Snapshots collects the route while the teacher
/// trains. Returns the reports in order. Throws value_error for an empty route.
template <class Architecture, class Backend, class Student, class Data, class Optimizer>
std::vector<Report> fit_route(std::vector<Network<Architecture, Backend>>& route, Student& student, const Data& data, const Optimizer& optimizer,
                              const FitOptions& options, const loss::HintonLoss& loss = {}) {
  require<value_error>(!route.empty(), "fit_route: expected at least one snapshot of the teacher");
  std::vector<Report> reports;
  for (auto& anchor : route) {
    Hinton<Architecture, typename Student::architecture_type, Backend> method{anchor, student, loss};
    reports.push_back(fit(method, data, optimizer, options));
  }
  return reports;
}

namespace callbacks {

/// Keeps copies of a network after every `every` epochs and after the last: a route for fit_route.
template <class Net>
class Snapshots {
 public:
  explicit Snapshots(Net& network, int every = 1) : network_(&network), every_(every) {
    require<value_error>(every >= 1, "callbacks::Snapshots: expected a copy after every 1 or more epochs, got ", every);
  }
  template <class S>
  void on_epoch_end(S& session) {
    const int epoch = session.progress().epoch + 1;
    if (epoch % every_ == 0 || epoch == session.options().epochs) route_.push_back(network_->clone());
  }
  std::vector<Net>& route() { return route_; }

 private:
  Net* network_;
  int every_;
  std::vector<Net> route_;
};

}  // namespace callbacks
}  // namespace retort
