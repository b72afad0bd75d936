#pragma once

#include <retort/data/csv.hpp>

namespace retort::data {

/// The 8x8 handwritten digits that ship in `examples/data`: 1797 samples of 64 pixels scaled from 0..16 to 0..1, ten
/// classes (E. Alpaydin and C. Kaynak, UCI Optical Recognition of Handwritten Digits, CC BY 4.0). `folder` holds
/// `digits.csv`. Throws data_error when the file is missing, malformed or not the whole set.
inline Dataset<2> load_digits(const std::string& folder) {
  const std::string path = folder + "/digits.csv";
  Dataset<2> out = load_csv(path, {.classes = 10});
  require<data_error>(out.inputs.shape() == Shape{1797, 64}, path, ": expected inputs (1797, 64), found ",
                      to_string(out.inputs.shape()));
  for (float& pixel : out.inputs) pixel /= 16.f;
  out.name = "digits";
  return out;
}

}  // namespace retort::data
