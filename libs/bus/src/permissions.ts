import { streams } from '@virtcft/events';
import { inboxPrefix } from './connection.js';

/** Who connects. `host-agent:<host>` is the agent of one host, and may speak for no other. */
export type Service = 'coordinator' | 'failover' | 'replica-store' | `host-agent:${string}` | 'operator' | 'consumer';

export interface Permissions { readonly publish: readonly string[]; readonly subscribe: readonly string[]; /** Whether it answers requests. */ readonly responds: boolean }

export const leaseBucket = 'VIRTCFT_LEASES';
const root = 'virtcft.v1';
const [decisions, reports, hosts] = [streams.decisions.name, streams.reports.name, streams.hosts.name];

/** The user name a service has by default: no colon, for it is part of its inbox. */
export const userName = (service: Service): string => service.replace(':', '-');

/** Everybody waits at the start until all streams are there, and so may see that they are. */
const seeing = [decisions, reports, hosts].map((name) => `$JS.API.STREAM.INFO.${name}`);
/** JetStream's API for reading some streams in order. A follower needs no right to delete: the server forgets consumers nobody reads. */
const reading = (...names: string[]): string[] => [...seeing, ...names.flatMap((name) => [
  `$JS.API.CONSUMER.CREATE.${name}.>`, `$JS.API.CONSUMER.INFO.${name}.*`, `$JS.API.CONSUMER.MSG.NEXT.${name}.*`,
])];
const acknowledging = (...names: string[]): string[] => names.flatMap((name) => [`$JS.ACK.${name}.>`]);
const provisioning = (...names: string[]): string[] => names.flatMap((name) => [`$JS.API.STREAM.CREATE.${name}`, `$JS.API.STREAM.UPDATE.${name}`]);
const leases = ['$JS.API.INFO', `$JS.API.STREAM.INFO.KV_${leaseBucket}`, `$JS.API.STREAM.CREATE.KV_${leaseBucket}`, `$JS.API.DIRECT.GET.KV_${leaseBucket}.>`, `$JS.API.STREAM.MSG.GET.KV_${leaseBucket}`, `$KV.${leaseBucket}.>`];

/**
 * What a service may do on the bus. Only the coordinator and failover may append decisions; an agent reports and beats for its own host.
 * `user` owns the private inbox. Whoever may read a stream can have its messages sent to any subject (JetStream checks no reply
 * subject), so a hostile host is not held by this alone; a confused or old one is.
 */
export function permissions(service: Service, user: string = userName(service)): Permissions {
  const inbox = `${inboxPrefix(user)}.>`;
  const api = (name: string): string => `${root}.api.${name}.>`;
  const report = (source: string): string => `${root}.cluster.*.report.${source}.>`;
  const heartbeats = `${root}.host.*.heartbeat`;
  const decide = `${root}.cluster.*.decision`;
  if (service.startsWith('host-agent:')) {
    const host = service.slice('host-agent:'.length);
    return { publish: [report(host), `${root}.host.${host}.>`, `${root}.api.replica-store.cuts`, ...reading(decisions)], subscribe: [inbox, `${root}.host.${host}.heartbeat`, api(`host-agent-${host}`)], responds: true };
  }
  switch (service) {
    case 'coordinator':
      return { publish: [decide, report('coordinator'), api('*'), ...provisioning(decisions, reports, hosts), ...reading(decisions, reports, hosts), ...acknowledging(decisions, reports), ...leases], subscribe: [inbox, heartbeats, api('coordinator')], responds: true };
    case 'failover':
      // Its own heartbeat comes back to it, so that it can tell a deaf watcher from silent hosts (R21).
      return { publish: [decide, report('failover'), `${root}.host.failover.heartbeat`, api('*'), ...reading(decisions, reports, hosts), ...acknowledging(decisions, reports), ...leases], subscribe: [inbox, heartbeats, api('failover')], responds: true };
    case 'replica-store':
      return { publish: [report('replica-store'), ...reading(decisions, reports), ...acknowledging(decisions, reports)], subscribe: [inbox, api('replica-store')], responds: true };
    case 'operator':
      return { publish: [api('*'), ...reading(decisions, reports, hosts)], subscribe: [inbox, heartbeats], responds: false };
    case 'consumer':
      return { publish: [...reading(decisions, reports), ...acknowledging(decisions, reports), ...[decisions, reports].map((name) => `$JS.API.CONSUMER.DURABLE.CREATE.${name}.*`)], subscribe: [inbox], responds: false };
    default:
      throw new TypeError(`"${service}" is not a service; use coordinator, failover, replica-store, host-agent:<host>, operator or consumer`);
  }
}
