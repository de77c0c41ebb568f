import { allBarriers, logLoss, mutants, simulate, type Run } from '../src/index.js';

const seeds = (count: number): number[] => Array.from({ length: count }, (_, seed) => seed);

describe('the simulated cluster', () => {
  it('keeps every invariant, whatever fails', async () => {
    const runs: Run[] = [];
    for (const seed of seeds(240)) runs.push(await simulate(seed));
    expect(runs.flatMap(({ seed, violations }) => violations.map((violation) => ({ seed, ...violation })))).toEqual([]);
    const sum = (of: (run: Run) => number): number => runs.reduce((total, run) => total + of(run), 0);
    // The runs did something: epochs, aborts, recoveries, output, and every check was made.
    expect(sum(({ epochs }) => epochs.committed)).toBeGreaterThan(5_000);
    expect(sum(({ epochs }) => epochs.aborted)).toBeGreaterThan(50);
    expect(sum(({ recoveries }) => recoveries)).toBeGreaterThan(100);
    expect(sum(({ outsideFrames }) => outsideFrames)).toBeGreaterThan(10_000);
    for (const invariant of ['I1', 'I2', 'I4', 'I5', 'I6', 'R4a', 'R5', 'R13', 'R20', 'R21'] as const) expect(sum(({ checks }) => checks[invariant])).toBeGreaterThan(0);
    // In every kind of cluster.
    for (const barrier of allBarriers) {
      const of = runs.filter((run) => run.barrier === barrier);
      const [committed, sealed] = [of.reduce((total, { epochs }) => total + epochs.committed, 0), of.reduce((total, { epochs }) => total + epochs.sealed, 0)];
      expect(committed).toBeGreaterThan(1_500);
      if (barrier === 'coloured') expect(sealed).toBe(0);
      else expect(sealed).toBeGreaterThan(committed / 4);
    }
    expect(new Set(runs.flatMap(({ faults }) => Object.keys(faults))).size).toBe(12);
  }, 240_000);

  it('keeps every invariant when the log is lost and made anew from the store (R16)', async () => {
    const runs: Run[] = [];
    for (const seed of seeds(90)) runs.push(await simulate(seed, { kinds: logLoss, faults: 6 }));
    expect(runs.flatMap(({ seed, violations }) => violations.map((violation) => ({ seed, ...violation })))).toEqual([]);
    const sum = (of: (run: Run) => number): number => runs.reduce((total, run) => total + of(run), 0);
    expect(sum(({ faults }) => faults['log lost'] ?? 0)).toBeGreaterThan(60);
    expect(sum(({ checks }) => checks.R16)).toBeGreaterThan(300);
  }, 240_000);

  it('is one run for one seed, event by event', async () => {
    const [first, again, other] = [await simulate(7), await simulate(7), await simulate(8)];
    expect(again).toEqual(first);
    expect(other.events).not.toBe(first.events);
  });

  const broken = mutants.flatMap((mutant) => (mutant.barriers ?? (['coloured', 'two-phase'] as const)).map((barrier) => [mutant.name, barrier, mutant] as const));
  it.each(broken)('finds the mutant: %s (%s)', async (_, barrier, { rules, faults, kinds }) => {
    let found: Run | null = null;
    for (const seed of seeds(60)) {
      const run = await simulate(seed, { rules, barrier, ...(faults === undefined ? {} : { faults }), ...(kinds === undefined ? {} : { kinds }) });
      if (run.violations.length > 0) {
        found = run;
        break;
      }
    }
    expect(found).not.toBeNull();
  }, 120_000);
});
