import type { Decision, Report } from '@virtcft/events';
import type { Fact } from '../../src/demo/facts.js';

/** A log written by hand: each fact at a time in ms. */
export class Log {
  readonly facts: Fact[] = [];
  decide<T extends Decision['type']>(at_ms: number, type: T, data: object): this { return this.#add(at_ms, 'decision', { type, data } as unknown as Decision); }
  report<T extends Report['type']>(at_ms: number, type: T, data: object): this { return this.#add(at_ms, 'host', { type, data } as unknown as Report); }

  /** An epoch of host-a and host-b: opened at 0, stored at 10 and 20, committed at 30, released at 31 and 32 of `from_ms`, until `to` (exclusive). */
  epoch(epoch: number, from_ms: number, steps = 6, generation = 1): this {
    const [a, b] = [{ host: 'host-a', agent: 'a' }, { host: 'host-b', agent: 'b' }];
    const stored = (from: object) => ({ ...from, generation, epoch, segments: [{ kind: 'delta', dirty_pages: 3 }], pack: { bytes: 10 }, verified: { checks: 0, differing: 0 }, pauses: [{ vm: 'v', pause_ms: 4, parts_ms: {} }] });
    const all: (() => unknown)[] = [
      () => this.decide(from_ms, 'epoch.opened', { generation, epoch, members: [a, b].map((host) => ({ ...host, vms: ['v'] })) }),
      () => this.report(from_ms + 10, 'segments.stored', stored(a)),
      () => this.report(from_ms + 20, 'segments.stored', stored(b)),
      () => this.decide(from_ms + 30, 'epoch.committed', { generation, epoch, cut: { key: `k${generation}-${epoch}`, hash: `h${generation}-${epoch}`, generation, epoch }, previous: epoch === 1 ? null : `h${generation}-${epoch - 1}` }),
      () => this.report(from_ms + 31, 'output.released', { ...a, generation, epoch }),
      () => this.report(from_ms + 32, 'output.released', { ...b, generation, epoch }),
    ];
    for (const step of all.slice(0, steps)) step();
    return this;
  }

  #add(at_ms: number, source: string, fact: Fact['fact']): this {
    this.facts.push({ at_ms, sequence: this.facts.length + 1, source, fact });
    return this;
  }
}
