#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# layers/ci_failures.sh - .ci/failures finds what failed in a log of ctest's, and in that of another program
set -euo pipefail

failures=${CHI_TEST_SOURCE_DIR:-$(cd "$(dirname "$0")/../.." && pwd)}/.ci/failures

# same NAME EXPECTED GOT
same() {
	diff <(echo "$2") <(echo "$3") || {
		echo "$(basename "$0"): $1"
		exit 1
	}
}

log() {
	cat <<'END'
 1/4 Test  #1: hshm_clock .......................   Passed    0.10 sec
[  ERROR   ] --- of a test that is told to go on
        Start  2: runtime_ipc
 2/4 Test  #2: runtime_ipc ......................***Failed    1.20 sec
[ RUN      ] first_case
[       OK ] first_case
[ RUN      ] second_case
[  ERROR   ] --- 20 is not within the range 1-18
[   LINE   ] --- ../../tests/unit/runtime/ipc_test.c:98: error: Failure!
[  FAILED  ] second_case
[  FAILED  ] 1 test(s), listed below:
[  FAILED  ] second_case

 1 FAILED TEST(S)
        Start  3: task_wait
 3/4 Test  #3: task_wait ........................***Timeout  60.01 sec
[ RUN      ] it_hangs
        Start  4: integration_tool
 4/4 Test  #4: integration_tool .................***Failed    0.40 sec
tool.sh:12: '^Usage' is not in out

25% tests passed, 3 tests failed out of 4
The following tests FAILED:
END
}

same "short, of ctest" "\
test: runtime_ipc: second_case: ipc_test.c:98: 20 is not within the range 1-18
test: task_wait: Timeout 60.01 sec, in it_hangs
test: integration_tool: tool.sh:12: '^Usage' is not in out" "$(log | "$failures" -v short=test)"

same "the lines that say why come first" "\
 2/4 Test  #2: runtime_ipc ......................***Failed    1.20 sec
   ! [  ERROR   ] --- 20 is not within the range 1-18
   ! [   LINE   ] --- ../../tests/unit/runtime/ipc_test.c:98: error: Failure!
[ RUN      ] first_case" "$(log | "$failures" | head -n 4)"

same "short, of mutants" "\
mutants: FAILED some-patch task_wait 3.1 s survives" \
	"$(printf 'red     other\nFAILED  some-patch   task_wait   3.1 s  survives\nFAILED  some-patch   task_wait   3.1 s  survives\n' |
		"$failures" -v short=mutants)"

echo "ci_failures: found"
