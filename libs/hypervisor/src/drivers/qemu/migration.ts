import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { HypervisorError } from '../../errors.js';
import type { CommandAtHand } from './command-at-hand.js';
import { FD } from './command-line.js';
import { LIMITS } from './limits.js';
import type { QemuProcess } from './process.js';
import type { QmpClient } from './qmp-client.js';

/** `shared`: the stream leaves out memory that stands in a shared file. Events tell the progress, so that nothing polls. */
async function setCapabilities(qmp: QmpClient, shared: boolean): Promise<void> {
  await qmp.execute('migrate-set-capabilities', {
    capabilities: [{ capability: 'x-ignore-shared', state: shared }, { capability: 'events', state: true }],
  });
}

/** Resolves when the migration under way is over, with its last status. Listen before it is started. */
function outcome(process: QemuProcess, timeout_ms: number): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const forget = process.qmp.onEvent((event) => {
    const status = event.name === 'MIGRATION' ? event.data['status'] : null;
    if (status === 'completed' || status === 'failed') resolve(status);
  });
  const timer = setTimeout(() => reject(new HypervisorError('vm-stuck', `QEMU (pid ${process.pid}): no end of the transfer within ${timeout_ms} ms`)), timeout_ms);
  void process.ended.then((how) => reject(new HypervisorError('state-refused', how)));
  return promise.finally(() => {
    forget();
    clearTimeout(timer);
  });
}

/** Lets a stopped guest's migration stream flow into `take`, by way of a socket at `path`. */
export async function sendMigration(process: QemuProcess, path: string, shared: boolean, take: (chunk: Buffer) => void): Promise<void> {
  const over = outcome(process, LIMITS.load_ms);
  const received = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    socket.on('data', take);
    socket.once('end', received.resolve);
    socket.once('error', received.reject);
  });
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
    await setCapabilities(process.qmp, shared);
    await process.qmp.execute('migrate', { uri: `unix:${path}` });
    const [status] = await Promise.all([over, received.promise]);
    if (status !== 'completed') throw new HypervisorError('refused', `QEMU (pid ${process.pid}): the transfer ${status}`);
  } catch (error) {
    // Whichever of the two failed, the other is of no interest any more.
    void Promise.allSettled([over, received.promise]);
    throw error;
  } finally {
    server.close();
    await rm(path, { force: true });
  }
}

/** Loads `stream` into a process that was started with `incoming`. Throws `state-refused` with QEMU's own words. */
export async function loadDevices(process: QemuProcess, stream: Buffer): Promise<void> {
  const over = outcome(process, LIMITS.load_ms);
  try {
    await setCapabilities(process.qmp, true);
    await process.qmp.execute('migrate-incoming', { uri: `fd:${FD.incoming}` });
    process.incoming.end(stream);
    const status = await over;
    if (status !== 'completed') throw new HypervisorError('state-refused', `QEMU (pid ${process.pid}): the device state cannot be loaded (${status})`);
  } catch (error) {
    void Promise.allSettled([over]);
    // QEMU 7.2 exits on a state that it refuses; what it said last is the reason.
    if (error instanceof HypervisorError && error.code === 'vm-gone') throw new HypervisorError('state-refused', await process.ended, { cause: error });
    throw error;
  }
}

/** `cont`; straight after a transfer QEMU may still be finishing it. */
export async function continueCpus(cont: CommandAtHand): Promise<void> {
  const patience_ms = performance.now() + LIMITS.command_ms;
  for (;;) {
    try {
      await cont.run();
      return;
    } catch (error) {
      const finishing = error instanceof HypervisorError && error.code === 'refused' && /finaliz/.test(error.message);
      if (!finishing || performance.now() > patience_ms) throw error;
    }
  }
}
