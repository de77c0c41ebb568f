import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HypervisorError } from '../../errors.js';
import type { VmSpec } from '../../port.js';
import { commandLine, shapeOf } from './command-line.js';
import type { MachineModel } from './command-line.js';
import { prefixOf } from './device-state.js';
import { LIMITS } from './limits.js';
import { sendMigration } from './migration.js';
import { QemuProcess } from './process.js';

/** The stream prefixes of this host, one per shape, each made once by a QEMU that is never let run (device-state.ts). */
export class Prefixes {
  readonly #known = new Map<string, Promise<Buffer>>();

  constructor(private readonly qemu: string, private readonly model: MachineModel, private readonly runDir: string) {}

  of(spec: VmSpec): Promise<Buffer> {
    const shape = shapeOf(spec);
    const known = this.#known.get(shape);
    if (known !== undefined) return known;
    const made = this.#make(spec, shape);
    this.#known.set(shape, made);
    // A failure is reported to who asked; the next one tries again.
    made.catch(() => this.#known.delete(shape));
    return made;
  }

  async #make(spec: VmSpec, shape: string): Promise<Buffer> {
    const directory = join(this.runDir, `.shape-${shape}`);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    try {
      const ramPath = join(directory, 'ram');
      await createRam(ramPath, spec.memory_mib);
      const nics = spec.nics.map((nic, i) => ({ mac: nic.mac, guest: join(directory, `g${i}`), fabric: join(directory, `f${i}`) }));
      const process = await QemuProcess.start(this.qemu, commandLine({ model: this.model, spec, nics, ramPath, incoming: false, withoutDisks: true }), shape);
      try {
        const chunks: Buffer[] = [];
        let bytes = 0;
        await sendMigration(process, join(directory, 'stream'), true, (chunk) => {
          bytes += chunk.length;
          if (bytes <= LIMITS.prefix_bytes) chunks.push(chunk);
        });
        if (bytes > LIMITS.prefix_bytes) {
          throw new HypervisorError('host-unfit', `QEMU's stream of a VM that never ran has ${bytes} bytes: it does not leave shared memory out`);
        }
        return Buffer.from(prefixOf(Buffer.concat(chunks)));
      } finally {
        await process.kill();
      }
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }
}

/** A sparse file of exactly the guest's memory. */
export async function createRam(path: string, memory_mib: number): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(memory_mib * 2 ** 20);
  } finally {
    await file.close();
  }
}
