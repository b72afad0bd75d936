#include <doctest/doctest.h>

#include <limits>
#include <retort/data/domain.hpp>
#include <set>

#include "scratch_folder.hpp"

using namespace retort;
using test::message_of;

namespace {

/// `per_class[c]` samples of class c, interleaved; sample i has the inputs (i, -i).
Dataset<2> numbered(std::vector<int> per_class) {
  Dataset<2> out;
  out.classes = static_cast<int>(per_class.size());
  out.name = "numbered";
  for (bool more = true; more;) {
    more = false;
    for (int c = 0; c < out.classes; ++c)
      if (per_class[static_cast<std::size_t>(c)]-- > 0) out.labels.push_back(c), more = true;
  }
  out.inputs = Tensor<float, 2>({static_cast<index_t>(out.labels.size()), 2});
  for (index_t i = 0; i < out.size(); ++i) {
    out.inputs(i, 0) = static_cast<float>(i);
    out.inputs(i, 1) = static_cast<float>(-i);
  }
  return out;
}

std::vector<float> ids(const Dataset<2>& d) {
  std::vector<float> out;
  for (index_t i = 0; i < d.size(); ++i) out.push_back(d.inputs(i, 0));
  return out;
}

}  // namespace

TEST_CASE("subset copies the samples asked for, in that order, with repeats") {
  const auto all = numbered({3, 3});
  const std::vector<index_t> wanted{4, 0, 4};
  const auto some = all.subset(wanted);
  CHECK(ids(some) == std::vector<float>{4, 0, 4});
  CHECK(some.inputs(0, 1) == -4);
  CHECK(some.labels == std::vector<std::int32_t>{all.labels[4], all.labels[0], all.labels[4]});
  CHECK(some.classes == 2);
  for (index_t outside : {index_t{-1}, index_t{6}}) {
    const std::vector<index_t> bad{outside};
    CHECK(message_of<value_error>([&] { all.subset(bad); }) ==
          "dataset 'numbered': expected an index from 0 to 5, got " + std::to_string(outside));
  }
}

TEST_CASE("split is stratified, covers every sample once, and is a pure function of the seed") {
  const auto all = numbered({100, 40, 10, 1});
  const auto [train, test] = all.split(0.7, 5);
  std::vector<int> in_train(4), in_test(4);
  for (auto y : train.labels) ++in_train[static_cast<std::size_t>(y)];
  for (auto y : test.labels) ++in_test[static_cast<std::size_t>(y)];
  CHECK(in_train == std::vector<int>{70, 28, 7, 1});
  CHECK(in_test == std::vector<int>{30, 12, 3, 0});

  const auto a = ids(train), b = ids(test);
  CHECK(std::is_sorted(a.begin(), a.end()));
  std::set<float> both(a.begin(), a.end());
  both.insert(b.begin(), b.end());
  CHECK(both.size() == 151);
  for (index_t i = 0; i < train.size(); ++i)
    CHECK(train.labels[static_cast<std::size_t>(i)] == all.labels[static_cast<std::size_t>(train.inputs(i, 0))]);

  CHECK(ids(all.split(0.7, 5).train) == a);
  CHECK(ids(all.split(0.7, 6).train) != a);
  // Even an extreme fraction leaves each class of two or more in both parts.
  CHECK(all.split(0.999, 5).test.size() == 3);
  CHECK(all.split(0.001, 5).train.size() == 4);
  CHECK_THROWS_AS(all.split(0, 5), value_error);
  CHECK_THROWS_AS(all.split(1, 5), value_error);
  CHECK_THROWS_AS(numbered({1, 1}).split(0.5, 5), value_error);
}

TEST_CASE("validate names what is wrong, and where") {
  const auto broken = [](auto&& change) {
    auto d = numbered({2, 2});
    d.validate();
    change(d);
    return d;
  };
  const auto says = [](const Dataset<2>& d) { return message_of<value_error>([&] { d.validate(); }); };
  CHECK(says(broken([](auto& d) { d.labels[3] = 2; })) == "dataset 'numbered': sample 3 has label 2, expected 0 to 1");
  CHECK(says(broken([](auto& d) { d.labels[0] = -1; })) == "dataset 'numbered': sample 0 has label -1, expected 0 to 1");
  CHECK(says(broken([](auto& d) { d.classes = 1; })) == "dataset 'numbered': expected at least 2 classes, got 1");
  CHECK(says(broken([](auto& d) { d.inputs(1, 1) = std::numeric_limits<float>::quiet_NaN(); })) ==
        "dataset 'numbered': sample 1, element 1 is not finite");
  CHECK(says(broken([](auto& d) { d.inputs(2, 0) = -std::numeric_limits<float>::infinity(); })) ==
        "dataset 'numbered': sample 2, element 0 is not finite");
  CHECK(says(Dataset<2>{}).find("is empty") != std::string::npos);
  const auto short_of_labels = broken([](auto& d) { d.labels.pop_back(); });
  CHECK(message_of<shape_error>([&] { short_of_labels.validate(); }) ==
        "dataset 'numbered': 4 inputs (4, 2) but 3 labels");
}

TEST_CASE("a domain of n samples: the target's, general ones or a mixture, without repeats, labels where the classes agree") {
  const auto set = [](float first, int classes) {
    Dataset<2> d{Tensor<float, 2>(Shape<2>{20, 1}), {}, classes, first > 0 ? "general" : "target"};
    for (index_t i = 0; i < 20; ++i) {
      d.inputs.data()[i] = first + static_cast<float>(i);
      if (classes) d.labels.push_back(static_cast<std::int32_t>(i % classes));
    }
    return d;
  };
  const auto target = set(0, 4), general = set(100, 4);
  for (const double share : {0., 0.3, 1.}) {
    const auto mixed = data::domain(target, general, share, 10, 7);
    mixed.validate();
    const auto own = std::count_if(mixed.inputs.begin(), mixed.inputs.end(), [](float x) { return x < 50; });
    CHECK(own == std::llround(10 * share));
    std::vector<float> values(mixed.inputs.begin(), mixed.inputs.end());
    std::sort(values.begin(), values.end());
    CHECK(std::adjacent_find(values.begin(), values.end()) == values.end());
    for (index_t i = 0; i < 10; ++i) CHECK(mixed.labels[static_cast<std::size_t>(i)] == static_cast<int>(mixed.inputs.data()[i]) % 4);
    const auto again = data::domain(target, general, share, 10, 7);
    CHECK(std::equal(mixed.inputs.begin(), mixed.inputs.end(), again.inputs.begin()));
  }
  CHECK_FALSE(data::domain(target, set(100, 3), 0.5, 10, 7).labelled());
  CHECK_FALSE(data::domain(set(0, 0), set(100, 0), 0.5, 10, 7).labelled());
  CHECK_THROWS_WITH_AS(data::domain(target, general, 1, 21, 7), "data::domain: asked for 21 samples of 'target', which has 20", value_error);
  CHECK_THROWS_AS(data::domain(target, general, 1.1, 5, 7), value_error);
}

TEST_CASE("an unlabelled set: valid without classes, copied by subset, not to be split by class") {
  Dataset<2> d{Tensor<float, 2>(Shape<2>{3, 2}), {}, 0, "sounds"};
  d.validate();
  CHECK_FALSE(d.labelled());
  const std::vector<index_t> rows{2, 0};
  CHECK(d.subset(rows).size() == 2);
  CHECK_THROWS_WITH_AS(d.split(0.5, 1), "dataset 'sounds': a stratified split needs labels", value_error);
  d.classes = 2;
  CHECK_THROWS_AS(d.validate(), shape_error);
}
