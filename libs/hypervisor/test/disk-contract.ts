import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Disk, type DiskIdentity, type DiskPlace } from '@virtcft/disk';
import type { PageSource } from '@virtcft/lazy-fill';
import { ReplicaImage } from '@virtcft/native';
import type { HypervisorDriver, Vm, VmSpec } from '../src/index.js';
import { nicsOf, type Subject } from './contract.js';

/** What the guest says about its disk: how many blocks it has written, and how many it found to be not what it wrote. */
const numbers = (console: string): { written: number; errors: number } => {
  const [, written = '0', errors = '0'] = [...console.matchAll(/^disk (\d+) errors (\d+)\r?$/gm)].at(-1) ?? [];
  return { written: Number(written), errors: Number(errors) };
};

/** A driver's VMs use disks that are served to them, and those follow the VM's cuts as its memory does. */
export function diskContract(name: string, subject: Subject): void {
  describe(`${name} keeps the contract of disks`, () => {
    const identity: DiskIdentity = { name: 'data', bytes: 4 << 20, image: 'f'.repeat(64) };
    let root: string;
    let driver: HypervisorDriver;
    let vm: Vm;
    let disk: Disk;
    let image: ReplicaImage;
    let memory: ReplicaImage;
    let epoch = 0;
    /** The last epoch that `image` holds. */
    let stored: number | null = null;

    const place = (at: string): DiskPlace => ({ directory: join(root, at), socket: join(root, `${at}.nbd`), log: () => undefined });
    const specWith = (at: DiskPlace): VmSpec => ({ ...subject.spec('disks'), disks: [{ name: identity.name, bytes: identity.bytes, socket: at.socket }] });
    const heard = async (): Promise<{ written: number; errors: number }> => numbers(await subject.console(vm));
    async function untilWritten(more: number): Promise<void> {
      const { written } = await heard();
      for (const end_ms = Date.now() + 60_000; (await heard()).written < written + more; await sleep(20)) {
        if (Date.now() > end_ms) throw new Error(`the guest wrote no ${more} blocks: ${JSON.stringify(await heard())}`);
      }
      expect((await heard()).errors).toBe(0);
    }
    async function cut(): Promise<{ deviceState: Buffer; runState: Vm['runState'] }> {
      epoch += 1;
      await vm.stop();
      const [captured] = await Promise.all([vm.capture(epoch), disk.capture(epoch)]);
      await vm.resume();
      return { deviceState: await captured.deviceState(), runState: captured.runState };
    }
    const source = (from: ReplicaImage, pause_ms: number): PageSource => ({
      async *all(signal) {
        const extents = await from.extents();
        for (let i = 0; i < extents.length && !signal.aborted; i += 2) {
          await sleep(pause_ms);
          yield await from.read({ first: extents[i]!, count: extents[i + 1]! });
        }
      },
      pages: (first, count) => from.read({ first, count }),
    });

    beforeAll(async () => {
      root = mkdtempSync(join(subject.runRoot, 'disks-'));
      driver = await subject.open(mkdtempSync(join(root, 'host-')));
      image = new ReplicaImage({ path: join(root, 'data.image'), bytes: identity.bytes });
      const raw = join(root, 'data.raw');
      new ReplicaImage({ path: raw, bytes: identity.bytes }).close();
      const at = place('first');
      disk = await Disk.fromImage(identity, at, raw);
      const spec = specWith(at);
      memory = new ReplicaImage({ path: join(root, 'memory.image'), bytes: spec.memory_mib * 2 ** 20 });
      vm = await driver.start(spec, nicsOf(spec, root));
      await untilWritten(100);
    });
    afterAll(async () => {
      await driver.close();
      await disk.destroy();
      image.close();
      memory.close();
      rmSync(root, { recursive: true, force: true });
    });

    test('what a guest wrote is in the segments of its cuts, stored or not, block by block', async () => {
      for (let i = 0; i < 8; i += 1) {
        await cut();
        if (i % 3 !== 1) {
          await image.apply((await disk.encode(stored, epoch)).section);
          stored = epoch;
          expect(await image.digest()).toBe(await disk.digest(epoch));
          if (i % 2 === 0) { await vm.commit(epoch); await disk.commit(epoch); }
        }
        await untilWritten(40);
      }
    });

    test('rolled back with its memory it holds what the guest then remembers, twice', async () => {
      const kept = await cut();
      const basis = epoch;
      const digest = await disk.digest(basis);
      for (let round = 0; round < 2; round += 1) {
        await untilWritten(100);
        await cut();
        await vm.rollback({ epoch: basis, ...kept, ahead_ms: 0, asked_ms: performance.now() }, () => disk.rollback(basis));
        expect(await disk.digest(basis)).toBe(digest);
        await vm.resume();
        await untilWritten(60);
      }
    });

    test('loaded elsewhere it serves at once and is filled while the guest uses it, and is captured meanwhile', async () => {
      const kept = await cut();
      const basis = epoch;
      await memory.apply((await vm.encode(null, basis)).section);
      await image.apply((await disk.encode(stored, basis)).section);
      expect(await image.digest()).toBe(await disk.digest(basis));
      const before = await heard();
      await vm.destroy();
      await disk.destroy();
      const at = place('second');
      const dead: string[] = [];
      disk = await Disk.load(identity, at, basis, source(image, 150), (reason) => dead.push(reason));
      const spec = specWith(at);
      vm = await driver.load(spec, nicsOf(spec, root), { epoch: basis, ...kept, ahead_ms: 0, asked_ms: performance.now(), source: source(memory, 1) });
      await vm.resume();
      for (const end_ms = Date.now() + 60_000; (await heard()).written <= before.written && Date.now() < end_ms;) await sleep(20);
      await cut();
      const delta = await disk.encode(basis, epoch);
      await untilWritten(100);
      for (const end_ms = Date.now() + 60_000; disk.filling && Date.now() < end_ms;) await sleep(50);
      expect({ filling: disk.filling, dead }).toEqual({ filling: false, dead: [] });
      await image.apply(delta.section);
      expect(await image.digest()).toBe(await disk.digest(epoch));
    });
  });
}
