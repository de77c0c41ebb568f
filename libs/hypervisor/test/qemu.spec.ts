import { jest } from '@jest/globals';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { QemuVm, Vm } from '../src/index.js';
import { createQemuDriver } from '../src/index.js';
import { driverContract, nicsOf, type Subject } from './contract.js';
import { diskContract } from './disk-contract.js';
import { TestGuest, hear } from './guest.js';

jest.setTimeout(300_000);

const guest = new TestGuest();
afterAll(() => guest.close());

const read = async (vm: Vm): Promise<string> =>
  // The file is there from the guest's first byte on.
  readFile((vm as QemuVm).consolePath, 'latin1').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });

const subject: Subject = {
  runRoot: '/dev/shm',
  open: (runDir) => createQemuDriver({ runDir, log: () => undefined }),
  spec: (name, deed, at) => guest.spec(name, deed, at),
  console: read,
  crash: (vm) => process.kill((vm as QemuVm).process.pid, 'SIGKILL'),
};
driverContract('the QEMU driver', subject);
diskContract('the QEMU driver', subject);

describe('the QEMU driver', () => {
  let runDir: string;
  beforeAll(() => {
    runDir = mkdtempSync('/dev/shm/qemu-');
  });
  afterAll(() => rmSync(runDir, { recursive: true, force: true }));

  test('says what is wrong with a host', async () => {
    const log = (): void => undefined;
    await expect(createQemuDriver({ runDir, qemu: '/nowhere/qemu', log })).rejects.toMatchObject({ code: 'host-unfit', message: expect.stringContaining('install') });
    await expect(createQemuDriver({ runDir: '/proc', log })).rejects.toMatchObject({ code: 'host-unfit', message: expect.stringContaining('tmpfs') });
    await expect(createQemuDriver({ runDir: '/dev/shm/nowhere', log })).rejects.toMatchObject({ code: 'host-unfit' });
  });

  test('keeps a guest out of core dumps of its process, and its files from other users', async () => {
    const driver = await createQemuDriver({ runDir, log: () => undefined });
    const spec = guest.spec('private');
    const vm = await driver.start(spec, nicsOf(spec, runDir));
    const maps = (await readFile(`/proc/${(vm as QemuVm).process.pid}/smaps`, 'utf8')).split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/).filter((map) => map.includes('/private/ram'));
    expect(maps.length).toBeGreaterThan(0);
    for (const map of maps) expect(/^VmFlags:.* dd\b/m.test(map)).toBe(true);
    await vm.stop();
    await (await vm.capture(1)).deviceState();
    expect(statSync(join(runDir, 'private')).mode & 0o777).toBe(0o700);
    expect(statSync(join(runDir, 'private', 'ram')).mode & 0o777).toBe(0o600);
    await vm.destroy();
    await driver.close();
  });

  test('without dirty tracking by the kernel compares, says so, and loads all memory before the guest runs', async () => {
    const said: string[] = [];
    const driver = await createQemuDriver({ runDir, tracker: 'compare', log: (message) => said.push(message) });
    expect(driver.tracker).toBe('compare');
    expect(said).toContain('dirty pages are tracked in a slower way');
    const spec = guest.spec('compared');
    const nics = nicsOf(spec, runDir);
    const vm = await driver.start(spec, nics);
    while (hear(await read(vm)).ticks.length < 3) await sleep(50);
    await vm.stop();
    const captured = await vm.capture(1);
    expect(await vm.verify(1)).toBe(0);
    await vm.resume();
    const deviceState = await captured.deviceState();
    const digest = await vm.digest(1);
    const { section } = await vm.encode(null, 1);
    await vm.destroy();

    const loaded = await driver.load(spec, nics, {
      epoch: 1, deviceState, runState: captured.runState, ahead_ms: 0, asked_ms: performance.now(),
      source: { async *all() { yield section; }, pages: () => Promise.reject(new Error('all pages were sent')) },
    });
    expect(await loaded.digest(1)).toBe(digest);
    await loaded.resume();
    while (hear(await read(loaded)).ticks.length < 3) await sleep(50);
    await loaded.stop();
    await loaded.capture(2);
    expect(await loaded.verify(2)).toBe(0);
    expect(hear(await read(loaded))).toMatchObject({ boots: 0, errors: 0 });
    await driver.close();
  });

  test('a VM whose page source is dead ends as an exited one, and nothing is left', async () => {
    const driver = await createQemuDriver({ runDir, log: () => undefined });
    const spec = guest.spec('starved');
    const nics = nicsOf(spec, runDir);
    const vm = await driver.start(spec, nics, { paused: true });
    await vm.stop();
    const captured = await vm.capture(1);
    const deviceState = await captured.deviceState();
    await vm.resume();
    await vm.destroy();
    const ended = Promise.withResolvers<string>();
    driver.onEvent((event) => {
      if (event.kind === 'exited') ended.resolve(event.reason);
    });
    const loaded = await driver.load(spec, nics, {
      epoch: 1, deviceState, runState: 'running', ahead_ms: 0, asked_ms: performance.now(),
      // The pages that the device load touches come, then no more.
      source: { all: () => { throw new Error('the store is gone'); }, pages: () => Promise.reject(new Error('the store is gone')) },
    });
    await loaded.resume();
    expect(await ended.promise).toContain('the store is gone');
    await expect(loaded.stop()).rejects.toMatchObject({ code: 'vm-gone' });
    await driver.close();
    expect(readdirSync(runDir)).toEqual([]);
  });

  test('device states that nobody reads are not kept without end', async () => {
    const driver = await createQemuDriver({ runDir, log: () => undefined });
    const spec = guest.spec('unread');
    const vm = await driver.start(spec, nicsOf(spec, runDir), { paused: true });
    const captures = [];
    for (let epoch = 1; epoch <= 20; epoch++) {
      await vm.stop();
      captures.push(await vm.capture(epoch));
      await vm.resume();
      await vm.pause();
      await vm.unpause();
    }
    expect(readdirSync(vm.directory).filter((name) => name.startsWith('state-')).length).toBeLessThanOrEqual(8);
    await expect(captures[0]!.deviceState()).rejects.toMatchObject({ code: 'wrong-state' });
    expect((await captures[19]!.deviceState()).length).toBeGreaterThan(1000);
    await driver.close();
  });
});
