import { setTimeout as wait } from 'node:timers/promises';
import { FrameWatch, type Frame } from '../frame-watch.js';
import type { WokenHost } from '../oracles/woken-host.js';
import type { Timeline } from './timeline.js';
import type { World } from './world.js';

/** A host that stands still, and what was heard of it on the outside network meanwhile and after it woke. */
export class Frozen {
  private at_ms = 0;
  private constructor(private readonly world: World, readonly host: string, private readonly agent: string, private readonly macs: readonly string[], private readonly frames: FrameWatch) {}

  /** Listens to a host that is still well, until its guests were heard: that shows that they would be heard later. */
  static async listen(world: World, host: string): Promise<Frozen> {
    const { placement, hosts } = world.watch.state;
    const macs = world.vms.filter(({ name }) => placement[name] === host).map(({ mac }) => mac);
    const frozen = new Frozen(world, host, hosts[host]?.agent ?? '', macs, await FrameWatch.open(world.lab, host));
    for (const until = performance.now() + HEARD_MS; !frozen.heard().length && performance.now() < until;) await wait(50);
    return frozen;
  }

  since(at_ms: number): this {
    this.at_ms = at_ms;
    return this;
  }

  /** Not before it stood still for so long. */
  async wake(frozen_ms: number, timeline: Timeline): Promise<void> {
    await wait(Math.max(0, this.at_ms + frozen_ms - (performance.timeOrigin + performance.now())));
    this.world.lab.thawHost(this.host);
    timeline.note(`${this.host} wakes, with its agent and guests as they were`);
  }

  async judge(oracle: WokenHost): Promise<void> {
    await this.frames.close();
    const { hosts, placement } = this.world.watch.state;
    const heard = this.heard();
    oracle.woke({
      host: this.host, before: heard.filter((frame) => frame.at_ms < this.at_ms).length, after: heard.filter((frame) => frame.at_ms >= this.at_ms + STILL_MS),
      anotherLife: hosts[this.host]?.status === 'admitted' && hosts[this.host]?.agent !== this.agent, vms: Object.keys(placement).filter((vm) => placement[vm] === this.host),
    });
  }

  private heard(): Frame[] { return this.frames.frames.filter(({ mac }) => this.macs.includes(mac)); }
}

const HEARD_MS = 20_000; // guests that work speak all the time; a loaded machine commits slowly
const STILL_MS = 20; // from the first SIGSTOP to the last, and a frame that was on the wire
