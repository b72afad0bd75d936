// A teacher, a student and data for the snippets of this folder.
#include <retort.hpp>
using namespace retort;
using Net = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
inline Net net() { return Net(nn::Linear{4, 8}, nn::Relu{}, nn::Linear{8, 3}); }
