import { placedOn, room_mib } from '@virtcft/protocol';
import type { ClusterCoordinator } from '../cluster/cluster-coordinator.js';
import type { HostOffers } from '../hosts.js';

/** A cluster as `get` answers it. */
export const viewOf = (cluster: ClusterCoordinator) => {
  const { state } = cluster;
  return {
    id: cluster.cluster, name: state.spec?.name ?? '', stage: state.stage, waits_for: cluster.waitsFor, protected: state.protected,
    generation: state.generation, epoch: state.epoch, open: state.open.map(({ epoch }) => epoch), tip: state.tip, basis: state.basis,
    epochs: state.epochs, recoveries: state.recoveries, cause: state.cause, halted: state.halted, placement: state.placement, run_states: cluster.offers.runStates(state.placement), drifting: cluster.offers.drifting(state.placement),
    syncing: Object.fromEntries(state.syncing.map((vm) => [vm, cluster.offers.seeded(state.placement)[vm] ?? 0])),
    hosts: Object.values(state.hosts).map(({ host, number, agent, status, reason, memory_mib }) => ({ host, number, agent, status, reason, memory_mib, vms: placedOn(state.placement, host) })),
    pins: Object.values(state.pins),
    alarms: [...cluster.alarms].map(([alarm, detail]) => ({ alarm, detail })), spec: state.spec,
  };
};

/** Every host that ever offered itself, and who uses it. */
export const hostsView = (offers: HostOffers, clusters: readonly ClusterCoordinator[]) => offers.offers().map(({ registration, alive }) => {
  const user = clusters.find(({ state }) => state.hosts[registration.host]?.agent === registration.agent && state.hosts[registration.host]?.status === 'admitted');
  const vms = user === undefined ? [] : placedOn(user.state.placement, registration.host);
  const used_mib = (user?.state.spec?.vms ?? []).filter(({ name }) => vms.includes(name)).reduce((sum, vm) => sum + room_mib(vm), 0);
  return { ...registration, alive, cluster: user?.state.spec?.name ?? null, vms, free_mib: registration.memory_mib - used_mib };
});
