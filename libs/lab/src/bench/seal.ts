import { openDirectoryStore, keysIn, sealedStore, type ObjectStore } from '@virtcft/object-store';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { root } from '../demo/run.js';
import { readLoad } from '../guests.js';
import type { SealReport } from '../report/bench-reports.js';
import { distribution, type Distribution } from '../report/distribution.js';
import { describeMachine, idleCpu, measuredCommit } from '../report/machine.js';
import type { BenchOptions } from './options.js';

/** As packs are: of an epoch, and of a first full capture. */
const SIZES = [1024 * 1024, 32 * 1024 * 1024] as const;
const BYTES = 128 * 1024 * 1024; // of each turn

type Way = 'plain' | 'sealed';
interface Seconds { readonly put: number[]; readonly get: number[] }
const none = (): Seconds => ({ put: [], get: [] });

/** Processor time to put and to get objects in a folder, plain and sealed, in turns in one run. */
export async function benchSeal(options: BenchOptions, signal: AbortSignal): Promise<SealReport> {
  const [idle_cpu, commit] = [await idleCpu(), await measuredCommit(root)];
  await mkdir(join(root, '.artifacts/bench'), { recursive: true });
  const folder = await mkdtemp(join(root, '.artifacts/bench/seal-'));
  const keys = keysIn(`key bench ${randomBytes(32).toString('hex')}\ncurrent bench\n`);
  if (keys === null) throw new Error('the key of this bench is none');
  const spent: Record<Way, Seconds> = { plain: none(), sealed: none() };
  try {
    for (let round = 0; round < options.rounds; round++) {
      for (const bytes of SIZES) {
        for (const way of round % 2 === 0 ? ['plain', 'sealed'] as const : ['sealed', 'plain'] as const) {
          signal.throwIfAborted();
          const path = join(folder, `${round}-${bytes}-${way}`);
          const inner = await openDirectoryStore({ path });
          const { put, get } = await turn(way === 'sealed' ? sealedStore(inner, { keys, plain: 'refuse' }) : inner, bytes);
          spent[way].put.push(put);
          spent[way].get.push(get);
          await rm(path, { recursive: true });
        }
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const per_gb = (seconds: number[]): Distribution => distribution(seconds.map((each) => each / (BYTES / 1e9)));
  const cpu_s_per_gb = { put: { plain: per_gb(spent.plain.put), sealed: per_gb(spent.sealed.put) }, get: { plain: per_gb(spent.plain.get), sealed: per_gb(spent.sealed.get) } };
  const more = ({ plain, sealed }: { plain: Distribution; sealed: Distribution }): number | null => (plain.p50 === null || sealed.p50 === null ? null : Math.round((sealed.p50 - plain.p50) * 1000) / 1000);
  return {
    schema: 'virtcft/report/seal/1', commit, machine: await describeMachine({ accel: 'none', tracker: 'none', version: 'none' }, idle_cpu), params: { rounds: options.rounds, sizes: SIZES.map(String), turn_bytes: BYTES },
    load: readLoad('light'), ok: true, cpu_s_per_gb, cores_per_gb_s: { put: more(cpu_s_per_gb.put), get: more(cpu_s_per_gb.get) },
  };
}

/** Processor seconds of this process, its threads and the kernel's work for it. */
async function turn(store: ObjectStore, bytes: number): Promise<{ put: number; get: number }> {
  const body = randomBytes(bytes);
  const count = BYTES / bytes;
  const seconds = async (work: (at: number) => Promise<unknown>): Promise<number> => {
    const before = process.cpuUsage();
    for (let at = 0; at < count; at++) await work(at);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1e6;
  };
  const put = await seconds((at) => store.put(`bench/${at}`, body));
  const get = await seconds((at) => store.get(`bench/${at}`));
  return { put, get };
}
