import { definitionsPrefix, encodeDefinition, parseDefinition, parseDefinitionKey, type Definition } from '@virtcft/checkpoint';
import { ClusterId } from '@virtcft/events';
import type { ObjectStore } from '@virtcft/object-store';
import type { DefinitionContent } from '@virtcft/protocol';

/** Durable when it resolves. The same content is one object, whoever puts it. */
export async function writeDefinition(store: ObjectStore, content: DefinitionContent): Promise<void> {
  const { key, bytes } = encodeDefinition({ format: 'virtcft/definition/1', ...content, pins: [...content.pins] });
  await store.put(key, bytes);
}

/** Two definitions of one version: only an operator knows which one holds. */
export class DefinitionsDiffer extends Error {
  override readonly name = 'DefinitionsDiffer';
}

/** The one that holds; null where there is none. Throws DefinitionsDiffer, FormatError when it is damaged, and what the store throws. */
export async function readDefinition(store: ObjectStore, cluster: string): Promise<Definition | null> {
  let newest: { version: number; keys: string[] } = { version: 0, keys: [] };
  for await (const { key } of store.list(definitionsPrefix(cluster))) {
    const version = parseDefinitionKey(key)?.version ?? 0;
    if (version > newest.version) newest = { version, keys: [key] };
    else if (version === newest.version) newest.keys.push(key);
  }
  const [key, rival] = newest.keys;
  if (key === undefined) return null;
  if (rival !== undefined) throw new DefinitionsDiffer(`version ${newest.version} is at "${key}" and at "${rival}"`);
  return parseDefinition(await store.get(key), key);
}

const idCharacters = 36;

/** Every cluster that the store holds anything of. Asks for one key of each, not for all. */
export async function clustersIn(store: ObjectStore): Promise<string[]> {
  const found: string[] = [];
  for (let after = ''; ;) {
    let next: string | null = null;
    for await (const { key } of store.list('', { after, limit: 1 })) next = key;
    if (next === null) return found;
    const id = next.slice(0, next.indexOf('/'));
    if (id.length === idCharacters && ClusterId.safeParse(id).success) found.push(id);
    // '0' is the next character after '/': behind every key of this folder.
    after = `${id}0`;
  }
}
