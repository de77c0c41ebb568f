import type { ContentUses } from './content-uses.js';
import type { ContentFacts } from './garbage-facts.js';
import type { Garbage } from './garbage.js';
import { chunkKey, parseBaseKey, parseChunkKey, parseImageKey, parsePackKey } from './keys.js';

/**
 * Removes in the order given, which has what names chunks before the chunks: content that somebody uses stays, and then all that it names; a pack that somebody uses stays, too. `looked_ms`: when, by the
 * clock of `uses`, the store was begun to be listed. `goOn` is asked before each. Gives those that were removed.
 */
export async function removeGarbage(remove: readonly Garbage[], contents: readonly ContentFacts[], uses: ContentUses, looked_ms: number, from: { remove(key: string): Promise<void> }, goOn: (key: string) => boolean = () => true): Promise<Garbage[]> {
  const chunks = new Map(contents.map((content) => [content.key, content.chunks]));
  const spared = new Set<string>();
  const removed: Garbage[] = [];
  for (const each of remove) {
    const { key } = each;
    if (spared.has(key)) continue;
    if (!goOn(key)) break;
    const named = (parseChunkKey(key) ?? parseImageKey(key) ?? parseBaseKey(key) ?? parsePackKey(key)) !== null;
    if (!named) await from.remove(key);
    if (!named || await uses.removeUnused(key, looked_ms, () => from.remove(key))) removed.push(each);
    else for (const hash of chunks.get(key) ?? []) spared.add(chunkKey({ cluster: (parseImageKey(key) ?? parseBaseKey(key))?.cluster ?? '', hash }));
  }
  return removed;
}
