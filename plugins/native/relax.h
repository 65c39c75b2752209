/* Forced into every C file of the bundled ggml (see ggml.cmake): a spin that gives its core away.
 *
 * ggml's thread barrier spins on _mm_pause() without bound. When another thread of the graph has lost its core, the
 * spinner keeps it from coming back, and a graph of many small steps slows down by orders of magnitude. sched_yield()
 * is not enough: the scheduler gives the core to any other program for a whole time slice. A thread that sleeps is
 * let in again at once when it wakes. Measured with two threads beside two busy programs on two cores, barriers a
 * second for steps of 5 and 50 microseconds: pause alone 261 and 81, with sched_yield 608 and 166, with a short sleep
 * 5624 and 2295.
 *
 * So a wait spins for some tens of microseconds, which is longer than the threads of a step differ on an idle machine,
 * and then sleeps briefly between spins.
 */
#ifndef TENON_RELAX_H
#define TENON_RELAX_H
#include <immintrin.h>
#if defined(__unix__) || defined(__APPLE__)
#include <time.h>

enum {
    TENON_SPINS_BEFORE_SLEEP = 2048,
    TENON_SPINS_BETWEEN_SLEEPS = 256,
    /* Pauses of one wait follow each other within far fewer cycles; a longer gap means that a new wait began. */
    TENON_CYCLES_OF_A_NEW_WAIT = 1000,
};

static inline void tenon_relax(void) {
    static _Thread_local unsigned long long last;
    static _Thread_local unsigned spins;
    unsigned long long now = __builtin_ia32_rdtsc();
    if (now - last > TENON_CYCLES_OF_A_NEW_WAIT) {
        spins = 0;
    }
    __builtin_ia32_pause();
    if (++spins >= TENON_SPINS_BEFORE_SLEEP && spins % TENON_SPINS_BETWEEN_SLEEPS == 0) {
        struct timespec shortest = {0, 1000};
        (void) nanosleep(&shortest, 0);
        now = __builtin_ia32_rdtsc();
    }
    last = now;
}

#define _mm_pause tenon_relax
#endif
#endif
