import type { Heartbeat } from '@virtcft/events';
import { disconnected, heard, limits, loopback, newDetector, suspicions, watch, type Detector, type Suspicion } from '../src/index.js';
import { agentOf } from './story.js';

/** A watcher in virtual time: who beats, whether the bus and the watcher run, what the tunnels carry. */
class Watch {
  detector: Detector;
  now_ms = 0;
  readonly silent = new Map<string, number>();
  readonly unreachable = new Map<string, number>();
  bus = true;
  witnesses = true;
  lag_ms: Record<string, number> = {};

  constructor(readonly hosts: string[], restorable = true) {
    this.detector = watch(loopback(newDetector, 0), hosts.map((host) => ({ host, agent: agentOf(host), restorable })));
  }

  beat(host: string): Heartbeat {
    const peers = this.hosts.filter((peer) => peer !== host)
      .map((peer) => ({ host: peer, heard_ms: this.unreachable.has(peer) ? this.now_ms - this.unreachable.get(peer)! : 10 }));
    return {
      host, agent: agentOf(host), sequence: 0, cluster: null, generation: 1, colour: 1, lag_ms: this.lag_ms[host] ?? 0,
      peers: this.witnesses ? peers : [], vms: [], held_output_bytes: 0,
    };
  }

  /** Runs on; returns the first suspicions. */
  run(for_ms: number): Suspicion[] {
    for (const end = this.now_ms + for_ms; this.now_ms < end;) {
      this.now_ms += 25;
      if (this.bus) this.detector = loopback(this.detector, this.now_ms);
      if (this.bus && this.now_ms % 50 === 0) {
        for (const host of this.hosts) if (!this.silent.has(host)) this.detector = heard(this.detector, this.beat(host));
      }
      const found = suspicions(this.detector, 0);
      if (found.length > 0) return found;
    }
    return [];
  }

  kill(host: string): void {
    this.silent.set(host, this.now_ms);
    this.unreachable.set(host, this.now_ms);
  }
}

describe('suspicion (R21)', () => {
  it('of a dead host, confirmed by its peers, comes within a few lost beats', () => {
    const watcher = new Watch(['h1', 'h2', 'h3']);
    expect(watcher.run(10_000)).toEqual([]);
    watcher.kill('h2');
    const killed_ms = watcher.now_ms;
    expect(watcher.run(10_000)).toMatchObject([{ host: 'h2', agent: agentOf('h2'), witnesses: ['h1', 'h3'] }]);
    expect(watcher.now_ms - killed_ms).toBeLessThan(limits.silence_confirmed_ms + 100);
  });

  it('takes the longest patience before the first cut: a false one would end the cluster, and a true one could restore nothing', () => {
    const watcher = new Watch(['h1', 'h2', 'h3'], false);
    watcher.run(1_000);
    watcher.kill('h2');
    const killed_ms = watcher.now_ms;
    expect(watcher.run(limits.silence_everyone_ms - 200)).toEqual([]);
    expect(watcher.run(1_000)).toMatchObject([{ host: 'h2' }]);
    expect(watcher.now_ms - killed_ms).toBeGreaterThanOrEqual(limits.silence_everyone_ms);
  });

  it('takes more patience without witnesses', () => {
    const watcher = new Watch(['h1', 'h2']);
    watcher.witnesses = false;
    watcher.run(1_000);
    watcher.kill('h2');
    const killed_ms = watcher.now_ms;
    expect(watcher.run(10_000)).toHaveLength(1);
    expect(watcher.now_ms - killed_ms).toBeGreaterThanOrEqual(limits.silence_ms);
  });

  it('waits for a host that is off the bus but heard by its peers, not for ever', () => {
    const watcher = new Watch(['h1', 'h2', 'h3']);
    watcher.run(1_000);
    watcher.silent.set('h2', watcher.now_ms);
    const since_ms = watcher.now_ms;
    expect(watcher.run(20_000)).toMatchObject([{ host: 'h2', witnesses: [] }]);
    expect(watcher.now_ms - since_ms).toBeGreaterThanOrEqual(limits.silence_dead_ms - 50);
    expect(watcher.now_ms - since_ms).toBeLessThanOrEqual(limits.silence_dead_ms + 100);
  });

  it('has nobody for an outage of the bus, and a full window after it', () => {
    const watcher = new Watch(['h1', 'h2', 'h3']);
    watcher.run(1_000);
    watcher.bus = false;
    expect(watcher.run(60_000)).toEqual([]);
    watcher.detector = disconnected(watcher.detector);
    expect(watcher.run(60_000)).toEqual([]);
    watcher.bus = true;
    // The agents need a second longer to come back than the watcher.
    for (const host of watcher.hosts) watcher.silent.set(host, 0);
    expect(watcher.run(1_000)).toEqual([]);
    watcher.silent.clear();
    expect(watcher.run(5_000)).toEqual([]);
  });

  it('has nobody when the watcher itself stood still', () => {
    const watcher = new Watch(['h1', 'h2', 'h3']);
    watcher.run(1_000);
    watcher.now_ms += 30_000;
    expect(watcher.run(1_000)).toEqual([]);
  });

  it('widens by the lag that a host tells of, and by an uneven rhythm', () => {
    const patience = (prepare: (watcher: Watch) => void): number => {
      const watcher = new Watch(['h1', 'h2']);
      watcher.witnesses = false;
      prepare(watcher);
      watcher.run(2_000);
      watcher.kill('h2');
      const killed_ms = watcher.now_ms;
      watcher.run(10_000);
      return watcher.now_ms - killed_ms;
    };
    const calm_ms = patience(() => undefined);
    expect(patience((watcher) => { watcher.lag_ms = { h2: 300 }; })).toBeGreaterThanOrEqual(calm_ms + 250);
    const uneven_ms = patience((watcher) => {
      for (let i = 0; i < 20; i++) {
        watcher.silent.set('h2', 0);
        watcher.run(250);
        watcher.silent.delete('h2');
        watcher.run(100);
      }
    });
    expect(uneven_ms).toBeGreaterThan(calm_ms + 50);
  });

  it('of everybody at once takes long: nothing could be restored', () => {
    const watcher = new Watch(['h1', 'h2']);
    watcher.run(1_000);
    watcher.kill('h1');
    watcher.kill('h2');
    expect(watcher.run(limits.silence_everyone_ms - 200)).toEqual([]);
    expect(watcher.run(1_000)).toHaveLength(2);
  });

  it('is of one life: beats of another do not keep the old one alive', () => {
    const watcher = new Watch(['h1', 'h2']);
    watcher.run(1_000);
    watcher.kill('h2');
    for (let i = 0; i < 40 && suspicions(watcher.detector, 0).length === 0; i++) {
      watcher.run(50);
      watcher.detector = heard(watcher.detector, { ...watcher.beat('h2'), agent: agentOf('h2', 2) });
    }
    expect(suspicions(watcher.detector, 0)).toMatchObject([{ host: 'h2', agent: agentOf('h2') }]);
  });

  it('gives a life that was never heard a full window', () => {
    const watcher = new Watch(['h1', 'h2']);
    watcher.silent.set('h2', 0);
    expect(watcher.run(limits.silence_dead_ms - 100)).toEqual([]);
    expect(watcher.run(1_000)).toMatchObject([{ host: 'h2' }]);
  });
});
