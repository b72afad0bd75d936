#include <doctest/doctest.h>

#include <retort/data/digits.hpp>

#include "real_data.hpp"
#include "scratch_folder.hpp"

using namespace retort;
using data::load_csv;
using test::message_of;

TEST_CASE("csv: numbers, label column, header, separator, line ends") {
  const test::ScratchFolder folder;
  const auto last = load_csv(folder.write("last.csv", "1.5,-2e-3,0\n\r\n 4 ,5,1\r\n"));
  CHECK(last.inputs.shape() == Shape{2, 2});
  CHECK(last.inputs(0, 0) == 1.5f);
  CHECK(last.inputs(0, 1) == -2e-3f);
  CHECK(last.inputs(1, 0) == 4.f);
  CHECK(last.labels == std::vector<std::int32_t>{0, 1});
  CHECK(last.classes == 2);

  const auto first = load_csv(folder.write("first.csv", "class;x;y\n2;1;3\n0;4;6"),
                              {.label_column = 0, .header = 1, .separator = ';', .classes = 5});
  CHECK(first.inputs(1, 1) == 6.f);
  CHECK(first.labels == std::vector<std::int32_t>{2, 0});
  CHECK(first.classes == 5);

  const auto floats = load_csv(folder.write("floats.csv", "1,2.0\n3,0.0\n5,1e0\n"));
  CHECK(floats.labels == std::vector<std::int32_t>{2, 0, 1});
}

TEST_CASE("csv: every malformed file gives a typed error that says where") {
  const test::ScratchFolder folder;
  const auto fails = [&](const std::string& content, const data::CsvOptions& options = {}) {
    const std::string path = folder.write("bad.csv", content);
    const std::string what = message_of<data_error>([&] { load_csv(path, options); });
    return what.starts_with(path) ? what.substr(path.size()) : "no data_error that names the file, but: " + what;
  };
  CHECK(fails("1,2,0\n1,abc,1\n") == ", line 2, column 2: expected a finite number, found 'abc'");
  CHECK(fails("1,2,0\n1,,1\n") == ", line 2, column 2: expected a finite number, found ''");
  CHECK(fails("1,2,0\nnan,1,1\n") == ", line 2, column 1: expected a finite number, found 'nan'");
  CHECK(fails("1,1e99,0\n") == ", line 1, column 2: expected a finite number, found '1e99'; is this line a header (CsvOptions::header)?");
  CHECK(fails("1,2x,0\n") == ", line 1, column 2: expected a finite number, found '2x'; is this line a header (CsvOptions::header)?");
  CHECK(fails("1,2,0\n1,2,0.5\n") == ", line 2, column 3: expected an integer label from 0 to 1048575, found '0.5'");
  CHECK(fails("1,2,0\n1,2,1e12\n") == ", line 2, column 3: expected an integer label from 0 to 1048575, found '1e12'");
  CHECK(fails("1,2,0\n1,2,nan\n") == ", line 2, column 3: expected an integer label from 0 to 1048575, found 'nan'");
  CHECK(fails("1,2,-1\n") == ", line 1, column 3: expected an integer label from 0 to 1048575, found '-1'; is this line a header (CsvOptions::header)?");
  CHECK(fails("1,2,0\n1,2,2147483647\n") == ", line 2, column 3: expected an integer label from 0 to 1048575, found '2147483647'");
  CHECK(fails("1,2,0\n1,2,3\n", {.classes = 3}) == ", line 2, column 3: expected an integer label from 0 to 2, found '3'");
  CHECK(fails("1,2,0\n1,2\n") == ", line 2: expected 3 columns as in line 1, found 2");
  CHECK(fails("h\n1,2,0\n1,2,1,9\n", {.header = 1}) == ", line 3: expected 3 columns as in line 2, found 4");
  CHECK(fails("7\n8\n").starts_with(", line 1: expected a label and at least one input separated by ','"));
  CHECK(fails("") == ": no samples in 0 lines (0 of them header)");
  CHECK(fails("a,b,c\n", {.header = 1}) == ": no samples in 1 lines (1 of them header)");

  const std::string good = folder.write("good.csv", "1,2,0\n1,2,0\n");
  CHECK(message_of<value_error>([&] { load_csv(good); }).find("at least 2 classes, got 1") != std::string::npos);
  CHECK_THROWS_AS(load_csv(good, {.label_column = 3}), value_error);
  CHECK_THROWS_AS(load_csv(good, {.label_column = -4}), value_error);
  CHECK(message_of<data_error>([&] { load_csv(folder.file("none.csv")); }).find("cannot open '" + folder.path()) == 0);
  CHECK(message_of<data_error>([&] { load_csv(folder.path()); }).find("cannot read '" + folder.path()) == 0);
}

TEST_CASE("the shipped digits: 1797 samples, ten classes, known pixels") {
  const auto digits = data::load_digits(RETORT_SOURCE_DIR "/examples/data");
  CHECK(digits.inputs.shape() == Shape{1797, 64});
  std::vector<int> count(10);
  for (auto y : digits.labels) ++count[static_cast<std::size_t>(y)];
  CHECK(count == std::vector<int>{178, 182, 177, 183, 181, 182, 181, 179, 174, 180});
  double sum = 0;
  for (float x : digits.inputs) {
    REQUIRE(x >= 0);
    REQUIRE(x <= 1);
    sum += 16.0 * x;
  }
  CHECK(sum == 561718);
  CHECK(digits.labels[1000] == 1);
  CHECK(digits.inputs(1000, 3) == 14 / 16.f);
}

TEST_CASE("a digits file that was cut at a line end is not taken for the whole set") {
  const test::ScratchFolder folder;
  std::string row(128, '0');
  for (std::size_t i = 1; i < row.size(); i += 2) row[i] = ',';
  folder.write("digits.csv", row + "0\n" + row + "1\n");
  CHECK(message_of<data_error>([&] { data::load_digits(folder.path()); }).find("expected inputs (1797, 64), found (2, 64)") !=
        std::string::npos);
}

TEST_SUITE("needs-tabular") {
  TEST_CASE("breast cancer: 569 samples of 30 features, 212 of them malignant") {
    const std::string folder = test::real_data("tabular", "breast_cancer.csv", "https://archive.ics.uci.edu/dataset/17");
    if (folder.empty()) return;
    const auto set = load_csv(folder + "/breast_cancer.csv", {.header = 1});
    CHECK(set.inputs.shape() == Shape{569, 30});
    CHECK(std::count(set.labels.begin(), set.labels.end(), 0) == 212);
    CHECK(set.inputs(0, 0) == 17.99f);
  }
}
