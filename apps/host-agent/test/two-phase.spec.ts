import type { Report } from '@virtcft/events';
import type { Fabric } from '@virtcft/fabric';
import type { Vm } from '@virtcft/hypervisor';
import { CutsOnHost } from '../src/cut/cuts-on-host.js';
import type { Uploads } from '../src/cut/uploads.js';
import type { HostContext } from '../src/host-context.js';

/** A host with one VM at a two-phase barrier: what is done to fabric and VM, what it reports, and when its patience would end. */
function scene(hanging = false): { cuts: CutsOnHost; done: string[]; reports: Report[]; reached: Promise<void>; overdue: number[]; stand: () => Promise<void> } {
  const done: string[] = [];
  const reports: Report[] = [];
  const overdue: number[] = [];
  let reach: () => void = () => undefined;
  const reached = new Promise<void>((resolve) => { reach = resolve; });
  const note = (what: string) => async (epoch?: number): Promise<void> => { done.push(epoch === undefined ? what : `${what} ${epoch}`); };
  const fabric = { hold: note('hold'), drain: note('drain'), stats: () => ({ ports: [] }), flip: note('flip'), release: note('release') } as unknown as Fabric;
  const vm = {
    spec: { name: 'one', nics: [] }, precopy: async () => ({ pages: 0 }),
    stop: async () => { done.push('stop'); if (hanging) throw new Error('one hangs'); },
    capture: async (epoch: number) => { done.push(`capture ${epoch}`); return { vm: 'one', epoch, dirtyPages: 1, runState: 'running', deviceState: async () => Buffer.alloc(0) }; },
    resume: async () => { done.push('resume'); return { pause_ms: 3, parts: { stop_ms: 1, scan_ms: 0, copy_ms: 0, state_ms: 0, resume_ms: 0 } }; },
  } as unknown as Vm;
  const host = {
    cluster: 'c', name: 'host-a', from: { host: 'host-a', agent: 'a' }, fabric, driver: { stop_budget_ms: 1_000 }, spec: () => ({ verify_every: 0 }), hostNames: () => new Map(),
    held: { all: [vm], keepDevice: () => undefined }, log: { error: () => undefined }, sealOverdue: (epoch: number) => overdue.push(epoch),
    report: (report: Report) => {
      reports.push(report);
      if (report.type === 'barrier.reached') reach();
    },
  } as unknown as HostContext;
  const cuts = new CutsOnHost(host, { store: async (cut: { epoch: number }) => { done.push(`store ${cut.epoch}`); return null; } } as unknown as Uploads, { baseOf: () => null } as never);
  const seal = cuts.awaitSeal(7);
  return { cuts, done, reports, reached, overdue, stand: () => cuts.cutTogether(seal, ['one'], 1, 'ab'.repeat(16), {}) };
}

describe('a host at a two-phase barrier (R4a)', () => {
  it('stops, drains, says so and stands still; at the seal it flips, captures and runs on', async () => {
    const { cuts, done, reports, reached, stand } = scene();
    const standing = stand();
    await reached;
    expect(done).toEqual(['hold', 'stop', 'drain']);
    expect(reports).toMatchObject([{ type: 'barrier.reached', data: { host: 'host-a', generation: 1, epoch: 7 } }]);
    expect(cuts.end({ kind: 'capture', epoch: 7 })).toBe(true);
    await standing;
    expect(done.slice(3)).toEqual(['flip 7', 'capture 7', 'resume', 'release', 'store 7']);
    expect(cuts.end({ kind: 'capture', epoch: 7 })).toBe(false);
  });

  it('captures at a newer epoch when a peer is further: one capture covers both (R5)', async () => {
    const { cuts, done, reached, stand } = scene();
    const standing = stand();
    await reached;
    cuts.end({ kind: 'capture', epoch: 9 });
    await standing;
    expect(done).toContain('capture 9');
    expect(done).toContain('flip 9');
  });

  it('runs on without a capture when the epoch is aborted, and reports no failure', async () => {
    const { cuts, done, reports, reached, stand } = scene();
    const standing = stand();
    await reached;
    cuts.end({ kind: 'run-on', epoch: 7, overdue: false });
    await standing;
    expect(done.slice(3)).toEqual(['resume', 'flip 7', 'release']);
    expect(reports.map(({ type }) => type)).toEqual(['barrier.reached']);
  });

  it('asks what to do when the seal does not come, then runs on and reports that it waited', async () => {
    const { cuts, done, reports, reached, overdue, stand } = scene();
    const standing = stand();
    await reached;
    // With a bound: jest does not end before a test that waits for ever.
    for (const until_ms = performance.now() + 4_000; overdue.length === 0 && performance.now() < until_ms;) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(overdue).toEqual([7]);
    expect(done).toEqual(['hold', 'stop', 'drain']);
    cuts.end({ kind: 'run-on', epoch: 7, overdue: true });
    await standing;
    expect(done.slice(3)).toEqual(['resume', 'flip 7', 'release']);
    expect(reports.at(-1)).toMatchObject({ type: 'capture.failed', data: { epoch: 7, waited: true } });
  });

  it('is left standing by a raise, and tells so once', async () => {
    const { cuts, done, reached, stand } = scene();
    const standing = stand();
    await reached;
    cuts.end({ kind: 'stay' });
    await standing;
    expect(done).toEqual(['hold', 'stop', 'drain']);
    expect(cuts.leftStopped()).toBe(true);
    expect(cuts.leftStopped()).toBe(false);
  });

  it('takes a seal that came before it stood', async () => {
    const { cuts, done, stand } = scene();
    cuts.end({ kind: 'capture', epoch: 7 });
    await stand();
    expect(done).toEqual(['hold', 'stop', 'drain', 'flip 7', 'capture 7', 'resume', 'release', 'store 7']);
  });

  it('a VM that does not stop: all run on, the capture failed, and what follows is done in the ordinary way', async () => {
    const { cuts, done, reports, stand } = scene(true);
    await stand();
    expect(done).toEqual(['hold', 'stop', 'resume', 'flip 7', 'release']);
    expect(reports).toMatchObject([{ type: 'capture.failed', data: { epoch: 7, reason: 'one hangs' } }]);
    expect(reports[0]).not.toHaveProperty('data.waited');
    expect(cuts.end({ kind: 'run-on', epoch: 7, overdue: false })).toBe(false);
  });

  it('a VM that does not stop while a peer is further: this host closes that epoch too, or its peers would wait for ever (R5)', async () => {
    const { cuts, done, stand } = scene(true);
    const standing = stand();
    cuts.end({ kind: 'capture', epoch: 9 });
    await standing;
    expect(done.slice(-3)).toEqual(['hold', 'flip 9', 'release']);
  });
});
