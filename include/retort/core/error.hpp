#pragma once
// Typed run-time errors. A programming mistake is a static_assert elsewhere; these report values, shapes and files.

#include <cstdint>
#include <stdexcept>
#include <string>

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

inline void concat_to(std::string&) {}
template <class... Rest>
void concat_to(std::string& out, const char* head, const Rest&... rest);
template <class Head, class... Rest>
void concat_to(std::string& out, const Head& head, const Rest&... rest) {
  if constexpr (requires { out += head; } && !requires { std::to_string(head); }) {
    out += head;
  } else if constexpr (requires { std::to_string(head); }) {
    out += std::to_string(head);
  } else {
    out += to_string(head);
  }
  concat_to(out, rest...);
}
template <class... Rest>
void concat_to(std::string& out, const char* head, const Rest&... rest) {
  out += head;
  concat_to(out, rest...);
}

/// Glues strings, numbers and anything with a `to_string` into one message.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::string out;
  concat_to(out, parts...);
  return out;
}

}  // namespace detail

/// Throws `Error` with the concatenated parts when `condition` is false.
template <class Error, class... Parts>
inline void require(bool condition, const Parts&... parts) {
  if (!condition) [[unlikely]]
    throw Error(detail::concat(parts...));
}

}  // namespace retort
