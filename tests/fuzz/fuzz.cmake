# SPDX-License-Identifier: BSD-3-Clause
#
# Fuzzers: fuzz/NAME_fuzz.c. In the preset fuzz each is linked with libFuzzer; in the others it is the test fuzz_NAME, which
# runs the files of fuzz/corpus/NAME once.

set(fuzz_seconds 60)
set(fuzz_support ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/support.c)
add_custom_target(fuzzers)

# chimaera_fuzz(NAME SOURCE...)
function(chimaera_fuzz name)
	set(source ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/${name}_fuzz.c)
	if(CHIMAERA_FUZZ)
		add_executable(fuzz_${name} ${source} ${fuzz_support} ${ARGN})
		set_target_properties(fuzz_${name} PROPERTIES ENABLE_EXPORTS ON
			RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/bin)
		target_include_directories(fuzz_${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
		target_link_libraries(fuzz_${name} PRIVATE chimaera_runtime_internal Threads::Threads m)
		target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
		add_dependencies(fuzzers fuzz_${name})
	else()
		chimaera_test(fuzz_${name} fuzz chimaera_runtime_internal ${source} ${fuzz_support} ${ARGN}
			${CMAKE_CURRENT_SOURCE_DIR}/fuzz/main.c
			ARGUMENTS ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name})
	endif()
endfunction()

chimaera_fuzz(config)
set(fuzz_stage ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/stage.c)
chimaera_fuzz(handshake ${fuzz_stage})
chimaera_fuzz(tasks ${fuzz_stage})
add_dependencies(fuzz_tasks module_echo module_blob module_compress)
chimaera_fuzz(blob ${fuzz_stage})
add_dependencies(fuzz_blob module_blob module_compress)

if(TARGET chimaera_tool)
	# the commands, with what they call outside replaced by functions of args_fuzz.c
	file(GLOB tool_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tools/*.c)
	list(FILTER tool_sources EXCLUDE REGEX "/(background|patience)\\.c$")
	add_library(fuzz_tools OBJECT ${tool_sources})
	target_include_directories(fuzz_tools PRIVATE ${PROJECT_SOURCE_DIR}/include ${CHIMAERA_MODULE_INCLUDE}
		${CMAKE_BINARY_DIR}/templates)
	target_compile_definitions(fuzz_tools PRIVATE CHIMAERA_VERSION="${PROJECT_VERSION}" main=chimaera_main)
	foreach(name argp_parse argp_error argp_failure argp_usage argp_state_help realloc free asprintf mkdir chi_client_connect
			chi_counters_read chi_runtime_config chi_module_describe)
		target_compile_definitions(fuzz_tools PRIVATE ${name}=fuzz_${name})
	endforeach()
	target_compile_options(fuzz_tools PRIVATE -Wno-missing-prototypes) # of main by another name
	target_link_libraries(fuzz_tools PRIVATE PkgConfig::JSON)
	chimaera_fuzz(args $<TARGET_OBJECTS:fuzz_tools>)
	target_link_libraries(fuzz_args PRIVATE PkgConfig::JSON)
endif()
