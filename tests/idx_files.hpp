#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace test {

/// The bytes of an idx file of unsigned bytes.
inline std::string idx_file(const std::vector<std::uint32_t>& extents, const std::vector<unsigned char>& elements) {
  std::string out{0, 0, 8, static_cast<char>(extents.size())};
  for (std::uint32_t e : extents)
    for (int shift : {24, 16, 8, 0}) out += static_cast<char>(e >> shift);
  return out.append(elements.begin(), elements.end());
}

}  // namespace test
