import { CliError, exit } from '../exit.js';
import { Session, type GlobalOptions, type Io } from '../session.js';
import { ago, description } from '../table.js';
import { vmsOf } from './get.js';
import { parseCut } from './restore.js';
import { describeCluster } from './status.js';

export const describable = ['cluster', 'host', 'vm', 'cut'] as const;
export type Describable = (typeof describable)[number];

export async function describe(io: Io, options: GlobalOptions, kind: Describable, name: string): Promise<void> {
  await Session.run(io, options, (session) => describers[kind](session, name));
}

const missing = (what: string, there: readonly string[]): never => { throw new CliError(exit.notFound, `there is no ${what}`, there.length === 0 ? '' : `there are: ${there.join(', ')}`); };

const describers: Record<Describable, (session: Session, name: string) => Promise<void>> = {
  cluster: async (session, name) => {
    const view = await session.cluster(name);
    session.show(view, () => describeCluster(view));
  },
  host: async (session, name) => {
    const hosts = await session.hosts();
    const host = hosts.find((each) => each.host === name) ?? missing(`host "${name}"`, hosts.map((each) => each.host));
    const { identity } = host;
    session.show(host, () => description([
      ['host', host.host], ['alive', host.alive ? 'yes' : 'no'], ['agent', host.agent], ['cluster', host.cluster], ['VMs', host.vms], ['memory', `${host.memory_mib} MiB, ${host.free_mib} MiB free`], ['vCPUs', host.vcpus],
      ['hypervisor', `${identity.driver} ${identity.version}, ${identity.machine}, ${identity.accel}, ${identity.cpu}`], ['tracker', host.tracker], ['tunnel', `${host.tunnel.address}:${host.tunnel.port}`],
    ]));
  },
  vm: async (session, name) => {
    const view = await session.cluster();
    const vm = view.spec?.vms.find((each) => each.name === name) ?? missing(`VM "${name}" in cluster ${view.name}`, vmsOf(view).map((each) => each.vm));
    const host = view.placement[name] ?? null;
    session.show({ cluster: view.name, host, state: view.run_states[name] ?? null, ...vm }, () => description([
      ['VM', vm.name], ['cluster', view.name], ['runs on', host], ['state', view.run_states[name] ?? null],
      ['clock', `${view.spec?.clock ?? 'stop'}${view.drifting.includes(name) ? ', but falls behind: its host agent\'s log says why' : ''}`], ['memory', `${vm.memory_mib} MiB`], ['vCPUs', vm.vcpus], ['MAC', vm.mac], ['address', vm.address ?? null],
      ['kernel', vm.kernel], ['initrd', vm.initrd ?? null], ['append', vm.append], ['first placed on', vm.host ?? 'the first host with room'],
    ]));
  },
  cut: async (session, name) => {
    const { generation, epoch } = parseCut(name);
    const view = await session.cluster();
    const cuts = await session.cuts(view, 1_000);
    const cut = cuts.find((each) => each.generation === generation && each.epoch === epoch) ?? missing(`cut ${name} among the newest ${cuts.length} of cluster ${view.name}`, []);
    session.show({ cluster: view.name, ...cut }, () => description([
      ['cut', name], ['cluster', view.name], ['committed', `${cut.time} (${ago(new Date(cut.time), new Date())})`], ['VMs', cut.vms], ['manifest', cut.key], ['hash', cut.hash],
    ]));
  },
};
