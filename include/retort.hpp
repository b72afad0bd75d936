#pragma once
// Everything that runs on the CPU. Plain C++20: no CUDA toolkit is needed for anything that this header names.

#include <retort/backend/cpu_kernels.hpp>
#include <retort/concepts.hpp>
#include <retort/data/cifar.hpp>
#include <retort/data/csv.hpp>
#include <retort/data/digits.hpp>
#include <retort/data/gather.hpp>
#include <retort/data/idx.hpp>
#include <retort/autograd/grad_check.hpp>
#include <retort/loss/cross_entropy.hpp>
#include <retort/loss/decoupled.hpp>
#include <retort/loss/hinton_loss.hpp>
#include <retort/loss/jensen_shannon.hpp>
#include <retort/loss/logit_mse.hpp>
#include <retort/loss/normalized.hpp>
#include <retort/loss/reverse_kl.hpp>
#include <retort/loss/skew_kl.hpp>
#include <retort/loss/soft_cross_entropy.hpp>
#include <retort/loss/total_variation.hpp>
#include <retort/loss/transformed_teacher.hpp>
#include <retort/method/hinton.hpp>
#include <retort/student/ema.hpp>
#include <retort/teacher/cached.hpp>
#include <retort/train/callbacks.hpp>
#include <retort/train/fit.hpp>
#include <retort/train/statistics.hpp>
