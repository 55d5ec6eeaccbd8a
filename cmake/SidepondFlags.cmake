# SPDX-License-Identifier: Apache-2.0
# One INTERFACE target carries the flags of every target of ours.
option(SIDEPOND_WERROR "Treat warnings as errors" OFF)
set(SIDEPOND_SANITIZE "" CACHE STRING "Sanitizers for -fsanitize=, e.g. address,undefined or thread")
option(SIDEPOND_COVERAGE "Instrument for coverage" OFF)
option(SIDEPOND_FUZZ "Build the fuzz targets with libFuzzer (clang)" OFF)
option(SIDEPOND_FAILPOINTS "Compile the failpoints in that the crash tests stop at" OFF)

find_package(PkgConfig REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)

add_library(sidepond_flags INTERFACE)
target_compile_definitions(sidepond_flags INTERFACE _GNU_SOURCE
    $<$<BOOL:${SIDEPOND_FAILPOINTS}>:SP_FAILPOINTS=1>)
target_compile_options(sidepond_flags INTERFACE
    -Wall -Wextra -Wundef -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
    -Wwrite-strings -Wvla -Wformat=2 -fno-common
    $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation> # messages are cut to their buffer on purpose
    $<$<BOOL:${SIDEPOND_WERROR}>:-Werror>)

set(sidepond_instrument "")
if(SIDEPOND_SANITIZE)
    list(APPEND sidepond_instrument -fsanitize=${SIDEPOND_SANITIZE})
    target_compile_options(sidepond_flags INTERFACE
        -fno-omit-frame-pointer -fno-sanitize-recover=all
        # TSan does not follow fences; docs/CONCURRENCY.md proves what they order.
        $<$<C_COMPILER_ID:GNU>:-Wno-tsan>)
endif()
if(SIDEPOND_FUZZ)
    list(APPEND sidepond_instrument -fsanitize=fuzzer-no-link)
endif()
if(SIDEPOND_COVERAGE)
    list(APPEND sidepond_instrument --coverage)
    target_compile_options(sidepond_flags INTERFACE -fprofile-update=atomic)
endif()
target_compile_options(sidepond_flags INTERFACE ${sidepond_instrument})
target_link_options(sidepond_flags INTERFACE ${sidepond_instrument})
