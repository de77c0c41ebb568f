import type { Heartbeat, HostRegistered, Placement } from '@virtcft/events';
import { limits, type Offer } from '@virtcft/protocol';

/** The newest registration of each host, and which agents were heard of late: a registration outlives its host. */
export class HostOffers {
  readonly #registrations = new Map<string, HostRegistered>();
  readonly #heard_ms = new Map<string, number>();
  /** By agent: what its last beat said of its VMs. */
  readonly #vms = new Map<string, Heartbeat['vms']>();
  /** By agent: why the store does not take its packs. */
  readonly #storeFailures = new Map<string, string>();

  constructor(private readonly now: () => number) {}

  registered(registration: HostRegistered): void {
    const before = this.#registrations.get(registration.host);
    if (before !== undefined && before.agent !== registration.agent) {
      this.#heard_ms.delete(before.agent);
      this.#vms.delete(before.agent);
      this.#storeFailures.delete(before.agent);
    }
    this.#registrations.set(registration.host, registration);
  }

  /** True when this agent was silent or unknown until now: its host may have become admissible. */
  heard({ host, agent, vms, store_failure }: Heartbeat): boolean {
    if (this.#registrations.get(host)?.agent !== agent) return false;
    const before = this.#heard_ms.get(agent);
    this.#heard_ms.set(agent, this.now());
    this.#vms.set(agent, vms);
    if (store_failure === undefined) this.#storeFailures.delete(agent);
    else this.#storeFailures.set(agent, store_failure);
    return before === undefined || this.now() - before > limits.alive_ms;
  }

  alive(agent: string): boolean {
    return this.now() - (this.#heard_ms.get(agent) ?? Number.NEGATIVE_INFINITY) <= limits.alive_ms;
  }

  /** How each placed VM is (R7), as its host's agent said last; nothing of one whose host is silent. */
  runStates(placement: Placement): Record<string, Heartbeat['vms'][number]['runState']> {
    return Object.fromEntries(this.#told(placement).map(({ vm, runState }) => [vm, runState]));
  }

  /** VMs whose time falls behind, against their clock policy (R25). */
  drifting(placement: Placement): string[] {
    return this.#told(placement).filter(({ drifting }) => drifting === true).map(({ vm }) => vm);
  }

  /** Of VMs whose base is being made: how much of it is stored, from 0 to 1 (R20). */
  seeded(placement: Placement): Record<string, number> {
    return Object.fromEntries(this.#told(placement).flatMap(({ vm, seeded }) => (seeded === undefined ? [] : [[vm, seeded]])));
  }

  /** Why the store takes no packs, by the first host of these that is heard and says so (R24); null when none does. */
  storeFailure(placement: Placement): string | null {
    for (const host of Object.values(placement)) {
      const agent = this.#registrations.get(host)?.agent;
      const said = agent === undefined || !this.alive(agent) ? undefined : this.#storeFailures.get(agent);
      if (said !== undefined) return said;
    }
    return null;
  }

  #told(placement: Placement): Heartbeat['vms'] {
    return Object.entries(placement).flatMap(([name, host]) => {
      const agent = this.#registrations.get(host)?.agent;
      return agent === undefined || !this.alive(agent) ? [] : (this.#vms.get(agent) ?? []).filter(({ vm }) => vm === name);
    });
  }

  offers(): Offer[] {
    return [...this.#registrations.values()].map((registration) => ({ registration, alive: this.alive(registration.agent) }));
  }
}
