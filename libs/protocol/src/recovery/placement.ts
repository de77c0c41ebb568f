import type { DecisionData, Placement, VmDefinition } from '@virtcft/events';
import { admittedHosts, placedOn, type ClusterState, type HostState, type Identity } from '../cluster/state.js';
import { limits } from '../limits.js';

/** Memory a host must have for a protected VM (R20). */
export const room_mib = (vm: Pick<VmDefinition, 'memory_mib'>): number => Math.ceil(vm.memory_mib * limits.room_factor) + limits.room_process_mib;

/** A capture loads only where hypervisor, machine and CPU are the same (R20). */
export const sameIdentity = (a: Identity, b: Identity): boolean =>
  a.driver === b.driver && a.version === b.version && a.machine === b.machine && a.accel === b.accel && a.cpu === b.cpu;

const definitions = (state: ClusterState): Map<string, VmDefinition> => new Map((state.spec?.vms ?? []).map((vm) => [vm.name, vm]));

const freeOf = (state: ClusterState, placement: Placement, hosts: readonly HostState[]): Map<string, number> => {
  const vms = definitions(state);
  const used = (host: string): number => placedOn(placement, host).reduce((sum, vm) => sum + room_mib(vms.get(vm) ?? { memory_mib: 0 }), 0);
  return new Map(hosts.map((host) => [host.host, host.memory_mib - used(host.host)]));
};

/** Puts `vms` on `hosts`, the largest first, each where most memory is free. `stuck` found no eligible host with room. */
const spread = (state: ClusterState, kept: Placement, vms: readonly string[], hosts: readonly HostState[]): { placement: Placement; stuck: string[] } => {
  const sizes = definitions(state);
  const size = (vm: string): number => room_mib(sizes.get(vm) ?? { memory_mib: 0 });
  const free = freeOf(state, kept, hosts);
  const placement: Placement = { ...kept };
  const stuck: string[] = [];
  for (const vm of [...vms].sort((a, b) => size(b) - size(a) || (a < b ? -1 : 1))) {
    const captured = state.captured[vm] ?? state.hosts[state.placement[vm] ?? '']?.identity;
    const target = hosts
      .filter((host) => (free.get(host.host) ?? 0) >= size(vm) && (captured === undefined || sameIdentity(captured, host.identity)))
      .sort((a, b) => (free.get(b.host) ?? 0) - (free.get(a.host) ?? 0) || (a.host < b.host ? -1 : 1))[0];
    if (target === undefined) stuck.push(vm);
    else {
      placement[vm] = target.host;
      free.set(target.host, (free.get(target.host) ?? 0) - size(vm));
    }
  }
  return { placement, stuck };
};

export interface RecoveryPlacement {
  readonly placement: Placement;
  readonly moves: DecisionData<'recovery.planned'>['moves'];
  /** VMs without an eligible host: the recovery waits for one. */
  readonly stuck: readonly string[];
}

/** Survivors' VMs stay, the others go to eligible hosts with room, spread by free memory. */
export const placeRecovery = (state: ClusterState): RecoveryPlacement => {
  const hosts = admittedHosts(state);
  const alive = new Set(hosts.map(({ host }) => host));
  const names = Object.keys(state.placement).sort();
  // A host that came back with another hypervisor cannot load what it captured before the log was lost.
  const loads = (vm: string, host: string): boolean => {
    const captured = state.captured[vm];
    const there = state.hosts[host]?.identity;
    return alive.has(host) && (captured === undefined || (there !== undefined && sameIdentity(captured, there)));
  };
  const kept = Object.fromEntries(names.flatMap((vm) => (loads(vm, state.placement[vm] ?? '') ? [[vm, state.placement[vm] ?? '']] : [])));
  const { placement, stuck } = spread(state, kept, names.filter((vm) => kept[vm] === undefined), hosts);
  const moves = names.flatMap((vm) => {
    const from = state.placement[vm] ?? '';
    const to = placement[vm];
    return to !== undefined && to !== from ? [{ vm, from, to }] : [];
  });
  return { placement, moves, stuck };
};

/** Whether the cluster survives the loss of `host`: the others have eligible room for its VMs. */
export const canMoveAway = (state: ClusterState, host: string): boolean => {
  const others = admittedHosts(state).filter((candidate) => candidate.host !== host);
  const leaving = placedOn(state.placement, host);
  const kept = Object.fromEntries(Object.entries(state.placement).filter(([, on]) => on !== host));
  return spread(state, kept, leaving, others).stuck.length === 0;
};

export type FirstPlacement = { readonly placement: Placement } | { readonly waitsFor: string };

/** First start: by the cluster file, else the first host of its list with room. */
export const placeFirst = (state: ClusterState): FirstPlacement => {
  const spec = state.spec;
  if (spec === null) return { waitsFor: 'a cluster file' };
  const admitted = new Map(admittedHosts(state).map((host) => [host.host, host]));
  const hosts = spec.hosts.flatMap((name) => admitted.get(name) ?? []);
  const free = freeOf(state, {}, hosts);
  const placement: Placement = {};
  const put = (vm: VmDefinition, host: string): void => {
    placement[vm.name] = host;
    free.set(host, (free.get(host) ?? 0) - room_mib(vm));
  };
  for (const vm of spec.vms.filter((candidate) => candidate.host !== undefined)) {
    const host = vm.host ?? '';
    if (!admitted.has(host)) return { waitsFor: `host ${host}, where VM ${vm.name} is placed` };
    if ((free.get(host) ?? 0) < room_mib(vm)) return { waitsFor: `${room_mib(vm)} MiB of free memory on host ${host} for VM ${vm.name}, which has ${free.get(host) ?? 0}` };
    put(vm, host);
  }
  for (const vm of spec.vms.filter((candidate) => candidate.host === undefined)) {
    const host = hosts.find((candidate) => (free.get(candidate.host) ?? 0) >= room_mib(vm));
    if (host === undefined) return { waitsFor: `a host with ${room_mib(vm)} MiB of free memory for VM ${vm.name}` };
    put(vm, host.host);
  }
  return { placement };
};
