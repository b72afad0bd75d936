#pragma once

#include <cstddef>
#include <cstdint>
#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

namespace retort {

/// Asks the system for large pages under memory that has not been written yet: walks through hundreds of megabytes wait less for address
/// translation. A wish that may be ignored; nothing happens where the system has no such call, or for less than a few pages.
inline void prefer_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr std::uintptr_t page = 4096, huge = std::uintptr_t{2} << 20;
  const auto begin = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page, end = (reinterpret_cast<std::uintptr_t>(data) + bytes) / page * page;
  if (end > begin + 2 * huge) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace retort
