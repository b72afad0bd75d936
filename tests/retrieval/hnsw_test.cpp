// The approximate index against the exact search: how much it finds, that it is a function of its keys and options, its files, its
// errors, and a predictor over it.
#include <doctest/doctest.h>

#include <numeric>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/predict/logits.hpp>
#include <retort/predict/retrieval.hpp>
#include <retort/retrieval/hnsw.hpp>

#include "scratch_folder.hpp"
#include "support.hpp"
#include "toy_data.hpp"

using namespace retort;
using retrieval::HnswBase;
using retrieval::KnowledgeBase;
using retrieval::Neighbours;

namespace {

Tensor<float, 2> unit_rows(index_t n, index_t width, std::uint64_t seed) {
  auto out = ::test::randn<float>(Shape{n, width}, seed);
  retrieval::scale_to_unit(out.view());
  return out;
}
Tensor<float, 2> one_hot(index_t n, index_t classes) {
  Tensor<float, 2> out(Shape{n, classes});
  for (index_t i = 0; i < n; ++i) out(i, i % classes) = 1;
  return out;
}
template <class Key = float>
HnswBase<Key> random_base(index_t n, index_t width, retrieval::HnswOptions options = {}, index_t parts = 1) {
  HnswBase<Key> base(options);
  const auto keys = unit_rows(n, width, 1), labels = one_hot(n, 3);
  for (index_t p = 0; p < parts; ++p) base.add(keys.view().rows(n * p / parts, n * (p + 1) / parts), labels.view().rows(n * p / parts, n * (p + 1) / parts));
  return base;
}
double recall(const Neighbours& found, const Neighbours& exact) {
  index_t hits = 0;
  for (index_t q = 0; q < exact.queries(); ++q)
    for (index_t j = 0; j < exact.k(); ++j) hits += std::count(found.ids.view().row(q), found.ids.view().row(q) + found.k(), exact.ids(q, j));
  return static_cast<double>(hits) / static_cast<double>(exact.queries() * exact.k());
}
bool same(const Neighbours& a, const Neighbours& b) { return std::equal(a.ids.begin(), a.ids.end(), b.ids.begin()) && std::equal(a.scores.begin(), a.scores.end(), b.scores.begin()); }

struct embedding;
using StudentNet = nn::Sequential<nn::Linear, nn::Tap<embedding>, nn::Relu, nn::Linear>;
struct Knows {  // what a teacher tells a predictor
  Tensor<float, 2> z = unit_rows(350, 3, 1), y = one_hot(350, 5);
  View<const float, 2> keys() const { return z.view(); }
  View<const float, 2> soft_labels() const { return y.view(); }
};

}  // namespace

TEST_CASE_TEMPLATE("HnswBase: finds nearly all that the exact search finds, the more the wider it searches, with the same scores", Key, float, std::int8_t) {
  Cpu cpu;
  const auto x = unit_rows(60, 24, 2);
  const auto measure = [&](index_t width) {
    const auto base = random_base<Key>(2500, 24, {.links = 8, .build_width = 60, .search_width = width});
    const Neighbours found = base.nearest(cpu, x.view(), 10), exact = base.exact().nearest(cpu, x.view(), 10);
    for (index_t q = 0; q < 60; ++q)
      for (index_t j = 0; j < 10; ++j) {
        double product = 0;
        for (index_t d = 0; d < 24; ++d) product += static_cast<double>(x(q, d)) * static_cast<double>(base.keys()(found.ids(q, j), d));
        if (KnowledgeBase<Key>::scaled) product *= static_cast<double>(base.scales()(found.ids(q, j)));
        CHECK(std::abs(static_cast<double>(found.scores(q, j)) - product) <= ::test::tolerance<float>::value);
        if (j > 0) CHECK(found.scores(q, j) <= found.scores(q, j - 1));
        CHECK(found.scores(q, j) <= exact.scores(q, j) + static_cast<float>(::test::tolerance<float>::value));
      }
    CHECK(base.bytes() > base.exact().bytes());
    return recall(found, exact);
  };
  const double narrow = measure(10), usual = measure(80), whole = measure(2500);
  MESSAGE("recall@10 of 2500 keys by search width: 10 ", narrow, ", 80 ", usual, ", 2500 ", whole);
  CHECK(narrow > 0.5);
  CHECK(usual > 0.95);
  CHECK(usual > narrow);
  CHECK(whole == 1);
}

TEST_CASE("HnswBase: a function of keys, order and options, in however many calls the keys come; k above the size, exclusion") {
  Cpu cpu;
  const auto x = unit_rows(20, 12, 2);
  const retrieval::HnswOptions narrow{.links = 4, .build_width = 10, .search_width = 5};
  const auto base = random_base(600, 12, narrow), again = random_base(600, 12, narrow), parts = random_base(600, 12, narrow, 3);
  auto other_seed = narrow;
  other_seed.seed = 2;
  CHECK(same(base.nearest(cpu, x.view(), 5), again.nearest(cpu, x.view(), 5)));
  CHECK(same(base.nearest(cpu, x.view(), 5), parts.nearest(cpu, x.view(), 5)));
  CHECK(!same(base.nearest(cpu, x.view(), 5), random_base(600, 12, other_seed).nearest(cpu, x.view(), 5)));

  auto few = random_base(7, 12);
  const Neighbours all = few.nearest(cpu, x.view(), 50);
  REQUIRE(all.k() == 7);
  CHECK(recall(all, few.exact().nearest(cpu, x.view(), 50)) == 1);
  std::vector<index_t> self(7);
  std::iota(self.begin(), self.end(), index_t{0});
  const Neighbours without = few.nearest(cpu, unit_rows(7, 12, 1).view(), 7, {self.data(), {7}});
  for (index_t i = 0; i < 7; ++i) {
    CHECK(std::count(without.ids.view().row(i), without.ids.view().row(i) + 7, i) == 0);
    CHECK(without.ids(i, 6) == -1);
    CHECK(without.scores(i, 6) == -std::numeric_limits<float>::infinity());
  }
  HnswBase<> moved = std::move(few);
  CHECK(same(moved.nearest(cpu, x.view(), 7), all));
  CHECK(moved.blank().size() == 0);
  CHECK(random_base(9, 3, narrow).blank().options().links == 4);
}

TEST_CASE_TEMPLATE("HnswBase: saved, loaded and added to, it answers as one that never left memory", Key, float, std::int8_t) {
  Cpu cpu;
  const ::test::ScratchFolder folder;
  const retrieval::HnswOptions options{.links = 4, .build_width = 12, .search_width = 6, .seed = 3};
  auto base = random_base<Key>(300, 9, options);
  base.save(folder.file("index"));
  auto loaded = HnswBase<Key>::load(folder.file("index"));
  const auto x = unit_rows(15, 9, 2), more = unit_rows(80, 9, 5), labels = one_hot(80, 3);
  CHECK(loaded.options().seed == 3);
  CHECK(loaded.exact().mapped());
  CHECK(same(base.nearest(cpu, x.view(), 4), loaded.nearest(cpu, x.view(), 4)));
  base.add(more.view(), labels.view());
  loaded.add(more.view(), labels.view());
  CHECK(loaded.size() == 380);
  CHECK(same(base.nearest(cpu, x.view(), 4), loaded.nearest(cpu, x.view(), 4)));
  CHECK(KnowledgeBase<Key>::load(folder.file("index.base")).size() == 300);
}

TEST_CASE("HnswBase: bad files are named, and hnswlib never sees them") {
  const ::test::ScratchFolder folder;
  const std::string path = folder.file("index");
  random_base(40, 6).save(path);
  const auto bytes_of = [](const std::string& name) {
    std::ifstream in(name, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const std::string head = bytes_of(path), graph = bytes_of(path + ".graph"), keys = bytes_of(path + ".base");
  const auto loading = [&] { return ::test::message_of<data_error>([&] { HnswBase<>::load(path); }); };
  const auto broken = [](std::string bytes, std::size_t at) {
    bytes[at] = static_cast<char>(bytes[at] ^ 4);
    return bytes;
  };
  CHECK(loading().empty());
  for (const std::size_t at : {std::size_t{0}, std::size_t{100}, graph.size() - 1}) {
    folder.write("index.graph", broken(graph, at));
    CHECK(loading().find("index.graph': truncated, corrupt, or of another save") != std::string::npos);
  }
  folder.write("index.graph", graph.substr(0, graph.size() - 8));
  CHECK(loading().find("index.graph': truncated, corrupt, or of another save") != std::string::npos);
  std::filesystem::remove(path + ".graph");
  CHECK(loading().find("index.graph") != std::string::npos);
  folder.write("index.graph", graph);
  folder.write("index.base", broken(keys, 70));
  CHECK(loading().find("corrupt") != std::string::npos);
  random_base(41, 6).exact().save(path + ".base");  // sound, but of another save
  CHECK(loading().find("index.base': truncated, corrupt, or of another save") != std::string::npos);
  folder.write("index.base", keys);
  CHECK(loading().empty());
  folder.write("index", head.substr(0, 30));
  CHECK(loading().find("expected 72 bytes, the file has 30") != std::string::npos);
  folder.write("index", broken(head, 0));
  CHECK(loading().find("no approximate index at byte 0") != std::string::npos);
  folder.write("index", broken(head, 8));
  CHECK(loading().find("expected version 1 at byte 8, got 5") != std::string::npos);
  folder.write("index", broken(head, 16));
  CHECK(loading().find("corrupt") != std::string::npos);
  folder.write("index", head);
  CHECK(::test::message_of<data_error>([&] { HnswBase<std::int8_t>::load(path); }).find("expected keys of 1 bytes a number at byte 12, got 4") != std::string::npos);
  CHECK(::test::message_of<data_error>([&] { HnswBase<>::load(folder.file("none")); }).find("none") != std::string::npos);
  CHECK(::test::message_of<data_error>([&] { random_base(4, 2).save(folder.path() + "/no/index"); }).find("cannot write") != std::string::npos);
  CHECK(::test::message_of<value_error>([&] { HnswBase<>().save(path); }).find("empty") != std::string::npos);
}

TEST_CASE("HnswBase: bad arguments are the base's typed errors, and leave it as it was") {
  Cpu cpu;
  auto base = random_base(20, 4);
  auto bad = unit_rows(2, 4, 1);
  bad(1, 2) = std::numeric_limits<float>::quiet_NaN();
  CHECK(::test::message_of<value_error>([&] { base.add(bad, one_hot(2, 3)); }).find("entry 2 of key 1 is not finite") != std::string::npos);
  CHECK(::test::message_of<shape_error>([&] { base.add(unit_rows(2, 5, 1), one_hot(2, 3)); }).find("expected keys of width 4, got shape (2, 5)") != std::string::npos);
  CHECK(base.size() == 20);
  CHECK(base.nearest(cpu, unit_rows(1, 4, 2).view(), 20).ids(0, 19) >= 0);
  CHECK(::test::message_of<value_error>([&] { HnswBase<>().nearest(cpu, unit_rows(1, 4, 1).view(), 1); }).find("the base is empty") != std::string::npos);
  CHECK(::test::message_of<value_error>([&] { base.nearest(cpu, unit_rows(1, 4, 1).view(), 0); }).find("expected k of at least 1, got 0") != std::string::npos);
  CHECK(::test::message_of<shape_error>([&] { base.nearest(cpu, unit_rows(1, 5, 1).view(), 1); }).find("expected queries of width 4, got shape (1, 5)") != std::string::npos);
  CHECK(::test::message_of<value_error>([&] { base.nearest(cpu, bad.view(), 1); }).find("query 1 is not finite") != std::string::npos);
  CHECK_THROWS_AS(HnswBase<>({.links = 1}), value_error);
  CHECK_THROWS_AS(HnswBase<>({.search_width = 0}), value_error);
}

TEST_CASE("predict::Retrieval over an approximate index: options survive the build, answers are the exact base's where it finds all") {
  Cpu cpu;
  const Knows teacher;
  Network<StudentNet> student(StudentNet(nn::Linear{6, 3}, {}, nn::Relu{}, nn::Linear{3, 5}), 2);
  predict::Retrieval<embedding> exact{.k = 5, .temperature = 0.2, .lambda = 0.3};
  predict::Retrieval<embedding, HnswBase<>> graph{.k = 5, .temperature = 0.2, .lambda = 0.3, .base = HnswBase<>({.search_width = 350})};
  const auto data = ::test::blobs(90, 6, 5, 1);
  const auto answers = [&](const auto& predictor) {
    return predict_logits<float>(cpu, data, [&](auto& pass, const auto& batch) { return predictor.answer(pass, student, batch); });
  };
  CHECK(::test::message_of<value_error>([&] { answers(graph); }).find("the base is empty") != std::string::npos);
  exact.build(teacher);
  graph.build(teacher);
  CHECK(graph.base.options().search_width == 350);
  const auto one = answers(exact), two = answers(graph);
  for (index_t i = 0; i < one.size(); ++i) CHECK(two.data()[i] == doctest::Approx(one.data()[i]).epsilon(::test::tolerance<float>::gradient));
  graph.lambda = 1;
  const auto alone = answers(graph), plain = predict_logits(student, data, cpu);
  CHECK(std::equal(alone.begin(), alone.end(), plain.begin()));
}
