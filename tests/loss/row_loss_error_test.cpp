#include <doctest/doctest.h>

#include <limits>
#include <string>

#include "row_loss_fixture.hpp"

using namespace retort;
using namespace retort::test;
using namespace retort::loss;

namespace {

template <class Error, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("bad inputs give typed errors that name what was wrong, before anything is written") {
  Problem<float> p(4, 10);
  const HintonLoss loss{};
  const auto shape_message = [&] { return message_of<shape_error>([&] { p.evaluate(loss); }); };
  const auto value_message = [&] { return message_of<value_error>([&] { p.evaluate(loss); }); };

  p.labels[2] = 10;
  CHECK(contains(value_message(), "label 10 of row 2 is outside [0, 10)"));
  p.labels[2] = -1;
  CHECK(contains(value_message(), "label -1 of row 2"));
  p.labels[2] = ignored_label;  // not allowed under BatchMean
  CHECK(contains(value_message(), "label -100"));
  p.labels.clear();
  CHECK(contains(shape_message(), "needs labels"));
  p.labels = {0, 1, 2, 3};

  const auto teacher = p.teacher;
  p.teacher.clear();
  CHECK(contains(shape_message(), "student logits have shape (4, 10), teacher logits have shape (0, 0)"));
  p.teacher = teacher;

  p.weight = {1.f};
  CHECK(p.batch().weight.size() == 4);  // the fixture sizes views by rows; a short one is made by hand
  RowBatch<float> b = p.batch();
  b.weight.shape = {3};
  Cpu cpu;
  const auto run = [&](const auto& l) { return cpu::RowLossKernels::row_loss(cpu, l, b, RowGradients<float>{}); };
  CHECK(contains(message_of<shape_error>([&] { run(loss); }), "expected 4 weights, got 3"));
  p.weight.clear();

  b = p.batch();
  b.student.shape = {0, 10};
  CHECK(contains(message_of<shape_error>([&] { run(loss); }), "(0, 10)"));
  b = p.batch();
  b.student.shape = b.teacher.shape = {4, 1};
  b.labels = {};
  CHECK(contains(message_of<value_error>([&] { run(SoftTargets{}); }), "one class"));
  b = p.batch();
  b.labels = {};
  CHECK(contains(message_of<shape_error>([&] { run(Masked<SoftTargets>{}); }), "mask or labels"));

  CHECK(contains(message_of<value_error>([&] { p.evaluate(SoftTargets{.temperature = 0}); }), "term 0 has temperature 0"));
  p.temperature = {1, 2, -3, 4};
  CHECK(contains(value_message(), "row 2 has temperature -3"));
  p.temperature.clear();
  CHECK(contains(message_of<value_error>([&] { p.evaluate(LogitMatching{}, true); }), "no teacher_grad"));
  CHECK(max_difference(p.d_student, std::vector<float>(40, 77.f)) == 0);  // nothing was written
}

TEST_CASE("logits that are not finite: an error that names the row and the loss") {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    for (std::size_t at : {std::size_t{23}, std::size_t{39}}) {  // inside a vector, and in a rest
      Problem<float> p(4, 10);
      p.student[at] = bad;
      p.labels = {0, 1, 0, 1};
      const auto message = message_of<value_error>([&] { p.evaluate(HintonLoss{}); });
      CHECK(contains(message, at == 23 ? "row 2 is not finite" : "row 3 is not finite"));
      CHECK(contains(message_of<value_error>([&] { p.evaluate(CrossEntropy<BatchMean>{}); }), "CrossEntropy"));
      p = Problem<float>(4, 10);
      p.teacher[at] = bad;
      CHECK(contains(message_of<value_error>([&] { p.evaluate(Sum{CrossEntropy<BatchMean>{}, SoftTargets{}}); }), "term 1, ForwardKl"));
    }
}
