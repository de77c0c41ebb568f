// One system call inside another process.
#pragma once

namespace virtcft {

/**
 * Runs system call `number` in a thread of process `pid` by ptrace and returns its result (negative: -errno). The thread runs an instruction
 * of its own vDSO, so no code is changed; its registers and signal mask are put back, an interrupted call is restarted, no signal is lost.
 * About 0.2 ms. Throws ENOTRACKER when tracing is not allowed or not built for this processor.
 */
long callInside(int pid, long number, long a = 0, long b = 0, long c = 0);

}  // namespace virtcft
