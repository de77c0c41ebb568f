import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ReplicaImage } from '@virtcft/native';
import type { ClockPolicy, HypervisorDriver, NicAttachment, PageSource, RunState, Vm, VmEvent, VmSeed, VmSpec } from '../src/index.js';
import { hear, hearClock } from './guest.js';
import type { Deed, Heard, HeardClock } from './guest.js';

/** What a driver brings to be held to the contract. */
export interface Subject {
  /** A driver with a host of its own below `runDir`. */
  open(runDir: string): Promise<HypervisorDriver>;
  spec(name: string, deed?: Deed, at?: number): VmSpec;
  /** Everything that the guest has written to its console on this host. */
  console(vm: Vm): Promise<string>;
  /** Ends the VM's hypervisor process as a crash would. */
  crash(vm: Vm): void | Promise<void>;
  /** What the driver's `exited` says of it; default SIGKILL. */
  readonly crashed?: string;
  /** What has no meaning for this driver, as its DESIGN says: those promises are not asked for. */
  readonly lacks?: readonly ('nics' | 'clock' | 'lazy fill' | 'reboot')[];
  /** How long a guest may take for what is waited for; default a minute. */
  readonly patience_ms?: number;
  /** Lines that the guest has written and that are lost with its console at a restore; default 0. */
  readonly console_loses?: number;
  /** How often it is looked for; default 20. A look may itself take the guest's processor. */
  readonly look_every_ms?: number;
  /** The parent of run directories. */
  readonly runRoot: string;
}

/** A stored cut of one VM, as a replica-store would hold it. */
interface Stored {
  readonly epoch: number;
  readonly deviceState: Buffer;
  readonly runState: RunState;
  readonly image: ReplicaImage;
  readonly digest: string;
  readonly heard: Heard;
  /** What the guest last said of its clocks before the cut. */
  readonly clock: HeardClock | null;
}

interface SlowSource extends PageSource {
  asked: number;
}

export const nicsOf = (spec: VmSpec, directory: string): NicAttachment[] =>
  spec.nics.map((nic, i) => ({ mac: nic.mac, guest: join(directory, `${spec.name}-${i}.g`), fabric: join(directory, `${spec.name}-${i}.f`) }));

export function driverContract(name: string, subject: Subject): void {
  describe(`${name} keeps the driver contract`, () => {
    let root: string;
    let driver: HypervisorDriver;
    const events: VmEvent[] = [];
    const hosts: HypervisorDriver[] = [];
    const images: ReplicaImage[] = [];
    const lacks = (what: NonNullable<Subject['lacks']>[number]): boolean => subject.lacks?.includes(what) ?? false;

    async function host(runDir: string): Promise<HypervisorDriver> {
      const opened = await subject.open(runDir);
      hosts.push(opened);
      opened.onEvent((event) => events.push(event));
      return opened;
    }
    const hearVm = async (vm: Vm): Promise<Heard> => hear(await subject.console(vm));

    async function until<T>(what: string, look: () => T | Promise<T>, enough: (seen: T) => boolean): Promise<T> {
      const end_ms = Date.now() + (subject.patience_ms ?? 60_000);
      for (;;) {
        const seen = await look();
        if (enough(seen)) return seen;
        if (Date.now() > end_ms) throw new Error(`waited for: ${what}; saw ${JSON.stringify(seen)}`);
        await sleep(subject.look_every_ms ?? 20);
      }
    }
    const untilTick = (vm: Vm, tick: number): Promise<Heard> => until(`tick ${tick}`, () => hearVm(vm), (heard) => (heard.ticks.at(-1) ?? 0) >= tick);

    async function capture(vm: Vm, epoch: number): Promise<{ deviceState: Buffer; runState: RunState; differing: number; heard: Heard; clock: HeardClock | null }> {
      await vm.stop();
      const captured = await vm.capture(epoch);
      const differing = await vm.verify(epoch);
      const console = await subject.console(vm);
      await vm.resume();
      return { deviceState: await captured.deviceState(), runState: captured.runState, differing, heard: hear(console), clock: hearClock(console).at(-1) ?? null };
    }

    function image(spec: VmSpec): ReplicaImage {
      const made = new ReplicaImage({ path: join(root, `image-${images.length}`), bytes: spec.memory_mib * 2 ** 20 });
      images.push(made);
      return made;
    }

    async function store(vm: Vm, epoch: number): Promise<Stored> {
      const { deviceState, runState, heard, clock } = await capture(vm, epoch);
      const stored = image(vm.spec);
      await stored.apply((await vm.encode(null, epoch)).section);
      return { epoch, deviceState, runState, image: stored, digest: await vm.digest(epoch), heard, clock };
    }

    function sourceOf(stored: Stored, pause_ms: number): SlowSource {
      return {
        asked: 0,
        async *all(signal: AbortSignal) {
          const extents = await stored.image.extents();
          for (let i = 0; i < extents.length; i += 2) {
            const [first, count] = [extents[i]!, extents[i + 1]!];
            for (let at = 0; at < count; at += 256) {
              if (signal.aborted) return;
              await sleep(pause_ms);
              yield await stored.image.read({ first: first + at, count: Math.min(256, count - at) });
            }
          }
        },
        pages(first: number, count: number) {
          this.asked++;
          return stored.image.read({ first, count });
        },
      };
    }

    beforeAll(async () => {
      root = mkdtempSync(join(subject.runRoot, 'contract-'));
      driver = await host(mkdtempSync(join(root, 'host-')));
    });
    afterAll(async () => {
      await Promise.all(hosts.map((each) => each.close()));
      images.forEach((each) => each.close());
      rmSync(root, { recursive: true, force: true });
    });

    describe('one guest', () => {
      let vm: Vm;
      let epoch = 0;
      let dir: string;

      beforeAll(async () => {
        const spec = subject.spec('contract');
        dir = mkdtempSync(join(root, 'nics-'));
        vm = await driver.start(spec, nicsOf(spec, dir), { paused: true });
      });

      test('is held before its first instruction until it is resumed', async () => {
        await sleep(300);
        expect((await hearVm(vm)).boots).toBe(0);
        expect(driver.list().map((each) => each.spec.name)).toEqual(['contract']);
        await vm.resume();
        await untilTick(vm, 5);
      });

      test('loses no page over many epochs, committed or not, and the segments build the same memory elsewhere', async () => {
        const replica = image(vm.spec);
        let parent: number | null = null;
        for (let i = 0; i < 24; i++) {
          if (i % 3 !== 0) await vm.precopy();
          const captured = await capture(vm, ++epoch);
          expect({ epoch, differing: captured.differing }).toEqual({ epoch, differing: 0 });
          // Every fourth epoch is not stored: the next one covers it (R2a).
          if (i % 4 !== 1) {
            await replica.apply((await vm.encode(parent, epoch)).section);
            parent = epoch;
            expect(await replica.digest()).toBe(await vm.digest(epoch));
            if (i % 2 === 0) await vm.commit(epoch);
          }
          await sleep(40);
        }
        await vm.commit(epoch);
        expect(vm.stats().memory.layers).toBe(0);
      });

      test('refuses calls out of order and stays as it is', async () => {
        await expect(vm.capture(epoch + 1)).rejects.toMatchObject({ code: 'wrong-state' });
        await vm.stop();
        await expect(vm.stop()).rejects.toMatchObject({ code: 'wrong-state' });
        const { pause_ms } = await vm.resume();
        expect(pause_ms).toBeGreaterThan(0);
        const before = (await hearVm(vm)).ticks.at(-1)!;
        await untilTick(vm, before + 2);
      });

      test('rolls back in place to a kept epoch, twice, and goes on from there', async () => {
        const kept = await capture(vm, ++epoch);
        const digest = await vm.digest(epoch);
        const basis = epoch;
        await vm.commit(basis);
        for (let round = 0; round < 2; round++) {
          await untilTick(vm, (await hearVm(vm)).ticks.at(-1)! + 5);
          await capture(vm, ++epoch);
          await vm.rollback({ ...kept, epoch: basis, ahead_ms: 0, asked_ms: performance.now() });
          expect(await vm.digest(basis)).toBe(digest);
          const after = await capture(vm, ++epoch);
          expect(after.differing).toBe(0);
          const heard = await until('ticks after the rollback', () => hearVm(vm), ({ ticks }) => ticks.at(-1)! >= kept.heard.ticks.at(-1)! + 3 && ticks.at(-1)! < kept.heard.ticks.at(-1)! + 30);
          expect(heard.errors).toBe(0);
        }
        expect((await hearVm(vm)).boots).toBe(1);
      });

      test('rolls back after its hypervisor process has died', async () => {
        const kept = await capture(vm, ++epoch);
        const digest = await vm.digest(epoch);
        await subject.crash(vm);
        const gone = await until('the event', () => events.find((event) => event.kind === 'exited'), (event) => event !== undefined);
        expect(gone).toMatchObject({ vm: 'contract', reason: expect.stringContaining(subject.crashed ?? 'SIGKILL') });
        await expect(vm.stop()).rejects.toMatchObject({ code: 'vm-gone' });
        await vm.rollback({ ...kept, epoch, ahead_ms: 0, asked_ms: performance.now() });
        expect(await vm.digest(epoch)).toBe(digest);
        expect((await capture(vm, ++epoch)).differing).toBe(0);
        const heard = await untilTick(vm, kept.heard.ticks.at(-1)! + 5);
        expect(heard).toMatchObject({ boots: 1, errors: 0 });
      });

      test('is paused by its user across captures', async () => {
        await vm.pause();
        expect(vm.runState).toBe('paused');
        const captured = await capture(vm, ++epoch);
        expect(captured).toMatchObject({ runState: 'paused', differing: 0 });
        const before = (await hearVm(vm)).ticks.at(-1)!;
        await sleep(300);
        expect((await hearVm(vm)).ticks.at(-1)).toBe(before);
        await vm.unpause();
        await untilTick(vm, before + 2);
      });

      test('goes on at another host, its memory filled while it runs, and is captured there at once', async () => {
        const stored = await store(vm, ++epoch);
        await vm.destroy();
        expect(driver.list()).toEqual([]);
        const other = await host(mkdtempSync(join(root, 'host-')));
        await other.prepare(vm.spec);
        const source = sourceOf(stored, 25);
        const moved = await other.load(vm.spec, nicsOf(vm.spec, dir), { ...stored, ahead_ms: 0, asked_ms: performance.now(), source });
        expect((await hearVm(moved)).ticks).toEqual([]);
        await moved.resume();
        // In the middle of the fill: a delta on the restored cut, and it is whole.
        expect((await capture(moved, ++epoch)).differing).toBe(0);
        if (!lacks('lazy fill')) expect(moved.stats().fill).toMatchObject({ done: false });
        await stored.image.apply((await moved.encode(stored.epoch, epoch)).section);
        const heard = await untilTick(moved, stored.heard.ticks.at(-1)! + 5);
        // The cut may have been in the middle of a line.
        expect(heard.ticks[0]! - stored.heard.ticks.at(-1)!).toBeGreaterThanOrEqual(1);
        expect(heard.ticks[0]! - stored.heard.ticks.at(-1)!).toBeLessThanOrEqual(2 + (subject.console_loses ?? 0));
        if (!lacks('lazy fill')) {
          expect(source.asked).toBeGreaterThan(0);
          await until('the end of the fill', () => moved.stats().fill, (fill) => fill?.done === true);
        }
        expect(await moved.digest(stored.epoch)).toBe(stored.digest);
        expect(await stored.image.digest()).toBe(await moved.digest(epoch));
        expect((await capture(moved, ++epoch)).differing).toBe(0);
        const later = await until('checks after the move', () => hearVm(moved), ({ verified }) => verified > stored.heard.verified + 2048);
        expect(later).toMatchObject({ boots: 0, errors: 0 });
      });

      if (!lacks('lazy fill')) test('rolls back while its memory is still being filled', async () => {
        const [there] = hosts.at(-1)!.list();
        const stored = await store(there!, ++epoch);
        await there!.destroy();
        const third = await host(mkdtempSync(join(root, 'host-')));
        const moved = await third.load(there!.spec, nicsOf(there!.spec, dir), { ...stored, ahead_ms: 0, asked_ms: performance.now(), source: sourceOf(stored, 40) });
        await moved.resume();
        await untilTick(moved, stored.heard.ticks.at(-1)! + 2);
        expect(moved.stats().fill).toMatchObject({ done: false });
        await moved.rollback({ ...stored, ahead_ms: 0, asked_ms: performance.now() });
        await moved.resume();
        await until('the end of the fill', () => moved.stats().fill, (fill) => fill?.done === true);
        expect(await moved.digest(stored.epoch)).toBe(stored.digest);
        expect((await capture(moved, ++epoch)).differing).toBe(0);
        const heard = await until('checks after the rollback', () => hearVm(moved), ({ verified }) => verified > stored.heard.verified + 2048);
        expect(heard).toMatchObject({ boots: 0, errors: 0 });
        await moved.destroy();
      });
    });

    test('a base of a guest\'s memory is made piece by piece while it runs; its first capture is a change to that (R20)', async () => {
      const dir = mkdtempSync(join(root, 'seed-'));
      const spec = subject.spec('seeded');
      const vm = await driver.start(spec, nicsOf(spec, dir));
      // A driver need not have it: then a first cut holds all.
      if (vm.seed === undefined) return vm.destroy();
      await untilTick(vm, 3);
      const pages = spec.memory_mib * 256;
      const piece = 256;
      const base = Buffer.alloc(pages * 4096);
      const pass = async (seed: VmSeed, fewest: number): Promise<number> => {
        let written = 0;
        for (let first = 0; first < pages; first += piece) {
          const copied = await seed.copy(first, Math.min(piece, pages - first), fewest);
          written += copied.pages;
          copied.content?.copy(base, first * 4096);
        }
        return written;
      };
      expect(await pass(await vm.seed(), 0)).toBeGreaterThan(0);
      // Again: it starts over, and the base is no other for it.
      const seed = await vm.seed();
      await pass(seed, 0);
      const { ticks } = await hearVm(vm);
      await untilTick(vm, ticks.at(-1)! + 2);
      await pass(seed, piece / 4);
      await vm.precopy();
      expect(vm.runState).toBe('running');
      const captured = await capture(vm, 4);
      expect(captured).toMatchObject({ runState: 'running', differing: 0 });
      writeFileSync(join(root, `image-${images.length}`), base);
      const stored = image(spec);
      await stored.apply((await vm.encode(seed.epoch, 4)).section);
      expect(await stored.digest()).toBe(await vm.digest(4));
      await vm.commit(4);
      await untilTick(vm, captured.heard.ticks.at(-1)! + 2);
      expect((await capture(vm, 5)).differing).toBe(0);
      await stored.apply((await vm.encode(4, 5)).section);
      expect(await stored.digest()).toBe(await vm.digest(5));
      await expect(vm.seed()).rejects.toThrow();
      await vm.destroy();
    });

    if (!lacks('clock')) describe.each<ClockPolicy>(['stop', 'follow'])('a guest whose clock policy is %s', (policy) => {
      const follows = policy === 'follow';
      let vm: Vm;
      let there: HypervisorDriver;
      let epoch = 0;

      const clocks = async (of: Vm): Promise<HeardClock[]> => hearClock(await subject.console(of));
      /** The next line that the guest writes, and when it was heard. */
      async function next(of: Vm): Promise<HeardClock & { host_s: number }> {
        const before = (await clocks(of)).length;
        const heard = await until('a word about its clocks', () => clocks(of), ({ length }) => length > before);
        return { ...heard.at(-1)!, host_s: performance.now() / 1000 };
      }
      async function healthy(of: Vm): Promise<void> {
        expect(await subject.console(of)).not.toMatch(/soft lockup|hard LOCKUP|stall|unstable/i);
        expect(Math.max(...(await clocks(of)).map(({ back }) => back))).toBe(0);
      }

      beforeAll(async () => {
        const runDir = mkdtempSync(join(root, 'host-'));
        there = await host(runDir);
        const spec: VmSpec = { ...subject.spec(`clock-${policy}`, 'clock'), clock: policy };
        vm = await there.start(spec, nicsOf(spec, runDir));
        await until('the guest', () => clocks(vm), ({ length }) => length >= 3);
      });

      test('has its time go on across pauses as the policy says, never back', async () => {
        const [pauses, pause_s] = [10, 0.4];
        const before = await next(vm);
        for (let i = 0; i < pauses; i++) {
          await vm.stop();
          await vm.capture(++epoch);
          await sleep(pause_s * 1000);
          await vm.resume();
          await vm.commit(epoch);
          await sleep(50);
        }
        const after = await next(vm);
        const host_s = after.host_s - before.host_s;
        for (const clock of ['mono_s', 'real_s'] as const) {
          const missing_s = host_s - (after[clock] - before[clock]);
          // Half of the pauses is far from both: none is missing, or all.
          if (follows) expect(missing_s).toBeLessThan(pauses * pause_s / 2);
          else expect(missing_s).toBeGreaterThan(pauses * pause_s / 2);
        }
        expect(vm.stats().clock).toMatchObject({ policy, shortcoming: null, lost_ms: 0 });
        await healthy(vm);
      });

      test('moves ahead of the cut at a rollback as far as the policy says', async () => {
        const kept = await capture(vm, ++epoch);
        const cut = kept.clock!;
        await sleep(1500);
        const heard = (await clocks(vm)).length;
        await vm.rollback({ ...kept, epoch, ahead_ms: 6000, asked_ms: performance.now() });
        await vm.resume();
        // The first line may have been begun before the cut.
        const [, first] = (await until('the guest after its rollback', () => clocks(vm), ({ length }) => length > heard + 1)).slice(heard);
        for (const clock of ['mono_s', 'real_s'] as const) {
          const moved_s = first![clock] - cut[clock];
          expect(moved_s).toBeGreaterThanOrEqual(follows ? 6 : 0);
          if (!follows) expect(moved_s).toBeLessThan(1.5);
        }
        expect(first!.source).toBe(cut.source);
        // The real-time clock stands with the others, or tells the host's time: by now these are far from each other.
        const host_s = Date.now() / 1000;
        const now = await next(vm);
        if (follows) expect(Math.abs(host_s - now.rtc_s)).toBeLessThan(3);
        else expect(host_s - now.rtc_s).toBeGreaterThan(3);
        await healthy(vm);
      });

      test('moves ahead at another host by no more than its kernel bears', async () => {
        const stored = await store(vm, ++epoch);
        const cut = stored.clock!;
        const { spec } = vm;
        await vm.destroy();
        const runDir = mkdtempSync(join(root, 'host-'));
        const other = await host(runDir);
        const moved = await other.load(spec, nicsOf(spec, runDir), { ...stored, ahead_ms: 3_600_000, asked_ms: performance.now(), source: sourceOf(stored, 0) });
        await moved.resume();
        const [, first] = await until('the guest after its move', () => clocks(moved), ({ length }) => length > 1);
        const moved_s = first!.mono_s - cut.mono_s;
        expect(moved_s).toBeGreaterThanOrEqual(follows ? 5 : 0);
        expect(moved_s).toBeLessThan(follows ? 20 : 5);
        // Long enough for the kernel's own watch over its processors to have looked.
        await until('its watchdog', () => clocks(moved), (heard) => heard.at(-1)!.mono_s > first!.mono_s + 6);
        for (let i = 0; i < 3; i++) await capture(moved, ++epoch);
        await next(moved);
        await healthy(moved);
        expect(moved.stats().clock.lost_ms > 0).toBe(follows);
        await Promise.all([there.close(), other.close()]);
      });
    });

    test('a guest that reboots, powers off or panics is captured as what it is, and comes back so', async () => {
      const runDir = mkdtempSync(join(root, 'host-'));
      const there = await host(runDir);
      const [ends, panics, reboots] = await Promise.all((['poweroff', 'panic', ...(lacks('reboot') ? [] : ['reboot'] as const)] as const).map((deed) => {
        const spec = subject.spec(deed, deed, 4);
        return there.start(spec, nicsOf(spec, runDir));
      }));
      await until('run states', () => [ends!.runState, panics!.runState], ([end, panic]) => end === 'off' && panic === 'panicked');
      expect(events).toEqual(expect.arrayContaining([
        { kind: 'run-state', vm: 'poweroff', runState: 'off' }, { kind: 'run-state', vm: 'panic', runState: 'panicked' },
      ]));
      for (const vm of [ends!, panics!]) {
        const stored = await store(vm, 1);
        expect(stored.runState).toBe(vm.runState);
        expect((await capture(vm, 2)).differing).toBe(0);
        const { spec } = vm;
        await vm.destroy();
        const loaded = await there.load(spec, nicsOf(spec, runDir), { ...stored, ahead_ms: 0, asked_ms: performance.now(), source: sourceOf(stored, 0) });
        await loaded.resume();
        expect(loaded.runState).toBe(stored.runState);
        const ticks = (await hearVm(loaded)).ticks.length;
        await sleep(300);
        expect((await hearVm(loaded)).ticks.length).toBe(ticks);
      }
      if (reboots) {
        await capture(reboots, 1);
        const heard = await until('the second boot', () => hearVm(reboots), ({ boots }) => boots >= 2);
        expect(heard.errors).toBe(0);
        expect(events).toContainEqual({ kind: 'reset', vm: 'reboot' });
        expect((await capture(reboots, 2)).differing).toBe(0);
      }
      await there.close();
    });

    test('what an earlier agent left is swept, and only that', async () => {
      const runDir = mkdtempSync(join(root, 'host-'));
      const before = await host(runDir);
      const spec = subject.spec('leftover');
      await before.start(spec, nicsOf(spec, runDir), { paused: true });
      const other = subject.spec('other');
      const elsewhere = await driver.start(other, nicsOf(other, root), { paused: true });

      const now = await host(runDir);
      await expect(now.start(spec, nicsOf(spec, runDir))).rejects.toMatchObject({ code: 'vm-exists' });
      expect(await now.sweep()).toEqual(['leftover']);
      expect(await now.sweep()).toEqual([]);
      await until('its end', () => events.some((event) => event.kind === 'exited' && event.vm === 'leftover'), (seen) => seen);
      const again = await now.start(spec, nicsOf(spec, runDir), { paused: true });
      expect(await now.sweep()).toEqual([]);
      expect(again.runState).toBe('running');
      await elsewhere.resume();
      await elsewhere.destroy();
      expect(events.some((event) => event.kind === 'exited' && event.vm === 'other')).toBe(false);
    });

    test('what cannot be started is refused by a code and leaves nothing', async () => {
      const runDir = mkdtempSync(join(root, 'host-'));
      const there = await host(runDir);
      const spec = subject.spec('refused');
      const nics = nicsOf(spec, runDir);
      await expect(there.start({ ...spec, kernel: '/nowhere/vmlinuz' }, nics)).rejects.toMatchObject({ code: 'spec-invalid' });
      await expect(there.start({ ...spec, memory_mib: 2 ** 20 }, nics)).rejects.toMatchObject({ code: 'no-room' });
      if (!lacks('nics')) await expect(there.start(spec, [{ ...nics[0]!, guest: '/nowhere/socket' }, ...nics.slice(1)])).rejects.toMatchObject({ code: 'vm-gone', message: expect.stringContaining('/nowhere/socket') });
      const damaged = { epoch: 1, deviceState: Buffer.from('QEVM\0\0\0\x03\x04 nonsense \0', 'latin1'), runState: 'running' as const, ahead_ms: 0, asked_ms: performance.now() };
      const nothing: PageSource = { async *all() { /* the image is all zero */ }, pages: () => Promise.reject(new Error('no such page')) };
      await expect(there.load(spec, nics, { ...damaged, source: nothing })).rejects.toMatchObject({ code: 'state-refused' });
      expect(there.list()).toEqual([]);
      expect(await there.sweep()).toEqual([]);
    });
  });
}
