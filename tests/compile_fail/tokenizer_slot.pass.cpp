#include "prelude.hpp"
#include <retort/data/text.hpp>
struct Letters {
  index_t size() const { return 128; }
  std::vector<std::int32_t> encode(std::string_view text) const { return {text.begin(), text.end()}; }
};
void right(const data::Text& text) { data::tokens(text, Letters{}, 10); }
