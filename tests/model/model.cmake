# SPDX-License-Identifier: BSD-3-Clause
#
# The simulator: the code under test once more, unchanged, with a scheduling point before each atomic operation (points.h).
# Without points: what is never shared in the middle, or stands under one lock (segments, the min heap), and the heap, whose
# atomics have tests of their own.

file(GLOB model_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.c)
file(GLOB model_runtime CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/runtime/*.c ${PROJECT_SOURCE_DIR}/src/task/*.c)
set(model_rings ${PROJECT_SOURCE_DIR}/src/hshm/mpsc_queue.c ${PROJECT_SOURCE_DIR}/src/hshm/doorbell.c)
file(GLOB model_hshm CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/hshm/*.c)
list(REMOVE_ITEM model_hshm ${model_rings})
chimaera_objects(model_others chimaera_client_floor chimaera_admin)

add_library(model_points OBJECT ${model_runtime} ${model_rings})
target_include_directories(model_points PRIVATE ${PROJECT_SOURCE_DIR}/include ${CHIMAERA_MODULE_INCLUDE}
	${PROJECT_SOURCE_DIR}/src)
target_compile_definitions(model_points PRIVATE CHIMAERA_RUNTIME=1)
target_compile_options(model_points PRIVATE -include ${CMAKE_CURRENT_LIST_DIR}/points.h)
target_link_libraries(model_points PUBLIC Threads::Threads PkgConfig::FYAML PkgConfig::ELF)

# in place of the real ones, by the linker
set(model_wrapped
	close eventfd read write eventfd_write eventfd_read epoll_create1 epoll_ctl epoll_pwait2 epoll_wait syscall sem_wait
	pthread_mutex_lock clock_gettime getrandom madvise fallocate chi_log_allowed HSHM_THREAD_MODEL chi_fault_thread_init chi_fault_thread_fini
	chi_config_load chi_lane_enqueue chi_worker_enqueue_own chi_worker_route chi_worker_route_woken chi_worker_route_in_turn chi_worker_route_call chi_lane_note_task chi_parking_enter hshm_min_heap_insert
	hshm_min_heap_remove hshm_min_heap_update chi_worker_fini hshm_heap_destroy chi_stack_slab_map chi_stack_slab_unmap)
list(TRANSFORM model_wrapped PREPEND -Wl,--wrap=)

add_executable(model_simulate ${model_tests} ${model_hshm} ${model_others} $<TARGET_OBJECTS:model_points>)
set_target_properties(model_simulate PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/bin ENABLE_EXPORTS ON)
target_include_directories(model_simulate PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/src
	${PROJECT_SOURCE_DIR}/include ${CHIMAERA_MODULE_INCLUDE})
target_link_options(model_simulate PRIVATE ${model_wrapped})
target_link_libraries(model_simulate PRIVATE ${runtime_libs} Threads::Threads)
chimaera_register(model_simulate model $<TARGET_FILE:model_simulate>)
