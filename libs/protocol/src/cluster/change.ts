import type { ClusterSpec } from '@virtcft/events';

/** What a new cluster file would change: names of the keys, and why a key cannot change while the cluster lives. */
export interface SpecChange {
  readonly changed: readonly string[];
  readonly refused: readonly { readonly path: string; readonly next: string }[];
}

const free = ['interval_ms', 'barrier', 'window', 'epoch_deadline_ms', 'policies', 'verify_every', 'protect', 'retention', 'bases'] as const;

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

export const compareSpecs = (old: ClusterSpec, next: ClusterSpec): SpecChange => {
  const changed: string[] = free.filter((key) => !same(old[key], next[key]));
  const refused: { path: string; next: string }[] = [];
  if (!same([...old.hosts].sort(), [...next.hosts].sort())) {
    const gone = old.hosts.filter((host) => !next.hosts.includes(host));
    // A host more only adds room; a host less may hold VMs.
    if (gone.length === 0) changed.push('hosts');
    else refused.push({ path: 'hosts', next: `keep ${gone.join(', ')} in the list: hosts can be added, not taken out of a running cluster` });
  }
  const known = new Map(old.vms.map((vm) => [vm.name, vm]));
  for (const vm of next.vms) {
    const before = known.get(vm.name);
    if (before === undefined) refused.push({ path: `vms.${vm.name}`, next: 'VMs cannot be added to a running cluster: stop it, then apply the file' });
    else if (!same(before, vm)) refused.push({ path: `vms.${vm.name}`, next: 'a VM cannot change while it runs: stop the cluster, then apply the file' });
    known.delete(vm.name);
  }
  for (const name of known.keys()) refused.push({ path: `vms.${name}`, next: 'VMs cannot be taken out of a running cluster: stop it, then apply the file' });
  if (old.held_output_bytes !== next.held_output_bytes) {
    refused.push({ path: 'held_output_bytes', next: 'the bound is set when a generation begins: stop the cluster, then apply the file' });
  }
  if (old.mtu !== next.mtu) {
    refused.push({ path: 'mtu', next: 'guests and fabric agree on it when they start: stop the cluster, then apply the file' });
  }
  if (!same(old.clock, next.clock)) refused.push({ path: 'clock', next: 'a guest keeps the clock that it was started with: stop the cluster, then apply the file' });
  return { changed, refused };
};
