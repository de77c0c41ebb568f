import type { Fabric } from '@virtcft/fabric';
import { OutputGate, type Released } from '../src/output/gate.js';
import { limits } from '../src/limits.js';

/** Records what the fabric was told to let go. */
function gateAt(): { gate: OutputGate; clock: { ms: number }; asked: number[]; told: Released[]; release: (epoch: number) => Promise<void> } {
  const asked: number[] = [];
  const told: Released[] = [];
  const clock = { ms: 0 };
  const fabric = { releaseOutput: async (epoch: number) => { asked.push(epoch); return { frames: 2, bytes: 120, oldest_us: 1500 }; } } as unknown as Fabric;
  const gate = new OutputGate(fabric, () => clock.ms);
  return { gate, clock, asked, told, release: (epoch) => gate.release(epoch, (released) => told.push(released)) };
}
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('the output gate', () => {
  it('starts closed: nothing leaves before the own heartbeat came back (R10)', async () => {
    const { gate, clock, asked, release } = gateAt();
    await release(1);
    expect(asked).toEqual([]);
    gate.heartbeatEchoed(clock.ms);
    await settled();
    expect(asked).toEqual([1]);
  });

  it('releases at once while the lease holds, and says how old the oldest frame was', async () => {
    const { gate, clock, told, release } = gateAt();
    gate.heartbeatEchoed(clock.ms);
    await release(3);
    expect(told).toEqual([{ epoch: 3, frames: 2, bytes: 120, oldest_ms: 1.5 }]);
  });

  it('holds what is committed while the lease is over, and lets the newest go at the next echo', async () => {
    const { gate, clock, asked, release } = gateAt();
    gate.heartbeatEchoed(clock.ms);
    clock.ms = limits.lease_ms + 1;
    await release(4);
    await release(5);
    expect(asked).toEqual([]);
    gate.heartbeatEchoed(clock.ms);
    await settled();
    expect(asked).toEqual([5]);
  });

  it('an echo that lay unread while the agent stood still gives no lease (R10)', async () => {
    const { gate, clock, asked, release } = gateAt();
    await release(4);
    clock.ms = limits.lease_ms + 1;
    gate.heartbeatEchoed(0);
    await settled();
    expect(asked).toEqual([]);
  });

  it('forgets what waited when a raise comes: the wiring of the next generation settles it', async () => {
    const { gate, clock, asked, release } = gateAt();
    await release(4);
    gate.forget();
    gate.heartbeatEchoed(clock.ms);
    await settled();
    expect(asked).toEqual([]);
  });
});
