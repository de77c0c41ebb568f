import type { Decision, Heartbeat, HostRegistered, Report } from '@virtcft/events';
import type { Clock } from './clock.js';
import type { Random } from './random.js';

/** A process' link to the bus: cut for one, or for all when the bus is away. */
export interface Link { readonly name: string; cut: boolean; closed: boolean }

interface Follower { readonly link: Link; at: number; busy: boolean; readonly take: (index: number) => void; readonly stream: () => readonly unknown[] }

/** The bus: two streams that remember, followers that get every entry in order, beats that are lost when nobody can hear them. */
export class SimBus {
  readonly decisions: Decision[] = [];
  readonly reports: Report[] = [];
  readonly registrations = new Map<string, HostRegistered>();
  away = false;
  readonly #followers: Follower[] = [];
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
    this.#follow({ link, at: from, busy: false, stream: () => this.decisions, take: (index) => take(this.decisions[index]!, index) });
  }

  followReports(link: Link, from: number, take: (report: Report) => void): void {
    this.#follow({ link, at: from, busy: false, stream: () => this.reports, take: (index) => take(this.reports[index]!) });
  }

  beat(link: Link, beat: Heartbeat): void {
    if (!this.reachable(link)) return;
    for (const watcher of this.#beats) {
      const delay_ms = this.random.between(0.3, 3);
      this.clock.at(delay_ms, () => { if (this.reachable(watcher.link)) watcher.take(beat); });
    }
  }

  watchBeats(link: Link, take: (beat: Heartbeat) => void): void { this.#beats.push({ link, take }); }

  /** After a link or the bus came back. */
  resume(): void { this.#pumpAll(); }

  /** The end of the decision log is lost, as after a crash of the server's machine. */
  loseTail(count: number): void { this.decisions.splice(Math.max(1, this.decisions.length - count), count); }

  async #trip(link: Link): Promise<void> {
    await this.clock.sleep(this.random.between(0.3, 2));
    while (!this.reachable(link) && !link.closed) await this.clock.sleep(20);
  }

  #follow(follower: Follower): void {
    this.#followers.push(follower);
    this.#pump(follower);
  }

  #pumpAll(): void {
    for (let i = this.#followers.length - 1; i >= 0; i--) if (this.#followers[i]!.link.closed) this.#followers.splice(i, 1);
    for (const follower of this.#followers) this.#pump(follower);
  }

  #pump(follower: Follower): void {
    if (follower.busy || !this.reachable(follower.link) || follower.at >= follower.stream().length) return;
    follower.busy = true;
    this.clock.at(this.random.between(0.3, 3), () => {
      follower.busy = false;
      if (!this.reachable(follower.link) || follower.at >= follower.stream().length) return;
      follower.take(follower.at++);
      this.#pump(follower);
    });
  }
}
