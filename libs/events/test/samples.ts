import { encodeDecision, encodeRegistration, encodeReport, subjects, type Decision, type Report } from '../src/index.js';

export interface Sample { readonly subject: string; readonly headers: Readonly<Record<string, string>>; readonly payload: string }

const cluster = '0d5b7a4e-5a57-4f6e-9d0c-2f6f0a1c7b11';
const agent = '6a3f4f0e-7f0b-4b1c-8a55-0a9b8f4c3d22';
const cut = { key: `clusters/${cluster}/cuts/1-1-${'1'.repeat(64)}`, hash: '1'.repeat(64), generation: 1, epoch: 1 };

const decisions: Decision[] = [
  { type: 'protection.enabled', data: { by: 'an operator' } },
  { type: 'epoch.opened', data: { generation: 1, epoch: 1, members: [{ host: 'a', agent, vms: ['db'] }], barrier: 'two-phase' } },
  { type: 'epoch.sealed', data: { generation: 1, epoch: 1 } },
  { type: 'epoch.committed', data: { generation: 1, epoch: 1, cut, previous: null } },
];
const reports: Report[] = [
  { type: 'barrier.reached', data: { host: 'a', agent, generation: 1, epoch: 1 } },
  { type: 'output.released', data: { host: 'a', agent, generation: 1, epoch: 1, frames: 12, bytes: 3456, commit_ms: 41.5, oldest_ms: 98.25 } },
  { type: 'alarm.raised', data: { alarm: 'no-spare', detail: 'no host has room for the VMs of a' } },
  { type: 'object.damaged', data: { key: `${cluster}/packs/0000000001-000000000001-a-${'2'.repeat(64)}`, part: 'page section', reason: 'its checksum differs' } },
];

/** Events as they are on the wire, the same each time. */
export function samples(): Sample[] {
  let count = 0;
  const attributes = (source: string) => ({
    id: `00000000-0000-4000-8000-${String(++count).padStart(12, '0')}`, source, time: new Date(Date.UTC(2026, 0, 2, 3, 4, 5, count)),
    trace: { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' },
  });
  let previous: string | null = null;
  const all: Sample[] = [];
  for (const decision of decisions) {
    const { headers, payload, hash } = encodeDecision(cluster, decision, previous, attributes('coordinator'));
    all.push({ subject: subjects.decision(cluster), headers, payload });
    previous = hash;
  }
  for (const [i, report] of reports.entries()) {
    const source = i < 2 ? 'a' : report.type === 'object.damaged' ? 'replica-store' : 'coordinator';
    const { headers, payload } = encodeReport(cluster, report, attributes(source));
    all.push({ subject: subjects.report(cluster, source, report.type), headers, payload });
  }
  const { headers, payload } = encodeRegistration({
    host: 'a', agent, tunnel: { address: '10.77.0.2', port: 7000 }, tracker: 'pagemap-scan', memory_mib: 1024, vcpus: 2,
    identity: { driver: 'qemu', version: '7.2.15', machine: 'pc-q35-7.2', accel: 'tcg', cpu: 'qemu64' },
  }, attributes('a'));
  return [...all, { subject: subjects.registered('a'), headers, payload }];
}
