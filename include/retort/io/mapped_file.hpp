#pragma once

#include <retort/data/file.hpp>
#include <utility>
#if __has_include(<sys/mman.h>)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#define RETORT_HAS_MMAP 1
#else
#define RETORT_HAS_MMAP 0
#endif

namespace retort::io {

/// The bytes of a file, mapped into memory for reading: pages come from the disk when they are looked at. Where the system has
/// no mmap the file is read. Throws data_error with the system's reason when it cannot be opened.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::string& path) {
#if RETORT_HAS_MMAP
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    require<data_error>(fd >= 0, "cannot open '", path, "': ", std::strerror(errno));
    struct stat status {};
    const bool known = ::fstat(fd, &status) == 0;
    size_ = known ? static_cast<std::size_t>(status.st_size) : 0;
    void* at = known && size_ ? ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0) : nullptr;
    const int problem = errno;
    ::close(fd);
    require<data_error>(known && at != MAP_FAILED, "cannot map '", path, "': ", std::strerror(problem));
    data_ = static_cast<const unsigned char*>(at);
#else
    bytes_ = data::read_file(path).bytes;
    data_ = bytes_.data();
    size_ = bytes_.size();
#endif
  }
  MappedFile(MappedFile&& other) noexcept { swap(other); }
  MappedFile& operator=(MappedFile&& other) noexcept {
    swap(other);
    return *this;
  }
  ~MappedFile() {
#if RETORT_HAS_MMAP
    if (data_) ::munmap(const_cast<unsigned char*>(data_), size_);
#endif
  }

  const unsigned char* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  void swap(MappedFile& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
#if !RETORT_HAS_MMAP
    std::swap(bytes_, other.bytes_);
#endif
  }
  const unsigned char* data_ = nullptr;
  std::size_t size_ = 0;
#if !RETORT_HAS_MMAP
  std::vector<unsigned char> bytes_;
#endif
};

}  // namespace retort::io
