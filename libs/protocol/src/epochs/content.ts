import type { DiskRef, SegmentRef } from '@virtcft/events';
import type { ClusterState, OpenEpoch } from '../cluster/state.js';
import { missingParent } from './chain.js';
import type { EpochLedger, StoredPack } from './ledger.js';

interface CutVm {
  readonly host: string;
  readonly segment: string;
  readonly kind: 'full' | 'delta';
  readonly runState: SegmentRef['runState'];
  readonly memory_bytes: number;
  readonly disks: DiskRef[];
}

/** What the manifest of a cut says; no time in it, so that every coordinator writes the same bytes (R12). */
export interface CutContent {
  readonly cluster: string;
  readonly generation: number;
  readonly incarnation: string;
  readonly epoch: number;
  readonly previous: string | null;
  readonly vms: Readonly<Record<string, CutVm>>;
  readonly packs: readonly { readonly host: string; readonly epoch: number; readonly key: string; readonly hash: string; readonly bytes: number }[];
}

export type Collected =
  | { readonly complete: true; readonly content: CutContent }
  /** Hosts whose part, or whose parents, are not stored. */
  | { readonly complete: false; readonly missing: readonly string[] };

const order = (a: StoredPack, b: StoredPack): number => a.epoch - b.epoch || (a.host < b.host ? -1 : a.host > b.host ? 1 : a.pack.key < b.pack.key ? -1 : 1);

/** The cut of `open`, if every member and every chain is stored. A pure function of the log and the reports. */
export const collect = (cluster: string, state: ClusterState, ledger: EpochLedger, open: OpenEpoch): Collected => {
  const agents = new Map(open.members.map(({ host, agent }) => [host, agent]));
  const packs = ledger.packs
    .filter((pack) => pack.generation === state.generation && pack.epoch <= open.epoch && agents.get(pack.host) === pack.agent)
    .sort(order);
  const stored = new Map(packs.flatMap((pack) => pack.segments.map((segment) => [segment.hash, segment] as const)));
  const tip = state.tip !== null && ledger.tipSegments?.cut === state.tip.hash ? ledger.tipSegments.segments : {};
  const vms: Record<string, CutVm> = {};
  const missing: string[] = [];
  for (const member of open.members) {
    const segments = packs.filter((pack) => pack.host === member.host && pack.epoch === open.epoch).flatMap((pack) => pack.segments);
    for (const vm of member.vms) {
      const segment = segments.find((candidate) => candidate.vm === vm);
      if (segment === undefined || missingParent(segment, stored, tip[vm] ?? null) !== null) {
        missing.push(member.host);
        break;
      }
      const { hash, kind, runState, memory_bytes, disks } = segment;
      vms[vm] = { host: member.host, segment: hash, kind, runState, memory_bytes, disks };
    }
  }
  if (missing.length > 0 || state.incarnation === null) return { complete: false, missing };
  return {
    complete: true,
    content: {
      cluster, generation: state.generation, incarnation: state.incarnation, epoch: open.epoch, previous: state.tip?.hash ?? null, vms,
      packs: packs.map(({ host, epoch, pack }) => ({ host, epoch, key: pack.key, hash: pack.hash, bytes: pack.bytes })),
    },
  };
};
