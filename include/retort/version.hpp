#pragma once

/// Library version, bumped by releases; CHANGELOG.md says what each one brought.
#define RETORT_VERSION_MAJOR 0
#define RETORT_VERSION_MINOR 1
#define RETORT_VERSION_PATCH 0
