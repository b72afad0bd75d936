#!/bin/sh
# Compiles (syntax only) the fenced C++ blocks of a Markdown file: check.sh README.md WORK_FOLDER COMPILER FLAGS...
#   ```cpp        a program of its own if it has a main(), else declarations
#   ```cpp body   statements: the body of a function
# Declarations and bodies make one file, in their order, after prelude.hpp, which declares the names that the prose takes
# as given. Compiler messages show README lines.
set -eu
readme=$1 work=$2/snippets
shift 2
rm -rf "$work"
mkdir -p "$work"
echo '#include "prelude.hpp"' > "$work/joined.cpp"
awk -v dir="$work" -v readme="$readme" '
  function flush_block() {
    file = whole ? sprintf("%s/line-%04d.cpp", dir, start) : dir "/joined.cpp"
    if (body) printf "void body_%d() {\n", start >> file
    printf "#line %d \"%s\"\n%s", start + 1, readme, text >> file
    if (body) print "}" >> file
    close(file)
  }
  /^```/ && inside { flush_block(); inside = 0; next }
  /^```cpp *$/ || /^```cpp body *$/ { inside = 1; start = NR; text = ""; whole = 0; body = /body/; count++; next }
  inside { text = text $0 "\n"; if (/int main\(/) whole = 1 }
  END {
    if (inside) print readme ":" start ": the block has no end"
    else if (!count) print readme ": no C++ blocks"
    else { print count " C++ blocks in " readme; exit 0 }
    exit 1
  }
' "$readme"
for snippet in "$work"/*.cpp; do
  "$@" -fsyntax-only -Wno-unused-variable -Wno-unused-but-set-variable "$snippet"
done
