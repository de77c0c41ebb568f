import { ClusterId, Incarnation, Name, Sha256 } from '@virtcft/events';
import { FormatError } from './format-error.js';
import { limits } from './limits.js';

export interface PackKey {
  readonly cluster: string;
  readonly generation: number;
  readonly epoch: number;
  readonly host: string;
  readonly hash: string;
}
export type CutKey = Omit<PackKey, 'host'>;
export interface GenerationKey {
  readonly cluster: string;
  readonly generation: number;
  readonly incarnation: string;
}

export interface BaseKey extends CutKey {
  readonly vm: string;
  /** Of the manifest of the cut that it equals; `hash` is of the base itself. */
  readonly cut: string;
}
export interface DefinitionKey {
  readonly cluster: string;
  readonly version: number;
  readonly hash: string;
}

/** Of an image or of a chunk. */
export interface ContentKey {
  readonly cluster: string;
  readonly hash: string;
}

const number = (value: number, digits: number, max: number, part: string): string => {
  if (!Number.isSafeInteger(value) || value < 1 || value > max) throw new FormatError(part, `${value} is out of range`);
  return String(value).padStart(digits, '0');
};
const generationPart = (value: number): string => number(value, 10, 0xffff_ffff, 'generation in a key');
const epochPart = (value: number): string => number(value, 12, limits.epoch, 'epoch in a key');

export const packKey = (key: PackKey): string => `${key.cluster}/packs/${generationPart(key.generation)}-${epochPart(key.epoch)}-${key.host}-${key.hash}`;
export const cutKey = (key: CutKey): string => `${key.cluster}/cuts/${generationPart(key.generation)}-${epochPart(key.epoch)}-${key.hash}`;
export const generationKey = (key: GenerationKey): string => `${key.cluster}/generations/${generationPart(key.generation)}-${key.incarnation}`;
export const definitionKey = (key: DefinitionKey): string => `${key.cluster}/definitions/${number(key.version, 10, limits.definitionVersion, 'version in a key')}-${key.hash}`;

export const baseKey = (key: BaseKey): string => `${key.cluster}/bases/${generationPart(key.generation)}-${epochPart(key.epoch)}-${key.vm}-${key.cut}-${key.hash}`;

export const imageKey = (key: ContentKey): string => `${key.cluster}/images/${key.hash}`;
export const chunkKey = (key: ContentKey): string => `${key.cluster}/chunks/${key.hash}`;

/** Prefix of all packs, or of one generation's. */
export const packsPrefix = (cluster: string, generation?: number): string => `${cluster}/packs/${generation === undefined ? '' : `${generationPart(generation)}-`}`;
export const cutsPrefix = (cluster: string, generation?: number): string => `${cluster}/cuts/${generation === undefined ? '' : `${generationPart(generation)}-`}`;
export const basesPrefix = (cluster: string): string => `${cluster}/bases/`;
export const chunksPrefix = (cluster: string): string => `${cluster}/chunks/`;
export const imagesPrefix = (cluster: string): string => `${cluster}/images/`;
export const generationsPrefix = (cluster: string): string => `${cluster}/generations/`;
export const definitionsPrefix = (cluster: string): string => `${cluster}/definitions/`;
/** Sorts before every cut of this epoch and behind all earlier ones: for `after` of a listing. */
export const cutsFrom = (cluster: string, generation: number, epoch: number): string => `${cutsPrefix(cluster, generation)}${epochPart(epoch)}`;

const shape = /^([0-9a-f-]{36})\/(packs|cuts|bases|generations|definitions)\/(\d{10})-(.+)$/;

function split(key: string, kind: string): { cluster: string; generation: number; rest: string } | null {
  const [, cluster = '', found, generation = '', rest = ''] = shape.exec(key) ?? [];
  if (found !== kind || !ClusterId.safeParse(cluster).success) return null;
  const value = Number(generation);
  return value >= 1 && value <= 0xffff_ffff ? { cluster, generation: value, rest } : null;
}

/** Each parser: null for a key of another kind or a malformed one. */
export function parsePackKey(key: string): PackKey | null {
  const parts = split(key, 'packs');
  const [, epoch = '', host = '', hash = ''] = /^(\d{12})-(.+)-([0-9a-f]{64})$/.exec(parts?.rest ?? '') ?? [];
  if (parts === null || Number(epoch) < 1 || !Name.safeParse(host).success) return null;
  return { cluster: parts.cluster, generation: parts.generation, epoch: Number(epoch), host, hash };
}

export function parseCutKey(key: string): CutKey | null {
  const parts = split(key, 'cuts');
  const [, epoch = '', hash = ''] = /^(\d{12})-([0-9a-f]{64})$/.exec(parts?.rest ?? '') ?? [];
  if (parts === null || Number(epoch) < 1 || !Sha256.safeParse(hash).success) return null;
  return { cluster: parts.cluster, generation: parts.generation, epoch: Number(epoch), hash };
}

export function parseBaseKey(key: string): BaseKey | null {
  const parts = split(key, 'bases');
  const [, epoch = '', vm = '', cut = '', hash = ''] = /^(\d{12})-(.+)-([0-9a-f]{64})-([0-9a-f]{64})$/.exec(parts?.rest ?? '') ?? [];
  if (parts === null || Number(epoch) < 1 || !Name.safeParse(vm).success) return null;
  return { cluster: parts.cluster, generation: parts.generation, epoch: Number(epoch), vm, cut, hash };
}

export function parseGenerationKey(key: string): GenerationKey | null {
  const parts = split(key, 'generations');
  if (parts === null || !Incarnation.safeParse(parts.rest).success) return null;
  return { cluster: parts.cluster, generation: parts.generation, incarnation: parts.rest };
}

export function parseDefinitionKey(key: string): DefinitionKey | null {
  const parts = split(key, 'definitions');
  if (parts === null || !Sha256.safeParse(parts.rest).success) return null;
  return { cluster: parts.cluster, version: parts.generation, hash: parts.rest };
}

const contentShape = /^([0-9a-f-]{36})\/(images|chunks)\/([0-9a-f]{64})$/;

function content(key: string, kind: string): ContentKey | null {
  const [, cluster = '', found, hash = ''] = contentShape.exec(key) ?? [];
  return found === kind && ClusterId.safeParse(cluster).success ? { cluster, hash } : null;
}

export const parseImageKey = (key: string): ContentKey | null => content(key, 'images');
export const parseChunkKey = (key: string): ContentKey | null => content(key, 'chunks');
