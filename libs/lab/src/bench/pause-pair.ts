// Two guests of one host with network and disks, cut together as their agent does it: hold, stop both, flip, capture, continue, release.
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { Disk, importSource } from '@virtcft/disk';
import { openFabric, type Fabric } from '@virtcft/fabric';
import { cutHost, HostedVm } from '@virtcft/host-agent';
import type { QemuDriver } from '@virtcft/hypervisor';
import { guestAppend, guestImages, type Load } from '../guests.js';

export interface PairSettings { readonly cuts: number; readonly interval_ms: number; readonly guest: Load['guest']; readonly disks: NonNullable<Load['disks']> }
/** Of each cut the longer of the two pauses; dirty pages and blocks of both. */
export interface PairSamples { readonly pause_ms: number[]; readonly dirty_pages: number[]; readonly dirty_blocks: number[] }

const RUN_DIR = '/run/virtcft';
const BOOT_MS = 15_000;
const WARM_UP = 10;
const CHANNEL_MS = 500;
const TUNNEL_PORT = 4790;

export async function measurePair(driver: QemuDriver, settings: PairSettings): Promise<PairSamples> {
  await Promise.all([mkdir(`${RUN_DIR}/nics`, { recursive: true }), mkdir(`${RUN_DIR}/disks`, { recursive: true })]);
  const fabric = openFabric({ cluster: randomBytes(16).toString('hex'), host: 0, life: randomUUID(), secret: randomBytes(32), tunnel: { address: '127.0.0.1', port: TUNNEL_PORT }, edge: null }, () => undefined);
  const vms: HostedVm[] = [];
  try {
    const macs = [1, 2].map((number) => `52:54:00:88:02:0${number}`);
    await fabric.setGeneration({ generation: 1, incarnation: randomBytes(16).toString('hex'), colour: 1, peers: [], macs: macs.map((mac) => ({ mac, host: 0 })) }, null);
    for (const [at, mac] of macs.entries()) vms.push(await boot(driver, fabric, mac, at + 1, settings));
    await wait(BOOT_MS);
    return await cuts(fabric, vms, driver.stop_budget_ms, settings);
  } finally {
    await Promise.all(vms.map((vm) => vm.destroy()));
    fabric.close();
  }
}

async function boot(driver: QemuDriver, fabric: Fabric, mac: string, number: number, { guest, disks: load }: PairSettings): Promise<HostedVm> {
  const images = guestImages();
  const name = `pair-${number}`;
  const disks = await Promise.all(Object.entries(images.disks).map(async ([disk, source]) => {
    const raw = `${RUN_DIR}/disks/${name}-${disk}.raw`;
    const bytes = await importSource({ source, format: 'raw' }, raw);
    const place = { directory: `${RUN_DIR}/disks/${name}-${disk}`, socket: `${RUN_DIR}/disks/${name}-${disk}.nbd`, log: () => undefined };
    // No store stands behind this: only what a stored image would be called.
    return { disk: await Disk.fromImage({ name: disk, bytes, image: '0'.repeat(64) }, place, raw), attachment: { name: disk, bytes, socket: place.socket } };
  }));
  const nic = { mac, guest: `${RUN_DIR}/nics/${name}.guest`, fabric: `${RUN_DIR}/nics/${name}.fabric` };
  await fabric.addPort({ nic: mac, path: nic.fabric, peerPath: nic.guest });
  const address = `10.88.1.${number}`;
  const vm = await driver.start({
    name, memory_mib: 128, vcpus: 1, kernel: images.kernel, initrd: images.initrd.database, clock: 'stop', nics: [{ mac }], disks: disks.map(({ attachment }) => attachment),
    append: guestAppend({ address, peers: ['10.88.1.1', '10.88.1.2'], role: 'database', load: guest, disks: load }),
  }, [nic]);
  return new HostedVm(vm, disks.map(({ disk }) => disk));
}

async function cuts(fabric: Fabric, vms: readonly HostedVm[], stop_budget_ms: number, { cuts: wanted, interval_ms }: PairSettings): Promise<PairSamples> {
  const samples: PairSamples = { pause_ms: [], dirty_pages: [], dirty_blocks: [] };
  for (let epoch = 1; epoch <= wanted + WARM_UP; epoch += 1) {
    await wait(interval_ms);
    const cut = await cutHost(fabric, vms, epoch, false, stop_budget_ms);
    // What follows a pause, so that the next one begins as an agent's does.
    await fabric.channelState(epoch, CHANNEL_MS);
    await Promise.all(cut.captures.map((capture) => capture.deviceState()));
    const parent = epoch === 1 ? null : epoch - 1;
    const blocks = await Promise.all(vms.map(async (vm) => {
      await vm.encode(parent, epoch);
      const encoded = await vm.encodeDisks(parent, epoch);
      await vm.commit(epoch);
      return encoded.reduce((sum, disk) => sum + disk.blocks, 0);
    }));
    await fabric.releaseOutput(epoch);
    if (epoch <= WARM_UP) continue;
    samples.pause_ms.push(Math.max(...cut.pauses.map(({ pause_ms }) => pause_ms)));
    samples.dirty_pages.push(cut.captures.reduce((sum, { dirtyPages }) => sum + dirtyPages, 0));
    samples.dirty_blocks.push(blocks.reduce((sum, each) => sum + each, 0));
  }
  return samples;
}
