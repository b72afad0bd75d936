#pragma once
// Typed run-time errors. A programming mistake is a static_assert elsewhere; these report values, shapes and files.

#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace retort {

/// Base of all errors that the library throws.
struct error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Two shapes that should agree do not; the message shows both.
struct shape_error : error {
  using error::error;
};

/// A value lies outside its documented range (label, probability, hyper-parameter), or is not finite.
struct value_error : error {
  using error::error;
};

/// A file is missing, truncated, oversized or malformed; the message names the file and the byte offset or line.
struct data_error : error {
  using error::error;
};

/// A checkpoint does not fit the run that wants to resume from it.
struct checkpoint_error : error {
  using error::error;
};

namespace detail {

/// One part of a message: text, a number, or anything with a `to_string`. It only refers to what it was made of, and is printed by
/// one function for all: messages are everywhere, and a template for each would be most of what a compiler has to do.
class MessagePart {
 public:
  MessagePart(const char* text) : text_(text) {}  // for literals of any length
  template <class T>
  MessagePart(const T& part) {
    if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      text_ = part;
    } else if constexpr (std::is_floating_point_v<T>) {
      real_ = static_cast<double>(part), print_ = &real;
    } else if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) {
      integer_ = static_cast<long long>(part), print_ = std::is_unsigned_v<T> ? &natural : &integer;
    } else {
      object_ = &part, print_ = &object<T>;
    }
  }
  void append_to(std::string& out) const { print_ == nullptr ? out += text_ : out += print_(*this); }

 private:
  using Print = std::string (*)(const MessagePart&);
  static std::string real(const MessagePart& p) {
    char text[32];
    std::snprintf(text, sizeof text, "%.6g", p.real_);  // to_string would print 1e-8 as 0.000000
    return text;
  }
  static std::string integer(const MessagePart& p) { return std::to_string(p.integer_); }
  static std::string natural(const MessagePart& p) { return std::to_string(static_cast<unsigned long long>(p.integer_)); }
  template <class T>
  static std::string object(const MessagePart& p) {
    const T& value = *static_cast<const T*>(p.object_);
    if constexpr (std::is_convertible_v<const T&, std::string>)
      return value;  // a path
    else
      return to_string(value);
  }

  Print print_ = nullptr;
  std::string_view text_;
  union {
    double real_;
    long long integer_;
    const void* object_ = nullptr;
  };
};

inline std::string join(const MessagePart* parts, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) parts[i].append_to(out);
  return out;
}

/// Glues the parts into one message.
template <class... Parts>
std::string concat(const Parts&... parts) {
  const MessagePart list[] = {parts...};
  return join(list, sizeof...(parts));
}

}  // namespace detail

/// Throws `Error` with the concatenated parts when `condition` is false.
template <class Error, class... Parts>
inline void require(bool condition, const Parts&... parts) {
  if (!condition) [[unlikely]]
    throw Error(detail::concat(parts...));
}

}  // namespace retort
