import type { ClusterSpec, Identity, Report } from '@virtcft/events';
import type { Fabric } from '@virtcft/fabric';
import type { HypervisorDriver } from '@virtcft/hypervisor';
import type { Logger, TraceContext } from '@virtcft/telemetry';
import type { z } from 'zod';
import type { DisksOnHost } from './disks/disks-on-host.js';
import type { HeldVms } from './held-vms.js';
import type { ReplicaClient } from './recovery/replica-client.js';

/** What the parts of one cluster on one host share. */
export interface HostContext {
  readonly cluster: string;
  readonly name: string;
  /** Who speaks, in every report. */
  readonly from: { readonly host: string; readonly agent: string };
  readonly identity: z.infer<typeof Identity>;
  readonly driver: HypervisorDriver;
  readonly fabric: Fabric;
  readonly replicas: ReplicaClient;
  readonly held: HeldVms;
  readonly disks: DisksOnHost;
  readonly log: Logger;
  readonly spec: () => ClusterSpec;
  /** Host names by their numbers in the fabric. */
  readonly hostNames: () => ReadonlyMap<number, string>;
  /** This host has stood at the barrier of `epoch` for as long as it may: what to do comes as an order. */
  readonly sealOverdue: (epoch: number) => void;
  readonly report: (report: Report, trace: TraceContext) => void;
}
