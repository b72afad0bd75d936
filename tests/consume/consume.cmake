# Configures, builds and runs the consumer in WORK. See CMakeLists.txt beside this file for the variables.
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

set(consumer ${CMAKE_CURRENT_LIST_DIR}/consumer)
file(REMOVE_RECURSE ${WORK})
set(configure ${CMAKE_COMMAND} -S ${consumer} -B ${WORK}/build -G ${GENERATOR} -D CMAKE_CXX_COMPILER=${COMPILER}
              -D CMAKE_BUILD_TYPE=Debug -D RETORT_COMPONENTS=${COMPONENTS})
if(WAY STREQUAL "find_package")
  run(${CMAKE_COMMAND} --install ${RETORT_BUILD} --prefix ${WORK}/prefix)
  run(${configure} -D CMAKE_PREFIX_PATH=${WORK}/prefix)
  # What an installation lacks is refused by name.
  execute_process(COMMAND ${configure} -B ${WORK}/refused -D CMAKE_PREFIX_PATH=${WORK}/prefix -D RETORT_COMPONENTS=no_such
                  RESULT_VARIABLE status OUTPUT_QUIET ERROR_VARIABLE message)
  if(status EQUAL 0 OR NOT message MATCHES "no component.no_such")
    message(FATAL_ERROR "asking for a missing component should fail and name it; got status ${status}: ${message}")
  endif()
else()
  run(${configure} -D RETORT_SOURCE=${RETORT_SOURCE})
  # A guest brings no tests, examples or install rules of its own.
  file(GLOB_RECURSE strays ${WORK}/build/retort/test_* ${WORK}/build/retort/retortConfig.cmake)
  if(strays)
    message(FATAL_ERROR "as a subdirectory Retort should only define its targets, but made ${strays}")
  endif()
endif()
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${WORK}/build/consumer)
