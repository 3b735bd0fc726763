# SPDX-License-Identifier: BSD-3-Clause
# Libraries, headers and pkg-config files: a module or client is built outside this tree with pkg-config alone.
foreach(library chimaera chimaera-runtime)
	if(TARGET ${library})
		install(TARGETS ${library} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
		configure_file(${CMAKE_CURRENT_LIST_DIR}/${library}.pc.in ${CMAKE_BINARY_DIR}/${library}.pc @ONLY)
		install(FILES ${CMAKE_BINARY_DIR}/${library}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
	endif()
endforeach()

foreach(dir ${PROJECT_SOURCE_DIR}/include ${CHIMAERA_MODULE_INCLUDE})
	install(DIRECTORY ${dir}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h"
		PATTERN "*.def")
endforeach()
