# SPDX-License-Identifier: BSD-3-Clause

# on every machine: a client and a runtime of two compilers agree on it
if(TARGET chimaera_hshm_internal)
	chimaera_test(abi_layout abi chimaera_hshm_internal ${CMAKE_CURRENT_LIST_DIR}/layout.c
		ARGUMENTS ${CMAKE_CURRENT_LIST_DIR}/layout.txt)
endif()

if(NOT CMAKE_CROSSCOMPILING)
	chimaera_script(abi_table abi ${CMAKE_CURRENT_LIST_DIR}/table.sh)
	chimaera_script(abi_headers abi ${CMAKE_CURRENT_LIST_DIR}/headers.sh)
	if(TARGET chimaera-runtime)
		chimaera_script(abi_symbols abi ${CMAKE_CURRENT_LIST_DIR}/symbols.sh chimaera chimaera-runtime)
		chimaera_script(abi_documented abi ${CMAKE_CURRENT_LIST_DIR}/documented.sh chimaera chimaera-runtime)
	endif()
endif()
