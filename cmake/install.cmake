# SPDX-License-Identifier: BSD-3-Clause
# What a stranger needs to build on it, and an operator to run it. Nothing that is installed holds the prefix but the
# unit file: the tree may be moved.
include(CMakePackageConfigHelpers)

set(doc_dir ${CMAKE_INSTALL_DATADIR}/doc/chimaera)
set(cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/chimaera)

# ---- libraries, headers ----------------------------------------------------------------------------------------------

add_library(chimaera_module_headers INTERFACE)
set_target_properties(chimaera_module_headers PROPERTIES EXPORT_NAME module)
install(TARGETS chimaera_module_headers EXPORT chimaera INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(libraries chimaera)
set_target_properties(chimaera PROPERTIES EXPORT_NAME client)
if(TARGET chimaera-runtime)
	list(APPEND libraries chimaera-runtime)
	set_target_properties(chimaera-runtime PROPERTIES EXPORT_NAME runtime)
endif()

# from the folder of the .pc files back to the prefix
file(RELATIVE_PATH to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" to_prefix ${to_prefix})
foreach(library ${libraries})
	install(TARGETS ${library} EXPORT chimaera LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
		INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
	configure_file(${CMAKE_CURRENT_LIST_DIR}/${library}.pc.in ${CMAKE_BINARY_DIR}/${library}.pc @ONLY)
	install(FILES ${CMAKE_BINARY_DIR}/${library}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()

foreach(dir ${PROJECT_SOURCE_DIR}/include ${CHIMAERA_MODULE_INCLUDE})
	install(DIRECTORY ${dir}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h"
		PATTERN "*.def")
endforeach()

install(EXPORT chimaera FILE chimaeraTargets.cmake NAMESPACE chimaera:: DESTINATION ${cmake_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/chimaeraConfig.cmake.in
	${CMAKE_BINARY_DIR}/chimaeraConfig.cmake INSTALL_DESTINATION ${cmake_dir} PATH_VARS CMAKE_INSTALL_LIBDIR)
# until 1.0 a minor version may break interfaces
write_basic_package_version_file(${CMAKE_BINARY_DIR}/chimaeraConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/chimaeraConfig.cmake ${CMAKE_BINARY_DIR}/chimaeraConfigVersion.cmake
	DESTINATION ${cmake_dir})

# ---- modules, the command --------------------------------------------------------------------------------------------

if(chimaera_modules)
	install(TARGETS ${chimaera_modules} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/chimaera)
endif()

if(TARGET chimaera_tool)
	file(RELATIVE_PATH to_lib /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
	set_target_properties(chimaera_tool PROPERTIES INSTALL_RPATH "$ORIGIN/${to_lib}")
	install(TARGETS chimaera_tool)
	install(FILES ${PROJECT_SOURCE_DIR}/tools/completion.bash RENAME chimaera
		DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
	# an example to copy to ~/.config/systemd/user; the prefix is known only when it is installed
	install(CODE "
		set(bindir \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}\")
		set(unit \"\${CMAKE_INSTALL_PREFIX}/${doc_dir}/chimaera.service\")
		configure_file(\"${CMAKE_CURRENT_LIST_DIR}/chimaera.service.in\" \"\$ENV{DESTDIR}\${unit}\" @ONLY)
		list(APPEND CMAKE_INSTALL_MANIFEST_FILES \"\${unit}\")")
endif()

# ---- documents -------------------------------------------------------------------------------------------------------

install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/SECURITY.md ${PROJECT_SOURCE_DIR}/docs/chimaera.yaml
	${PROJECT_SOURCE_DIR}/docs/module-guide.md ${PROJECT_SOURCE_DIR}/docs/counters.md DESTINATION ${doc_dir})

set(man_dir ${PROJECT_SOURCE_DIR}/docs/man)
file(GLOB api_headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/chimaera/*.h)
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/libchimaera.3 VERBATIM DEPENDS ${man_dir}/libchimaera.3.sh ${api_headers}
	COMMAND ${man_dir}/libchimaera.3.sh > ${CMAKE_BINARY_DIR}/libchimaera.3)
add_custom_target(man_pages ALL DEPENDS ${CMAKE_BINARY_DIR}/libchimaera.3)

file(GLOB pages CONFIGURE_DEPENDS ${man_dir}/*.[1-9])
list(APPEND pages ${CMAKE_BINARY_DIR}/libchimaera.3)
foreach(page ${pages})
	string(REGEX REPLACE "^.*\\." "" section ${page})
	if(section EQUAL 1 AND NOT TARGET chimaera_tool)
		continue()
	endif()
	install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()

# what ./dev install builds
add_custom_target(installed DEPENDS ${libraries} ${chimaera_modules} man_pages)
if(TARGET chimaera_tool)
	add_dependencies(installed chimaera_tool)
endif()
