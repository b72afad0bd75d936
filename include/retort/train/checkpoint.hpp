#pragma once
// Checkpoints: named tensors and numbers in one file. Written beside the target, flushed to disk and renamed over it, so
// a kill at any moment leaves either the old file or the new one. Read completely and verified before anything is touched.
//
// Layout, little-endian: "RETORTCK", u32 version, u64 payload bytes, payload, u64 checksum (FNV-1a over the payload).
// Payload: entries of u32 name bytes, name, u8 kind, u64 count, data. Kinds: 0 text, 1 f64, 2 f32, 3 u64.

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <retort/core/error.hpp>
#include <retort/core/view.hpp>
#include <retort/data/file.hpp>
#include <string>

namespace retort {

static_assert(std::endian::native == std::endian::little, "retort: checkpoints are written on little-endian machines only");

namespace detail {

enum class EntryKind : std::uint8_t { text, f64, f32, u64 };
template <class T>
constexpr EntryKind entry_kind() {
  if constexpr (std::is_same_v<T, double>) return EntryKind::f64;
  if constexpr (std::is_same_v<T, float>) return EntryKind::f32;
  if constexpr (std::is_same_v<T, std::uint64_t>) return EntryKind::u64;
  return EntryKind::text;
}

inline std::uint64_t checksum(const char* data, std::size_t bytes) {
  std::uint64_t h = 14695981039346656037ull;
  for (std::size_t i = 0; i < bytes; ++i) h = (h ^ static_cast<unsigned char>(data[i])) * 1099511628211ull;
  return h;
}

/// A visitor of state that lets `f` see views of host memory: on a device backend, copies that go back after a change.
template <class B, class F>
auto on_host(F&& f) {
  return [&f](const std::string& name, auto&& target) {
    if constexpr (!B::host_accessible && requires { target.data; target.shape; }) {
      using T = std::remove_cvref_t<decltype(*target.data)>;
      std::vector<T> values(static_cast<std::size_t>(target.size()));
      B::copy(values.data(), target.data, values.size() * sizeof(T));
      f(name, View<T, 1>{values.data(), {target.size()}});
      B::copy(target.data, values.data(), values.size() * sizeof(T));
    } else {
      f(name, target);
    }
  };
}
}  // namespace detail

/// Collects entries; a visitor for `visit_state`. `commit(path)` writes them. Throws data_error when the file system
/// refuses; the file at `path` is then as before.
class CheckpointWriter {
 public:
  template <class T>
  void operator()(const std::string& name, View<T, 1> values) {
    entry(name, detail::entry_kind<std::remove_const_t<T>>(), values.data, static_cast<std::size_t>(values.size()), sizeof(T));
  }
  void operator()(const std::string& name, const double& value) { entry(name, detail::EntryKind::f64, &value, 1, sizeof value); }
  void operator()(const std::string& name, const std::uint64_t& value) { entry(name, detail::EntryKind::u64, &value, 1, sizeof value); }
  template <class N>
    requires std::is_arithmetic_v<N>
  void operator()(const std::string&, const N&) {
    static_assert(sizeof(N) == 0, "retort: a number in visit_state is a double or a std::uint64_t; see retort/train/checkpoint.hpp");
  }
  void operator()(const std::string& name, const std::string& text) { entry(name, detail::EntryKind::text, text.data(), text.size(), 1); }

  void commit(const std::string& path) const {
    const std::string temporary = path + ".tmp";
    std::string file = "RETORTCK";
    const std::uint32_t version = 1;
    const std::uint64_t bytes = payload_.size(), sum = detail::checksum(payload_.data(), payload_.size());
    file.append(reinterpret_cast<const char*>(&version), sizeof version);
    file.append(reinterpret_cast<const char*>(&bytes), sizeof bytes);
    file += payload_;
    file.append(reinterpret_cast<const char*>(&sum), sizeof sum);

    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    require<data_error>(fd >= 0, "checkpoint: cannot create '", temporary, "': ", std::strerror(errno));
    bool ok = true;
    for (std::size_t done = 0; ok && done < file.size();) {
      const ssize_t n = ::write(fd, file.data() + done, file.size() - done);
      if (n > 0)
        done += static_cast<std::size_t>(n);
      else
        ok = n < 0 && errno == EINTR;
    }
    ok = ok && ::fsync(fd) == 0;
    const int problem = errno;
    ::close(fd);
    if (!ok) ::unlink(temporary.c_str());
    require<data_error>(ok, "checkpoint: cannot write '", temporary, "': ", std::strerror(problem));
    require<data_error>(std::rename(temporary.c_str(), path.c_str()) == 0, "checkpoint: cannot rename '", temporary, "' to '", path,
                        "': ", std::strerror(errno));
  }

 private:
  void entry(const std::string& name, detail::EntryKind kind, const void* data, std::size_t count, std::size_t size) {
    const auto length = static_cast<std::uint32_t>(name.size());
    const std::uint64_t n = count;
    payload_.append(reinterpret_cast<const char*>(&length), sizeof length);
    payload_ += name;
    payload_ += static_cast<char>(kind);
    payload_.append(reinterpret_cast<const char*>(&n), sizeof n);
    payload_.append(static_cast<const char*>(data), count * size);
  }
  std::string payload_;
};

/// A checkpoint in memory, verified. Throws data_error (naming the file and byte offset) when it is missing, truncated,
/// oversized or corrupt.
class CheckpointReader {
 public:
  explicit CheckpointReader(const std::string& path) : path_(path) {
    const data::FileBytes read_bytes = data::read_file(path);
    file_.assign(read_bytes.bytes.begin(), read_bytes.bytes.end());
    constexpr std::size_t header = 8 + 4 + 8;
    require<data_error>(file_.size() >= header + 8 && file_.compare(0, 8, "RETORTCK") == 0, "checkpoint '", path,
                        "': no checkpoint header at byte 0 (", file_.size(), " bytes)");
    const auto version = read<std::uint32_t>(8);
    require<data_error>(version == 1, "checkpoint '", path, "': expected version 1 at byte 8, got ", version);
    const auto bytes = read<std::uint64_t>(12);
    require<data_error>(bytes == file_.size() - header - 8, "checkpoint '", path, "': the header promises ", bytes,
                        " bytes of payload, the file holds ", file_.size() - header - 8);
    require<data_error>(detail::checksum(file_.data() + header, bytes) == read<std::uint64_t>(header + bytes), "checkpoint '", path,
                        "': checksum mismatch at byte ", header + bytes, "; the file is corrupt");
    for (std::size_t at = header, end = header + bytes; at < end;) {
      auto take = [&](std::size_t n) {
        require<data_error>(n <= end - at, "checkpoint '", path, "': entry at byte ", at, " leaves the payload");
        at += n;
        return at - n;
      };
      const auto length = read<std::uint32_t>(take(4));
      const std::size_t name = take(length);
      const auto kind = static_cast<detail::EntryKind>(file_[take(1)]);
      const auto count = read<std::uint64_t>(take(8));
      const std::size_t size = kind == detail::EntryKind::text ? 1 : kind == detail::EntryKind::f32 ? 4 : 8;
      require<data_error>(count <= (end - at) / size, "checkpoint '", path, "': entry at byte ", at, " leaves the payload");
      entries_[file_.substr(name, length)] = {kind, count, take(count * size)};
    }
  }

  /// A visitor that checks that an entry of the right kind and size exists. Throws checkpoint_error.
  auto checker() const {
    return [this](const std::string& name, const auto& target) { locate(name, target); };
  }
  /// A visitor that copies entries into place; run `checker` over everything first.
  auto loader() const {
    return [this](const std::string& name, auto&& target) {
      const Entry& e = locate(name, target);
      if constexpr (requires { target.data; target.shape; })
        std::memcpy(target.data, file_.data() + e.offset, static_cast<std::size_t>(target.size()) * sizeof(*target.data));
      else if constexpr (std::is_same_v<std::remove_cvref_t<decltype(target)>, std::string>)
        target = file_.substr(e.offset, e.count);
      else
        std::memcpy(&target, file_.data() + e.offset, sizeof target);
    };
  }
  /// The text entry of that name. Throws checkpoint_error when there is none.
  std::string text(const std::string& name) const {
    const Entry& e = find(name);
    return file_.substr(e.offset, e.count);
  }

 private:
  struct Entry {
    detail::EntryKind kind;
    std::uint64_t count;
    std::size_t offset;
  };
  template <class U>
  U read(std::size_t at) const {
    U value;
    std::memcpy(&value, file_.data() + at, sizeof value);
    return value;
  }
  const Entry& find(const std::string& name) const {
    const auto it = entries_.find(name);
    require<checkpoint_error>(it != entries_.end(), "checkpoint '", path_, "' has no entry '", name, "' that this run needs");
    return it->second;
  }
  template <class Target>
  const Entry& locate(const std::string& name, const Target& target) const {
    const Entry& e = find(name);
    if constexpr (requires { target.data; target.shape; }) {
      require<checkpoint_error>(e.kind == detail::entry_kind<std::remove_cvref_t<decltype(*target.data)>>(), "checkpoint '", path_, "': '",
                                name, "' is of another element type");
      require<checkpoint_error>(static_cast<index_t>(e.count) == target.size(), "checkpoint '", path_, "': '", name, "' has ", e.count,
                                " values, this run needs ", target.size());
    } else {
      require<checkpoint_error>(e.kind == detail::entry_kind<Target>(), "checkpoint '", path_, "': '", name, "' is of another type");
    }
    return e;
  }
  std::string path_, file_;
  std::map<std::string, Entry> entries_;
};

/// Writes a network's parameters and buffers (running statistics) to a file, with its description. Throws data_error when the
/// file system refuses; the file at `path` is then as before.
template <class Network>
void save_network(Network& network, const std::string& path) {
  CheckpointWriter writer;
  writer("architecture", network.describe());
  const auto visit = detail::on_host<typename Network::context>(writer);
  for (auto& [name, view] : network.tensors()) visit(name, view);
  writer.commit(path);
}
/// Reads them into a network of the same architecture and scalar type. Throws data_error when the file is missing or damaged,
/// checkpoint_error when it holds another architecture; the network is then as before.
template <class Network>
void load_network(Network& network, const std::string& path) {
  const CheckpointReader reader(path);
  require<checkpoint_error>(reader.text("architecture") == network.describe(), "load_network: '", path, "' holds ", reader.text("architecture"),
                            ", the network is ", network.describe());
  const auto check = reader.checker();
  const auto load = reader.loader();
  const auto visit = detail::on_host<typename Network::context>(load);
  for (auto& [name, view] : network.tensors()) check(name, view);
  for (auto& [name, view] : network.tensors()) visit(name, view);
}

}  // namespace retort
