#pragma once
// What the README's prose takes as given before a snippet that is not a whole program.

#include <retort.hpp>
