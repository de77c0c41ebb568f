import { z } from 'zod';
import { ClusterId, CutRef, Generation, Incarnation, Sha256 } from '@virtcft/events';
import { canonicalJson, checked, parseCanonical, sha256 } from './canonical.js';
import { FormatError } from './format-error.js';
import { generationKey, parseCutKey } from './keys.js';
import { limits } from './limits.js';

/** Where a generation begins (R16): the store's own word, should the log be lost. */
export const GenerationRecord = z.strictObject({
  format: z.literal('virtcft/generation/1'),
  cluster: ClusterId, generation: Generation, incarnation: Incarnation,
  /** The cut that was restored; null for a first start. */
  basis: CutRef.strict().nullable(),
  /** Incarnation of the generation before; null for the first. */
  previous: Incarnation.nullable(),
}).superRefine(({ basis, cluster, generation }, ctx) => {
  if (basis === null) return;
  const named = parseCutKey(basis.key);
  if (named?.cluster !== cluster || named.hash !== basis.hash || named.generation !== basis.generation || named.epoch !== basis.epoch) {
    ctx.addIssue({ code: 'custom', path: ['basis'], message: 'its key names another cut' });
  }
  if (basis.generation >= generation) ctx.addIssue({ code: 'custom', path: ['basis'], message: 'it is not of an earlier generation' });
});
export type GenerationRecord = z.infer<typeof GenerationRecord>;

/** The stored form has the hash of the rest beside it: its key cannot, because the incarnation alone names it. */
const Stored = z.strictObject({ check: Sha256, record: GenerationRecord });

export function encodeGeneration(record: GenerationRecord): { key: string; bytes: Buffer } {
  const known = checked(GenerationRecord, record, 'generation record');
  return { key: generationKey(known), bytes: Buffer.from(canonicalJson({ check: sha256(Buffer.from(canonicalJson(known))), record: known })) };
}

/** Throws FormatError, also when the object is not the one that belongs at `key`. */
export function parseGeneration(bytes: Buffer, key?: string): GenerationRecord {
  const { check, record } = parseCanonical(Stored, bytes, 'generation record', limits.generationBytes);
  if (check !== sha256(Buffer.from(canonicalJson(record)))) throw new FormatError('generation record', 'its hash differs');
  if (key !== undefined && generationKey(record) !== key) throw new FormatError('generation record', `it belongs at "${generationKey(record)}"`);
  return record;
}
