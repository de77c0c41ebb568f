import { decodePack, parsePackKey, type Pack } from '@virtcft/checkpoint';
import { inspectSection } from '@virtcft/native';
import type { ObjectStore } from '@virtcft/object-store';
import { metrics } from '@virtcft/telemetry';
import { limits } from '../limits.js';
import type { RecentPacks } from '../recent-packs.js';
import { HttpError } from './errors.js';
import { readBody, type Route } from './server.js';

/** PUT /v1/packs/<key>: verified in every part, then durable, then acknowledged (R14, R15). */
export function packRoutes(store: ObjectStore, recent: RecentPacks): Route[] {
  return [{
    method: 'PUT', pattern: /^\/v1\/packs\/(?<key>[A-Za-z0-9/_.-]{1,400})$/,
    handle: async ({ request, response, path }) => {
      const key = path['key'] ?? '';
      if (parsePackKey(key) === null) throw new HttpError(400, `"${key}" is not the key of a pack`);
      const bytes = await readBody(request, limits.pack_bytes);
      const pack = decodePack(bytes);
      if (pack.key !== key) throw new HttpError(400, `the pack is not what its key names; its own is "${pack.key}"`);
      checkSections(pack);
      const outcome = await store.put(key, bytes);
      recent.add(key, pack, bytes.length);
      if (outcome === 'created') metrics.storedBytes(bytes.length, { kind: 'pack' });
      response.writeHead(outcome === 'created' ? 201 : 200).end();
    },
  }];
}

/** A cut is verified before it commits (R18): the pages of every segment, too, must be readable. */
function checkSections(pack: Pack): void {
  for (const segment of pack.segments) {
    const { maxPage } = inspectSection(segment.pages);
    if ((maxPage + 1) * 4096 > segment.header.memory_bytes) throw new HttpError(400, `the segment of VM "${segment.header.vm}" names page ${maxPage}, beyond its memory`);
  }
}
