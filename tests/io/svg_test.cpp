#include <doctest/doctest.h>

#include <limits>
#include <retort/io/svg.hpp>

#include "scratch_folder.hpp"

using namespace retort;
using io::Chart;
using io::to_svg;

namespace {

int count(const std::string& text, const std::string& part) {
  int n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("axes end at round numbers around the data") {
  const auto axis = io::detail::Axis::around(0.913, 0.972);
  CHECK(axis.step == doctest::Approx(0.02));
  CHECK(axis.low == doctest::Approx(0.90));
  CHECK(axis.high == doctest::Approx(0.98));
  const auto whole = io::detail::Axis::around(0, 30);
  CHECK(whole.step == 10);
  CHECK(whole.low == 0);
  CHECK(whole.high == 30);
  const auto point = io::detail::Axis::around(5, 5);
  CHECK(point.low < 5);
  CHECK(point.high > 5);
}

TEST_CASE("a chart holds each point, bar, name and tick, at its place") {
  const Chart chart{.title = "a < b & \"c\"",
                    .x_label = "epoch",
                    .y_label = "accuracy",
                    .series = {{.name = "teacher", .x = {0, 10}, .y = {0, 1}}, {.name = "student", .x = {5}, .y = {0.5}, .deviation = {0.25}, .line = false}}};
  const std::string svg = to_svg(chart);
  CHECK(svg.starts_with("<svg "));
  CHECK(svg.ends_with("</svg>\n"));
  CHECK(svg.find("a &lt; b &amp; &quot;c&quot;") != std::string::npos);
  CHECK(count(svg, "<circle") == 3);
  CHECK(count(svg, "<polyline") == 1);
  CHECK(svg.find("points=\"80.00,380.00 700.00,58.00 \"") != std::string::npos);   // (0, 0) and (10, 1)
  CHECK(svg.find("cx=\"390.00\" cy=\"219.00\"") != std::string::npos);             // (5, 0.5)
  CHECK(svg.find("y1=\"299.50\" x2=\"390.00\" y2=\"138.50\"") != std::string::npos);  // its bar, 0.25 to 0.75
  for (const char* label : {">teacher<", ">student<", ">epoch<", ">accuracy<", ">0.2<", ">10<"}) CHECK(count(svg, label) == 1);

  const std::string named = to_svg({.series = {{.name = "s", .x = {0, 1}, .y = {1, 2}}}, .categories = {"alone", "distilled"}});
  CHECK(count(named, ">alone<") == 1);
  CHECK(named.find("cx=\"235.00\"") != std::string::npos);  // a quarter of the way: 80 + 620 / 4
}

TEST_CASE("charts that cannot be drawn") {
  const auto draw = [](std::vector<double> x, std::vector<double> y, std::vector<double> d = {}) {
    return to_svg({.title = "t", .series = {{.name = "s", .x = x, .y = y, .deviation = d}}});
  };
  CHECK_THROWS_AS(draw({}, {}), value_error);
  CHECK_THROWS_AS(draw({1}, {}), shape_error);
  CHECK_THROWS_AS(draw({1, 2}, {1, 2}, {1}), shape_error);
  CHECK_THROWS_AS(draw({1}, {std::numeric_limits<double>::quiet_NaN()}), value_error);
  CHECK_THROWS_AS(draw({1}, {1}, {std::numeric_limits<double>::infinity()}), value_error);
  const test::ScratchFolder folder;
  const Chart good{.title = "t", .series = {{.name = "s", .x = {1}, .y = {1}}}};
  io::save_svg(folder.file("plot.svg"), good);
  CHECK(std::filesystem::file_size(folder.file("plot.svg")) == to_svg(good).size());
  CHECK_THROWS_AS(io::save_svg(folder.file("no/such.svg"), good), data_error);
}
