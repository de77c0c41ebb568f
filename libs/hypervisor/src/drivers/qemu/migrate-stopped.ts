import { join } from 'node:path';
import { continueCpus, sendMigration } from './migration.js';
import type { QemuVm } from './vm.js';

/**
 * For the pause benchmark only: what QEMU itself offers for a whole checkpoint. Stops the guest, migrates all of it into nothing, lets it run
 * again, and returns how long it stood still. The VM goes on as before.
 */
export async function migrateStopped(vm: QemuVm): Promise<{ pause_ms: number; bytes: number }> {
  const { process } = vm;
  let bytes = 0;
  // Unthrottled, as fast as QEMU can: 0 would mean its default bandwidth.
  await process.qmp.execute('migrate-set-parameters', { 'max-bandwidth': 2 ** 40 });
  const begun_ms = performance.now();
  await process.qmp.execute('stop');
  await sendMigration(process, join(vm.directory, 'bench'), false, (chunk) => {
    bytes += chunk.length;
  });
  await continueCpus(process.captures.cont);
  return { pause_ms: performance.now() - begun_ms, bytes };
}
