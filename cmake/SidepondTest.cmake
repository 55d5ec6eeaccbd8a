# SPDX-License-Identifier: Apache-2.0
# How a test enters the build. Every test goes through sidepond_add_test(), so that one ctest
# run can hold the tests of several builds (dev, asan, tsan) under different names.
set(SIDEPOND_TEST_PREFIX "" CACHE STRING "Name of this build, put before its tests' names")
set(SIDEPOND_TEST_LABELS "" CACHE STRING "Register only tests with one of these labels; empty: all")
set(SIDEPOND_TIMEOUT_FACTOR 1 CACHE STRING "Multiplies every test's time-out")
option(SIDEPOND_LONG "Run torture and fuzz tests at full length" OFF)

include(SidepondTestCost)
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)

# TSan cannot start where the kernel randomises mappings over more bits than it knows.
set(sidepond_launcher "")
if(SIDEPOND_SANITIZE MATCHES "thread")
    execute_process(COMMAND setarch -R true RESULT_VARIABLE setarch_result ERROR_QUIET)
    if(setarch_result EQUAL 0)
        set(sidepond_launcher setarch -R)
    endif()
endif()

# The variables that every test finds in its environment.
function(sidepond_test_environment out)
    set(env
        SIDEPOND_SOURCE_DIR=${PROJECT_SOURCE_DIR}
        SIDEPOND_BUILD_DIR=${PROJECT_BINARY_DIR}
        SIDEPOND_SANITIZE=${SIDEPOND_SANITIZE}
        ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:allocator_may_return_null=1
        UBSAN_OPTIONS=print_stacktrace=1
        TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=${PROJECT_SOURCE_DIR}/tests/tsan.supp)
    if(SIDEPOND_SANITIZE OR SIDEPOND_COVERAGE)
        list(APPEND env SIDEPOND_SLOW=1)
    endif()
    if(SIDEPOND_LONG)
        list(APPEND env SIDEPOND_LONG=1)
    endif()
    set(${out} ${env} PARENT_SCOPE)
endfunction()

# Puts this build's name before a test's name and replaces its labels, so that `-L unit` means
# the ordinary build and `-L asan` everything of the sanitizer build.
function(sidepond_test_identity name labels out_name out_labels)
    if(SIDEPOND_TEST_PREFIX)
        set(name ${SIDEPOND_TEST_PREFIX}.${name})
        set(labels ${SIDEPOND_TEST_PREFIX})
    endif()
    set(${out_name} ${name} PARENT_SCOPE)
    set(${out_labels} "${labels}" PARENT_SCOPE)
endfunction()

# TRUE where this build is asked for tests of one of these labels.
function(sidepond_test_wanted labels out)
    set(wanted FALSE)
    foreach(label IN LISTS labels)
        if(NOT SIDEPOND_TEST_LABELS OR label IN_LIST SIDEPOND_TEST_LABELS)
            set(wanted TRUE)
        endif()
    endforeach()
    set(${out} ${wanted} PARENT_SCOPE)
endfunction()

# What ctest counts as PROCESSORS and as jobs (-j) are halves of a processor, for a test that
# mostly waits needs no whole one. tests/run asks for two jobs for each processor.
function(sidepond_test_halves name processors out)
    if(name IN_LIST sidepond_tests_waiting)
        set(halves 1)
    elseif(name IN_LIST sidepond_tests_wide)
        set(halves 4)
    elseif(processors AND NOT name IN_LIST sidepond_tests_narrow)
        math(EXPR halves "2 * ${processors}")
    else()
        set(halves 2)
    endif()
    set(${out} ${halves} PARENT_SCOPE)
endfunction()

# The seconds that a long test takes, or nothing.
function(sidepond_test_cost name out)
    list(FIND sidepond_tests_long ${name} at)
    set(${out} "" PARENT_SCOPE)
    if(NOT at EQUAL -1)
        math(EXPR at "${at} + 1")
        list(GET sidepond_tests_long ${at} seconds)
        set(${out} ${seconds} PARENT_SCOPE)
    endif()
endfunction()

# sidepond_add_test(NAME n COMMAND target-or-program args... LABELS l... [TIMEOUT seconds]
#     [LONG_TIMEOUT seconds] [ENVIRONMENT A=b...] [PROCESSORS n] [SERIAL])
# PROCESSORS: how many it keeps busy, one unless told; SidepondTestCost.cmake knows better of some.
# Exit status 77 means: this machine cannot do it (skipped).
function(sidepond_add_test)
    cmake_parse_arguments(PARSE_ARGV 0 arg "SERIAL" "NAME;TIMEOUT;LONG_TIMEOUT;PROCESSORS"
        "COMMAND;LABELS;ENVIRONMENT")
    if(NOT arg_NAME OR NOT arg_COMMAND OR NOT arg_LABELS OR arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "sidepond_add_test needs NAME, COMMAND and LABELS: ${ARGN}")
    endif()
    sidepond_test_wanted("${arg_LABELS}" wanted)
    if(NOT wanted OR (SIDEPOND_COVERAGE AND arg_NAME IN_LIST sidepond_tests_covering_nothing))
        return()
    endif()
    set(timeout 60)
    if(SIDEPOND_LONG AND arg_LONG_TIMEOUT)
        set(timeout ${arg_LONG_TIMEOUT})
    elseif(arg_TIMEOUT)
        set(timeout ${arg_TIMEOUT})
    endif()
    math(EXPR timeout "${timeout} * ${SIDEPOND_TIMEOUT_FACTOR}")
    list(POP_FRONT arg_COMMAND program)
    if(TARGET ${program})
        set(program $<TARGET_FILE:${program}>)
    endif()
    sidepond_test_identity(${arg_NAME} "${arg_LABELS}" name labels)
    sidepond_test_environment(environment)
    sidepond_test_halves(${arg_NAME} "${arg_PROCESSORS}" halves)
    sidepond_test_cost(${arg_NAME} cost)
    add_test(NAME ${name} COMMAND ${sidepond_launcher} ${program} ${arg_COMMAND})
    set_tests_properties(${name} PROPERTIES
        LABELS "${labels}"
        TIMEOUT ${timeout}
        SKIP_RETURN_CODE 77
        ENVIRONMENT "${environment};${arg_ENVIRONMENT}"
        PROCESSORS ${halves}
        RUN_SERIAL ${arg_SERIAL})
    if(cost)
        set_tests_properties(${name} PROPERTIES COST ${cost})
    endif()
endfunction()

# sidepond_add_cmocka_test(name SOURCES ... [LIBS ...] [LABELS unit] [TIMEOUT s]
#     [LONG_TIMEOUT s] [ENVIRONMENT ...] [PROCESSORS n] [SERIAL] [ONE_THREAD])
# ONE_THREAD: there is nothing in it for ThreadSanitizer, whose build has no such test.
function(sidepond_add_cmocka_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "ONE_THREAD" "" "SOURCES;LIBS;LABELS")
    if(arg_ONE_THREAD AND SIDEPOND_SANITIZE MATCHES "thread")
        return()
    endif()
    if(NOT arg_LABELS)
        set(arg_LABELS unit)
    endif()
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE sidepond_flags ${arg_LIBS} PkgConfig::CMOCKA)
    sidepond_add_test(NAME ${name} COMMAND ${name} LABELS ${arg_LABELS} ${arg_UNPARSED_ARGUMENTS})
endfunction()

# sidepond_add_fuzz(fuzz_X SOURCES ... [LIBS ...]): X's corpus is tests/fuzz/corpus/X.
# With SIDEPOND_FUZZ a libFuzzer program; otherwise a program that replays the corpus and then
# mutates it for a moment from a printed seed.
function(sidepond_add_fuzz name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBS")
    string(REGEX REPLACE "^fuzz_" "" short ${name})
    set(corpus ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${short})
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE sidepond_flags ${arg_LIBS})
    if(SIDEPOND_FUZZ)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
        set(run ${PROJECT_SOURCE_DIR}/tests/fuzz/run $<TARGET_FILE:${name}> ${corpus})
    else()
        target_sources(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz/replay_main.c)
        set(run ${name} ${corpus})
    endif()
    sidepond_add_test(NAME ${name} COMMAND ${run} LABELS fuzz TIMEOUT 60 LONG_TIMEOUT 900)
endfunction()

# sidepond_add_bench(bench_x SOURCES ... [LIBS ...]): a program for tests/bench/run.
# sidepond_add_bench_script(bench_x): the script tests/bench/bench_x.py for it.
# Both are run once in their quick form as a test.
function(sidepond_add_bench name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;LIBS")
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE sidepond_flags ${arg_LIBS})
    sidepond_add_bench_test(${name} $<TARGET_FILE:${name}>)
endfunction()

function(sidepond_add_bench_script name)
    sidepond_add_bench_test(${name} /usr/bin/python3 ${PROJECT_SOURCE_DIR}/tests/bench/${name}.py)
endfunction()

function(sidepond_add_bench_test name)
    sidepond_add_test(NAME ${name} LABELS bench TIMEOUT 120
        COMMAND ${PROJECT_SOURCE_DIR}/tests/bench/smoke ${ARGN})
endfunction()
