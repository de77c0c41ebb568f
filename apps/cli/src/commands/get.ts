import { Session, type GlobalOptions, type Io } from '../session.js';
import { ago, duration, table } from '../table.js';
import { syncing, type ClusterView } from '../view.js';
import { epochsSince } from '../epochs.js';
import { cutName, row } from './status.js';

export interface GetOptions extends GlobalOptions { readonly limit: number; readonly since: number }

/** What `get` can list. */
export const kinds = ['clusters', 'hosts', 'vms', 'epochs', 'cuts'] as const;
export type Kind = (typeof kinds)[number];

export async function get(io: Io, options: GetOptions, kind: Kind): Promise<void> {
  await Session.run(io, options, (session) => lists[kind](session, options));
}

const lists: Record<Kind, (session: Session, options: GetOptions) => Promise<void>> = {
  clusters: async (session) => {
    const clusters = await session.clusters();
    session.show({ clusters }, () => table(clusters.map(row), 'there is no cluster'));
  },
  hosts: async (session, { cluster }) => {
    const hosts = (await session.hosts()).filter((host) => cluster === undefined || host.cluster === cluster);
    session.show({ hosts }, () => table(hosts.map((host) => ({
      host: host.host, alive: host.alive ? 'yes' : 'no', cluster: host.cluster, vms: host.vms.join(' '), memory_mib: host.memory_mib, free_mib: host.free_mib, vcpus: host.vcpus,
      hypervisor: `${host.identity.driver} ${host.identity.version} ${host.identity.accel}`, tracker: host.tracker, tunnel: `${host.tunnel.address}:${host.tunnel.port}`,
    })), 'no host has offered itself; start an agent on one'));
  },
  vms: async (session) => {
    const view = await session.cluster();
    const vms = vmsOf(view);
    session.show({ cluster: view.name, vms }, () => table(vms.map((vm) => ({ ...vm })), 'the cluster has no VMs'));
  },
  epochs: async (session, { limit, since }) => {
    const view = await session.cluster();
    const epochs = (await epochsSince(session, view.id, new Date(Date.now() - since))).slice(-limit).reverse();
    session.show({ cluster: view.name, epochs }, () => table(epochs.map(({ generation, epoch, outcome, opened, decided_ms, detail }) => ({
      epoch: `${generation}-${epoch}`, outcome, opened, took: decided_ms === null ? null : duration(decided_ms), detail,
    })), `no epoch was opened in the last ${duration(since)}`));
  },
  cuts: async (session, { limit }) => {
    const view = await session.cluster();
    const cuts = await session.cuts(view, limit);
    session.show({ cluster: view.name, cuts }, () => table(cuts.map((cut) => ({
      cut: cutName(cut), time: cut.time, age: ago(new Date(cut.time), new Date()), vms: cut.vms, hash: cut.hash.slice(0, 12),
    })), 'no cut is committed yet'));
  },
};

/** Whether a VM is in the cuts. */
const cutsOf = (view: ClusterView, vm: string): string => {
  const seeded = view.syncing[vm];
  if (seeded !== undefined) return syncing(seeded);
  return view.protected ? 'in' : 'off';
};

export const vmsOf = (view: ClusterView) => (view.spec?.vms ?? []).map((vm) => ({
  vm: vm.name, host: view.placement[vm.name] ?? null, state: view.run_states[vm.name] ?? null, cuts: view.placement[vm.name] === undefined ? null : cutsOf(view, vm.name), memory_mib: vm.memory_mib, vcpus: vm.vcpus, mac: vm.mac, address: vm.address ?? null,
}));
