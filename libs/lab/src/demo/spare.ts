import type { ClusterState } from '@virtcft/protocol';

/** The demo's hosts are equal and so are its VMs: a host has room for so many. */
export interface Room { readonly vms_per_host: number }

/** Whether the loss of any one host that runs VMs could be made good by the others; counted by the demo itself, from what it gave its hosts. */
export function spareExpected({ hosts, placement }: Pick<ClusterState, 'hosts' | 'placement'>, { vms_per_host }: Room): boolean {
  const alive = Object.values(hosts).filter(({ status }) => status === 'admitted').map(({ host }) => host);
  const on = (host: string): number => Object.values(placement).filter((placed) => placed === host).length;
  return alive.filter((host) => on(host) > 0)
    .every((host) => alive.filter((other) => other !== host).reduce((free, other) => free + Math.max(0, vms_per_host - on(other)), 0) >= on(host));
}
