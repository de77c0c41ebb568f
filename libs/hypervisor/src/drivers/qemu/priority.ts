import { getPriority, setPriority } from 'node:os';
import { threadsOf } from './qmp-schemas.js';
import type { QemuProcess } from './process.js';

/**
 * A driver that runs above ordinary priority hands that on to QEMU, whose main loop stops, saves and continues the guest: a pause must not wait
 * behind guests. The virtual CPUs themselves go back to ordinary priority, or guests would starve the services that protect them.
 */
export async function lowerGuestCpus(process: QemuProcess): Promise<void> {
  if (getPriority() >= 0) return;
  // On Linux a thread has a priority of its own, and its id is taken where a process id is.
  for (const thread of threadsOf(await process.qmp.execute('query-cpus-fast'))) setPriority(thread, 0);
}
