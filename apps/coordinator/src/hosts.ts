import type { Heartbeat, HostRegistered } from '@virtcft/events';
import { limits, type Offer } from '@virtcft/protocol';

/** The newest registration of each host, and which agents were heard of late: a registration outlives its host. */
export class HostOffers {
  readonly #registrations = new Map<string, HostRegistered>();
  readonly #heard_ms = new Map<string, number>();

  constructor(private readonly now: () => number) {}

  registered(registration: HostRegistered): void {
    const before = this.#registrations.get(registration.host);
    if (before !== undefined && before.agent !== registration.agent) this.#heard_ms.delete(before.agent);
    this.#registrations.set(registration.host, registration);
  }

  /** True when this agent was silent or unknown until now: its host may have become admissible. */
  heard({ host, agent }: Heartbeat): boolean {
    if (this.#registrations.get(host)?.agent !== agent) return false;
    const before = this.#heard_ms.get(agent);
    this.#heard_ms.set(agent, this.now());
    return before === undefined || this.now() - before > limits.alive_ms;
  }

  alive(agent: string): boolean {
    return this.now() - (this.#heard_ms.get(agent) ?? Number.NEGATIVE_INFINITY) <= limits.alive_ms;
  }

  offers(): Offer[] {
    return [...this.#registrations.values()].map((registration) => ({ registration, alive: this.alive(registration.agent) }));
  }
}
