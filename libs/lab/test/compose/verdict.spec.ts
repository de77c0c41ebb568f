import { judgeTrial, type TrialFacts } from '../../src/compose/verdict.js';

const good: TrialFacts = {
  services: [{ name: 'nats', exitCode: 0 }, { name: 'host-a', exitCode: 137 }], killed: 'host-a', generationBefore: 1, generationAfter: 2, committedBefore: 12, committedAfter: 30, cutsWanted: 10,
  acknowledged: 'x', readBack: 'x', cutObjects: 28, sealed: 60, unsealed: 0, deleteRefused: true, secretsShown: 0, stop_s: 4, grace_s: 30, left: [],
};
const failed = (change: Partial<TrialFacts>): number => judgeTrial({ ...good, ...change }).filter(({ ok }) => !ok).length;

describe('the judge of the compose trial', () => {
  it('is content when everything held', () => {
    expect(failed({})).toBe(0);
  });

  it.each<[string, Partial<TrialFacts>]>([
    ['too few cuts', { committedBefore: 9 }], ['cuts that are not on the store', { cutObjects: 3 }], ['no recovery', { generationAfter: 1 }], ['no cuts after it', { committedAfter: 15 }],
    ['a lost write', { readBack: '' }], ['an object that is not sealed', { unsealed: 1 }], ['a delete that passed', { deleteRefused: false }], ['a secret shown', { secretsShown: 1 }],
    ['a service that was killed', { services: [{ name: 'nats', exitCode: 137 }] }], ['a slow stop', { stop_s: 31 }], ['something left', { left: ['/x'] }],
  ])('finds %s', (_, change) => {
    expect(failed(change)).toBe(1);
  });
});
