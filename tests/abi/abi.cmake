# SPDX-License-Identifier: BSD-3-Clause
chimaera_script(abi_headers abi ${CMAKE_CURRENT_LIST_DIR}/headers.sh)
if(TARGET chimaera-runtime)
	chimaera_script(abi_symbols abi ${CMAKE_CURRENT_LIST_DIR}/symbols.sh chimaera chimaera-runtime)
endif()
