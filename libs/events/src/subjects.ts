/**
 * The subject grammar. Stable: consumers and permissions depend on it.
 *
 *   virtcft.v1.cluster.<id>.decision                    stream VIRTCFT_DECISIONS
 *   virtcft.v1.cluster.<id>.report.<source>.<type>      stream VIRTCFT_REPORTS   (dots of the type become dashes)
 *   virtcft.v1.host.<host>.registered                   stream VIRTCFT_HOSTS     (last per subject)
 *   virtcft.v1.host.<host>.heartbeat                    core NATS, not stored
 *   virtcft.v1.api.<service>.<verb>                     core NATS, request and reply
 */
const root = 'virtcft.v1';

export const streams = {
  decisions: { name: 'VIRTCFT_DECISIONS', subjects: [`${root}.cluster.*.decision`] },
  reports: { name: 'VIRTCFT_REPORTS', subjects: [`${root}.cluster.*.report.>`] },
  hosts: { name: 'VIRTCFT_HOSTS', subjects: [`${root}.host.*.registered`] },
} as const;

export const subjects = {
  decision: (cluster: string) => `${root}.cluster.${cluster}.decision`,
  anyDecision: `${root}.cluster.*.decision`,
  report: (cluster: string, source: string, type: string) => `${root}.cluster.${cluster}.report.${source}.${type.replaceAll('.', '-')}`,
  reportsOf: (cluster: string) => `${root}.cluster.${cluster}.report.>`,
  anyReport: `${root}.cluster.*.report.>`,
  registered: (host: string) => `${root}.host.${host}.registered`,
  anyRegistered: `${root}.host.*.registered`,
  heartbeat: (host: string) => `${root}.host.${host}.heartbeat`,
  anyHeartbeat: `${root}.host.*.heartbeat`,
  api: (service: string, verb: string) => `${root}.api.${service}.${verb}`,
  anyApi: (service: string) => `${root}.api.${service}.>`,
} as const;
