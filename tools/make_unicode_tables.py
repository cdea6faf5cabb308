"""Writes src/io/unicode_tables.cc: python3.13 tools/make_unicode_tables.py > src/io/unicode_tables.cc

The ranges of letters (L*), numbers (N*) and white space that the GPT-2 pre-tokenizer tells apart. The
Unicode version is that of the Python used; a newer one only adds characters nobody tokenized before.
"""
import unicodedata

# The property White_Space, which no Python module exposes as such (str.isspace adds U+001C to U+001F).
SPACES = {*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}


def kind(c):
    if c in SPACES:
        return 3
    return {"L": 1, "N": 2}.get(unicodedata.category(chr(c))[0], 0)


ranges, first = [], 0
for c in range(1, 0x110001):
    if c == 0x110000 or kind(c) != kind(first):
        if kind(first):
            ranges.append((first, c - 1, kind(first)))
        first = c

print(f"""// Written by tools/make_unicode_tables.py from Unicode {unicodedata.unidata_version}: do not edit.
#include "io/unicode_tables.h"

namespace lcsm::io {{

// clang-format off
const UnicodeRange kUnicodeRanges[] = {{""")
line = ""
for r in ranges:
    item = "{0x%x, 0x%x, %d}," % r
    if len(line) + len(item) > 100:
        print(line)
        line = ""
    line += item
print(line)
print("""};
// clang-format on
const size_t kNumUnicodeRanges = sizeof(kUnicodeRanges) / sizeof(kUnicodeRanges[0]);

}  // namespace lcsm::io""")
