import { never, Steps, type Outcome } from '../src/index.js';

/** A loop whose steps answer as told, then have nothing to do; time stands still but for what the test adds. */
function scene(...answers: (Outcome | Error)[]): { steps: Steps; taken: () => number; failures: unknown[]; rests: () => number; rested: (times: number) => Promise<void>; answers: (Outcome | Error)[] } {
  let [taken, rests] = [0, 0];
  const failures: unknown[] = [];
  const waiting: { times: number; resolve: () => void }[] = [];
  const steps = new Steps(async () => {
    taken++;
    await null;
    const answer = answers.shift() ?? never;
    if (answer instanceof Error) throw answer;
    return answer;
  }, {
    now: () => 1_000, retry_ms: 1, onFailure: (error) => failures.push(error),
    onRest: () => {
      rests++;
      for (const each of waiting) if (rests >= each.times) each.resolve();
    },
  });
  const rested = (times: number): Promise<void> => new Promise((resolve) => { if (rests >= times) resolve(); else waiting.push({ times, resolve }); });
  return { steps, taken: () => taken, failures, rests: () => rests, rested, answers };
}

describe('the loop of steps', () => {
  it('takes none before it is active, then all there are', async () => {
    const { steps, taken, rested } = scene('again', 'again');
    steps.wake();
    expect(taken()).toBe(0);
    steps.activate();
    await rested(1);
    expect(taken()).toBe(3);
    steps.close();
  });

  it('looks again when it is woken in the middle of a step, without a second one beside it', async () => {
    const { steps, taken, rested } = scene(never);
    steps.activate();
    steps.wake();
    steps.wake();
    expect(taken()).toBe(1);
    await rested(1);
    expect(taken()).toBe(2);
    steps.close();
  });

  it('comes back by itself when the next step is due', async () => {
    const { steps, taken, rested } = scene(1_001, 999);
    steps.activate();
    await rested(3);
    expect(taken()).toBe(3);
    steps.close();
  });

  it('tells of a step that failed, and takes it again', async () => {
    const { steps, taken, failures, rested } = scene(new Error('the store is away'), 'again');
    steps.activate();
    await rested(2);
    expect(failures).toEqual([new Error('the store is away')]);
    expect(taken()).toBe(3);
    steps.close();
  });

  it('takes no step after it was closed', async () => {
    const { steps, taken, rested, answers } = scene(1_001);
    steps.activate();
    await rested(1);
    steps.close();
    answers.push('again');
    steps.wake();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(taken()).toBe(1);
  });
});
