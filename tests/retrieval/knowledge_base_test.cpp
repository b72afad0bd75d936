// The knowledge base against sorting by hand, its files against every way of being broken, its errors word by word.
#include <doctest/doctest.h>

#include <filesystem>
#include <numeric>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/retrieval/calibrator.hpp>

#include "count_allocations.hpp"
#include "scratch_folder.hpp"
#include "support.hpp"

using namespace retort;
using retrieval::KnowledgeBase;
using retrieval::Neighbours;

namespace {

/// Soft labels: rows of a softmax over random numbers.
Tensor<float, 2> soft_labels(index_t n, index_t classes, std::uint64_t seed) {
  auto out = ::test::randn<float>(Shape{n, classes}, seed);
  for (index_t i = 0; i < n; ++i) {
    float sum = 0;
    for (index_t c = 0; c < classes; ++c) sum += out(i, c) = std::exp(out(i, c));
    for (index_t c = 0; c < classes; ++c) out(i, c) /= sum;
  }
  return out;
}
template <class Key = float>
KnowledgeBase<Key> random_base(index_t n, index_t width, index_t classes, std::uint64_t seed = 1) {
  KnowledgeBase<Key> base;
  base.add(::test::randn<float>(Shape{n, width}, seed), soft_labels(n, classes, seed + 1));
  return base;
}
/// All inner products with what a base stores, in double.
template <class Key>
double product(const KnowledgeBase<Key>& base, View<const float, 2> queries, index_t q, index_t j) {
  double sum = 0;
  for (index_t d = 0; d < base.width(); ++d) sum += static_cast<double>(queries(q, d)) * static_cast<double>(base.keys()(j, d));
  return KnowledgeBase<Key>::scaled ? sum * static_cast<double>(base.scales()(j)) : sum;
}
/// Finds what full sorting finds: the same ids, but for scores that rounding cannot tell apart.
template <class Key>
void check_against_sorting(const KnowledgeBase<Key>& base, index_t queries, index_t k, bool exclude = false) {
  Cpu cpu;
  const auto x = ::test::randn<float>(Shape{queries, base.width()}, 7);
  std::vector<index_t> out;
  for (index_t q = 0; exclude && q < queries; ++q) out.push_back(q % base.size());
  const Neighbours found = base.nearest(cpu, x.view(), k, {out.data(), {static_cast<index_t>(out.size())}});
  REQUIRE(found.k() == std::min(k, base.size()));
  for (index_t q = 0; q < queries; ++q) {
    std::vector<std::pair<double, index_t>> all;
    for (index_t j = 0; j < base.size(); ++j)
      if (!exclude || j != q % base.size()) all.push_back({-product(base, x.view(), q, j), j});
    std::sort(all.begin(), all.end());
    for (index_t j = 0; j < found.k(); ++j) {
      const index_t id = found.ids(q, j);
      if (j >= static_cast<index_t>(all.size())) {
        CHECK(id == -1);
        continue;
      }
      REQUIRE(id >= 0);
      const double expected = -all[static_cast<std::size_t>(j)].first, tolerance = ::test::tolerance<float>::value * static_cast<double>(base.width());
      CHECK(std::abs(product(base, x.view(), q, id) - expected) <= tolerance);
      CHECK(std::abs(static_cast<double>(found.scores(q, j)) - expected) <= tolerance);
      if (j > 0) CHECK(found.scores(q, j) <= found.scores(q, j - 1));
      for (index_t before = 0; before < j; ++before) CHECK(found.ids(q, before) != id);
    }
  }
}

}  // namespace

TEST_CASE("nearest keys: what full sorting finds, for one query and many, odd sizes, k from 1 to the whole base") {
  for (const auto& [n, width, queries, k] : {std::array<index_t, 4>{1000, 16, 3, 8}, {257, 5, 20, 1}, {300, 128, 150, 32}, {900, 6, 9, 200}, {40, 7, 9, 40}, {1, 3, 2, 1}}) {
    check_against_sorting(random_base(n, width, 3), queries, k);
    check_against_sorting(random_base<std::int8_t>(n, width, 3), queries, k);
  }
}

TEST_CASE("k above the size of the base takes the whole base; excluding leaves out the item itself") {
  check_against_sorting(random_base(5, 4, 2), 3, 100);
  check_against_sorting(random_base(300, 8, 2), 17, 5, true);
  check_against_sorting(random_base(5, 4, 2), 3, 5, true);  // four are left, the fifth place stays empty

  Cpu cpu;
  auto keys = ::test::randn<float>(Shape{50, 8}, 3);
  retrieval::scale_to_unit(keys.view());
  KnowledgeBase<> base;
  base.add(keys, soft_labels(50, 3, 4));
  std::vector<index_t> self(50);
  std::iota(self.begin(), self.end(), index_t{0});
  const Neighbours with = base.nearest(cpu, keys.view(), 3), without = base.nearest(cpu, keys.view(), 3, {self.data(), {50}});
  for (index_t i = 0; i < 50; ++i) {
    CHECK(with.ids(i, 0) == i);
    for (index_t j = 0; j < 3; ++j) CHECK(without.ids(i, j) != i);
    CHECK(without.ids(i, 0) == with.ids(i, 1));
  }
}

TEST_CASE("equal scores come in the order of the ids, and threads change nothing") {
  Cpu one, three(3);
  Tensor<float, 2> keys(Shape{700, 4});
  for (index_t i = 0; i < 700; ++i) keys(i, i % 4) = 1;
  KnowledgeBase<> base;
  base.add(keys, soft_labels(700, 2, 1));
  Tensor<float, 2> queries(Shape{40, 4});
  for (index_t i = 0; i < 40; ++i) queries(i, i % 4) = 1;
  const Neighbours found = base.nearest(one, queries.view(), 6), again = base.nearest(three, queries.view(), 6);
  for (index_t q = 0; q < 40; ++q)
    for (index_t j = 0; j < 6; ++j) {
      CHECK(found.ids(q, j) == q % 4 + 4 * j);
      CHECK(again.ids(q, j) == found.ids(q, j));
    }
}

TEST_CASE("integer keys: a quarter of the memory, at most half a step from the float ones") {
  const auto exact = random_base<float>(400, 64, 4);
  const auto rounded = random_base<std::int8_t>(400, 64, 4);
  CHECK(rounded.bytes() < exact.bytes() / 3);
  for (index_t i = 0; i < 400; ++i)
    for (index_t d = 0; d < 64; ++d) {
      const float step = rounded.scales()(i);
      CHECK(std::abs(exact.keys()(i, d) - step * static_cast<float>(rounded.keys()(i, d))) <= 0.5001f * step);
    }
}

TEST_CASE("searching into given memory allocates nothing") {
  Cpu cpu;
  const auto base = random_base(600, 16, 3);
  const auto x = ::test::randn<float>(Shape{30, 16}, 2);
  Tensor<index_t, 2> ids(Shape{30, 4});
  Tensor<float, 2> scores(Shape{30, 4});
  base.nearest(cpu, x.view(), ids.view(), scores.view());
  const auto before = allocations.load();
  base.nearest(cpu, x.view(), ids.view(), scores.view());
  CHECK(allocations.load() == before);
}

TEST_CASE_TEMPLATE("a saved base comes back bit for bit, mapped, and can be added to", Key, float, std::int8_t) {
  const ::test::ScratchFolder folder;
  const auto base = random_base<Key>(123, 9, 3);
  base.save(folder.file("base.kb"));
  auto loaded = KnowledgeBase<Key>::load(folder.file("base.kb"));
  CHECK(loaded.mapped());
  const auto same = [&] {
    REQUIRE(loaded.keys().shape == Shape<2>{loaded.size(), 9});
    CHECK(std::equal(base.keys().begin(), base.keys().end(), loaded.keys().begin()));
    CHECK(std::equal(base.scales().begin(), base.scales().end(), loaded.scales().begin()));
    CHECK(std::equal(base.soft_labels().begin(), base.soft_labels().end(), loaded.soft_labels().begin()));
  };
  same();
  check_against_sorting(loaded, 5, 4);
  loaded.add(::test::randn<float>(Shape{7, 9}, 5), soft_labels(7, 3, 6));
  CHECK(!loaded.mapped());
  CHECK(loaded.size() == 130);
  same();
  check_against_sorting(loaded, 5, 4);
  loaded.save(folder.file("base.kb"));  // over the file it came from
  CHECK(KnowledgeBase<Key>::load(folder.file("base.kb")).size() == 130);
}

TEST_CASE("bad files: each is named with what is wrong and where") {
  const ::test::ScratchFolder folder;
  const std::string path = folder.file("base.kb");
  random_base(20, 6, 2).save(path);
  std::string bytes;
  {
    std::ifstream in(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  const auto loading = [&](const std::string& content) {
    const std::string bad = folder.write("bad.kb", content);
    return ::test::message_of<data_error>([&] { KnowledgeBase<>::load(bad); });
  };
  CHECK(loading("").find("bad.kb") != std::string::npos);
  CHECK(loading(bytes.substr(0, 40)).find("expected a header of 64 bytes, the file has 40") != std::string::npos);
  CHECK(loading("x" + bytes.substr(1)).find("no knowledge base at byte 0") != std::string::npos);
  CHECK(loading(bytes.substr(0, bytes.size() - 64)).find("truncated") != std::string::npos);
  CHECK(loading(bytes + "x").find("oversized") != std::string::npos);
  for (const std::size_t at : {std::size_t{64}, std::size_t{201}, bytes.size() - 1}) {
    std::string broken = bytes;
    broken[at] = static_cast<char>(broken[at] ^ 4);
    CHECK(loading(broken).find("corrupt") != std::string::npos);
  }
  std::string huge = bytes;
  huge[16 + 7] = 0x7f;  // the width's highest byte
  CHECK(loading(huge).find("do not fit a file") != std::string::npos);
  std::string version = bytes;
  version[8] = 9;
  CHECK(loading(version).find("expected version 1 at byte 8, got 9") != std::string::npos);
  CHECK(::test::message_of<data_error>([&] { KnowledgeBase<std::int8_t>::load(path); }).find("expected keys of 1 bytes a number at byte 12, got 4") != std::string::npos);
  CHECK(::test::message_of<data_error>([&] { KnowledgeBase<>::load(folder.file("none.kb")); }).find("none.kb") != std::string::npos);
  CHECK(::test::message_of<data_error>([&] { random_base(2, 2, 2).save(folder.path() + "/no/base.kb"); }).find("cannot write") != std::string::npos);
  CHECK(::test::message_of<value_error>([&] { KnowledgeBase<>(3, 2).save(path); }).find("empty") != std::string::npos);
}

TEST_CASE("bad arguments: typed errors, and the base stays as it was") {
  Cpu cpu;
  auto base = random_base(10, 4, 3);
  const auto keys = [](index_t n, index_t width) { return ::test::randn<float>(Shape{n, width}, 1); };
  CHECK(::test::message_of<shape_error>([&] { base.add(keys(2, 5), soft_labels(2, 3, 1)); }).find("expected keys of width 4, got shape (2, 5)") != std::string::npos);
  CHECK(::test::message_of<shape_error>([&] { base.add(keys(2, 4), soft_labels(2, 4, 1)); }).find("expected soft labels of shape (2, 3), got (2, 4)") != std::string::npos);
  auto bad = keys(2, 4);
  bad(1, 2) = std::numeric_limits<float>::quiet_NaN();
  CHECK(::test::message_of<value_error>([&] { base.add(bad, soft_labels(2, 3, 1)); }).find("entry 2 of key 1 is not finite") != std::string::npos);
  auto labels = soft_labels(2, 3, 1);
  labels(1, 0) += 0.5f;
  CHECK(::test::message_of<value_error>([&] { base.add(keys(2, 4), labels); }).find("soft label 1 is no distribution") != std::string::npos);
  CHECK(base.size() == 10);
  CHECK_THROWS_AS(KnowledgeBase<>(0, 2), value_error);
  CHECK_THROWS_AS(KnowledgeBase<>(3, 1), value_error);

  CHECK(::test::message_of<value_error>([&] { KnowledgeBase<>().nearest(cpu, keys(1, 4).view(), 1); }).find("the base is empty") != std::string::npos);
  CHECK(::test::message_of<value_error>([&] { base.nearest(cpu, keys(1, 4).view(), 0); }).find("expected k of at least 1, got 0") != std::string::npos);
  CHECK(::test::message_of<shape_error>([&] { base.nearest(cpu, keys(1, 5).view(), 1); }).find("expected queries of width 4, got shape (1, 5)") != std::string::npos);
  CHECK(::test::message_of<value_error>([&] { base.nearest(cpu, bad.view(), 1); }).find("query 1 is not finite") != std::string::npos);
  const std::vector<index_t> one{0};
  CHECK_THROWS_AS(base.nearest(cpu, keys(2, 4).view(), 1, {one.data(), {1}}), shape_error);
}

TEST_CASE("retrieved labels: k = 1 gives the nearest one's, a high temperature the mean, any order of the base the same") {
  Cpu cpu;
  const auto keys = ::test::randn<float>(Shape{60, 6}, 1);
  const auto labels = soft_labels(60, 3, 2);
  KnowledgeBase<> base;
  base.add(keys, labels);
  const auto x = ::test::randn<float>(Shape{15, 6}, 3);
  const Neighbours found = base.nearest(cpu, x.view(), 60);
  const auto first = retrieval::retrieved_labels(base, found, 0.1, 1), all = retrieval::retrieved_labels(base, found, 1e9);
  const auto some = retrieval::retrieved_labels(base, found, 0.5, 7);

  KnowledgeBase<> turned;
  Tensor<float, 2> back(keys.shape()), labels_back(labels.shape());
  for (index_t i = 0; i < 60; ++i) {
    std::copy_n(keys.view().row(59 - i), 6, back.view().row(i));
    std::copy_n(labels.view().row(59 - i), 3, labels_back.view().row(i));
  }
  turned.add(back, labels_back);
  const auto permuted = retrieval::retrieved_labels(turned, turned.nearest(cpu, x.view(), 7), 0.5);
  for (index_t q = 0; q < 15; ++q) {
    double sum = 0;
    for (index_t c = 0; c < 3; ++c) {
      CHECK(first(q, c) == doctest::Approx(static_cast<double>(labels(found.ids(q, 0), c))).epsilon(1e-12));
      double mean = 0;
      for (index_t i = 0; i < 60; ++i) mean += static_cast<double>(labels(i, c)) / 60;
      CHECK(all(q, c) == doctest::Approx(mean).epsilon(::test::tolerance<float>::value));
      CHECK(permuted(q, c) == doctest::Approx(some(q, c)).epsilon(::test::tolerance<float>::value));
      sum += some(q, c);
    }
    CHECK(sum == doctest::Approx(1).epsilon(::test::tolerance<float>::value));
  }
  CHECK_THROWS_AS(retrieval::retrieved_labels(base, found, 0), value_error);
  KnowledgeBase<> single;
  single.add(::test::randn<float>(Shape{1, 6}, 1), soft_labels(1, 3, 2));
  const std::vector<index_t> self{0};
  const Neighbours none = single.nearest(cpu, x.view().rows(0, 1), 1, {self.data(), {1}});
  CHECK(::test::message_of<value_error>([&] { retrieval::retrieved_labels(single, none, 1); }).find("no neighbour") != std::string::npos);
}

TEST_CASE("the calibrator: the student where the base is useless, the base where the student is, and its errors") {
  Cpu cpu;
  Tensor<float, 2> keys(Shape{40, 2}), labels(Shape{40, 2}), wrong(Shape{40, 2}), x(Shape{20, 2});
  std::vector<std::int32_t> y;
  for (index_t i = 0; i < 40; ++i) keys(i, i % 2) = 1, labels(i, i % 2) = 1, wrong(i, 1 - i % 2) = 1;
  Tensor<double, 2> right(Shape{20, 2}), useless(Shape{20, 2});
  for (index_t i = 0; i < 20; ++i) {
    x(i, i % 2) = 1;
    y.push_back(static_cast<std::int32_t>(i % 2));
    right(i, i % 2) = 0.9, right(i, 1 - i % 2) = 0.1;
    useless(i, 0) = useless(i, 1) = 0.5;
  }
  const View<const std::int32_t, 1> truth{y.data(), {20}};
  KnowledgeBase<> good, bad;
  good.add(keys, labels);
  bad.add(keys, wrong);
  const Neighbours found = good.nearest(cpu, x.view(), 32), astray = bad.nearest(cpu, x.view(), 32);
  const retrieval::Calibrator<retrieval::ByAccuracy> calibrate;
  const auto lean = calibrate(bad, astray, View<const double, 2>(right.view()), truth);
  CHECK(lean.best.lambda == 1);
  CHECK(lean.best.accuracy == 1);
  CHECK(lean.best.k == 1);
  const auto seek = calibrate(good, found, View<const double, 2>(useless.view()), truth);
  CHECK(seek.best.lambda == 0);
  CHECK(seek.best.log_loss == doctest::Approx(0));
  CHECK(seek.tried.size() == 55);
  CHECK(seek.gain == 0.5);
  const retrieval::Calibrator<retrieval::ByLikelihood> steady{.temperature = {0.1, 1}};
  CHECK(steady(good, found, View<const double, 2>(right.view()), truth).best.lambda == 0);


  // One answer put right beside two turned wrong the other way round: within a standard error, so the student alone stays.
  std::vector<std::int32_t> turned = y;
  turned[0] = 1 - turned[0];
  Tensor<double, 2> own(Shape{20, 2});
  const auto answer = [&](index_t wrongs) {  // samples 1 to `wrongs` wrong
    for (index_t i = 0; i < 20; ++i) {
      const index_t right_class = turned[static_cast<std::size_t>(i)], said = i >= 1 && i <= wrongs ? 1 - right_class : right_class;
      own(i, said) = 0.6, own(i, 1 - said) = 0.4;
    }
  };
  const auto chosen = [&](double errors, std::vector<double> lambda) {
    const retrieval::Calibrator<retrieval::ByAccuracy> by{.k = {1}, .lambda = std::move(lambda), .standard_errors = errors};
    return by(good, found, View<const double, 2>(own.view()), View<const std::int32_t, 1>{turned.data(), {20}});
  };
  answer(2);
  CHECK(chosen(0, {0, 1}).best.lambda == 0);
  CHECK(chosen(1, {0, 1}).best.lambda == 1);
  CHECK(chosen(1, {0, 1}).gain == doctest::Approx(0.05));
  CHECK(chosen(1, {0, 1}).gain_error == doctest::Approx(std::sqrt((3 - 20 * 0.05 * 0.05) / 19 / 20)));
  CHECK(chosen(1, {0}).best.lambda == 0);  // a grid without the student alone leaves no choice
  answer(6);
  CHECK(chosen(1, {0, 1}).best.lambda == 0);
  CHECK(chosen(3, {0, 1}).best.lambda == 1);
  CHECK_THROWS_AS(chosen(-1, {0, 1}), value_error);

  const retrieval::Calibrator<> empty{.k = {}};
  CHECK_THROWS_AS(empty(good, found, View<const double, 2>(right.view()), truth), value_error);
  const retrieval::Calibrator<> outside{.lambda = {1.5}};
  CHECK_THROWS_AS(outside(good, found, View<const double, 2>(right.view()), truth), value_error);
  const retrieval::Calibrator<> deep{.k = {33}};
  CHECK_THROWS_AS(deep(good, found, View<const double, 2>(right.view()), truth), value_error);
  CHECK_THROWS_AS(calibrate(good, found, View<const double, 2>(right.view()), truth.rows(0, 5)), shape_error);
}
