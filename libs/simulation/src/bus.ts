import type { Decision, Heartbeat, HostRegistered, Report } from '@virtcft/events';
import type { Clock } from './clock.js';
import type { Random } from './random.js';

/** A process' link to the bus: cut for one, or for all when the bus is away. */
export interface Link { readonly name: string; cut: boolean; closed: boolean }

interface Follower { readonly link: Link; at: number; busy: boolean; readonly length: () => number; readonly take: (index: number) => void }

const entry = <T>(stream: readonly T[], index: number): T => {
  const found = stream[index];
  if (found === undefined) throw new Error(`the stream has no entry ${index}`);
  return found;
};

/** The bus: two streams that remember, followers that get every entry in order, beats that are lost when nobody can hear them. */
export class SimBus {
  readonly decisions: Decision[] = [];
  readonly reports: Report[] = [];
  readonly registrations = new Map<string, HostRegistered>();
  away = false;
  #followers: Follower[] = [];
  readonly #beats: { link: Link; take: (beat: Heartbeat) => void }[] = [];
  #registered = 0;

  constructor(private readonly clock: Clock, private readonly random: Random) {}

  reachable(link: Link): boolean { return !this.away && !link.cut && !link.closed; }

  /** Expected: how many decisions there are. Null: refused, or its fate is unknown to the caller. */
  async append(link: Link, decision: Decision, expected: number): Promise<boolean | null> {
    await this.#trip(link);
    if (link.closed) return null;
    if (expected !== this.decisions.length) return false;
    this.decisions.push(decision);
    this.#pumpAll();
    // The answer may get lost: the append then is ambiguous.
    if (this.random.chance(0.01)) return null;
    await this.clock.sleep(this.random.between(0.3, 1.5));
    return true;
  }

  async report(link: Link, report: Report): Promise<void> {
    await this.#trip(link);
    if (link.closed) return;
    this.reports.push(report);
    this.#pumpAll();
  }

  async register(link: Link, registration: HostRegistered): Promise<void> {
    await this.#trip(link);
    if (link.closed) return;
    this.registrations.set(registration.host, registration);
    this.#registered++;
  }

  get registeredCount(): number { return this.#registered; }

  followDecisions(link: Link, from: number, take: (decision: Decision, index: number) => void): void {
    this.#follow({ link, at: from, busy: false, length: () => this.decisions.length, take: (index) => take(entry(this.decisions, index), index) });
  }

  followReports(link: Link, from: number, take: (report: Report) => void): void {
    this.#follow({ link, at: from, busy: false, length: () => this.reports.length, take: (index) => take(entry(this.reports, index)) });
  }

  beat(link: Link, beat: Heartbeat): void {
    if (!this.reachable(link)) return;
    for (const watcher of this.#beats) {
      const delay_ms = this.random.between(0.3, 3);
      this.clock.at(delay_ms, () => { if (this.reachable(watcher.link)) watcher.take(beat); });
    }
  }

  watchBeats(link: Link, take: (beat: Heartbeat) => void): void { this.#beats.push({ link, take }); }

  /** What is in the log from `index` on. */
  decisionsFrom(index: number): readonly Decision[] { return this.decisions.slice(index); }

  /** After a link or the bus came back. */
  resume(): void { this.#pumpAll(); }

  /** The end of the decision log is lost, as after a crash of the server's machine. */
  loseTail(count: number): void { this.decisions.splice(Math.max(1, this.decisions.length - count), count); }

  /** All that the server stored is lost; it begins with nothing. */
  loseAll(): void {
    this.decisions.length = 0;
    this.reports.length = 0;
    this.registrations.clear();
  }

  async #trip(link: Link): Promise<void> {
    await this.clock.sleep(this.random.between(0.3, 2));
    while (!this.reachable(link) && !link.closed) await this.clock.sleep(20);
  }

  #follow(follower: Follower): void {
    this.#followers.push(follower);
    this.#pump(follower);
  }

  #pumpAll(): void {
    this.#followers = this.#followers.filter(({ link }) => !link.closed);
    for (const follower of this.#followers) this.#pump(follower);
  }

  #pump(follower: Follower): void {
    if (follower.busy || !this.reachable(follower.link) || follower.at >= follower.length()) return;
    follower.busy = true;
    this.clock.at(this.random.between(0.3, 3), () => {
      follower.busy = false;
      if (!this.reachable(follower.link) || follower.at >= follower.length()) return;
      follower.take(follower.at++);
      this.#pump(follower);
    });
  }
}
