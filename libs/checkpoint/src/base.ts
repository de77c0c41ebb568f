import { z } from 'zod';
import { ClusterId, Epoch, Generation, Identity, Name, RunState, Sha256 } from '@virtcft/events';
import { canonicalJson, checked, parseCanonical, sha256 } from './canonical.js';
import { FormatError } from './format-error.js';
import { chunkBytes } from './image.js';
import { baseKey, parseBaseKey } from './keys.js';
import { limits } from './limits.js';
import type { SegmentDisk } from './segment.js';

/** Raw bytes of a chunk of a memory (docs/adr/0014). Of disks it is that of images, so that what was never written is the image's own chunk. */
export const memoryChunkBytes = 256 * 1024;

/** Content as chunks (docs/formats/image.md): null where all is zero. */
const content = { chunk_bytes: z.int().min(4096).max(chunkBytes).multipleOf(4096), chunks: z.array(Sha256.nullable()) };
const fits = ({ bytes, chunk_bytes, chunks }: Chunked): boolean => chunks.length === Math.ceil(bytes / chunk_bytes);
const misfit = { path: ['chunks'], message: 'not as many as the bytes give' };
const pages = z.int().min(4096).multipleOf(4096);

/** What one VM is at a committed cut, without any segment. Layout: docs/formats/base.md. */
export const Base = z.strictObject({
  format: z.literal('virtcft/base/1'),
  cluster: ClusterId, generation: Generation, epoch: Epoch.max(limits.epoch),
  /** Hash of the cut's manifest. */
  cut: Sha256,
  vm: Name,
  /** The VM's segment at the cut: this base stands for its whole chain. */
  segment: z.strictObject({ hash: Sha256, epoch: Epoch.max(limits.epoch) }),
  runState: RunState, identity: Identity.strict(),
  memory: z.strictObject({ bytes: pages, ...content }).refine(fits, misfit),
  /** As the hypervisor gave it. */
  device: z.strictObject({ bytes: z.int().min(0).max(limits.deviceBytes), ...content }).refine(fits, misfit),
  disks: z.array(z.strictObject({ name: Name, bytes: pages, image: Sha256.nullable(), ...content }).refine(fits, misfit)).max(limits.segmentDisks),
});
export type Base = z.infer<typeof Base>;

/** Any content in chunks: an image, a memory, a disk, device state. */
export interface Chunked {
  readonly bytes: number;
  readonly chunk_bytes: number;
  readonly chunks: readonly (string | null)[];
}

/** Of the chunk `at`: the last may be shorter. */
export const chunkLengthOf = ({ bytes, chunk_bytes }: Pick<Chunked, 'bytes' | 'chunk_bytes'>, at: number): number => Math.min(chunk_bytes, bytes - at * chunk_bytes);

/** Key, hash and bytes of a base object. Throws FormatError. */
export function encodeBase(base: Omit<Base, 'format'>): { key: string; hash: string; bytes: Buffer } {
  const bytes = Buffer.from(canonicalJson(checked(Base, { format: 'virtcft/base/1', ...base }, 'base')));
  if (bytes.length > limits.baseBytes) throw new FormatError('base', `${bytes.length} bytes, at most ${limits.baseBytes} are allowed`);
  const hash = sha256(bytes);
  return { key: baseKey({ ...base, hash }), hash, bytes };
}

/** Throws FormatError, also when it is not the one that `key` names. */
export function parseBase(bytes: Buffer, key: string): Base {
  const named = parseBaseKey(key);
  const hash = sha256(bytes);
  if (hash !== named?.hash) throw new FormatError('base', `its hash is ${hash}, ${named?.hash ?? 'another'} is expected`);
  const base = parseCanonical(Base, bytes, 'base', limits.baseBytes);
  if (baseKey({ ...base, hash }) !== key) throw new FormatError('base', `it belongs at "${baseKey({ ...base, hash })}"`);
  return base;
}

export const partsOf = ({ memory, device, disks }: Pick<Base, 'memory' | 'device' | 'disks'>): readonly Chunked[] => [memory, device, ...disks];

/** The chunks that it is made of, each once. */
export const chunksOf = (parts: readonly Pick<Chunked, 'chunks'>[]): Set<string> => new Set(parts.flatMap(({ chunks }) => chunks.filter((chunk) => chunk !== null)));

export const disksOf = ({ disks }: Pick<Base, 'disks'>): SegmentDisk[] => disks.map(({ name, bytes, image }) => ({ name, bytes, image }));
