import { writeFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CutBroken, foldCut, readCut, type ObjectSource } from '@virtcft/checkpoint';
import { DrillMessage, DrillPlan } from '@virtcft/events';
import { makePrivate, swapDangerHere } from '@virtcft/hypervisor';
import { openStore, StoreRefused, type ObjectStore } from '@virtcft/object-store';
import { storeEnvironment, untilTerminated, WrongConfiguration } from '@virtcft/service';
import { logger } from '@virtcft/telemetry';
import { z } from 'zod';
import { beganAt, folderName, removeFolder, sweepFolders } from './folders.js';
import { availableMib, checkRoom, guestsOf } from './guests.js';
import { kept, type InsidePlan } from './inside/plan.js';
import { Isolation } from './isolation.js';
import { linesOf, sendLine } from './lines.js';
import { limits } from './limits.js';
import { DrillRefused } from './refused.js';

export const drill = {
  name: 'drill', summary: 'restores a cut into an isolated fabric, lets a check look at it, and takes all away again; "virtcft drill" starts it',
  environment: z.object({
    ...storeEnvironment,
    VIRTCFT_SWAP: z.enum(['refuse', 'allow']).default('refuse').describe('whether guests may run where their memory could be swapped to a disk that is not encrypted'),
    VIRTCFT_QEMU: z.string().default('qemu-system-x86_64').describe('the hypervisor\'s binary; of the version that captured the cut'),
  }),
};
export type DrillConfiguration = z.infer<typeof drill.environment>;

const log = logger('drill');
const say = (message: DrillMessage): void => { sendLine(process.stdout, message); };

/** One drill, as its standard input says; it ends when that is closed, at SIGTERM and SIGINT, and when it is over. Nothing is left then. */
export async function runDrill(configuration: DrillConfiguration): Promise<void> {
  const stop = new AbortController();
  void untilTerminated().then(() => { stop.abort(); });
  giveWay();
  const lines = linesOf(process.stdin, DrillPlan);
  const plan = (await lines.next()).value as DrillPlan | undefined;
  if (plan === undefined) throw new WrongConfiguration('drill: no plan came on the standard input; "virtcft drill" starts this program');
  // Whoever started it is gone, and with it whoever would take the drill away.
  void lines.next().catch(() => undefined).then(() => { stop.abort(); });
  const down: string[] = [];
  try {
    await new Drill(configuration, plan, stop.signal, down).run();
  } catch (error) {
    if (!stop.signal.aborted) say(refusalOf(error));
  } finally {
    say({ kind: 'torn-down', what: down });
  }
}

/** All that runs beside it goes first: processors and, when it is short, memory. The guests and the check inherit it. */
function giveWay(): void {
  setPriority(limits.nice);
  try {
    writeFileSync('/proc/self/oom_score_adj', String(limits.oom_score));
  } catch (error) {
    log.info({ err: error }, 'not marked as the first to go when memory is short');
  }
}

class Drill {
  constructor(private readonly configuration: DrillConfiguration, private readonly plan: DrillPlan, private readonly signal: AbortSignal, private readonly down: string[]) {}

  async run(): Promise<void> {
    const { configuration, plan, down } = this;
    const danger = configuration.VIRTCFT_SWAP === 'allow' ? null : await swapDangerHere();
    if (danger !== null) throw new DrillRefused(danger, 'or drill on another machine');
    // Whoever gave one that is there has chosen who may enter it; what a drill makes in it is closed.
    await mkdir(plan.directory, { recursive: true, mode: 0o700 });
    for (const left of await sweepFolders(plan.directory)) log.warn({ left }, 'a drill that was killed left this; it is removed');
    const folder = join(plan.directory, folderName(plan.id, process.pid, beganAt(process.pid) ?? '0'));
    await makePrivate(folder);
    try {
      const fold_ms = await this.fold(folder);
      await this.inside({ plan, folder, fold_ms, qemu: configuration.VIRTCFT_QEMU });
    } finally {
      await removeFolder(folder);
      down.push('the images of the cut');
    }
  }

  /** The cut from the store into raw images in the folder; how long it took. */
  private async fold(folder: string): Promise<number> {
    const { configuration, plan, signal } = this;
    const store = await openStore(configuration.VIRTCFT_STORE, { ...process.env, VIRTCFT_STORE_KEYS_FILE: configuration.VIRTCFT_STORE_KEYS_FILE, VIRTCFT_STORE_PLAIN: configuration.VIRTCFT_STORE_PLAIN });
    try {
      const source = until(signal, store);
      const { manifest } = await readCut(source, plan.cut);
      const guests = guestsOf(manifest, plan.spec);
      checkRoom(guests, availableMib(await readFile('/proc/meminfo', 'utf8')));
      say({ kind: 'progress', text: `folding cut ${plan.cut.generation}-${plan.cut.epoch}, ${guests.length} VMs` });
      const began_ms = performance.now();
      await (await foldCut(source, plan.cut, join(folder, 'cut'))).close();
      signal.throwIfAborted();
      return Math.round(performance.now() - began_ms);
    } finally {
      await store.close();
    }
  }

  /** All else, in namespaces that no interface of this machine is in. Nothing inside knows the store. */
  private async inside(plan: InsidePlan): Promise<void> {
    const { signal, down } = this;
    const main = fileURLToPath(new URL('./inside/main.js', import.meta.url));
    const isolation = await Isolation.start([process.execPath, main], withoutSecrets(process.env));
    const end = (): void => { void isolation.end(); };
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
    try {
      sendLine(isolation.input, plan);
      let told = false;
      for await (const message of linesOf(isolation.output, DrillMessage)) {
        if (message.kind === 'progress' && message.text === kept) message.text = `the guests are kept until Ctrl-C; to go to them: nsenter --target ${isolation.pid ?? '?'} --net --mount --pid`;
        say(message);
        told ||= message.kind === 'result' || message.kind === 'refused';
        if (told && (message.kind === 'refused' || !plan.plan.keep)) break;
      }
      if (!told && !signal.aborted) throw new DrillRefused(`the drill's own machine ended before it said anything${isolation.complaint === '' ? '' : `: ${isolation.complaint.trim()}`}`, 'it needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN, util-linux and iproute2; see the messages above');
    } finally {
      signal.removeEventListener('abort', end);
      await isolation.end();
      down.push('the guests and the check', 'their network', 'their memory');
    }
  }
}

/** Reads nothing more once nobody wants it. */
function until(signal: AbortSignal, store: ObjectStore): ObjectSource {
  return {
    get: (key, range) => { signal.throwIfAborted(); return store.get(key, range); },
    release: (bytes) => store.release?.(bytes),
    list: (prefix, options) => { signal.throwIfAborted(); return store.list(prefix, options); },
  };
}

/** Guests, their check and whatever it starts are given no key of the installation. */
export function withoutSecrets(env: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(AWS_|VIRTCFT_(?!LOG$))/.test(name)));
}

function refusalOf(error: unknown): DrillMessage {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof DrillRefused) return { kind: 'refused', message, next: error.next };
  if (error instanceof CutBroken) return { kind: 'refused', message: `the cut cannot be restored: ${message}`, next: 'see "virtcft verify", and drill another cut' };
  if (error instanceof StoreRefused) return { kind: 'refused', message, next: 'give VIRTCFT_STORE, its credentials and keys as the replica store has them' };
  log.error({ err: error }, 'the drill failed');
  return { kind: 'refused', message, next: '' };
}
