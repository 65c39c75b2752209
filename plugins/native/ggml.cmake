# Included by cmake after project() of the bundled whisper.cpp and llama.cpp (CMAKE_PROJECT_INCLUDE in
# .cargo/config.toml). Compiler settings that every native plugin of Tenon needs; see docs/native-build.md.
if(NOT PROJECT_NAME STREQUAL CMAKE_PROJECT_NAME)
  return()
endif()

if(MSVC)
  add_compile_options(/utf-8)
  return()
endif()

# Exceptions thrown by the shims' abort handler pass through C frames of ggml.
add_compile_options($<$<COMPILE_LANGUAGE:C>:-fexceptions>)

# A plugin exports its entry symbol and nothing else, and shares no C++ statics with other plugins.
add_compile_options(-fvisibility=hidden)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fno-gnu-unique>)
endif()

# ggml's barrier spins with _mm_pause; on a busy machine the spinning thread starves the one it waits for.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  add_compile_options($<$<COMPILE_LANGUAGE:C>:-include${CMAKE_CURRENT_LIST_DIR}/relax.h>)
endif()
