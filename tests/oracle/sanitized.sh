#!/usr/bin/env bash
# Runs tests/oracle on C++ kernels built with AddressSanitizer and UBSan.
#
#     tests/oracle/sanitized.sh [arguments of pytest]
#
# Needs GCC, and what the tests need. The package is built in a folder of its
# own; nothing in the checkout changes. A read or write outside an array, a null
# or misaligned pointer, or an overflow ends the run with a report.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

checks="-fsanitize=address,undefined -fno-sanitize-recover=all"
CXXFLAGS="$checks -fno-omit-frame-pointer -O1 -g1" LDFLAGS="$checks" \
  python setup.py -q build --build-base="$folder/objects" \
  --build-lib="$folder/package"
ls "$folder"/package/mmc_jax/oracle/_native*
cp -r tests "$folder/package/tests"
# The fixtures of the repository that tests open.
cp pyproject.toml "$folder/package/"

# The sanitizer comes before everything else. libstdc++ comes with it, for
# exceptions of other libraries. Leaks of Python and of XLA are not ours.
cd "$folder/package"
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)" \
ASAN_OPTIONS="detect_leaks=0:alloc_dealloc_mismatch=0" \
UBSAN_OPTIONS="print_stacktrace=1" \
PYTHONPATH="$folder/package" \
  python -m pytest -n 0 -x -q --capture=sys -p no:cacheprovider "${@:-tests/oracle}" \
  --deselect tests/oracle/test_cpu.py::WithoutLibraryTest
