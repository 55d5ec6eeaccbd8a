# SPDX-License-Identifier: Apache-2.0
# sidepond_add_static(name OBJECTS object-library... ARCHIVES static-library... [LIBS ...])
# makes a static library of one object that holds the OBJECTS and what they need of the
# ARCHIVES, with every hidden symbol made local. So a program that links it gets the reader and
# nothing of the writer, even where both lie in one archive. LIBS are what users link besides.
function(sidepond_add_static name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "OBJECTS;ARCHIVES;LIBS")
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.o)
    set(archives "")
    set(objects "")
    foreach(library IN LISTS arg_OBJECTS)
        list(APPEND objects $<TARGET_OBJECTS:${library}>)
    endforeach()
    foreach(archive IN LISTS arg_ARCHIVES)
        list(APPEND archives $<TARGET_FILE:${archive}>)
    endforeach()
    add_custom_command(OUTPUT ${object}
        COMMAND ${CMAKE_LINKER} -r -o ${object} ${objects} ${archives}
        COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${object}
        DEPENDS ${arg_OBJECTS} ${objects} ${arg_ARCHIVES}
        COMMENT "Joining ${name}"
        COMMAND_EXPAND_LISTS VERBATIM)
    add_library(${name} STATIC ${object})
    set_target_properties(${name} PROPERTIES LINKER_LANGUAGE C OUTPUT_NAME sidepond
        EXPORT_NAME sidepond_static)
    list(TRANSFORM arg_LIBS REPLACE "^(.+)$" "$<BUILD_INTERFACE:\\1>")
    target_link_libraries(${name} INTERFACE ${arg_LIBS})
    add_library(sidepond::${name} ALIAS ${name})
endfunction()
