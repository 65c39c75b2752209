/* Forced into every C file of the bundled ggml (see ggml.cmake): a spin that gives the core away.
 *
 * ggml's thread barrier spins on _mm_pause() without bound. When another thread of the graph has lost its core, the
 * spinner keeps it from coming back, and a graph of many small steps slows down by orders of magnitude (measured:
 * docs/performance.md). Here every SPINS_BEFORE_YIELD pauses, roughly 20 to 40 microseconds, the thread offers its
 * core to the scheduler. On an idle machine sched_yield() returns at once.
 */
#ifndef TENON_RELAX_H
#define TENON_RELAX_H
#include <immintrin.h>
#if defined(__unix__) || defined(__APPLE__)
#include <sched.h>

enum { TENON_SPINS_BEFORE_YIELD = 512 };

static inline void tenon_relax(void) {
    static _Thread_local unsigned spins;
    __builtin_ia32_pause();
    if (++spins % TENON_SPINS_BEFORE_YIELD == 0) {
        (void) sched_yield();
    }
}

#define _mm_pause tenon_relax
#endif
#endif
