# SPDX-License-Identifier: Apache-2.0
# Everything that `cmake --install` puts into place: the library with its headers, CMake package
# and pkg-config file, the programs, manual pages, completion, and the files for systemd.
include(CMakePackageConfigHelpers)
set(sidepond_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Sidepond)

# sidepond_install_configured(input output destination): fills @prefix@, @libdir@, @includedir@,
# @bindir@ and @version@ in when it is installed, so that --prefix and DESTDIR hold.
function(sidepond_install_configured input output destination)
    install(CODE "
        set(prefix \"\${CMAKE_INSTALL_PREFIX}\")
        set(libdir \"${CMAKE_INSTALL_LIBDIR}\")
        set(includedir \"${CMAKE_INSTALL_INCLUDEDIR}\")
        set(bindir \"${CMAKE_INSTALL_BINDIR}\")
        set(version \"${PROJECT_VERSION}\")
        set(output \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${destination}/${output}\")
        message(STATUS \"Installing: \${output}\")
        configure_file(\"${PROJECT_SOURCE_DIR}/${input}\" \"\${output}\" @ONLY)")
endfunction()

target_include_directories(sidepond_static INTERFACE
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(sidepond_static INTERFACE
    $<INSTALL_INTERFACE:xxhash> $<INSTALL_INTERFACE:hiredis>
    $<INSTALL_INTERFACE:jansson> $<INSTALL_INTERFACE:zookeeper_mt>)
install(TARGETS sidepond sidepond_static EXPORT Sidepond FILE_SET HEADERS)
install(EXPORT Sidepond NAMESPACE sidepond:: DESTINATION ${sidepond_cmake_dir}
    FILE SidepondConfig.cmake)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/SidepondConfigVersion.cmake
    COMPATIBILITY SameMinorVersion) # before 1.0 a minor version may change the interface
install(FILES ${PROJECT_BINARY_DIR}/SidepondConfigVersion.cmake
    DESTINATION ${sidepond_cmake_dir})
sidepond_install_configured(cmake/sidepond.pc.in sidepond.pc ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# For sources that are built elsewhere.
install(FILES server/include/sidepond/source.h server/include/sidepond/source_feed.h
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/sidepond)
install(TARGETS sidepond_tool sidepondd)

foreach(section 1 8)
    file(GLOB pages CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/docs/man/*.${section})
    install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()

# The tool prints its own completion scripts.
function(sidepond_install_completion shell file)
    install(CODE "
        set(output \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/${file}\")
        message(STATUS \"Installing: \${output}\")
        get_filename_component(folder \"\${output}\" DIRECTORY)
        file(MAKE_DIRECTORY \"\${folder}\")
        execute_process(COMMAND \"$<TARGET_FILE:sidepond_tool>\" completion ${shell}
            OUTPUT_FILE \"\${output}\" COMMAND_ERROR_IS_FATAL ANY)")
endfunction()

sidepond_install_completion(bash bash-completion/completions/sidepond)
sidepond_install_completion(zsh zsh/site-functions/_sidepond)
sidepond_install_completion(fish fish/vendor_completions.d/sidepond.fish)

foreach(unit sidepondd@.service sidepond-agent@.service)
    sidepond_install_configured(deploy/systemd/${unit} ${unit} lib/systemd/system)
endforeach()
install(FILES deploy/systemd/sidepond.sysusers RENAME sidepond.conf DESTINATION lib/sysusers.d)
install(FILES deploy/systemd/sidepond.tmpfiles RENAME sidepond.conf DESTINATION lib/tmpfiles.d)

# Where the loader looks by itself, its cache has to be told of the new library. A package's own
# scripts do that where it is built with DESTDIR.
install(CODE "
    if(\"\$ENV{DESTDIR}\" STREQUAL \"\" AND CMAKE_INSTALL_PREFIX MATCHES \"^/usr(/local)?\$\")
        find_program(ldconfig ldconfig PATHS /sbin /usr/sbin)
        if(ldconfig)
            message(STATUS \"Updating: the loader's cache\")
            execute_process(COMMAND \${ldconfig})
        endif()
    endif()")
