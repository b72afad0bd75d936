#include "prelude.hpp"
struct embedding;
predict::Retrieval<embedding, retrieval::KnowledgeBase<std::int8_t>> right;
