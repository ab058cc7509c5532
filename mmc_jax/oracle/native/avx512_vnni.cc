// x86 with AVX-512 and VNNI; the flags tell avx512.cc.

#include "avx512.cc"
