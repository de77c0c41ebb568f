import { missedBars } from '../../src/bench/bars.js';
import { nextAims } from '../../src/bench/soak.js';
import { Random } from '../../src/demo/random.js';
import { phases, type Phase } from '../../src/report/demo-report.js';
import { distribution } from '../../src/report/distribution.js';
import type { ReportOf } from '../../src/report/schemas.js';

const hit = (count: number): Record<Phase, number> => Object.fromEntries(phases.map((phase) => [phase, count])) as Record<Phase, number>;
const pause = (p50: number, ratio: number | null, large: number) =>
  ({ pause_ms: distribution([p50]), host_pause_ms: distribution([p50]), ratio, ratio_512_to_128: large }) as ReportOf<'bench/pause'>;
const soak = (over: object) => ({ violations: 0, failed_runs: [], phases: hit(2), ...over }) as unknown as ReportOf<'bench/soak'>;

describe('bars', () => {
  it('are reached, missed one by one, and missed by what was not measured', () => {
    expect(missedBars('bench/pause', pause(6, 0.2, 1.5))).toEqual([]);
    expect(missedBars('bench/pause', pause(6.1, 0.21, 1.6))).toHaveLength(4);
    expect(missedBars('bench/pause', pause(6, null, 1.5))).toHaveLength(1);
    expect(missedBars('bench/recovery', { total_ms: distribution([]), violations: 0 } as ReportOf<'bench/recovery'>)).toHaveLength(1);
    expect(missedBars('bench/idle', { false_alarms: 1 } as ReportOf<'bench/idle'>)).toHaveLength(1);
  });
  it('of the fabric want both ratios, with no offload on', () => {
    const fabric = (over: object) => ({ ratio_to_js_switch: 3, ratio_to_linux_bridge: 0.5, offloads: [], ...over }) as unknown as ReportOf<'bench/fabric'>;
    expect(missedBars('bench/fabric', fabric({}))).toEqual([]);
    expect(missedBars('bench/fabric', fabric({ ratio_to_js_switch: 2.9, ratio_to_linux_bridge: null, offloads: ['scatter-gather'] }))).toEqual([
      'the switch carries 2.9 of what a loop in JavaScript does; at least 3', 'the switch carries null of what a Linux bridge does; at least 0.5', 'measured with scatter-gather on',
    ]);
  });
  it('of the store faults want fifty seeds without a loss and without a recovery; of a commit the ratio to one put', () => {
    const faults = (over: object) => ({ lost_commits: 0, violations: 0, failed_runs: [], raises: 0, runs: 50, ...over }) as unknown as ReportOf<'bench/store-faults'>;
    expect(missedBars('bench/store-faults', faults({}))).toEqual([]);
    expect(missedBars('bench/store-faults', faults({ lost_commits: 1, violations: 1, failed_runs: [{ seed: 1, reason: '' }], raises: 1, runs: 49 }))).toHaveLength(5);
    expect(missedBars('bench/commit', { ratio_to_put: 2.5 } as ReportOf<'bench/commit'>)).toEqual([]);
    for (const ratio_to_put of [2.6, null]) expect(missedBars('bench/commit', { ratio_to_put } as ReportOf<'bench/commit'>)).toHaveLength(1);
  });
  it('of the disk server want every pattern, and none that was not measured', () => {
    const nbd = (over: object) => ({ ratios: { seq_read: 0.7, seq_write: 0.9, rand_read_4k: 1, rand_write_4k: 2, ...over } }) as ReportOf<'bench/nbd'>;
    expect(missedBars('bench/nbd', nbd({}))).toEqual([]);
    expect(missedBars('bench/nbd', nbd({ seq_write: 0.69 }))).toEqual(['seq_write is 0.69 of qemu-nbd; at least 0.7']);
    expect(missedBars('bench/nbd', nbd({ seq_read: null, rand_write_4k: 0.1 }))).toHaveLength(2);
  });
  it('of the weather want pauses that are as long as without', () => {
    expect(missedBars('bench/weather', { ratio_stormy_to_calm: 1.2 } as ReportOf<'bench/weather'>)).toEqual([]);
    expect(missedBars('bench/weather', { ratio_stormy_to_calm: 1.21 } as ReportOf<'bench/weather'>)).toEqual(['pause under slow tunnels and late decisions is 1.21 of that without; at most 1.2']);
    expect(missedBars('bench/weather', { ratio_stormy_to_calm: null } as ReportOf<'bench/weather'>)).toHaveLength(1);
  });
  it('of the flips want enough of them, every one named, and no restore with other contents', () => {
    const flip = (over: object) => ({ flips: 2000, detected: 2000, wrong_restores: 0, unnoticed: [], ...over }) as unknown as ReportOf<'bench/flip'>;
    expect(missedBars('bench/flip', flip({}))).toEqual([]);
    expect(missedBars('bench/flip', flip({ detected: 1999, unnoticed: ['plain chunk'] }))).toEqual(['1 of 2000 were not named by the audit: plain chunk']);
    expect(missedBars('bench/flip', flip({ flips: 100, detected: 100, wrong_restores: 1 }))).toHaveLength(2);
  });
  it('of the soak want every phase twice, no violation and no failed run', () => {
    expect(missedBars('bench/soak', soak({}))).toEqual([]);
    expect(missedBars('bench/soak', soak({ phases: { ...hit(2), syncing: 1 } }))).toEqual(['phase syncing was hit 1 times; at least 2']);
    expect(missedBars('bench/soak', soak({ violations: 1, failed_runs: [{ seed: 1, reason: 'x' }] }))).toHaveLength(2);
  });
});

it('the soak aims at what was hit least, and never first at what needs a recovery before it', () => {
  const random = new Random(1);
  for (let i = 0; i < 50; i += 1) {
    const [first, second] = nextAims(hit(3), random);
    expect(['syncing', 'recovering']).not.toContain(first);
    expect(second).not.toBe(first);
  }
  expect(nextAims({ ...hit(3), captured: 1, recovering: 0 }, random)).toEqual(['captured', 'recovering']);
});
