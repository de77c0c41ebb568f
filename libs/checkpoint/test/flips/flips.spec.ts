import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keysIn, sealedStore, type ObjectStore, type SealingKeys } from '@virtcft/object-store';
import { encodeDefinition } from '../../src/index.js';
import { writeBases } from '../bases.js';
import { History, type CommittedCut } from '../history.js';
import { definition } from '../samples.js';
import { judge } from './judge.js';
import { MemoryStore } from './memory-store.js';
import { kindOf, objectKinds, sealedParts } from './parts.js';

// `npm run bench -- flip` runs this with more of them, and reads what it found from a file.
const flips = Number(process.env['VIRTCFT_FLIPS'] ?? 120);
const seed = Number(process.env['VIRTCFT_FLIPS_SEED'] ?? 1);
const reportFile = process.env['VIRTCFT_FLIPS_REPORT'];

type Damage = (bytes: Buffer, random: (below: number) => number) => Buffer | null;
interface Target { readonly key: string; readonly from: number; readonly to: number }
/** One kind of damage to one part of one kind of object, sealed or plain. */
interface Stratum { readonly form: 'plain' | 'sealed'; readonly kind: string; readonly part: string; readonly targets: Target[]; flips: number; detected: number }

/** Mulberry32. */
function randomOf(state: number): (below: number) => number {
  return (below) => {
    state = (state + 0x6d2b_79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const flip = ({ from, to }: Target): Damage => (bytes, random) => {
  const bad = Buffer.from(bytes);
  const at = from + random(to - from);
  bad[at] = (bad[at] as number) ^ (1 << random(8));
  return bad;
};
const cutShort: Damage = (bytes, random) => Buffer.from(bytes.subarray(0, random(bytes.length)));
const missing: Damage = () => null;

/** A cluster with two generations, packs of aborted epochs, chains cut anew, disks with and without an image, bases before the last cut, a definition, and page sections of `version`. */
async function lifeOf(version: 1 | 2 | 4, scratch: string): Promise<History> {
  const history = new History(3, version);
  for (let at = 0; at < 7; at++) {
    await history.run({ writes: [[0, at, at + 1], [1, at + 1, at + 7], [2, 3, at], [0, 11, 20 + at]], stored: at === 2 ? [true, false] : [true, true], late: false, full: at === 5 ? 1 : null, recovery: at === 4 });
  }
  await writeBases(history.objects, history.cuts.at(-2) as CommittedCut, scratch);
  const { key, bytes } = encodeDefinition(definition());
  history.objects.map.set(key, bytes);
  return history;
}

describe('random damage', () => {
  let scratch = '';
  beforeAll(async () => { scratch = await mkdtemp(join(tmpdir(), 'virtcft-flips-')); });
  afterAll(async () => { await rm(scratch, { recursive: true, force: true }); });

  it('to any part of any kind of object, sealed or plain, is found and named, and never gives a restore with other contents', async () => {
    const histories = [await lifeOf(1, scratch), await lifeOf(2, scratch), await lifeOf(4, scratch)];
    const keys = keysIn(`key flips ${randomBytes(32).toString('hex')}\ncurrent flips\n`) as SealingKeys;
    const strata = new Map<string, Stratum>();
    const stores: { history: History; inner: MemoryStore; form: Stratum['form'] }[] = [];
    const opened = (inner: MemoryStore, form: Stratum['form']): ObjectStore => (form === 'sealed' ? sealedStore(inner, { keys, plain: 'refuse' }) : inner);
    for (const history of histories) {
      // A pack that was stored and belongs to no cut is nobody's.
      const needed = [...history.objects.map].filter(([key]) => !key.includes('/packs/') || history.cuts.some(({ packs }) => packs.some((pack) => pack.key === key)));
      for (const form of ['plain', 'sealed'] as const) {
        const inner = new MemoryStore();
        stores.push({ history, inner, form });
        for (const [key, bytes] of needed) {
          await opened(inner, form).put(key, bytes);
          const kind = kindOf(key);
          const stored = inner.map.get(key) as Buffer;
          const parts = [...(form === 'sealed' ? sealedParts(stored) : kind.parts(bytes)), { name: 'cut short', from: 0, to: stored.length }];
          if (kind.unnamed === undefined) parts.push({ name: 'missing', from: 0, to: stored.length });
          for (const { name, from, to } of parts) {
            const id = `${form} ${kind.name} ${name}`;
            const stratum = strata.get(id) ?? { form, kind: kind.name, part: name, targets: [], flips: 0, detected: 0 };
            strata.set(id, stratum);
            stratum.targets.push({ key: `${stores.length - 1}:${key}`, from, to });
          }
        }
      }
    }
    expect(new Set([...strata.values()].map(({ kind }) => kind)).size).toBe(objectKinds.length);

    for (const { history, inner, form } of stores) expect(await judge(opened(inner, form), history, '', scratch)).toEqual({ detected: false, wrong: null, older: false });
    const random = randomOf(seed);
    const order = [...strata.values()];
    const [unnoticed, wrong]: [string[], string[]] = [[], []];
    let older = 0;
    for (let done = 0; done < flips; done++) {
      const stratum = order[done % order.length] as Stratum;
      const target = stratum.targets[random(stratum.targets.length)] as Target;
      const [number = '', key = ''] = target.key.split(/:(.*)/s);
      const { history, inner, form } = stores[Number(number)] as (typeof stores)[number];
      const good = inner.map.get(key) as Buffer;
      const damage = stratum.part === 'missing' ? missing : stratum.part === 'cut short' ? cutShort : flip(target);
      const bad = damage(good, random);
      if (bad === null) inner.map.delete(key);
      else inner.map.set(key, bad);
      const outcome = await judge(opened(inner, form), history, key, scratch);
      inner.map.set(key, good);
      stratum.flips++;
      if (outcome.detected) stratum.detected++;
      else unnoticed.push(`${form} ${stratum.kind} ${stratum.part}, byte ${bad === null ? '' : good.findIndex((byte, at) => byte !== bad[at])} of ${key}`);
      if (outcome.older) older++;
      if (outcome.wrong !== null) wrong.push(`${outcome.wrong} after ${form} ${stratum.kind} ${stratum.part}`);
    }
    const parts = order.map(({ form, kind, part, flips: tried, detected }) => ({ form, kind, part, flips: tried, detected })).filter((part) => part.flips > 0);
    const report = { flips, detected: flips - unnoticed.length, wrong_restores: wrong.length, older_restores: older, unnoticed: unnoticed.slice(0, 20), parts };
    if (reportFile !== undefined) await writeFile(reportFile, JSON.stringify(report));
    expect({ unnoticed, wrong }).toEqual({ unnoticed: [], wrong: [] });
  });
});
