# hnswlib, which is headers alone, as a target: Debian's package of it brings no CMake files.
find_path(RETORT_hnswlib_INCLUDE_DIR hnswlib/hnswlib.h)
mark_as_advanced(RETORT_hnswlib_INCLUDE_DIR)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(RetortHnswlib REQUIRED_VARS RETORT_hnswlib_INCLUDE_DIR)
if(RetortHnswlib_FOUND AND NOT TARGET RetortHnswlib::RetortHnswlib)
  add_library(RetortHnswlib::RetortHnswlib INTERFACE IMPORTED)
  target_include_directories(RetortHnswlib::RetortHnswlib INTERFACE ${RETORT_hnswlib_INCLUDE_DIR})
endif()
