import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ReplicaFold } from '@virtcft/checkpoint';
import type { DrillCheck, DrillMessage, DrillPlan, DrillResult, VmDefinition } from '@virtcft/events';
import { createQemuDriver, type Log } from '@virtcft/hypervisor';
import { logger } from '@virtcft/telemetry';
import { judge } from '../judge.js';
import { linesOf, sendLine } from '../lines.js';
import { DrillRefused } from '../refused.js';
import { runCheck } from './check.js';
import { DrilledVm } from './drilled-vm.js';
import { DrillNetwork } from './network.js';
import { InsidePlan, kept } from './plan.js';

// PID 1 of the drill's namespaces. Nothing is taken down here: when this process ends, the kernel takes all of it.

const log = logger('drill');
const tell: Log = (message, fields) => { log.info({ ...fields }, message); };
const say = (message: DrillMessage): void => { sendLine(process.stdout, message); };
/** A memory file system of this mount namespace alone. */
const memory = '/dev/shm';

const lines = linesOf(process.stdin, InsidePlan);
const given = (await lines.next()).value as InsidePlan | undefined;
if (given === undefined) process.exit(1);
// The outer program is gone.
void lines.next().catch(() => undefined).then(() => { process.exit(1); });

try {
  say({ kind: 'result', result: await drill(given) });
  if (given.plan.keep) say({ kind: 'progress', text: kept });
} catch (error) {
  if (!(error instanceof DrillRefused)) log.error({ err: error }, 'the drill failed');
  say({ kind: 'refused', message: error instanceof Error ? error.message : String(error), next: error instanceof DrillRefused ? error.next : '' });
}

async function drill({ plan, folder, fold_ms, qemu }: InsidePlan): Promise<DrillResult> {
  process.umask(0o077);
  const began_ms = performance.now();
  // It lies folded; nothing is fetched any more.
  const nothing = { materialise: (hash: string) => Promise.reject(new Error(`the folded cut lacks image ${hash}`)) };
  const fold = await ReplicaFold.open({ folder: join(folder, 'cut'), cluster: plan.cluster, images: nothing });
  if (fold.tip?.hash !== plan.cut.hash) throw new DrillRefused(`the folded cut was not taken up: ${fold.discarded ?? 'it is another'}`, 'drill again');
  const guests = plan.spec.vms.filter(({ name }) => fold.vms.includes(name));
  for (const each of ['vms', 'nbd']) await mkdir(join(memory, each), { mode: 0o700 });
  const driver = await createQemuDriver({ runDir: join(memory, 'vms'), qemu, log: tell });
  const network = await DrillNetwork.open(guests, { folder: join(memory, 'nics'), mtu: plan.spec.mtu, colour: plan.cut.epoch + 1, address: plan.address });
  say({ kind: 'progress', text: `loading ${guests.map(({ name }) => name).join(', ')}` });
  const host = { driver, network, sockets: join(memory, 'nbd'), disks: join(folder, 'disks'), clock: plan.spec.clock, log: tell };
  const vms = await Promise.all(guests.map((definition) => DrilledVm.load(host, fold, definition)));
  await network.inject(fold.channel());
  await Promise.all(vms.map((vm) => vm.resume()));
  const load_ms = Math.round(performance.now() - began_ms);
  const check = await look(plan, guests, network.address);
  const results = vms.map(({ result }) => result);
  return { ...judge(results, check, plan.check?.timeout_s ?? 0), vms: results, fold_ms, load_ms, check };
}

/** Null where that the guests run is all that is asked. */
async function look({ check: wanted, settle_s, id, cut }: DrillPlan, guests: readonly VmDefinition[], address: string | null): Promise<DrillCheck | null> {
  say({ kind: 'progress', text: wanted === null ? `the guests run; watching them for ${settle_s} s` : 'the guests run; checking' });
  if (wanted === null) {
    await sleep(settle_s * 1_000);
    return null;
  }
  const env = {
    ...process.env, VIRTCFT_DRILL: id, VIRTCFT_DRILL_CUT: `${cut.generation}-${cut.epoch}`, VIRTCFT_DRILL_ADDRESS: address ?? '',
    VIRTCFT_DRILL_VMS: guests.map((guest) => `${guest.name}=${guest.address ?? ''}`).join(' '),
  };
  return runCheck(wanted.command, wanted.timeout_s * 1_000, env, (text) => { say({ kind: 'output', text }); });
}
