import { createHash } from 'node:crypto';
import { keysIn, type SealingKeys } from '../src/index.js';

const secret = (of: string): string => createHash('sha256').update(of).digest('hex');

export const keyFile = (current: string, ...ids: readonly string[]): string => `# keys of a test\n${ids.map((id) => `key ${id} ${secret(id)}\n`).join('')}current ${current}\n`;

/** Keys of these names, the first of them current. */
export function keysOf(...ids: readonly string[]): SealingKeys {
  const keys = keysIn(keyFile(ids[0] ?? '', ...ids));
  if (keys === null) throw new Error(`no keys of ${ids.join(', ')}`);
  return keys;
}
