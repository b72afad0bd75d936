# Sourced by tests/run.sh and examples/quickstart.sh: finds a compiler and what else is needed, and installs what is
# missing on Debian and Ubuntu. POSIX sh.

# A compiler that is new enough, or nothing: GCC 12, Clang 14.
find_compiler() {
  for candidate in "${CXX:-}" c++ g++ clang++ g++-14 g++-13 g++-12 clang++-18 clang++-16 clang++-14; do
    if [ -z "$candidate" ] || ! command -v "$candidate" > /dev/null; then continue; fi
    # Clang claims to be GCC 4, so the sum of both conditions is one compiler's.
    if printf '#if __clang_major__ >= 14 || __GNUC__ >= 12\n#else\n#error\n#endif\n' |
      "$candidate" -std=c++20 -x c++ -fsyntax-only - 2> /dev/null; then
      echo "$candidate"
      return
    fi
  done
}

have_header() {
  [ -n "$CXX" ] && echo "#include <$1>" | "$CXX" -x c++ -E - > /dev/null 2>&1
}

# setup NEED...   each NEED is tool:COMMAND:PACKAGE or header:NAME:PACKAGE; a compiler is always needed. Sets CXX.
setup() {
  missing=
  CXX=$(find_compiler)
  [ -n "$CXX" ] || missing="g++"
  for need in "$@"; do
    kind=${need%%:*} rest=${need#*:}
    what=${rest%%:*} package=${rest#*:}
    case $kind in
      tool) command -v "$what" > /dev/null || missing="$missing $package" ;;
      header) have_header "$what" || missing="$missing $package" ;;
    esac
  done
  if [ -n "$missing" ]; then
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    if ! command -v apt-get > /dev/null || { [ -n "$as_root" ] && ! command -v sudo > /dev/null; }; then
      echo "Please install what these Debian packages hold, then run this again: $missing" >&2
      echo "The compiler must be GCC 12 or Clang 14 or newer; CMake 3.24 or newer." >&2
      exit 1
    fi
    echo "Installing: $missing"
    $as_root apt-get update -qq || echo "apt-get update failed; trying with the lists at hand" >&2
    # shellcheck disable=SC2086  # one word per package
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing > /dev/null
    CXX=$(find_compiler)
  fi
  if [ -z "$CXX" ]; then
    echo "Retort needs GCC 12 or Clang 14 or newer. On older releases of Ubuntu: apt-get install g++-12; else set CXX." >&2
    exit 1
  fi
  export CXX
}
