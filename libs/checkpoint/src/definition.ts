import { z } from 'zod';
import { ClusterId, ClusterSpec, Pin } from '@virtcft/events';
import { canonicalJson, checked, sha256 } from './canonical.js';
import { FormatError } from './format-error.js';
import { definitionKey, parseCutKey } from './keys.js';
import { limits } from './limits.js';

/** A cluster's file, policies and pins (R16, R23): with its generations and cuts all that a new log is made from. A pure function of the log, without time. */
export const Definition = z.strictObject({
  format: z.literal('virtcft/definition/1'),
  cluster: ClusterId,
  version: z.int().min(1).max(limits.definitionVersion),
  spec: ClusterSpec,
  protected: z.boolean(),
  stopped: z.boolean(),
  /** By name, each once. */
  pins: z.array(Pin.strict()).max(limits.definitionPins),
}).superRefine(({ cluster, pins }, ctx) => {
  pins.forEach(({ name, cut }, at) => {
    const named = parseCutKey(cut.key);
    const refuse = (message: string): void => ctx.addIssue({ code: 'custom', path: ['pins', at], message });
    if (named?.cluster !== cluster || named.hash !== cut.hash || named.generation !== cut.generation || named.epoch !== cut.epoch) refuse('its key names another cut');
    if (at > 0 && name <= (pins[at - 1]?.name ?? '')) refuse('pins are to be sorted by name, each once');
  });
});
export type Definition = z.infer<typeof Definition>;

/** Key and bytes. Throws FormatError when it contradicts itself. */
export function encodeDefinition(definition: Definition): { key: string; hash: string; bytes: Buffer } {
  const known = checked(Definition, definition, 'definition');
  const bytes = Buffer.from(canonicalJson(known));
  if (bytes.length > limits.definitionBytes) throw new FormatError('definition', `${bytes.length} bytes, at most ${limits.definitionBytes} are allowed`);
  const hash = sha256(bytes);
  return { key: definitionKey({ cluster: known.cluster, version: known.version, hash }), hash, bytes };
}

/** Throws FormatError, also when the object is not the one that belongs at `key`. Keys of the cluster file that came later take their defaults. */
export function parseDefinition(bytes: Buffer, key: string): Definition {
  if (bytes.length > limits.definitionBytes) throw new FormatError('definition', `${bytes.length} bytes, at most ${limits.definitionBytes} are allowed`);
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new FormatError('definition', (error as Error).message);
  }
  const { cluster, version } = checked(z.looseObject({ cluster: ClusterId, version: Definition.shape.version }), value, 'definition');
  // Its hash is in its key, so that nothing it says is believed before.
  const belongs = definitionKey({ cluster, version, hash: sha256(bytes) });
  if (belongs !== key) throw new FormatError('definition', `it belongs at "${belongs}"`);
  return checked(Definition, value, 'definition');
}
