#pragma once

#include <cstddef>
#include <new>
#include <retort/core/shape.hpp>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

namespace retort {

/// Plain host memory, for records and bookkeeping of any backend.
struct HostMemory {
  static void* allocate(std::size_t bytes) { return ::operator new(bytes, std::align_val_t{64}); }
  static void deallocate(void* p) { ::operator delete(p, std::align_val_t{64}); }
};

/// Bump allocator over blocks that are kept between steps: after the first step of a loop with fixed shapes it never
/// asks the system for memory again. `Memory` supplies `allocate(bytes)` and `deallocate(pointer)`; a backend is one.
/// Objects placed here must be trivially destructible, since nothing is ever destroyed.
template <class Memory>
class Arena {
 public:
  static constexpr std::size_t alignment = 64;
  static constexpr std::size_t most_in_advance = std::size_t{1} << 26;  ///< bytes of a block beyond what it is made for

  /// A position to come back to.
  struct Mark {
    std::size_t block = 0, offset = 0;
  };

  Arena() = default;
  Arena(Arena&& other) noexcept
      : blocks_(std::exchange(other.blocks_, {})), at_(std::exchange(other.at_, {})) {}
  Arena& operator=(Arena&& other) noexcept {
    std::swap(blocks_, other.blocks_);
    std::swap(at_, other.at_);
    return *this;
  }
  ~Arena() {
    for (const Block& b : blocks_) Memory::deallocate(b.data);
  }

  /// Uninitialised memory for `count` objects, 64-byte aligned.
  template <class T>
  T* allocate(index_t count) {
    static_assert(std::is_trivially_destructible_v<T>);
    return static_cast<T*>(allocate_bytes(static_cast<std::size_t>(count) * sizeof(T)));
  }
  void* allocate_bytes(std::size_t bytes) {
    bytes = (bytes + alignment - 1) / alignment * alignment;
    while (at_.block < blocks_.size() && at_.offset + bytes > blocks_[at_.block].bytes) at_ = {at_.block + 1, 0};
    if (at_.block == blocks_.size()) {
      const std::size_t last = blocks_.empty() ? std::size_t{1} << 15 : blocks_.back().bytes;
      const std::size_t grown = 2 * last < most_in_advance ? 2 * last : most_in_advance, size = bytes > grown ? bytes : grown;
      blocks_.reserve(blocks_.size() + 1);
      blocks_.push_back(block(size, bytes));
    }
    void* out = blocks_[at_.block].data + at_.offset;
    at_.offset += bytes;
    return out;
  }

  Mark mark() const { return at_; }
  /// Forgets everything allocated since `mark`; the memory stays for reuse.
  void release(Mark mark) { at_ = mark; }
  void reset() { at_ = {}; }
  /// Bytes held from the system.
  std::size_t capacity() const {
    std::size_t n = 0;
    for (const Block& b : blocks_) n += b.bytes;
    return n;
  }

 private:
  struct Block {
    std::byte* data;
    std::size_t bytes;
  };
  /// Of `size` bytes or, where there is no room for these, of the `least` that are needed: on a device, twice the last block is
  /// soon more than what is free.
  static Block block(std::size_t size, std::size_t least) {
    if (size > least) try {
        return {static_cast<std::byte*>(Memory::allocate(size)), size};
      } catch (const std::runtime_error&) {  // device_memory_error is one
      } catch (const std::bad_alloc&) {
      }
    return {static_cast<std::byte*>(Memory::allocate(least)), least};
  }
  std::vector<Block> blocks_;
  Mark at_;
};

/// Releases an arena to where it was, at scope end.
template <class Memory>
class ArenaScope {
 public:
  explicit ArenaScope(Arena<Memory>& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ArenaScope() { arena_.release(mark_); }
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Arena<Memory>& arena_;
  typename Arena<Memory>::Mark mark_;
};

}  // namespace retort
