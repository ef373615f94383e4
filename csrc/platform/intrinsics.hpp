// The vector instructions of x86, for the files that foreach_isa.inl compiles.
#pragma once

#if defined(__x86_64__)
// GCC takes the undefined registers of its own header for a mistake.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif
