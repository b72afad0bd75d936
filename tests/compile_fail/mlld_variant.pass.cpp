#include "prelude.hpp"
loss::MultiLevel<loss::MlldAsPublished> code;
