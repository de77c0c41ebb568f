import { constants, copyFileSync, existsSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { askGuest, guestAppend, guestImages, GuestSilent, Lab, readLoad, type GuestRole, type Program } from '@virtcft/lab';
import type { z } from 'zod';

const ANSWER_MS = 3_000;

/** Guests under QEMU alone on one host of a lab, on a bridge to the outside network: no VirtCFT between them. What they judge can be broken here on purpose. */
export class PlainGuests {
  private readonly guests: Program[] = [];
  private constructor(readonly lab: Lab, private readonly roles: readonly GuestRole[]) {}

  static async boot(roles: readonly GuestRole[]): Promise<PlainGuests> {
    const lab = await Lab.open();
    try {
      await lab.startHost('alpha');
      await lab.exec('alpha', ['sh', '-ec', `ip link add name wire type bridge forward_delay 0; ip link set wire up; ip link set out0 master wire
        mkdir -p /dev/net; [ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
        for t in ${roles.map((_, i) => `t${i}`).join(' ')}; do ip tuntap add $t mode tap; ip link set $t master wire up; done`]);
      const plain = new PlainGuests(lab, roles);
      for (const [i, role] of roles.entries()) {
        if (role === 'database') for (const disk of ['data', 'blocks'] as const) copyFileSync(guestImages().disks[disk], plain.disk(i, disk), constants.COPYFILE_FICLONE);
        plain.start(i);
      }
      return plain;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  address(index: number): string { return `10.88.0.${11 + index}`; }

  /** The raw image that this guest writes. */
  disk(index: number, name: 'data' | 'blocks'): string { return join(this.lab.dir, `${name}-${index}.img`); }

  /** `from`: a state that `keep` wrote, instead of booting. */
  start(index: number, from?: string): void {
    const role = this.roles[index] ?? 'bank';
    const images = guestImages();
    const load = readLoad('database');
    const disks = role !== 'database' ? [] : (['data', 'blocks'] as const).flatMap((name) => ['-drive', `file=${this.disk(index, name)},format=raw,if=none,id=${name},file.locking=off`, '-device', `virtio-blk-pci,drive=${name}`]);
    this.guests[index] = this.lab.start('alpha', { name: `guest${index}`, command: [
      'qemu-system-x86_64', '-nodefaults', '-no-user-config', '-display', 'none', '-machine', 'q35', '-cpu', 'max', '-m', '128', '-serial', 'stdio', '-qmp', `unix:${this.monitor(index)},server=on,wait=off`,
      '-kernel', images.kernel, '-initrd', images.initrd[role],
      '-append', guestAppend({ address: this.address(index), peers: this.roles.map((_, i) => this.address(i)), role, load: { ...load.guest, probe: 0 }, ...(role === 'database' ? { disks: load.disks } : {}) }),
      '-netdev', `tap,id=n0,ifname=t${index},script=no,downscript=no`, '-device', `virtio-net-pci,netdev=n0,romfile=,mac=52:54:00:00:00:0${index + 1}`, ...disks,
      ...(from === undefined ? [] : ['-incoming', `exec:cat ${from}`]),
    ] });
  }

  /** As a power cut of one guest; its disks stay. */
  async kill(index: number): Promise<void> {
    this.guests[index]?.signal('SIGKILL');
    await this.guests[index]?.ended;
  }

  /** Writes the guest's state to a file, and lets it go on. */
  async keep(index: number): Promise<string> {
    const file = join(this.lab.dir, `state-${index}`);
    await this.order(index, 'stop');
    await this.order(index, 'migrate', { uri: `exec:cat > ${file}` });
    while ((await this.order(index, 'query-migrate')).status !== 'completed') await sleep(100);
    await this.order(index, 'cont');
    return file;
  }

  /** The guest is put back to the moment of `keep`. */
  async goBack(index: number, state: string): Promise<void> {
    await this.kill(index);
    rmSync(this.monitor(index));
    this.start(index, state);
    await until('a monitor', () => existsSync(this.monitor(index)));
    await until('a state that was read', async () => (await this.order(index, 'query-status')).status === 'paused');
    await this.order(index, 'cont');
  }

  async ask<T>(index: number, port: number, command: string, schema: z.ZodType<T>): Promise<T> {
    for (const end = performance.now() + LONGEST_MS; ;) {
      try {
        return await askGuest(() => this.lab.site.connect(this.address(index), port), command, schema, ANSWER_MS);
      } catch (error) {
        if (!(error instanceof GuestSilent)) throw error; // still booting
        const dead = this.guests[index];
        if (dead?.running === false || performance.now() > end) throw new Error(`guest ${index} does not answer "${command}":\n${dead?.tail() ?? ''}`, { cause: error });
        await sleep(200);
      }
    }
  }

  async close(): Promise<void> { await this.lab.close(); }

  private monitor(index: number): string { return join(this.lab.dir, `monitor-${index}`); }

  /** One command over QMP, and what it returns. */
  private async order(index: number, execute: string, args: object = {}): Promise<{ status?: string }> {
    const socket = connect(this.monitor(index));
    try {
      for await (const line of createInterface({ input: socket })) {
        const said = JSON.parse(line) as { QMP?: object; id?: string; return?: { status?: string }; error?: { desc: string } };
        if (said.QMP !== undefined) socket.write(`${JSON.stringify({ execute: 'qmp_capabilities' })}${JSON.stringify({ execute, arguments: args, id: 'asked' })}`);
        if (said.error !== undefined) throw new Error(`${execute}: ${said.error.desc}`);
        if (said.id === 'asked') return said.return ?? {};
      }
    } finally {
      socket.destroy();
    }
    throw new Error(`${execute}: QEMU has closed the connection`);
  }
}

const LONGEST_MS = 240_000;

/** Asked again and again. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + LONGEST_MS; !(await holds()); await sleep(200)) if (performance.now() > end) throw new Error(`${what}: not seen within ${LONGEST_MS / 1000} s`);
}
