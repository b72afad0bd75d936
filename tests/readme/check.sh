#!/bin/sh
# Compiles (syntax only) each fenced C++ block of a Markdown file: check.sh README.md WORK_FOLDER COMPILER FLAGS...
#   ```cpp        a whole program if it has a main(), else declarations, which follow prelude.hpp
#   ```cpp body   statements: the body of a function that follows prelude.hpp
# prelude.hpp, beside this script, declares the names that the README's prose introduces. Errors show README lines.
set -eu
readme=$1 work=$2
shift 2
rm -rf "$work/snippets"
mkdir -p "$work/snippets"
awk -v dir="$work/snippets" -v readme="$readme" '
  function flush_block() {
    file = sprintf("%s/line-%04d.cpp", dir, start)
    if (!whole) print "#include \"prelude.hpp\"" > file
    if (body) printf "%svoid snippet() {\n", includes > file
    printf "#line %d \"%s\"\n%s", start + 1, readme, text > file
    if (body) print "}" > file
    close(file)
  }
  /^```/ && inside { flush_block(); inside = 0; next }
  /^```cpp *$/ || /^```cpp body *$/ { inside = 1; start = NR; text = includes = ""; whole = 0; body = /body/; next }
  inside && body && /^#include/ { includes = includes $0 "\n"; text = text "\n"; next }
  inside { text = text $0 "\n"; if (/int main\(/) whole = 1 }
  END { if (inside) { print readme ":" start ": the block has no end"; exit 1 } }
' "$readme"
count=0
for snippet in "$work"/snippets/*.cpp; do
  [ -e "$snippet" ] || { echo "no C++ blocks in $readme"; exit 1; }
  "$@" -fsyntax-only -Wno-unused-variable -Wno-unused-but-set-variable "$snippet"
  count=$((count + 1))
done
echo "$count snippets of $readme compile"
