#pragma once
// A plot for a report, as one self-contained SVG: lines or points with deviation bars, axes, a legend. No more than that.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <retort/core/error.hpp>
#include <retort/core/finite.hpp>
#include <string>
#include <vector>

namespace retort::io {

/// Points (x_i, y_i), each with a bar of y_i +- deviation_i where `deviation` is not empty.
struct Series {
  std::string name{};
  std::vector<double> x{}, y{}, deviation{};
  bool line = true;  ///< joined by a line; without it, points alone
};

/// What to draw. With `categories` the x axis shows these names at 0, 1, 2, ...
struct Chart {
  std::string title{}, x_label{}, y_label{};
  std::vector<Series> series{};
  std::vector<std::string> categories{};
};

namespace detail {

struct Axis {
  double low = 0, high = 1, step = 1;

  /// Bounds and ticks at multiples of 1, 2 or 5 times a power of ten: about five of them.
  static Axis around(double low, double high) {
    if (high - low <= 1e-12 * std::max(std::abs(low), std::abs(high))) low -= 0.5, high += 0.5;
    const double rough = (high - low) / 5, power = std::pow(10, std::floor(std::log10(rough)));
    const double digit = rough / power;
    const double step = power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
    return {std::floor(low / step + 1e-9) * step, std::ceil(high / step - 1e-9) * step, step};
  }
  double fraction(double v) const { return (v - low) / (high - low); }
};

inline std::string number(double v, const char* format = "%.2f") {
  char text[32];
  std::snprintf(text, sizeof text, format, v);
  return text;
}

inline std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : c == '"' ? "&quot;" : std::string(1, c);
  return out;
}

}  // namespace detail

/// The chart as SVG text, 720 x 440. Throws value_error when there is nothing to draw or a number is not finite,
/// shape_error when the lists of a series differ in length.
inline std::string to_svg(const Chart& chart) {
  using detail::escaped;
  using detail::number;
  double x_low = 1e300, x_high = -1e300, y_low = 1e300, y_high = -1e300;
  for (const Series& s : chart.series) {
    require<shape_error>(s.x.size() == s.y.size() && (s.deviation.empty() || s.deviation.size() == s.y.size()),
                         "to_svg: series '", s.name, "' has ", s.x.size(), " x, ", s.y.size(), " y and ", s.deviation.size(),
                         " deviations");
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      const double spread = s.deviation.empty() ? 0 : s.deviation[i];
      require<value_error>(is_finite(s.x[i]) && is_finite(s.y[i]) && is_finite(spread), "to_svg: point ", i, " of series '",
                           s.name, "' is not finite");
      x_low = std::min(x_low, s.x[i]), x_high = std::max(x_high, s.x[i]);
      y_low = std::min(y_low, s.y[i] - spread), y_high = std::max(y_high, s.y[i] + spread);
    }
  }
  require<value_error>(x_low <= x_high, "to_svg: the chart '", chart.title, "' has no points");
  const auto categories = static_cast<double>(chart.categories.size());
  const detail::Axis ax = categories > 0 ? detail::Axis{-0.5, categories - 0.5, 1} : detail::Axis::around(x_low, x_high);
  const detail::Axis ay = detail::Axis::around(y_low, y_high);

  constexpr std::size_t legend_columns = 4;
  const auto legend_rows = static_cast<double>((chart.series.size() + legend_columns - 1) / legend_columns);
  constexpr double left = 80, right = 700, bottom = 380;
  const double top = 40 + 18 * legend_rows;  // the legend stands above the plot, where no curve can cross it
  const auto px = [&](double v) { return left + ax.fraction(v) * (right - left); };
  const auto py = [&](double v) { return bottom - ay.fraction(v) * (bottom - top); };
  const auto line = [&](double x1, double y1, double x2, double y2, const std::string& style) {
    return "<line x1=\"" + number(x1) + "\" y1=\"" + number(y1) + "\" x2=\"" + number(x2) + "\" y2=\"" + number(y2) + "\" " + style + "/>\n";
  };
  const auto text = [&](double x, double y, const std::string& content, const std::string& style) {
    return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" " + style + ">" + escaped(content) + "</text>\n";
  };
  const std::string middle = "text-anchor=\"middle\"", grid = "stroke=\"#ddd\"";

  std::string out = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"440\" font-family=\"sans-serif\" font-size=\"13\">\n"
                    "<rect width=\"720\" height=\"440\" fill=\"white\"/>\n";
  out += text(390, 24, chart.title, middle + " font-size=\"16\"") + text(390, 425, chart.x_label, middle);
  out += text(0, 0, chart.y_label, middle + " transform=\"translate(20,210) rotate(-90)\"");
  for (double v = ay.low; v <= ay.high + ay.step / 2; v += ay.step)
    out += line(left, py(v), right, py(v), grid) + text(left - 8, py(v) + 4, number(std::abs(v) < ay.step / 2 ? 0 : v, "%.5g"), "text-anchor=\"end\"");
  if (categories > 0) {
    for (std::size_t i = 0; i < chart.categories.size(); ++i) out += text(px(static_cast<double>(i)), bottom + 20, chart.categories[i], middle);
  } else {
    for (double v = ax.low; v <= ax.high + ax.step / 2; v += ax.step)
      out += line(px(v), top, px(v), bottom, grid) + text(px(v), bottom + 20, number(std::abs(v) < ax.step / 2 ? 0 : v, "%.5g"), middle);
  }
  out += line(left, bottom, right, bottom, "stroke=\"black\"") + line(left, top, left, bottom, "stroke=\"black\"");

  // Okabe & Ito's palette: told apart by colour-blind readers.
  constexpr std::array<const char*, 7> palette{"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"};
  for (std::size_t n = 0; n < chart.series.size(); ++n) {
    const Series& s = chart.series[n];
    const std::string colour = palette[n % palette.size()], stroke = "stroke=\"" + colour + "\" stroke-width=\"2\"";
    std::string points;
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      const double x = px(s.x[i]), y = py(s.y[i]);
      points += number(x) + "," + number(y) + " ";
      out += "<circle cx=\"" + number(x) + "\" cy=\"" + number(y) + "\" r=\"" + (s.line ? "2.5" : "5") + "\" fill=\"" + colour + "\"/>\n";
      if (s.deviation.empty()) continue;
      const double high = py(s.y[i] + s.deviation[i]), low = py(s.y[i] - s.deviation[i]);
      out += line(x, low, x, high, stroke) + line(x - 4, low, x + 4, low, stroke) + line(x - 4, high, x + 4, high, stroke);
    }
    if (s.line) out += "<polyline fill=\"none\" " + stroke + " points=\"" + points + "\"/>\n";
    const double x = left + 155 * static_cast<double>(n % legend_columns), y = 48 + 18 * static_cast<double>(n / legend_columns);
    out += line(x, y - 4, x + 20, y - 4, stroke) + text(x + 26, y, s.name, "");
  }
  return out + "</svg>\n";
}

/// Writes the chart. Throws what `to_svg` throws, and data_error when the file cannot be written.
inline void save_svg(const std::string& path, const Chart& chart) {
  const std::string content = to_svg(chart);
  std::ofstream out(path);
  out << content << std::flush;
  require<data_error>(out.good(), "cannot write '", path, "'");
}

}  // namespace retort::io
