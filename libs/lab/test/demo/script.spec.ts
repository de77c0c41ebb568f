import fc from 'fast-check';
import { parseDemoOptions } from '../../src/demo/options.js';
import { planKills, roomNeeded } from '../../src/demo/script.js';
import { spareExpected } from '../../src/demo/spare.js';
import { phases } from '../../src/report/demo-report.js';

describe('what the seed chooses', () => {
  it('is the same for the same seed, and reaches every phase', () => {
    expect(planKills(7, 5, null)).toEqual(planKills(7, 5, null));
    const reached = new Set(Array.from({ length: 60 }, (_, seed) => planKills(seed, 2, null).map(({ aim }) => aim.phase)).flat());
    expect([...reached].toSorted()).toEqual([...phases].toSorted());
  });

  it('chooses between a power cut and a freeze when asked to, at the same moments', () => {
    const [killed, any] = [planKills(7, 20, null), planKills(7, 20, null, null)];
    expect(any.map(({ aim, host }) => [aim, host])).toEqual(killed.map(({ aim, host }) => [aim, host]));
    expect(new Set(any.map(({ kind }) => kind))).toEqual(new Set(['kill', 'freeze']));
    expect(planKills(7, 3, null, 'freeze').map(({ kind }) => kind)).toEqual(['freeze', 'freeze', 'freeze']);
  });

  it('never takes the first kill, nor a third in a row, for one that follows', () => {
    fc.assert(fc.property(fc.nat(), fc.integer({ min: 1, max: 12 }), (seed, kills) => {
      const plan = planKills(seed, kills, null);
      return plan.length === kills && plan.every(({ follows }, i) => !follows || (i > 0 && plan[i - 1]?.follows === false));
    }));
  });

  it('is replaced by the phases asked for, where they are possible', () => {
    expect(planKills(1, 3, ['idle', 'recovering']).map(({ aim }) => aim.phase)).toEqual(['idle', 'recovering', 'idle']);
    expect(() => planKills(1, 1, ['syncing'])).toThrow(/needs another kill just before it/);
  });

  it('asks for room for all on one host only where two die with no return between', () => {
    expect(roomNeeded(planKills(1, 2, ['idle', 'paused']), 3)).toBe(2);
    expect(roomNeeded(planKills(1, 2, ['idle', 'syncing']), 3)).toBe(3);
  });
});

describe('a spare is expected', () => {
  const host = (name: string, status: 'admitted' | 'lost') => [name, { host: name, status }];
  const of = (dead: string[], placement: Record<string, string>, vms_per_host: number): boolean =>
    spareExpected({ hosts: Object.fromEntries(['a', 'b', 'c'].map((name) => host(name, dead.includes(name) ? 'lost' : 'admitted'))), placement } as unknown as Parameters<typeof spareExpected>[0], { vms_per_host });

  it('when the others have room for any one host\'s VMs', () => {
    expect(of([], { v1: 'a', v2: 'b', v3: 'b' }, 2)).toBe(true);
    expect(of(['a'], { v1: 'c', v2: 'b', v3: 'b' }, 2)).toBe(false);
    expect(of(['a'], { v1: 'c', v2: 'b', v3: 'b' }, 3)).toBe(true);
    expect(of(['a', 'b'], { v1: 'c', v2: 'c', v3: 'c' }, 3)).toBe(false);
  });
});

describe('options of the demo', () => {
  it('have the documented defaults', () => {
    expect(parseDemoOptions([])).toEqual({ seed: 1, interval_ms: 100, barrier: 'coloured', kills: 2, store: 'dir', load: 'light', keep: false, json: false, phases: null, mutant: null, failure: 'kill', tunnel_delay_ms: 0, tunnel_loss_percent: 0, barrier_skew_ms: 0 });
  });
  it('refuse what they do not know', () => {
    const quiet = process.stderr.write.bind(process.stderr);
    process.stderr.write = () => true;
    try {
      for (const wrong of [['--seed', 'x'], ['--interval', '1'], ['--phases', 'idle,never'], ['--mutant', 'none'], ['--barrier', 'none'], ['--failure', 'flood'], ['--tunnel-loss', '51'], ['--what']]) expect(() => parseDemoOptions(wrong)).toThrow();
    } finally {
      process.stderr.write = quiet;
    }
  });
});
