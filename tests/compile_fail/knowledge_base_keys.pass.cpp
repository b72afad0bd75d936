#include "prelude.hpp"
retrieval::KnowledgeBase<std::int8_t> right;
