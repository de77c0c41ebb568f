import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Bus } from '@virtcft/bus';
import type { ClusterSpec } from '@virtcft/events';
import { stringify } from 'yaml';
import type { z } from 'zod';
import { command } from '../command.js';
import type { DemoVm } from '../demo/cluster-file.js';
import { GuestVoice } from '../demo/guest-voice.js';
import { ClusterWatch } from '../demo/watch.js';
import { GuestSilent } from '../guest-control.js';
import { guestAppend, guestImages, type Load } from '../guests.js';
import { guestAddress, Installation } from '../installation.js';
import { Lab } from '../lab.js';

const CLI = join(import.meta.dirname, '..', '..', '..', '..', 'apps', 'cli', 'dist', 'main.js');
const HOSTS = ['host-a', 'host-b', 'host-c'] as const;
const READY_MS = 300_000; // a guest that fills gigabytes under emulation

export interface SeedWorldOptions {
  readonly load: Load;
  readonly interval_ms: number;
  readonly memory_mib: number;
  /** What of the large guest's memory is in use, checked by itself all the time. */
  readonly fill_mib: number;
  readonly seed_mib_per_s: number;
}

/** A cluster with one large VM beside a small one on a host, another small one on the next host, and a spare; protection is off at first. */
export class SeedWorld {
  private constructor(readonly lab: Lab, readonly installation: Installation, private readonly bus: Bus, readonly watch: ClusterWatch, readonly guests: GuestVoice, readonly vms: readonly DemoVm[], private readonly options: SeedWorldOptions) {}

  static async build(options: SeedWorldOptions): Promise<SeedWorld> {
    const lab = await Lab.open();
    try {
      const vm = (name: string, number: number, host: string, memory_mib: number): DemoVm => ({ name, role: 'bank', address: guestAddress(number), mac: `52:54:00:88:00:${(11 + number).toString(16).padStart(2, '0')}`, memory_mib, host });
      const vms = [vm('large', 0, 'host-a', options.memory_mib), vm('beside', 1, 'host-a', 128), vm('other', 2, 'host-b', 128)];
      const installation = await Installation.start(lab, { hosts: HOSTS, memory_mib: Math.ceil(options.memory_mib * 2.25) + 2_048 });
      const bus = await Bus.connect(installation.nats.options('operator'));
      await bus.awaitStreams(READY_MS);
      return new SeedWorld(lab, installation, bus, await ClusterWatch.follow(bus), new GuestVoice(lab.site, vms), vms, options);
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** Until every guest answers, its memory filled. */
  async begin(): Promise<void> {
    const file = join(this.lab.dir, 'cluster.yaml');
    writeFileSync(file, this.#file());
    await this.cli('apply', '-f', file, '--wait');
    await this.watch.until('the cluster runs', READY_MS, () => this.watch.state.stage === 'running');
    await this.answering();
  }

  async answering(): Promise<void> {
    for (const until = Date.now() + READY_MS; ;) {
      try {
        await this.guests.patterns();
        return;
      } catch (error) {
        if (!(error instanceof GuestSilent) || Date.now() > until) throw error;
      }
      await wait(500);
    }
  }

  async cli(...words: string[]): Promise<string> {
    const { servers, user, password } = this.installation.nats.options('operator');
    const passwordFile = join(this.lab.dir, 'operator.password');
    writeFileSync(passwordFile, `${password ?? ''}\n`, { mode: 0o600 });
    return command([process.execPath, CLI, '--nats', servers, '--user', user ?? '', '--password-file', passwordFile, ...words]);
  }

  async close(): Promise<void> {
    this.watch.stop();
    await this.bus.close();
    await this.installation.stop();
    await this.lab.close();
  }

  #file(): string {
    const { load, interval_ms, fill_mib, seed_mib_per_s, memory_mib } = this.options;
    const images = guestImages();
    const peers = this.vms.map(({ address }) => address);
    const spec = {
      apiVersion: 'virtcft/v1', name: 'seeding', hosts: [...HOSTS], interval_ms, protect: false, policies: { seed_mib_per_s, seed_from_mib: Math.min(memory_mib, 1_024) },
      vms: this.vms.map((vm) => ({
        name: vm.name, host: vm.host, memory_mib: vm.memory_mib, vcpus: vm.name === 'large' ? 2 : 1, kernel: images.kernel, initrd: images.initrd.bank, mac: vm.mac, address: vm.address,
        append: guestAppend({ address: vm.address, peers, role: 'bank', load: { ...load.guest, probe: 0, pages: vm.name === 'large' ? fill_mib * 256 : load.guest.pages } }),
      })),
    } satisfies z.input<typeof ClusterSpec>;
    return stringify(spec, null, { lineWidth: 0 });
  }
}
