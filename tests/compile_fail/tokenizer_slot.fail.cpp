// expect: retort: data::tokens needs a tokenizer
#include "prelude.hpp"
#include <retort/data/text.hpp>
struct Letters {
  index_t size() const { return 128; }
};
void wrong(const data::Text& text) { data::tokens(text, Letters{}, 10); }
