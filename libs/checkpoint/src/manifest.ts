import { z } from 'zod';
import { ClusterId, DiskRefs, Epoch, Generation, Incarnation, Name, RunState, Sha256 } from '@virtcft/events';
import type { CutRef } from '@virtcft/events';
import { canonicalJson, checked, parseCanonical, sha256 } from './canonical.js';
import { FormatError } from './format-error.js';
import { cutKey, packKey } from './keys.js';
import { limits } from './limits.js';

/** The one object that names a cut. A pure function of the decision log: no clock, no order of arrival (R12). */
export const Manifest = z.strictObject({
  format: z.literal('virtcft/cut/1'),
  cluster: ClusterId, generation: Generation, incarnation: Incarnation, epoch: Epoch.max(limits.epoch),
  /** Hash of the manifest of the cut before; null for the first of the cluster. */
  previous: Sha256.nullable(),
  vms: z.record(Name, z.strictObject({
    host: Name, segment: Sha256, kind: z.enum(['full', 'delta']), runState: RunState, memory_bytes: z.int().min(4096).multipleOf(4096), disks: DiskRefs,
  })),
  /** Of every host all packs stored since the previous cut, in epoch order: a segment of an aborted epoch may be a parent (R2). */
  packs: z.array(z.strictObject({ host: Name, epoch: Epoch.max(limits.epoch), key: z.string().max(400), hash: Sha256, bytes: z.int().min(32) })),
}).superRefine((manifest, ctx) => {
  const { cluster, generation } = manifest;
  let before: { epoch: number; host: string } = { epoch: 0, host: '' };
  manifest.packs.forEach((pack, at) => {
    const { epoch, host, hash } = pack;
    const refuse = (message: string): void => ctx.addIssue({ code: 'custom', path: ['packs', at], message });
    if (epoch > manifest.epoch) refuse(`it is of epoch ${epoch}, the cut of ${manifest.epoch}`);
    if (pack.key !== packKey({ cluster, generation, epoch, host, hash })) refuse('its key is another than its host, epoch and hash give');
    if (epoch < before.epoch || (epoch === before.epoch && host <= before.host)) refuse('packs are to be sorted by epoch, then host, each once');
    before = pack;
  });
});
export type Manifest = z.infer<typeof Manifest>;

/** Key, hash and bytes of a manifest. Sorts the packs. Throws FormatError when the manifest contradicts itself. */
export function encodeManifest(manifest: Manifest): { key: string; hash: string; bytes: Buffer } {
  const packs = [...manifest.packs].sort((a, b) => a.epoch - b.epoch || (a.host < b.host ? -1 : 1));
  const bytes = Buffer.from(canonicalJson(checked(Manifest, { ...manifest, packs }, 'manifest')));
  if (bytes.length > limits.manifestBytes) throw new FormatError('manifest', `${bytes.length} bytes, at most ${limits.manifestBytes} are allowed`);
  const hash = sha256(bytes);
  return { key: cutKey({ ...manifest, hash }), hash, bytes };
}

/** Throws FormatError. Give the hash wherever it is known: without it a changed digit may pass. */
export function parseManifest(bytes: Buffer, expectedHash?: string): Manifest {
  if (expectedHash !== undefined && sha256(bytes) !== expectedHash) throw new FormatError('manifest', `its hash is ${sha256(bytes)}, ${expectedHash} is expected`);
  return parseCanonical(Manifest, bytes, 'manifest', limits.manifestBytes);
}

/** The reference to a manifest that decisions carry. */
export function cutRefOf(manifest: Manifest): CutRef {
  const { key, hash } = encodeManifest(manifest);
  return { key, hash, generation: manifest.generation, epoch: manifest.epoch };
}
