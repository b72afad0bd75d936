// Draws the loss surfaces of plain distillation and of DiSK over the one-dimensional world of DiSK's poster (Kag et al.,
// ICLR 2023), side by side, with their minima. The student is one soft interval [a, a + w], the positives are two; a guide
// is trained at the good solution and then frozen. Usage: disk_landscape [--short] [--out FOLDER]

#include <cstdio>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <string>

#include "disk_interval.hpp"

using namespace interval;

namespace {
/// A panel of 46 x 46 cells, dark where the loss is low, with a ring around each basin of at least 5 % of the starts.
template <class Help>
std::string panel(double left, const std::string& title, const std::vector<Sample>& world, Help&& help, const std::vector<Basin>& minima) {
  std::vector<double> z;
  for (int j = 0; j < 46; ++j)
    for (int i = 0; i < 46; ++i) z.push_back(loss(world, {}, {0.2 * i, 0.2 * j}, help).value);
  const auto [low, high] = std::minmax_element(z.begin(), z.end());
  char text[256];
  std::string out = "<text x=\"" + std::to_string(left + 184) + "\" y=\"24\" text-anchor=\"middle\" font-size=\"16\">" + title + "</text>\n";
  for (std::size_t k = 0; k < z.size(); ++k) {
    const double t = std::sqrt((z[k] - *low) / (*high - *low));
    std::snprintf(text, sizeof text, "<rect x=\"%.0f\" y=\"%.0f\" width=\"8.5\" height=\"8.5\" fill=\"rgb(%d,%d,%d)\"/>\n", left + 8. * static_cast<double>(k % 46),
                  400 - 8. * static_cast<double>(k / 46), int(20 + 235 * t), int(30 + 200 * t), int(90 + 90 * t));
    out += text;
  }
  for (const Basin& b : minima) {
    if (b.share < 0.05) continue;
    const double x = left + 40 * b.a + 4, y = 404 - 40 * b.w;
    std::snprintf(text, sizeof text, "<circle cx=\"%.0f\" cy=\"%.0f\" r=\"7\" fill=\"none\" stroke=\"white\" stroke-width=\"2\"/><text x=\"%.0f\" y=\"%.0f\" fill=\"white\">%.0f %%</text>\n",
                  x, y, b.a > 8 ? x - 46 : x + 10, y - 6, 100 * b.share);
    out += text;
  }
  return out + "<text x=\"" + std::to_string(left + 184) + "\" y=\"430\" text-anchor=\"middle\">left end a, 0 to 9 (upwards: width w, 0 to 9)</text>\n";
}
void report(const char* name, const std::vector<Sample>& world, const std::vector<Basin>& minima) {
  std::cout << '\n' << name << "\n\n     a     w   loss   accuracy   share of starts\n" << std::fixed;
  for (const Basin& b : minima)
    if (b.share >= 0.02)
      std::cout << std::setprecision(1) << std::setw(6) << b.a << std::setw(6) << b.w << std::setprecision(3) << std::setw(7) << b.value << std::setprecision(1)
                << std::setw(9) << 100 * accuracy(world, {}, {b.a, b.w}) << " %" << std::setw(14) << 100 * b.share << " %\n";
}
}  // namespace

int main(int argc, char** argv) {
  std::string folder = ".";
  for (int i = 1; i + 1 < argc; ++i)
    if (std::string(argv[i]) == "--out") folder = argv[i + 1];
  const auto world = midpoints();
  std::clog << "training the guide at the good solution ...\n";
  Student good{4.9, 2.2};
  const BinGuide guide = train_guide(good, world, {}, {.price = 10, .budget = 0.3}, 1500, 0.1, 5);
  const auto gates = mean_gates(guide);
  const auto none = [](double) { return 0.; };
  std::clog << "rolling every grid point downhill ...\n";
  const auto plain = basins(world, {}, none), helped = basins(world, {}, guide);
  report("Distillation: minima of the surface", world, plain);
  report("DiSK with that guide", world, helped);
  std::cout << "\nhelp on I1 " << std::setprecision(2) << gates[i1] << ", gap " << gates[gap] << ", I2 " << gates[i2] << ", elsewhere " << gates[rest] << '\n';

  const std::string path = folder + "/disk_landscape.svg";
  std::ofstream out(path);
  out << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"820\" height=\"440\" font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"820\" height=\"440\" fill=\"white\"/>\n"
      << panel(20, "Distillation", world, none, plain) << panel(430, "DiSK, guide frozen", world, guide, helped) << "</svg>\n";
  std::cout << "wrote " << path << '\n';
  const bool as_expected = share_near(plain, {2, 5}) > 0.2 && share_near(helped, {2, 5}) == 0 && share_near(helped, {4.9, 2.2}) > 0.65 && gates[i1] > 0.9;
  return out.good() && as_expected ? 0 : 1;
}
