import fc from 'fast-check';
import { initialState, pinsOf, retainedCuts } from '../src/index.js';
import type { CommittedCut, Retention } from '../src/index.js';

const ref = (hash: string) => ({ key: hash, hash, generation: 1, epoch: 1 });
const policy = fc.record<Retention>({ last: fc.integer({ min: 1, max: 8 }), minutes: fc.nat(6), hours: fc.nat(4), days: fc.nat(3) });
/** Cuts some time apart: many in a minute, and gaps of days. */
const cuts = fc.array(fc.oneof(fc.nat(20_000), fc.nat(4_000_000), fc.nat(200_000_000)), { maxLength: 60 }).map((gaps): CommittedCut[] => {
  let time_ms = 1_790_000_000_000;
  return gaps.map((gap, at) => ({ hash: `${at}`, time_ms: time_ms += gap }));
});
const noPins = new Map<string, string>();

describe('retention', () => {
  it('keeps the last, the tip and every pin, whatever the policy and the clocks say', () => {
    fc.assert(fc.property(cuts, policy, fc.array(fc.nat(59)), fc.boolean(), (given, wanted, pinned, shuffled) => {
      const all = shuffled ? given.map((cut, at) => ({ ...cut, time_ms: given[(at * 7) % given.length]?.time_ms ?? 0 })) : given;
      const kept = retainedCuts(all, wanted, new Map(pinned.map((at) => [`${at}`, 'pinned'])));
      for (const { hash } of all.slice(-wanted.last)) expect(kept.has(hash)).toBe(true);
      for (const at of pinned) expect(kept.get(`${at}`)).toBe(at < all.length ? 'pinned' : undefined);
      for (const hash of kept.keys()) expect(all.some((cut) => cut.hash === hash)).toBe(true);
      expect(kept.size).toBeLessThanOrEqual(wanted.last + wanted.minutes + wanted.hours + wanted.days + pinned.length);
    }));
  });

  it('keeps the newest of each of the last minutes, hours and days that have a cut', () => {
    fc.assert(fc.property(cuts, policy, (all, wanted) => {
      const kept = retainedCuts(all, wanted, noPins);
      for (const [name, period_ms] of [['minutes', 60_000], ['hours', 3_600_000], ['days', 86_400_000]] as const) {
        const newest = new Map(all.map(({ hash, time_ms }) => [Math.floor(time_ms / period_ms), hash]));
        const slots = [...newest.keys()].sort((a, b) => b - a).slice(0, wanted[name]);
        for (const slot of slots) expect(kept.has(newest.get(slot) ?? '')).toBe(true);
      }
    }));
  });

  it('lets go for ever: what is let go now is not wanted back when newer cuts come', () => {
    fc.assert(fc.property(cuts, policy, fc.nat(60), (all, wanted, at) => {
      const before = all.slice(0, at);
      const then = retainedCuts(before, wanted, noPins);
      const now = retainedCuts(all, wanted, noPins);
      for (const { hash } of before) if (!then.has(hash)) expect(now.has(hash)).toBe(false);
    }));
  });

  it('keeps all without a policy', () => {
    fc.assert(fc.property(cuts, (all) => expect(retainedCuts(all, undefined, noPins).size).toBe(all.length)));
  });

  it('pins the tip, the basis, the disks that VMs started with, and a cut that is being gone back to', () => {
    const state = { ...initialState, tip: ref('t'), basis: ref('b'), disks: ref('d'), raising: { generation: 2, rewound: false, lossDecided: false, cause: { kind: 'rewind' as const, lost: [], vms: [], detail: '', cut: ref('c') } } };
    expect([...pinsOf(state).keys()].sort()).toEqual(['b', 'c', 'd', 't']);
    expect(pinsOf(initialState).size).toBe(0);
    for (const pin of ['b', 'c', 'd']) expect(retainedCuts(['b', 'c', 'd', 'x', 't'].map((hash, at) => ({ hash, time_ms: at })), { last: 1, minutes: 0, hours: 0, days: 0 }, pinsOf(state)).has(pin)).toBe(true);
  });
});
