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

# Of llama.cpp's helper library the plugin calls the converter from JSON Schema to GBNF. The binding's wrapper needs
# these files to link; the other two thirds (chat formats, downloads, an HTTP client) would be compiled for nothing.
if(PROJECT_NAME STREQUAL "llama.cpp")
  function(tenon_prune_common)
    if(NOT TARGET llama-common)
      return()
    endif()
    set(kept common fit json json-schema json-schema-to-grammar log ngram-cache ngram-map ngram-mod
      reasoning-budget sampling speculative trie unicode)
    list(TRANSFORM kept APPEND ".cpp")
    get_target_property(all llama-common SOURCES)
    foreach(file IN LISTS kept)
      if(NOT file IN_LIST all)
        message(FATAL_ERROR "llama.cpp's common has no ${file} any more: update plugins/native/ggml.cmake")
      endif()
    endforeach()
    get_target_property(libraries llama-common LINK_LIBRARIES)
    list(REMOVE_ITEM libraries cpp-httplib)
    set_target_properties(llama-common PROPERTIES SOURCES "${kept}" LINK_LIBRARIES "${libraries}")
    set_target_properties(cpp-httplib PROPERTIES EXCLUDE_FROM_ALL ON)
  endfunction()
  cmake_language(DEFER CALL tenon_prune_common)
endif()
