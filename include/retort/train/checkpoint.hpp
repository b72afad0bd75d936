#pragma once
// Checkpoints: named tensors and numbers in one file. Written beside the target, flushed to disk and renamed over it, so
// a kill at any moment leaves either the old file or the new one. Read completely and verified before anything is touched.
//
// Layout, little-endian: "RETORTCK", u32 version, u64 payload bytes, payload, u64 checksum (FNV-1a over the payload).
// Payload: entries of u32 name bytes, name, u8 kind (StateKind), u64 count, data.

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <retort/core/error.hpp>
#include <retort/core/state.hpp>
#include <retort/data/file.hpp>
#include <string>

namespace retort {

static_assert(std::endian::native == std::endian::little, "retort: checkpoints are written on little-endian machines only");

namespace detail {

inline std::uint64_t checksum(const char* data, std::size_t bytes) {
  std::uint64_t h = 14695981039346656037ull;
  for (std::size_t i = 0; i < bytes; ++i) h = (h ^ static_cast<unsigned char>(data[i])) * 1099511628211ull;
  return h;
}

}  // namespace detail

/// Collects what a StateVisitor is shown; `commit(path)` writes it. Throws data_error when the file system refuses; the file at
/// `path` is then as before.
class CheckpointWriter final : public StateSink {
 public:
  void tensor(const std::string& name, StateKind kind, void* data, std::size_t count) override { entry(name, kind, data, count); }
  void text(const std::string& name, std::string& value) override { entry(name, StateKind::text, value.data(), value.size()); }
  /// The same for what nobody will read back into the same place.
  void add(const std::string& name, const std::string& value) { entry(name, StateKind::text, value.data(), value.size()); }
  void add(const std::string& name, double value) { entry(name, StateKind::f64, &value, 1); }
  template <class T>
  void add(const std::string& name, View<T, 1> values) {
    entry(name, state_kind<std::remove_const_t<T>>, values.data, static_cast<std::size_t>(values.size()));
  }

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
  void entry(const std::string& name, StateKind kind, const void* data, std::size_t count) {
    const auto length = static_cast<std::uint32_t>(name.size());
    const std::uint64_t n = count;
    payload_.append(reinterpret_cast<const char*>(&length), sizeof length);
    payload_ += name;
    payload_ += static_cast<char>(kind);
    payload_.append(reinterpret_cast<const char*>(&n), sizeof n);
    payload_.append(static_cast<const char*>(data), count * state_bytes(kind));
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
    const auto version = value_at<std::uint32_t>(8);
    require<data_error>(version == 1, "checkpoint '", path, "': expected version 1 at byte 8, got ", version);
    const auto bytes = value_at<std::uint64_t>(12);
    require<data_error>(bytes == file_.size() - header - 8, "checkpoint '", path, "': the header promises ", bytes,
                        " bytes of payload, the file holds ", file_.size() - header - 8);
    require<data_error>(detail::checksum(file_.data() + header, bytes) == value_at<std::uint64_t>(header + bytes), "checkpoint '", path,
                        "': checksum mismatch at byte ", header + bytes, "; the file is corrupt");
    for (std::size_t at = header, end = header + bytes; at < end;) {
      auto take = [&](std::size_t n) {
        require<data_error>(n <= end - at, "checkpoint '", path, "': entry at byte ", at, " leaves the payload");
        at += n;
        return at - n;
      };
      const auto length = value_at<std::uint32_t>(take(4));
      const std::size_t name = take(length);
      const auto kind = static_cast<StateKind>(file_[take(1)]);
      const auto count = value_at<std::uint64_t>(take(8));
      const std::size_t size = state_bytes(kind);
      require<data_error>(count <= (end - at) / size, "checkpoint '", path, "': entry at byte ", at, " leaves the payload");
      entries_[file_.substr(name, length)] = {kind, count, take(count * size)};
    }
  }

  /// Checks, for what a StateVisitor is shown, that an entry of the right kind and size exists. Throws checkpoint_error.
  class Checker final : public StateSink {
   public:
    explicit Checker(const CheckpointReader& reader) : reader_(&reader) {}
    void tensor(const std::string& name, StateKind kind, void*, std::size_t count) override { reader_->find(name, kind, count); }
    void text(const std::string& name, std::string&) override { reader_->find(name, StateKind::text); }

   private:
    const CheckpointReader* reader_;
  };
  /// Copies entries into place; let a Checker see everything first.
  class Loader final : public StateSink {
   public:
    explicit Loader(const CheckpointReader& reader) : reader_(&reader) {}
    void tensor(const std::string& name, StateKind kind, void* data, std::size_t count) override {
      std::memcpy(data, reader_->file_.data() + reader_->find(name, kind, count).offset, count * state_bytes(kind));
    }
    void text(const std::string& name, std::string& value) override { value = reader_->text(name); }

   private:
    const CheckpointReader* reader_;
  };
  /// Reads one flat tensor or number. Throws checkpoint_error when it is not there, or of another type or size.
  template <class Target>
  void read(const std::string& name, Target&& target) const {
    Loader loader(*this);
    StateVisitor{loader}(name, target);
  }
  /// The text entry of that name. Throws checkpoint_error when there is none.
  std::string text(const std::string& name) const {
    const Entry& e = find(name, StateKind::text);
    return file_.substr(e.offset, e.count);
  }

 private:
  struct Entry {
    StateKind kind;
    std::uint64_t count;
    std::size_t offset;
  };
  template <class U>
  U value_at(std::size_t at) const {
    U value;
    std::memcpy(&value, file_.data() + at, sizeof value);
    return value;
  }
  /// The entry, which holds `count` values; a text as many as it likes.
  const Entry& find(const std::string& name, StateKind kind, std::size_t count = 0) const {
    const auto it = entries_.find(name);
    require<checkpoint_error>(it != entries_.end(), "checkpoint '", path_, "' has no entry '", name, "' that this run needs");
    const Entry& e = it->second;
    require<checkpoint_error>(e.kind == kind, "checkpoint '", path_, "': '", name, "' is of another type");
    require<checkpoint_error>(kind == StateKind::text || e.count == count, "checkpoint '", path_, "': '", name, "' has ", e.count,
                              " values, this run needs ", count);
    return e;
  }
  std::string path_, file_;
  std::map<std::string, Entry> entries_;
};

namespace detail {
template <class Network>
void show_network(Network& network, StateSink& sink) {
  OnHost<typename Network::context> host(sink);
  for (auto& [name, view] : network.tensors()) StateVisitor{host}(name, view);
}
}  // namespace detail

/// Writes a network's parameters and buffers (running statistics) to a file, with its description. Throws data_error when the
/// file system refuses; the file at `path` is then as before.
template <class Network>
void save_network(Network& network, const std::string& path) {
  CheckpointWriter writer;
  writer.add("architecture", network.describe());
  detail::show_network(network, writer);
  writer.commit(path);
}
/// Reads them into a network of the same architecture and scalar type. Throws data_error when the file is missing or damaged,
/// checkpoint_error when it holds another architecture; the network is then as before.
template <class Network>
void load_network(Network& network, const std::string& path) {
  const CheckpointReader reader(path);
  require<checkpoint_error>(reader.text("architecture") == network.describe(), "load_network: '", path, "' holds ", reader.text("architecture"),
                            ", the network is ", network.describe());
  CheckpointReader::Checker check(reader);
  CheckpointReader::Loader load(reader);
  detail::show_network(network, check);
  detail::show_network(network, load);
}

}  // namespace retort
