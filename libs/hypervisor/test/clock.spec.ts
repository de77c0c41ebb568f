import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { GuestClock } from '../src/drivers/qemu/guest-clock.js';
import { GuestTime } from '../src/drivers/qemu/guest-time.js';
import { variableOf } from '../src/drivers/qemu/symbol.js';
import { later, stateLater, timersOf } from '../src/drivers/qemu/timers.js';
import type { VmSpec } from '../src/index.js';

/** A device state whose timer section has the id 0. */
function stateOf(ticks: bigint, clock_ns: bigint): Buffer {
  const data = Buffer.alloc(24);
  data.writeBigInt64BE(ticks, 0);
  data.writeBigInt64BE(clock_ns, 16);
  return Buffer.concat([
    Buffer.from('QEVM\0\0\0\x03', 'latin1'), Buffer.from('\x04\0\0\0\0\x05timer\0\0\0\0\0\0\0\x02', 'latin1'), data, Buffer.from('\x7e\0\0\0\0', 'latin1'), Buffer.of(0),
  ]);
}

describe('the timers of a device state', () => {
  test('move ahead together, at the ratio that they have', () => {
    const state = stateOf(3_000_000_000n, 1_000_000_000n);
    expect(timersOf(stateLater(state, 500_000_000n))).toEqual({ ticks: 4_500_000_000n, clock_ns: 1_500_000_000n });
    expect(timersOf(state)).toEqual({ ticks: 3_000_000_000n, clock_ns: 1_000_000_000n });
  });

  test('never go back, and nothing else of the state changes', () => {
    fc.assert(fc.property(fc.bigInt(0n, 1n << 61n), fc.bigInt(0n, 1n << 56n), fc.bigInt(0n, 10_000_000_000n), (ticks, clock_ns, by_ns) => {
      const moved = later({ ticks, clock_ns }, by_ns);
      expect(moved.clock_ns).toBe(clock_ns + by_ns);
      expect(moved.ticks).toBeGreaterThanOrEqual(ticks);
    }));
    const [state, moved] = [stateOf(7n, 7n), stateLater(stateOf(7n, 7n), 5n)];
    const differing = [...state.keys()].filter((at) => state[at] !== moved[at]);
    const data = state.indexOf('timer') + 13;
    expect(differing).toEqual([data + 7, data + 23]);
  });

  test('are refused when they are not where they should be', () => {
    for (const bad of [Buffer.alloc(0), stateOf(1n, 1n).subarray(0, 50), Buffer.from(stateOf(1n, 1n).toString('latin1').replace('\x7e', '\x7f'), 'latin1')]) {
      expect(() => timersOf(bad)).toThrow(expect.objectContaining({ code: 'state-refused' }));
    }
  });
});

describe('a clock that is moved in another process\'s memory', () => {
  const directory = mkdtempSync('/tmp/virtcft-timers-');
  const program = join(directory, 'timers');
  let child: ChildProcess;
  let words: (line?: string) => Promise<bigint[]>;
  const [TICKS, CLOCK] = [1, 6];

  beforeAll(() => execFileSync('gcc', ['-O2', '-fPIE', '-pie', '-rdynamic', '-o', program, fileURLToPath(new URL('./timers.c', import.meta.url))]));
  beforeEach(() => {
    child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
    words = async (line = 'get') => {
      child.stdin!.write(`${line}\n`);
      const { value } = await lines.next() as { value: string };
      return value.trim().split(' ').map(BigInt);
    };
  });
  afterEach(() => child.kill());
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  async function stand(ticks: bigint, clock_ns: bigint): Promise<{ ticks: bigint; clock_ns: bigint }> {
    await words(`set ${TICKS} ${ticks}`);
    await words(`set ${CLOCK} ${clock_ns}`);
    return { ticks, clock_ns };
  }
  const clockOf = (): GuestClock => new GuestClock(child.pid!, variableOf(program, 'timers_state')!, null);

  /** Its time began at 0 ms of the host; it has seen two stops. */
  async function following(): Promise<GuestClock> {
    const clock = clockOf();
    clock.catchUp(0);
    clock.learn(await stand(2_000n, 1_000n));
    expect(clock).toMatchObject({ learning: true, shortcoming: null });
    clock.learn(await stand(2_000_000_000n, 1_000_000_000n));
    expect(clock).toMatchObject({ learning: false, shortcoming: null });
    return clock;
  }

  test('makes up for all pauses since the guest\'s time began, both counters in step, and touches nothing else', async () => {
    const clock = await following();
    clock.catchUp(1_500);
    const after = await words();
    expect([after[TICKS], after[CLOCK]]).toEqual([3_000_000_000n, 1_500_000_000n]);
    expect(after.filter((word) => word !== 0n).length).toBe(2);
    expect(clock.advanced_ms).toBe(500);
    await stand(3_100_000_000n, 1_550_000_000n);
    clock.catchUp(1_560);
    expect((await words())[CLOCK]).toBe(1_560_000_000n);
    clock.close();
  });

  test('never moves it back', async () => {
    const clock = await following();
    clock.catchUp(900);
    expect((await words())[CLOCK]).toBe(1_000_000_000n);
    expect(clock).toMatchObject({ shortcoming: null, advanced_ms: 0 });
    clock.close();
  });

  test('moves it by ten seconds at most at once, and goes on from there', async () => {
    const clock = await following();
    clock.catchUp(61_000);
    expect((await words())[CLOCK]).toBe(11_000_000_000n);
    expect(clock).toMatchObject({ advanced_ms: 10_000, lost_ms: 50_000 });
    clock.catchUp(61_250);
    expect((await words())[CLOCK]).toBe(11_250_000_000n);
    clock.close();
  });

  test('writes nothing before a second stop has confirmed the place', async () => {
    const clock = clockOf();
    clock.catchUp(0);
    const timers = await stand(2_000n, 1_000n);
    clock.learn(timers);
    clock.learn(timers);
    clock.catchUp(5_000);
    expect((await words())[CLOCK]).toBe(1_000n);
    expect(clock.learning).toBe(true);
    clock.close();
  });

  test('leaves it alone for good when the values are not there, or go where no clock goes', async () => {
    const wrong = clockOf();
    await stand(2_000n, 1_000n);
    wrong.learn({ ticks: 2_000n, clock_ns: 1_001n });
    expect(wrong.learning).toBe(false);
    expect(wrong.shortcoming).toMatch(/cannot be trusted/);

    for (const clock_ns of [999_999_999n, 9_000_000_000n]) {
      const clock = await following();
      clock.catchUp(1_000);
      await stand(2_000_000_000n, clock_ns);
      clock.catchUp(2_000);
      expect((await words())[CLOCK]).toBe(clock_ns);
      expect(clock.shortcoming).toMatch(/no clock goes/);
    }
  });

  test('gives up a place that stays ambiguous', async () => {
    const clock = clockOf();
    for (let stop = 1n; stop <= 8n; stop++) {
      await words(`set 9 ${stop}`);
      clock.learn(await stand(2n * stop, stop));
    }
    expect(clock).toMatchObject({ learning: false, shortcoming: expect.stringContaining('more than one place') as string });
    expect((await words())[CLOCK]).toBe(8n);
  });

  test('ends with the process, whoever gets its number', async () => {
    const clock = await following();
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill();
    await gone;
    clock.catchUp(2_000);
    expect(clock.shortcoming).toMatch(/cannot be/);
  });

  test('is not looked for where no symbol tells its place', () => {
    expect(variableOf(program, 'timers')).toBeNull();
    expect(variableOf(program, 'main')).toBeNull();
    const text = join(directory, 'text');
    writeFileSync(text, 'no executable');
    expect(variableOf(text, 'timers_state')).toBeNull();
    expect(variableOf(program, 'timers_state')).toMatchObject({ size_bytes: 96 });
  });
});

test('a guest whose time cannot follow is told of once, keeps its time, and says why', () => {
  const said: unknown[] = [];
  const spec: VmSpec = { name: 'web', memory_mib: 128, vcpus: 1, kernel: '/k', initrd: null, append: '', nics: [], clock: 'follow' };
  const time = new GuestTime(spec, { timers: null, why: 'no such variable' }, (_message, fields) => said.push(fields));
  time.begin(1);
  time.catchUp();
  const deviceState = stateOf(1n, 1n);
  expect(time.ahead({ epoch: 1, deviceState, runState: 'running', ahead_ms: 1_000, asked_ms: performance.now() })).toBe(deviceState);
  expect(time.stats()).toEqual({ policy: 'follow', shortcoming: 'no such variable', advanced_ms: 0, lost_ms: 1_000 });
  expect(said).toEqual([{ vm: 'web', reason: 'no such variable' }]);
});
