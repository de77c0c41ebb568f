import { randomUUID } from 'node:crypto';
import type { Heartbeat, HostRegistered } from '@virtcft/events';

export const registration = (host: string, memory_mib = 1024): HostRegistered => ({
  host, agent: randomUUID(), tunnel: { address: '10.77.0.2', port: 7000 }, tracker: 'pagemap-scan', memory_mib, vcpus: 2,
  identity: { driver: 'qemu', version: '7.2.0', machine: 'pc-q35-7.2', accel: 'tcg', cpu: 'qemu64' },
});

export const heartbeat = (host: string, sequence: number): Heartbeat => ({
  host, agent: randomUUID(), sequence, cluster: null, generation: 0, colour: 0, lag_ms: 0, peers: [], vms: [], held_output_bytes: 0,
});

export const settled = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits for a condition; the test's own time limit ends it. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await settled(5);
}
