/* The frozen layout of what version 1.1 added, on 64-bit targets, for C11 and C++11: a header that moves or resizes
 * anything does not compile. The numbers are those of host/abi/src/layout.rs. Frozen. */

#include "tenon_plugin.h"

#ifdef __cplusplus
#define HOLDS(what) static_assert(what, #what)
#else
#define HOLDS(what) _Static_assert(what, #what)
#endif

HOLDS(sizeof(tenon_memory_v1) == 16);
HOLDS(offsetof(tenon_memory_v1, struct_size) == 0);
HOLDS(offsetof(tenon_memory_v1, reserved) == 4);
HOLDS(offsetof(tenon_memory_v1, estimate) == 8);

HOLDS(TENON_ABI_MAJOR == 1);
HOLDS(TENON_ABI_MINOR >= 1);
