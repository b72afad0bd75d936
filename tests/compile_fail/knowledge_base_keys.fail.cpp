// expect: retort: a knowledge base keeps its keys as float or as std::int8_t
#include "prelude.hpp"
retrieval::KnowledgeBase<double> wrong;
