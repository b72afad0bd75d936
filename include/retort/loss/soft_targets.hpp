#pragma once
// `SoftTargets`, the classic distillation term, is a forward KL divergence.

#include <retort/loss/forward_kl.hpp>
