#pragma once
// What the README's prose takes as given before a snippet that is not a whole program: the library, and the names of its
// first program.

#include <algorithm>
#include <retort.hpp>
#include <retort/data/cifar.hpp>
#include <retort/data/graph_files.hpp>
#include <retort/data/text.hpp>
#include <string>

using TeacherNet = retort::nn::Sequential<retort::nn::Linear, retort::nn::Relu, retort::nn::Linear>;
using StudentNet = TeacherNet;
extern retort::Network<TeacherNet> teacher;
extern retort::Network<StudentNet> student;
extern const retort::Dataset<2> train;
extern const retort::optim::Sgd optimizer;
